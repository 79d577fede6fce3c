/** One process after the other takes over under load of all kinds; `npm run faults` does it 100 times, at a higher rate. */
import t from 'tap'
import { version } from '../../proxy/cli/version.ts'
import { findAddon } from '../../proxy/dataplane/native/addon.ts'
import { failures, tallyText } from '../../scripts/faults/load.ts'
import { restarts } from '../../scripts/faults/restarts.ts'

const found = findAddon()
const skip = 'addon' in found ? false : found.why

for (const engine of ['streams', 'native'] as const) {
  t.test(`${engine}: two restarts under load lose nothing`, { skip }, async t => {
    const result = await restarts({ engine, restarts: 2, perSecond: 100, drain: '30s', patienceMs: 60_000 })
    for (const tally of result.tallies) {
      t.equal(failures(tally), 0, tallyText(tally))
      t.equal(tally.answered, tally.asked)
      t.ok(tally.asked > 10, tallyText(tally))
    }
    t.same(result.versions, [version, '9.9.9'])
    t.equal(result.cut, 0)
    t.same(result.codes, Array(2).fill(0))
    t.equal(result.leftSockets, 0)
    t.equal(result.leftProcesses, 0)
  })
}
