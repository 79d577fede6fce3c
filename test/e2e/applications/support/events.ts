/** What happens to the pods of a service, and what its clients may notice of it. Each throws what was wrong. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { eventually } from '../../../support/eventually.ts'
import type { Session } from './application.ts'
import type { Mesh } from './mesh.ts'
import { untilRefused } from './refusal.ts'

export type Event = (mesh: Mesh) => Promise<void>

/** A client that has waited for so long was not told that its pod has gone. */
const hangsMs = 7000

export const events: Readonly<Record<string, Event>> = {
  roll: rollingUpdate,
  flap: readinessFlap,
  kill: killed,
  stop: stopped,
  empty: scaledToZero,
  reload: reloaded,
}

/** Both pods are replaced. No call fails, and a session is served until its pod stops. */
async function rollingUpdate(mesh: Mesh): Promise<void> {
  const session = await mesh.session('one')
  const load = mesh.load()
  await load.answeredBy(['one', 'two'])
  for (const [old, next, cluster] of [
    ['one', 'three', 1],
    ['two', 'four', 2],
  ] as const) {
    await mesh.startPod(next, cluster)
    await mesh.declare()
    const ended = mesh.endPod(old)
    if (old === 'one') {
      await load.answeredBy(['two', 'three'], 4)
      await ended
      if (session) await isOver(session, 'one')
    }
    await ended
  }
  await load.answeredBy(['three', 'four'])
  await load.stop()
  assert.deepEqual(load.errors(), [], `of ${load.calls.length} calls`)
  await back(mesh)
}

/** New calls avoid a pod while it is not ready; none fails, and its session goes on. */
async function readinessFlap(mesh: Mesh): Promise<void> {
  const session = await mesh.session('one')
  const load = mesh.load()
  for (let flaps = 0; flaps < 2; flaps++) {
    await mesh.declare({ one: 'unready' })
    await load.answeredBy(['two'], 4)
    if (session) assert.equal(await session.use(), 'one', 'the session stays while its pod is not ready')
    await mesh.declare({ one: 'ready' })
    await load.answeredBy(['one', 'two'])
    if (session) assert.equal(await session.use(), 'one', 'the session stays when its pod is ready again')
  }
  await load.stop()
  assert.deepEqual(load.errors(), [], `of ${load.calls.length} calls`)
  await session?.close()
}

/** kill -9 of a pod that stays listed: only calls that were open may fail, its session ends at once, and it is used again later. */
async function killed(mesh: Mesh): Promise<void> {
  const session = await mesh.session('one')
  const load = mesh.load()
  await load.answeredBy(['one', 'two'])
  await mesh.killPod('one')
  const since = performance.now()
  if (session) await isOver(session, 'one')
  await load.answeredBy(['two'])
  await mesh.restartPod('one')
  await mesh.declare()
  await load.answeredBy(['one', 'two'])
  await load.stop()
  assert.deepEqual(load.errors(since + settleMs(mesh)), [], `of ${load.calls.length} calls`)
}

/** A pod that hangs, then is not ready, then goes on: whoever waited for it is answered, and nobody else waits. */
async function stopped(mesh: Mesh): Promise<void> {
  const session = await mesh.session('one')
  const load = mesh.load()
  await load.answeredBy(['one', 'two'])
  mesh.signalPod('one', 'SIGSTOP')
  const waits = session?.use()
  waits?.catch(() => {})
  await sleep(500)
  await mesh.declare({ one: 'unready' })
  await mesh.knows('one', false)
  const others = mesh.load()
  await others.answeredBy(['two'])
  mesh.signalPod('one', 'SIGCONT')
  await others.stop()
  if (waits) assert.equal(await waits, 'one', 'the session goes on where it was')
  await mesh.declare({ one: 'ready' })
  await load.answeredBy(['one', 'two'])
  await load.stop()
  assert.deepEqual(load.errors(), [], `of ${load.calls.length} calls`)
  if (session) assert.equal(await session.use(), 'one')
  await session?.close()
}

/** Without any pod clients are refused at once, as by kube-proxy; with the first one they are served again. */
async function scaledToZero(mesh: Mesh): Promise<void> {
  const { protocols, ignoresRefusals } = mesh.given.application
  await Promise.all([mesh.endPod('one'), mesh.endPod('two')])
  if (protocols.includes('TCP')) await untilRefused(mesh.place, mesh.target)
  const since = performance.now()
  await assert.rejects(mesh.call(), 'without a pod no call is answered')
  const took = performance.now() - since
  assert.ok(ignoresRefusals || took < hangsMs, `the call failed after ${Math.round(took)} ms`)
  await back(mesh)
}

/** Other options by SIGHUP, twice: no call fails, and a session goes on. */
async function reloaded(mesh: Mesh): Promise<void> {
  const session = await mesh.session('two')
  const load = mesh.load()
  await load.answeredBy(['one', 'two'])
  for (const options of [{ balancer: 'random', drain: '5s' }, {}]) {
    await mesh.reload(options)
    if (session) assert.equal(await session.use(), 'two', 'the session stays')
    await load.answeredBy(['one', 'two'], 12)
  }
  await load.stop()
  assert.deepEqual(load.errors(), [], `of ${load.calls.length} calls`)
  await session?.close()
}

/** Pods `one` and `two`, and no others, serve again. */
async function back(mesh: Mesh): Promise<void> {
  const others = [...mesh.pods.keys()].filter(name => name !== 'one' && name !== 'two')
  await Promise.all([mesh.startPod('one', 1), mesh.startPod('two', 2)])
  await mesh.declare()
  const load = mesh.load()
  await load.answeredBy(['one', 'two', ...others], 12)
  await Promise.all(others.map(name => mesh.endPod(name)))
  await load.answeredBy(['one', 'two'])
  await load.stop()
}

/** Its connection has ended, or its client has connected again by itself; it does not wait for an answer that cannot come. */
async function isOver(session: Session, name: string): Promise<void> {
  await eventually(async () => {
    const answer = await session.use(hangsMs).catch((error: Error) => error)
    if (answer instanceof Error) assert.ok(!answer.message.includes(`within ${hangsMs} ms`), 'the session hangs')
    else assert.notEqual(answer, name, 'its pod is gone')
  }, 3 * hangsMs)
  await session.close()
}

/** Until a dead pod is known, a datagram that was sent to it is lost, and the client has to ask again. */
function settleMs({ given }: Mesh): number {
  return given.application.protocols.includes('UDP') ? 2000 : 0
}
