/** How V8 uses memory in a process that goes on running, however it was started. */
import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import type { Clock } from '../time/clock.ts'

/**
 * Until the process has started V8 has its own settings, since Node's modules come with compiled code that V8 takes with its own settings
 * alone: to compile them costs a start 20 ms.
 *
 * - The heap may grow by 25 % of what is in use before old objects are collected again. V8 lets it grow to several times that; here most of
 *   it stays for long, and what a connection leaves is collected young.
 * - The room for young objects stays as large as the start has made it: V8 doubles it, up to `--max-semi-space-size`, when many of them live
 *   on, as those of connections that stay do, which is three times the memory of what they keep.
 * - Once little is allocated, what the start or the load has left is collected after a second, not after eight.
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
/** In bytes. A mesh of some 120,000 endpoints has it. */
const large = 192 << 20
const lookMs = 1000

/** Once, by a process that goes on running. What takes longer than a second to start, as a large mesh does, has the settings meanwhile. */
export function settleHeap(
  clock: Clock,
  started: Promise<unknown>,
  heapSize = () => getHeapStatistics().used_heap_size,
): void {
  let isSettled = false
  const settle = () => {
    if (isSettled) return
    isSettled = true
    set(settledFlags)
  }
  void started.then(settle)
  const stop = clock.every(lookMs, () => {
    settle()
    if (heapSize() < large) return
    set(flagsOfLarge)
    stop()
  })
}

function set(flags: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(flags)) setFlagsFromString(`--${name}=${value}`)
}
