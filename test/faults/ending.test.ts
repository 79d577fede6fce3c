/** How a Starlane ends that is told to stop: not ready first, then no new flows, then no flows; DNS to the last. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { eventually } from '../support/eventually.ts'
import { ask, createWorld, startPod } from '../support/world.ts'

const name = 'rebel-base.default.svc.cluster.local'

t.test('it announces its end, then refuses, and cuts what is left at the end of the drain', async t => {
  const world = await createWorld(t, { config: { proxy: { announce: '1s', drain: '1s' } } })
  const vip = world.ip(1)
  await startPod(t, world.ip(11), 'one')
  await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: world.ip(11) }] })
  const runtime = await world.start()
  const { admin } = await runtime.ready
  const held = connect(7000, vip)
  await once(held, 'connect')
  const reset = once(held, 'error')

  const closing = runtime.close()
  const readiness = await fetch(`http://${admin}/readyz`)
  t.equal(readiness.status, 503)
  t.match(await readiness.text(), /stop/)
  t.equal(await ask(vip), 'one', 'others do not know yet that it stops')
  await eventually(() => assert.rejects(ask(vip), { code: 'ECONNREFUSED' }))
  t.equal(held.destroyed, false)
  t.same(await world.resolve(name), [vip], 'DNS answers while flows drain')
  t.match(await reset, [{ code: 'ECONNRESET' }])
  t.same(await closing, { connections: 1, udpSessions: 0 })
})

t.test('DNS answers while anybody asks, to the end of the drain', async t => {
  const world = await createWorld(t, { config: { proxy: { drain: '1500ms' } } })
  const vip = world.ip(1)
  await startPod(t, world.ip(11), 'one')
  await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: world.ip(11) }] })
  const runtime = await world.start()
  await world.resolve(name)
  const began = performance.now()
  let answered = 0
  const closing = runtime.close().then(() => performance.now() - began)
  for (let ms: number | undefined; ms === undefined; ) {
    ms = await Promise.race([closing, world.resolve(name).then(() => void answered++)]).catch(() => closing)
  }
  const ms = await closing
  t.ok(answered > 10, `${answered} answers`)
  t.ok(ms >= 1000 && ms < 5000, `${ms} ms`)
})
