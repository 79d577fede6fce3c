/**
 * A process whose heap is said to have the size of its first argument, and which carries bytes as its second says: `never`, `in sockets`, or in
 * chunks from `before the start` or `after the start`. Many objects live on, and it tells how the room for young ones has grown, whether V8 would
 * have taken the compiled code of Node's modules before and after it had started, and the tag of V8's settings in the end. Then many objects live
 * for a while, and it is idle until its parent disconnects.
 */
import { cachedDataVersionTag, getHeapSpaceStatistics } from 'node:v8'
import { countChunksAsHeap, keepPagesForSockets, settleHeap } from '../../../proxy/model/program/heap.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'

const looks: (() => void)[] = []
const every = (_ms: number, run: () => void) => {
  looks.push(run)
  return () => {}
}
const own = cachedDataVersionTag()
const taken: boolean[] = []
const { promise: started, resolve: start } = Promise.withResolvers<void>()
const [, , heapSize, carries] = process.argv
settleHeap({ ...systemClock, every }, started, () => Number(heapSize))
if (carries === 'in sockets') keepPagesForSockets()
if (carries === 'before the start') countChunksAsHeap()
taken.push(cachedDataVersionTag() === own)
start()
await started
taken.push(cachedDataVersionTag() === own)
for (const look of looks) look()
if (carries === 'after the start') countChunksAsHeap()

const roomBefore = young()
const kept: object[] = []
for (let i = 0; i < 1_000_000; i++) kept.push({ i })
// A collection leaves pages that only it has needed; after some of which nothing lives on there are none.
let last: object = kept
for (let i = 0; i < 3_000_000; i++) last = { last: i }
process.on('disconnect', () => {}) // while somebody listens, the process stays
process.send?.({ growth: young() / roomBefore, taken, tag: cachedDataVersionTag(), last }, () => {
  // Some live on, as those of connections do: where none does, V8 takes its collections for slow and the rate of garbage for high.
  for (let i = 0; i < 1_000_000; i++) kept[i % 100_000] = { i }
  kept.splice(0)
})

function young(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')?.space_size ?? 0
}
