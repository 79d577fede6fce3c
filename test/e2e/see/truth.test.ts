/** What status, readiness and `explain` say when something is wrong. */
import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'
import t from 'tap'
import { eventually } from '../../support/eventually.ts'
import { ask, createWorld, startPod } from '../../support/world.ts'

t.test('a service whose backends are all dead is an error, and explain says why they are used', async t => {
  const world = await createWorld(t)
  const pod = await startPod(t, world.ip(11), 'one')
  await world.declare('cluster-1', { clusterIP: world.ip(1), pods: [{ ip: world.ip(11) }, { ip: world.ip(12) }] })
  await world.start()
  await eventually(() => assert.deepEqual(world.status().services, { total: 1, unreachable: 0, reduced: 1, empty: 0 }))
  t.match(world.status().problems, [
    { severity: 'warning', code: 'SERVICE_REDUCED', message: '1 of 2 backends: 1 down; the others serve' },
  ])
  t.match(health(), { state: 'warning', detail: /^1 service reduced/ })
  await pod.close()
  await eventually(() => assert.equal(world.status().services.unreachable, 1))
  t.match(world.status().problems, [{ severity: 'error', code: 'SERVICE_UNREACHABLE', where: 'default/rebel-base' }])
  t.match(health(), { state: 'error', detail: /^1 service unreachable/ })
  t.match(await world.look('/v1/services/default/rebel-base'), {
    condition: { state: 'unreachable', why: 'every backend (2 down)' },
  })
  const { frontends } = (await world.look('/v1/explain/default/rebel-base')) as {
    frontends: { candidates: string[]; doubts: Record<string, string> }[]
  }
  t.equal(frontends[0]?.candidates.length, 2)
  t.same(Object.values(frontends[0]?.doubts ?? {}), Array(2).fill('down, used only because all are'))

  function health() {
    return world.status().components.find(({ name }) => name === 'Health')
  }
})

t.test('/readyz names DNS while its address is taken, on both addresses, and is ready once it is free', async t => {
  const squatter = createSocket('udp4')
  // Below the ports that the system gives to clients, so that nobody else takes it once it is free.
  const [address, port] = ['127.77.9.16', 5399]
  await new Promise<void>(resolve => squatter.bind(port, address, resolve))
  const world = await createWorld(t, {
    config: {
      dns: { listen: `${address}:${port}`, upstream: [] },
      admin: { listen: '127.0.0.1:0', metrics: '127.0.0.1:0' },
    },
  })
  const runtime = await world.start()
  const { admin, metrics = '' } = await runtime.ready
  for (const place of [admin, metrics]) {
    const answer = await fetch(`http://${place}/readyz`)
    t.equal(answer.status, 503)
    t.match(await answer.text(), /^waiting for DNS: .*EADDRINUSE/)
  }
  t.equal((await fetch(`http://${metrics}/v1/status`)).status, 404)
  t.match(world.status(), { ready: false, problems: [{ severity: 'error', code: 'LISTEN', where: /dns\.listen/ }] })
  await new Promise<void>(resolve => squatter.close(resolve))
  await eventually(async () => assert.equal((await fetch(`http://${metrics}/readyz`)).status, 200), 15_000)
  t.match(world.status(), { ready: true, problems: [] })
})

t.test('/readyz names the listeners while none works', async t => {
  const world = await createWorld(t)
  const vip = world.ip(1)
  const squatter = createServer()
  await new Promise<void>(resolve => squatter.listen(7000, vip, resolve))
  t.teardown(() => squatter.close())
  await startPod(t, world.ip(11), 'one')
  await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: world.ip(11) }] })
  const { admin } = await (await world.start()).ready
  const answer = await fetch(`http://${admin}/readyz`)
  t.equal(answer.status, 503)
  t.match(await answer.text(), /^waiting for listeners: .*another process has the port/)
  await world.declare('cluster-1', { name: 'other', clusterIP: world.ip(2), pods: [{ ip: world.ip(11) }] })
  await eventually(async () => assert.equal((await fetch(`http://${admin}/readyz`)).status, 200))
  t.equal(await ask(world.ip(2)), 'one')
})

t.test('without any service there is nothing to wait for', async t => {
  const world = await createWorld(t)
  const { admin } = await (await world.start()).ready
  t.equal((await fetch(`http://${admin}/readyz`)).status, 200)
})
