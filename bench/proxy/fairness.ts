/** What a small flow feels beside large ones: round trips of an echo next to four bulk transfers through the same proxy. */

import { stdoutOf } from '../load/stdout.ts'
import type { Sample } from '../report/table.ts'
import { startServing } from './backends.ts'
import { type Contender, ofTcp, start } from './contenders.ts'
import type { Plan } from './plan.ts'
import { program } from './program.ts'
import { alternate } from './rounds.ts'

const bulkFlows = 4

export const fairness: Plan = {
  name: 'fairness',
  title: 'An echo beside bulk transfers',
  lacks: () => undefined,
  async run(setting) {
    const { place, rounds, seconds } = setting
    const generator = program('fairness', place)
    const backends = await startServing(generator, place)
    const contenders = await start(ofTcp, { protocol: 'TCP', backends }, setting)
    return [
      {
        key: 'fairness',
        title: `An echo of 64 bytes beside ${bulkFlows} bulk transfers`,
        how: `load/fairness.c: ${bulkFlows} connections transfer without end, two each way, while one message at a time goes there and back on another; ${seconds} s in each round.`,
        columns: [
          { key: 'p99Us', title: 'echo p99 us', digits: 0 },
          { key: 'p50Us', title: 'echo p50 us', digits: 0, plotted: true },
          { key: 'gbits', title: 'bulk Gbit/s', digits: 1 },
        ],
        peers: ['haproxy', 'nginx'],
        rows: await alternate<Contender>(contenders, rounds, async ({ port }): Promise<Sample> => {
          const args = ['load', String(port), String(bulkFlows), String(seconds)]
          const times: Sample = JSON.parse(await stdoutOf(generator, args))
          return times
        }),
      },
    ]
  },
}
