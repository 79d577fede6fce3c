/**
 * A process whose heap is said to have the size of its argument: many objects live on, and it tells how the room for young ones has grown, and whether V8
 * would have taken the compiled code of Node's modules before and after it had started.
 */
import { cachedDataVersionTag, getHeapSpaceStatistics } from 'node:v8'
import { settleHeap } from '../../../proxy/model/program/heap.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'

const looks: (() => void)[] = []
const every = (_ms: number, run: () => void) => {
  looks.push(run)
  return () => {}
}
const own = cachedDataVersionTag()
const taken: boolean[] = []
const { promise: started, resolve: start } = Promise.withResolvers<void>()
settleHeap({ ...systemClock, every }, started, () => Number(process.argv[2]))
taken.push(cachedDataVersionTag() === own)
start()
await started
taken.push(cachedDataVersionTag() === own)
for (const look of looks) look()

const roomBefore = young()
const kept: object[] = []
for (let i = 0; i < 1_000_000; i++) kept.push({ i })
process.send?.({ growth: young() / roomBefore, taken }, () => kept.splice(0))

function young(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')?.space_size ?? 0
}
