/**
 * Reloads of a whole Starlane under load: limits, timeouts, health, balancer, breaker and DNS options, addresses, clusters and frontends.
 *
 *     npm run stress:reload -- --reloads=400 --engine=native
 *
 * Prints what was asked, answered and lost by kind, and exits with 1 if anything was. Without --engine both run, one after the other.
 */

import { commandLine } from './command-line.ts'
import { failures, tallyText } from './faults/load.ts'
import { reloads } from './faults/reloads.ts'
import type { Engine } from './faults/stage.ts'

const { values } = commandLine(import.meta.url, {
  options: {
    engine: { type: 'string' },
    reloads: { type: 'string', default: '400' },
    perSecond: { type: 'string', default: '200' },
  },
})
const engines = values.engine === undefined ? ['streams', 'native'] : [values.engine]
for (const engine of engines as Engine[]) {
  const result = await reloads({
    engine,
    reloads: Number(values.reloads),
    perSecond: Number(values.perSecond),
    said: text => console.log(text),
  })
  const { tallies, reloadMs, refusals, refusedReloads, cut } = result
  const sorted = reloadMs.toSorted((a, b) => a - b)
  for (const tally of tallies) console.log(`${engine}: ${tallyText(tally)}`)
  console.log(
    `${engine}: ${reloadMs.length} reloads, ${Math.round(sorted[sorted.length >> 1] ?? 0)} ms in the middle, ${Math.round(sorted.at(-1) ?? 0)} ms at most; ${cut} of 50 lasting connections cut`,
  )
  if (refusedReloads.length > 0) console.log(`${engine}: refused`, refusedReloads.slice(0, 3))
  if (Object.keys(refusals).length > 0) console.log(`${engine}: flows refused`, refusals)
  const lost = tallies.reduce((sum, tally) => sum + failures(tally), cut + refusedReloads.length)
  if (lost > 0) process.exitCode = 1
}
