/** How V8 uses memory in a process that goes on running, however it was started. */
import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import type { Clock } from '../time/clock.ts'

/**
 * How much the heap may grow, in percent of what is in use, before old objects are collected again. V8 lets it grow to several times that;
 * here most of it stays for long, and what a connection leaves is collected young.
 */
const heapGrowth = 25
/** In bytes. A mesh of some 150,000 endpoints has it. */
const large = 256 << 20
const lookMs = 1000

/**
 * The room for young objects stays as large as the start has made it: V8 doubles it, up to `--max-semi-space-size`, when many of them live on,
 * as those of connections that stay do, which is three times the memory of what they keep. In a large heap the same room is little beside
 * the rest, and with more of it the changes of a large mesh take a fifth less CPU, since most of what they make is garbage before it is looked at.
 */
export function keepYoungSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1')
}

/** Once, by a process that goes on running. */
export function settleHeap(clock: Clock, heapSize = () => getHeapStatistics().used_heap_size): void {
  setFlagsFromString(`--heap-growing-percent=${heapGrowth}`)
  keepYoungSmall()
  const stop = clock.every(lookMs, () => {
    if (heapSize() < large) return
    setFlagsFromString('--semi-space-growth-factor=2')
    stop()
  })
}
