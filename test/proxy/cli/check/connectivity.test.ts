/** `starlane connectivity test`, against a running Starlane with real backends. */
import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import t from 'tap'
import { eventually } from '../../../support/eventually.ts'
import { createWorld, startPod } from '../../../support/world.ts'
import { runLine } from '../stage.ts'

t.test('every global service, cluster by cluster, with a verdict', async t => {
  const world = await createWorld(t)
  const [one, two, dead] = [world.ip(11), world.ip(12), world.ip(13)]
  await startPod(t, one, 'one')
  await startPod(t, two, 'two')
  await world.declare('cluster-1', { name: 'whole', clusterIP: world.ip(1), pods: [{ ip: one }] })
  await world.declare('cluster-2', { name: 'whole', clusterIP: world.ip(1), pods: [{ ip: two }] })
  await world.declare('cluster-1', { name: 'half', clusterIP: world.ip(2), pods: [{ ip: one }] })
  await world.declare('cluster-2', { name: 'half', clusterIP: world.ip(2), pods: [{ ip: dead }] })
  await world.declare('cluster-1', { name: 'lost', clusterIP: world.ip(3), pods: [{ ip: dead }] })
  const runtime = await world.start()
  const { admin } = await runtime.ready
  await eventually(() => {
    const { services } = world.status()
    assert.deepEqual({ lost: services.unreachable, less: services.reduced }, { lost: 1, less: 1 })
  }, 15_000)
  const test = (...words: string[]) => runLine(['connectivity', 'test', '--admin', admin, ...words])

  const { code, out } = await test('-o', 'json')
  t.equal(code, 1)
  const { services } = JSON.parse(out)
  const of = (name: string) => services.find(({ service }: { service: string }) => service === `default/${name}`)
  t.match(of('whole'), { verdict: 'ok', dns: { ok: true }, clusters: [{ verdict: 'ok' }, { verdict: 'ok' }] })
  t.match(of('whole').frontends, [{ ok: true, what: `${world.ip(1)}:7000`, backend: /^cluster-[12]\// }])
  t.match(of('half'), { verdict: 'reduced', why: /of cluster-2 do not all answer/ })
  t.match(of('half').clusters, [
    { cluster: 'cluster-1', verdict: 'ok' },
    { cluster: 'cluster-2', verdict: 'failed' },
  ])
  t.match(of('lost'), { verdict: 'failed', frontends: [{ ok: false }] })

  const text = await test('whole', 'half')
  t.equal(text.code, 0, 'reduced is no failure')
  t.match(
    text.out,
    /default\/whole: ok\n {2}✓ DNS +whole\.default\.svc\.cluster\.local [\d.]+ms\n {2}✓ frontend .* → cluster-/,
  )
  t.match(text.out, /✗ backends +cluster-2: 0 of 1 backend; .*ECONNREFUSED/)
  t.match(text.out, /2 services: 1 ok, 1 reduced\n$/)
  t.match(await test('nothing'), { code: 2, err: /no service default\/nothing/ })
})

t.test('UDP: an empty datagram, and what Starlane has recorded of it', async t => {
  const world = await createWorld(t, { config: { health: { active: { type: 'none' } } } })
  const [quiet, dead] = [world.ip(21), world.ip(22)]
  // It answers nothing, as most servers do to an empty datagram.
  const server = createSocket('udp4')
  let received = 0
  server.on('message', () => {
    received++
  })
  const echo = createSocket('udp4')
  echo.on('message', (_, { port, address }) => echo.send('here', port, address))
  echo.bind(7000, world.ip(23))
  await once(echo, 'listening')
  t.teardown(() => echo.close())
  server.bind(7000, quiet)
  await once(server, 'listening')
  t.teardown(() => server.close())
  const udp = { protocol: 'UDP' as const, port: 53, targetPort: 7000 }
  await world.declare('cluster-1', { ...udp, name: 'quiet', clusterIP: world.ip(4), port: 7053, pods: [{ ip: quiet }] })
  await world.declare('cluster-1', { ...udp, name: 'gone', clusterIP: world.ip(5), port: 7053, pods: [{ ip: dead }] })
  await world.declare('cluster-1', {
    ...udp,
    name: 'echo',
    clusterIP: world.ip(7),
    port: 7053,
    pods: [{ ip: world.ip(23) }],
  })
  await world.declare('cluster-2', { ...udp, name: 'some', clusterIP: world.ip(6), port: 7053, pods: [{ ip: dead }] })
  await world.declare('cluster-1', { ...udp, name: 'some', clusterIP: world.ip(6), port: 7053, pods: [{ ip: quiet }] })
  const runtime = await world.start()
  const { admin } = await runtime.ready
  await eventually(() => assert.equal(world.status().services.total, 4), 15_000)

  const { out } = await runLine(['connectivity', 'test', '--admin', admin, '-o', 'json'])
  const { services } = JSON.parse(out)
  const of = (name: string) => services.find(({ service }: { service: string }) => service === `default/${name}`)
  t.match(of('quiet'), { verdict: 'ok', clusters: [{ cluster: 'cluster-1', verdict: 'ok' }] })
  t.match(of('quiet').frontends, [{ ok: true, what: `${world.ip(4)}:7053/UDP` }])
  t.match(of('echo').frontends, [{ ok: true, backend: `cluster-1/${world.ip(23)}:7000` }], 'which answered is recorded')
  t.ok(received >= 2, 'through the frontend, and from here')
  t.match(of('gone').clusters, [{ verdict: 'failed', backends: [{ ok: false, why: /ECONNREFUSED/ }] }])
  t.match(of('gone'), { verdict: 'failed', frontends: [{ ok: false }] })
  t.match(of('some').clusters, [{ verdict: 'ok' }, { cluster: 'cluster-2', verdict: 'failed' }])
})
