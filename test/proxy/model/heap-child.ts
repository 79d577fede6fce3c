/** A process whose heap is said to have the size of its argument: many objects live on, and it tells the room for young ones in MiB. */
import { getHeapSpaceStatistics } from 'node:v8'
import { settleHeap } from '../../../proxy/model/program/heap.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'

const looks: (() => void)[] = []
const every = (_ms: number, run: () => void) => {
  looks.push(run)
  return () => {}
}
settleHeap({ ...systemClock, every }, () => Number(process.argv[2]))
for (const look of looks) look()

const kept: object[] = []
for (let i = 0; i < 1_000_000; i++) kept.push({ i })
const young = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')
process.send?.((young?.space_size ?? 0) / (1 << 20), () => kept.splice(0))
