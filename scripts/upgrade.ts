/**
 * An upgrade of packages under load: the package of an older version runs, that of this checkout takes over from it, and then the older
 * one again, as in a rollback. Both are made by `npm pack` and unpacked. Exits with 1 when anything was lost.
 *
 *     npm run test:upgrade
 *     STARLANE_UPGRADE_FROM=v0.1.0 npm run test:upgrade     a tag or commit
 *
 * Without the variable: the last version that this one can take over from (scripts/faults/releases.ts); where its history is not
 * there, this checkout as another version.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { enterNamespace } from '../bench/namespace.ts'
import { commandLine } from './command-line.ts'
import { connections, datagrams, failures, longLived, probes, questions, tallyText } from './faults/load.ts'
import { asAnother, lastRelease, packageOf, packed, versionOf } from './faults/releases.ts'
import { type Engine, Stage, type Starlane } from './faults/stage.ts'

commandLine(import.meta.url, {})

enterNamespace()
const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '')
const folder = mkdtempSync(join(tmpdir(), 'starlane-upgrade-'))
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
const from = process.env.STARLANE_UPGRADE_FROM || lastRelease()
const after = packed(root, join(folder, 'after'))
const before =
  from === undefined
    ? asAnother(join(folder, 'before'), after, '0.0.1-before')
    : packageOf(from, join(folder, 'before'))
console.log(`from ${versionOf(before)} (${from ?? 'this checkout as another version'}) to ${versionOf(after)}`)
let lost = false
for (const engine of ['native', 'streams'] as const) lost = (await upgrade(engine)) || lost
process.exit(lost ? 1 : 0)

/** True when something was lost. */
async function upgrade(engine: Engine): Promise<boolean> {
  const stage = new Stage({ engine, drain: '5s' })
  try {
    await stage.populate()
    let current = stage.run(before)
    await current.logged('ready')
    const loads = [
      connections(stage.tcp, 200),
      longLived(stage.tcp, 20, 50, 3000),
      datagrams(stage.udp, 20, 100),
      questions(stage.dns, 'tcp.default.svc.cluster.local', 50),
      probes(stage.admin, '/readyz', 10),
    ]
    const old: Starlane[] = []
    for (const [what, at] of [
      ['upgrade', after],
      ['rollback', before],
    ] as const) {
      await new Promise(resolve => setTimeout(resolve, 1000))
      const since = performance.now()
      const next = stage.run(at)
      const { engine: served } = await next.logged('ready')
      if (served !== engine) throw new Error(`it runs with ${served}: the addon of the package was not built`)
      const { version } = await next.logged('handover.found')
      console.log(`${engine}: ${what} from ${version} in ${Math.round(performance.now() - since)} ms`)
      old.push(current)
      current = next
    }
    const tallies = await Promise.all(loads.map(load => load.stop()))
    const codes = await Promise.all(old.map(({ ended }) => ended))
    for (const tally of tallies) console.log(`${engine}: ${tallyText(tally)}`)
    console.log(`${engine}: exit codes of the processes that were replaced: ${codes.join(', ')}`)
    return tallies.some(tally => failures(tally) > 0) || codes.some(code => code !== 0)
  } finally {
    await stage.close()
  }
}
