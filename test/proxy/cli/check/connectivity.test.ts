/** `starlane connectivity test`, against a running Starlane with real backends. */
import assert from 'node:assert/strict'
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
