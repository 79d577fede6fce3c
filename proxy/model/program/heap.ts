/** How V8 uses memory in a process that goes on running, however it was started. */
import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { Script } from 'node:vm'
import type { Clock } from '../time/clock.ts'

/**
 * Until the process has started V8 has its own settings, since Node's modules come with compiled code that V8 takes with its own settings
 * alone: to compile them costs a start 20 ms.
 *
 * - The heap may grow by 25 % of what is in use before old objects are collected again. V8 lets it grow to several times that; here most of
 *   it stays for long, and what a connection leaves is collected young.
 * - The room for young objects stays as large as the start has made it, and has its first size again once the process has been idle: V8 doubles
 *   it, up to `--max-semi-space-size`, when many of them live on, as those of connections that stay do, which is three times the memory of what
 *   they keep.
 * - Once little is allocated, what the start or the load has left is collected, and its pages go back to the system (see `looksPerScript`): a
 *   second after the last collection, and every eight seconds from then on, V8 looks whether that is so.
 * - A collection of the whole heap copies the young objects in one go. Where 30 % of a page are alive, not 70, the page becomes old as it is,
 *   which halves that pause while most of what comes stays, as in the lists of a large mesh.
 *
 * How many threads mark old objects is not among them: V8 takes that number once, as it starts.
 */
export const settledFlags = {
  'heap-growing-percent': 25,
  'semi-space-growth-factor': 1,
  'gc-memory-reducer-start-delay-ms': 1000,
  'page-promotion-threshold': 30,
} satisfies Readonly<Record<string, number>>

/**
 * In a large heap room for young objects is little beside the rest, and with more of it the changes of a large mesh take a fifth less CPU, since
 * most of what they make is garbage before it is looked at. To mark half a million endpoints takes most of a second of the main thread: the
 * heap may grow by half before.
 */
const flagsOfLarge = { 'semi-space-growth-factor': 2, 'heap-growing-percent': 50 } as const
/**
 * node:http2 allocates memory outside the heap for each record of TLS that it reads, and by default V8 marks the whole heap for every 64 MiB of
 * that, which takes a third of a bulk transfer's CPU. So such memory counts like the heap itself, and is collected with the young objects. A
 * small heap may then double: with a quarter it is marked for every few megabytes that pass, which doubled that CPU.
 */
const flagsOfChunks = { 'external-memory-accounted-in-global-limit': true, 'heap-growing-percent': 100 } as const
/** In bytes. A mesh of some 120,000 endpoints has it. */
const large = 192 << 20
const lookMs = 1000
/**
 * V8 of Node 24 never sees that little is allocated, and keeps all the pages of a start or a load: where nothing was ever allocated in the heap
 * that it has for objects of C++, it takes the rate of 0 there for a high one (`HasLowEmbedderAllocationRate` in its heap.cc). A script is such an
 * object, and one in a minute keeps that rate above 0: it halves every 100 ms, which a double can show for 107 s.
 *
 * A large heap keeps its pages: to move what lives out of them stops the main thread for 60 ms where 100 MiB live. So does the heap of a process
 * in which JavaScript carries the bytes: after such a collection a short connection of the engine `streams` takes a tenth to two fifths more CPU,
 * with as much room for young objects and as many collections as without; one of `native` takes the same.
 */
const looksPerScript = 60

/** What this process is, of which its settings are made. */
const known = { hasStarted: false, isLarge: false, hasSockets: false, hasChunks: false }

/** Once, by a process that goes on running. What takes longer than a second to start, as a large mesh does, has the settings meanwhile. */
export function settleHeap(
  clock: Clock,
  started: Promise<unknown>,
  heapSize = () => getHeapStatistics().used_heap_size,
): void {
  void started.then(() => learn({ hasStarted: true }))
  let looks = 0
  const stop = clock.every(lookMs, () => {
    if (!known.hasStarted) learn({ hasStarted: true })
    if (heapSize() >= large) {
      learn({ isLarge: true })
      stop()
    } else if (!known.hasSockets && !known.hasChunks && looks++ % looksPerScript === 0) new Script('')
  })
}

/** For whatever carries the bytes of others in sockets of Node. */
export function keepPagesForSockets(): void {
  known.hasSockets = true
}

/** For whatever has node:http2 carry the bytes of others. */
export function countChunksAsHeap(): void {
  if (!known.hasChunks) learn({ hasChunks: true })
}

function learn(fact: Partial<typeof known>): void {
  Object.assign(known, fact)
  if (!known.hasStarted) return
  set({ ...settledFlags, ...(known.hasChunks && flagsOfChunks), ...(known.isLarge && flagsOfLarge) })
}

function set(flags: Readonly<Record<string, number | true>>): void {
  for (const [name, value] of Object.entries(flags)) {
    setFlagsFromString(value === true ? `--${name}` : `--${name}=${value}`)
  }
}
