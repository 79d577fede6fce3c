/** Endpoints that lead back to Starlane: one connection, datagram or health check must not become many. */
import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { readdirSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { eventually } from '../../support/eventually.ts'
import { createWorld, startPod, tally } from '../../support/world.ts'

const descriptors = () => readdirSync('/proc/self/fd').length
const skip = process.platform === 'linux' ? false : 'needs /proc'

for (const protocol of ['TCP', 'UDP'] as const) {
  t.test(`a ring over two services by ${protocol}`, { skip }, async t => {
    const world = await createWorld(t, { config: { health: { active: { interval: '100ms', timeout: '10s' } } } })
    const [a, b, pod] = [world.ip(1), world.ip(2), world.ip(21)]
    const ports = { port: 7000, targetPort: 7000, protocol }
    await world.declare('cluster-1', { name: 'a', clusterIP: a, ...ports, pods: [] })
    await world.declare('cluster-1', { name: 'b', clusterIP: b, ...ports, pods: [] })
    await world.declare('cluster-2', { name: 'a', ...ports, pods: [{ ip: b }, { ip: pod }] })
    await world.declare('cluster-2', { name: 'b', ...ports, pods: [{ ip: a }, { ip: pod }] })
    await world.start()

    const before = descriptors()
    let most = before
    if (protocol === 'TCP') {
      const sockets = [a, b].map(ip => connect(7000, ip).on('error', () => {}))
      for (let i = 0; i < 20; i++) most = Math.max(most, await later(descriptors))
      for (const socket of sockets) socket.destroy()
    } else {
      const socket = createSocket('udp4')
      for (const ip of [a, b]) socket.send('round', 7000, ip)
      for (let i = 0; i < 20; i++) most = Math.max(most, await later(descriptors))
      socket.close()
    }
    t.ok(most < before + 20, `descriptors: ${before}, at most ${most}`)
    const refused = world.status().problems.filter(({ code }) => code === 'ADDRESS_REFUSED')
    t.same(refused.map(({ where, message }) => [where.split(' (')[0], message.split(' ')[0]]).sort(), [
      ['cluster-2 default/a', `${b}:7000/${protocol}`],
      ['cluster-2 default/b', `${a}:7000/${protocol}`],
    ])
    t.match(world.status().components.find(({ name }) => name === 'Sources')?.detail, /2 problems/)
  })
}

t.test('an address that was of Starlane is a backend once its frontend has gone', async t => {
  const world = await createWorld(t)
  const [a, b, pod] = [world.ip(1), world.ip(2), world.ip(21)]
  await startPod(t, pod, 'pod', 7000)
  await world.declare('cluster-1', { name: 'a', clusterIP: a, targetPort: 7000, pods: [{ ip: pod }] })
  await world.declare('cluster-1', { name: 'b', clusterIP: b, targetPort: 7000, pods: [{ ip: pod }] })
  await world.declare('cluster-2', { name: 'a', targetPort: 7000, pods: [{ ip: b }] })
  await world.start()
  t.same(await tally(6, a), { pod: 6 })
  await world.undeclare('cluster-1', 'b')
  await eventually(() => assert.deepEqual(world.status().problems, []))
  // The listener of the frontend closes after the change.
  await eventually(() => startPod(t, b, 'other', 7000))
  await eventually(async () => assert.deepEqual(new Set(Object.keys(await tally(6, a))), new Set(['pod', 'other'])))
})

t.test('the sockets of DNS and of the admin server', async t => {
  const world = await createWorld(t)
  const runtime = await world.start()
  const { dns = '', admin } = await runtime.ready
  const [address = '', port] = admin.split(':')
  const [, dnsPort] = dns.split(':')
  for (const [name, target] of [
    ['admin', port],
    ['dns', dnsPort],
  ] as const) {
    const given = { name, targetPort: Number(target) }
    await world.declare('cluster-1', { ...given, clusterIP: world.ip(name === 'dns' ? 3 : 4), pods: [] })
    await world.declare('cluster-2', { ...given, pods: [{ ip: address }] })
  }
  await eventually(() =>
    assert.deepEqual(
      world
        .status()
        .problems.filter(({ code }) => code === 'ADDRESS_REFUSED')
        .map(({ message }) => message.split(' ')[0])
        .sort(),
      [`${admin}/TCP`, `${dns}/TCP`].sort(),
    ),
  )
  t.same(runtime.service('default', 'admin')?.backends, [])
})

async function later(look: () => number): Promise<number> {
  await sleep(50)
  return look()
}
