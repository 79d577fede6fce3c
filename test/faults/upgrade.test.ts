/** The package of the last release runs, and this version takes over from it under load. `npm run test:upgrade` does more of it. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { version } from '../../proxy/cli/version.ts'
import { findAddon } from '../../proxy/dataplane/native/addon.ts'
import { connections, datagrams, failures, longLived, probes, questions, tallyText } from '../../scripts/faults/load.ts'
import { lastRelease, packageOf } from '../../scripts/faults/releases.ts'
import { Stage } from '../../scripts/faults/stage.ts'
import { eventually } from '../support/eventually.ts'

const found = findAddon()
const release = lastRelease()
const skip = !('addon' in found) ? found.why : release === undefined ? 'there is no history of the last release' : false
const withinMs = 60_000

t.test('this version takes over from the last release, and nothing is lost', { skip }, async t => {
  const folder = mkdtempSync(join(tmpdir(), 'starlane-upgrade-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const before = packageOf(release ?? '', folder, { isHasty: true })

  const stage = new Stage({ engine: 'native', drain: '20s', isPatient: true })
  t.teardown(() => stage.close())
  await stage.populate()
  const old = stage.run(before)
  t.equal((await old.logged('ready')).engine, 'native')
  const loads = [
    connections(stage.tcp, 50, withinMs),
    longLived(stage.tcp, 10, 50, 1000, withinMs),
    datagrams(stage.udp, 5, 50, withinMs),
    questions(stage.dns, 'tcp.default.svc.cluster.local', 50, withinMs),
    probes(stage.admin, '/readyz', 10, withinMs),
  ]
  const answered = async () => {
    const before = loads.map(({ tally }) => tally.answered)
    await eventually(() => assert.ok(loads.every(({ tally }, i) => tally.answered > (before[i] ?? 0) + 5)), withinMs)
  }
  await answered()
  const next = stage.run()
  t.equal((await next.logged('ready')).engine, 'native')
  t.equal((await next.logged('handover.found')).pid, old.pid)
  t.match(await old.logged('handover.began'), { version })
  await answered()
  t.equal(await old.ended, 0)
  t.match(
    old.lines.find(({ event }) => event === 'stop.done'),
    { cutConnections: 0, cutSessions: 0 },
  )
  for (const tally of await Promise.all(loads.map(load => load.stop()))) t.equal(failures(tally), 0, tallyText(tally))
})
