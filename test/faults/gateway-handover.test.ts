/** A gateway hands its listening socket to its successor: clients in the other cluster lose nothing, and a successor that fails changes nothing. */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { findAddon } from '../../proxy/dataplane/native/addon.ts'
import { connections, failures, longLived, tallyText } from '../../scripts/faults/load.ts'
import { Stage, type Starlane } from '../../scripts/faults/stage.ts'
import { eventually } from '../support/eventually.ts'
import { folderFor, idOf, TunnelAuthority } from '../support/tunnel/certificates.ts'

const found = findAddon()
const skip = 'addon' in found ? false : found.why
const port = 15008

t.test('the sockets of a gateway are passed, and tunnels move to the new process', { skip }, async t => {
  const authority = await TunnelAuthority.create()
  const certificates = async (stage: Stage, id: string) => {
    const folder = join(stage.folder, 'tls')
    mkdirSync(folder)
    return folderFor(folder, authority, id)
  }
  const there = new Stage({ engine: 'native', drain: '10s', isPatient: true })
  t.teardown(() => there.close())
  const own = { name: 'cluster-2', id: 2, source: { manifests: './cluster-2' } }
  const config = {
    cluster: 'cluster-2',
    clusters: [own, { name: 'cluster-1', id: 1, source: { manifests: './cluster-1' } }],
    gateway: {
      listen: `${there.ip(3)}:${port}`,
      certificates: await certificates(there, idOf('cluster-2', 'gateway')),
    },
  }
  there.write(config)
  await there.backends([there.ip(10)])
  there.declare('tcp', { 'cluster-1': [], 'cluster-2': [there.ip(10)] })
  let gateway = there.run()
  await gateway.logged('ready')

  const here = new Stage({ engine: 'native', drain: '10s', isPatient: true })
  t.teardown(() => here.close())
  here.write({
    tunnel: { certificates: await certificates(here, idOf('cluster-1')) },
    clusters: [
      { name: 'cluster-1', id: 1, source: { manifests: './cluster-1' } },
      { ...own, route: 'tunnel', gateways: [config.gateway.listen] },
    ],
  })
  here.declare('tcp', { 'cluster-1': [], 'cluster-2': [there.ip(10)] })
  await here.run().logged('ready')

  const loads = [connections(here.tcp, 50, 60_000), longLived(here.tcp, 10, 50, 1000, 60_000)]
  const answered = async () => {
    const before = loads.map(({ tally }) => tally.answered)
    await eventually(() => assert.ok(loads.every(({ tally }, i) => tally.answered > (before[i] ?? 0) + 20)))
  }
  await answered()
  const socket = inodeOf(there.ip(3))
  t.ok(socket, 'the gateway listens')
  const old: Starlane[] = []
  for (let i = 0; i < 2; i++) {
    const next = there.run()
    await next.logged('ready')
    old.push(gateway)
    gateway = next
    t.equal(inodeOf(there.ip(3)), socket, 'the new process listens at the same socket')
    await answered()
  }
  t.same(await Promise.all(old.map(({ ended }) => ended)), [0, 0])
  t.match(
    old.map(({ lines }) => lines.find(({ event }) => event === 'stop.done')),
    [{ cutConnections: 0 }, { cutConnections: 0 }],
  )

  there.write({ ...config, dns: { listen: '203.0.113.1:53' } })
  t.equal(await there.run().ended, 1, 'a successor that cannot bind DNS')
  await gateway.logged('handover.failed')
  const fresh = connections(here.tcp, 50, 60_000)
  await eventually(() => assert.ok(fresh.tally.answered > 50))
  t.equal(inodeOf(there.ip(3)), socket, 'the old one goes on with its socket')
  for (const tally of await Promise.all([...loads, fresh].map(load => load.stop()))) {
    t.equal(failures(tally), 0, tallyText(tally))
  }
})

/** Of the TCP socket that listens there. */
function inodeOf(address: string): string | undefined {
  const place = `${Buffer.from(address.split('.').map(Number)).reverse().toString('hex').toUpperCase()}:${port.toString(16).toUpperCase()}`
  const lines = readFileSync('/proc/net/tcp', 'utf8').split('\n')
  const fields = lines
    .map(line => line.trim().split(/\s+/))
    .filter(([, local, , state]) => local === place && state === '0A')
  return fields.map(([, , , , , , , , , inode]) => inode).join() || undefined
}
