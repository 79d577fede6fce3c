import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { rename } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { eventually } from '../support/eventually.ts'
import { ask, createWorld, type Pod, startPod, startUdpPod, tally, type World } from '../support/world.ts'

// Most of the time they wait.
t.jobs = 3

const name = 'rebel-base.default.svc.cluster.local'

t.test('both clusters answer; when one is scaled to zero, killed and restarted, no request fails', async t => {
  const world = await createWorld(t)
  const [vip, a, b] = [world.ip(1), world.ip(11), world.ip(21)]
  const one = await startPod(t, a, 'one')
  await startPod(t, b, 'two')
  await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: a }] })
  await world.declare('cluster-2', { clusterIP: world.ip(2), pods: [{ ip: b }] })
  await world.start()

  t.same(await world.resolve(name), [vip], 'DNS gives the local ClusterIP')
  const { one: ones = 0, two: twos = 0 } = await tally(20, vip)
  t.ok(ones >= 8 && twos >= 8, `both answer in turn: ${ones} and ${twos}`)

  let asking = true
  const heard: string[] = []
  const loop = (async () => {
    while (asking) heard.push(await ask(vip))
  })()
  /** Waits for twenty new answers, from exactly these backends. */
  const answeredBy = async (...names: string[]) => {
    const from = heard.length
    await eventually(() => {
      assert.ok(heard.length >= from + 20)
      assert.deepEqual(new Set(heard.slice(-20)), new Set(names))
    }, 15_000)
  }
  await world.declare('cluster-2', { clusterIP: world.ip(2), pods: [] })
  await answeredBy('one')
  await world.declare('cluster-2', { clusterIP: world.ip(2), pods: [{ ip: b }] })
  await answeredBy('one', 'two')
  asking = false
  await loop
  t.ok(heard.length > 40, `${heard.length} requests ran meanwhile, and each was answered`)

  await one.close()
  t.same(await tally(20, vip), { two: 20 }, 'a dead pod is skipped, though no source reported it')
  await eventually(() => assert.match(healthOf(world, a) ?? '', /down|ejected/))
  const again = await startPod(t, a, 'one')
  await eventually(async () => assert.ok((await tally(6, vip)).one))
  t.equal(healthOf(world, a), 'up', 'it is up as soon as it answers again')
  await again.close()
})

for (const engine of process.env.STARLANE_NATIVE === '0' ? ['streams'] : ['auto', 'streams']) {
  t.test(`${engine}: flows stay on a backend that is listed, and drain when it has left`, async t => {
    const world = await createWorld(t, {
      config: { proxy: { engine, drain: '1s' } },
    })
    const [vip, a, b] = [world.ip(1), world.ip(11), world.ip(21)]
    await startPod(t, a, 'one')
    await startPod(t, b, 'two')
    await startUdpPod(t, a, 'one', 9000)
    await startUdpPod(t, b, 'two', 9000)
    const annotations = { 'service.cilium.io/global': 'true', 'service.cilium.io/affinity': 'local' }
    const declare = async (pods: readonly Pod[]) => {
      await world.declare('cluster-1', { clusterIP: vip, annotations, pods })
      await world.declare('cluster-1', {
        ...{ name: 'quic', clusterIP: vip, annotations, pods },
        ...{ port: 7001, targetPort: 9000, protocol: 'UDP' },
      })
    }
    await declare([{ ip: a }])
    await world.declare('cluster-2', { clusterIP: world.ip(2), pods: [{ ip: b }] })
    await world.declare('cluster-2', {
      ...{ name: 'quic', clusterIP: world.ip(2), pods: [{ ip: b }] },
      ...{ port: 7001, targetPort: 9000, protocol: 'UDP' },
    })
    await world.start()

    const socket = connect(7000, vip)
    let heard = ''
    socket.on('data', data => {
      heard += data
    })
    socket.on('error', () => {})
    const closed = new Promise(resolve => socket.on('close', resolve))
    await eventually(() => assert.equal(heard, 'one\n'))
    const datagrams = createSocket('udp4')
    t.teardown(() => datagrams.close())
    let answer = ''
    datagrams.on('message', message => {
      answer = String(message)
    })
    const askUdp = (question: string) =>
      eventually(() => {
        datagrams.send(question, 7001, vip)
        assert.match(answer, new RegExp(`:${question}$`))
        return answer.split(':')[0]
      })
    t.equal(await askUdp('begin'), 'one')

    for (const state of [
      { ready: false, serving: false },
      { ready: false, serving: true, terminating: true },
      { ready: false, serving: false, terminating: true },
    ]) {
      const shown = JSON.stringify(state)
      await declare([{ ip: a, ...state }])
      await eventually(async () => assert.equal(await ask(vip), 'two', `${shown}: new flows go to another backend`))
      // Twice the drain time: a wait for something that must not happen.
      await new Promise(resolve => setTimeout(resolve, 2000))
      heard = ''
      socket.write(`${shown}\n`)
      await eventually(() => assert.equal(heard, `${shown}\n`), 3000)
      t.equal(await askUdp(shown.length.toString()), 'one', shown)
    }
    await declare([])
    await closed
    t.pass('a backend that has left drains')
    t.equal(await askUdp('end'), 'two')
  })
}

t.test('affinity: local until nothing local is left, then remote, then local again', async t => {
  const world = await createWorld(t)
  const [vip, a, b] = [world.ip(1), world.ip(11), world.ip(21)]
  await startPod(t, a, 'one')
  await startPod(t, b, 'two')
  const annotations = { 'service.cilium.io/global': 'true', 'service.cilium.io/affinity': 'local' }
  await world.declare('cluster-1', { clusterIP: vip, annotations, pods: [{ ip: a }] })
  await world.declare('cluster-2', { clusterIP: world.ip(2), pods: [{ ip: b }] })
  await world.start()
  t.same(await tally(6, vip), { one: 6 })
  await world.declare('cluster-1', { clusterIP: vip, annotations, pods: [{ ip: a, ready: false, serving: false }] })
  await eventually(async () => assert.deepEqual(await tally(3, vip), { two: 3 }))
  await world.declare('cluster-1', { clusterIP: vip, annotations, pods: [{ ip: a }] })
  await eventually(async () => assert.deepEqual(await tally(3, vip), { one: 3 }))
  t.pass('and back')
})

t.test('backends of an unshared service are not used by other clusters', async t => {
  const world = await createWorld(t)
  const [vip, a, b] = [world.ip(1), world.ip(11), world.ip(21)]
  await startPod(t, a, 'one')
  await startPod(t, b, 'two')
  await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: a }] })
  await world.declare('cluster-2', {
    clusterIP: world.ip(2),
    annotations: { 'service.cilium.io/global': 'true', 'service.cilium.io/shared': 'false' },
    pods: [{ ip: b }],
  })
  await world.start()
  t.same(await tally(4, vip), { one: 4 })
})

t.test('no backend anywhere: refused at once, and served as soon as there is one', async t => {
  const world = await createWorld(t)
  const vip = world.ip(1)
  await world.declare('cluster-1', { clusterIP: vip, pods: [] })
  await world.start()
  t.same(await world.resolve(name), [vip], 'the name resolves all the same')
  await t.rejects(ask(vip), { code: 'ECONNREFUSED' })
  await startPod(t, world.ip(21), 'two')
  await world.declare('cluster-2', { clusterIP: world.ip(2), pods: [{ ip: world.ip(21) }] })
  await eventually(async () => assert.equal(await ask(vip), 'two'))
  t.pass('served')
})

t.test('a headless service answers with the endpoints of all clusters', async t => {
  const world = await createWorld(t)
  await world.declare('cluster-1', {
    pods: [
      { ip: world.ip(11), hostname: 'db-0' },
      { ip: world.ip(12), ready: false },
    ],
  })
  await world.declare('cluster-2', { pods: [{ ip: world.ip(21), hostname: 'db-1' }] })
  await world.start()
  t.same((await world.resolve(name)).sort(), [world.ip(11), world.ip(21)])
  t.same(await world.resolve(`db-1.${name}`), [world.ip(21)])
  await t.rejects(world.resolve(`db-9.${name}`), { code: 'ENOTFOUND' })
})

t.test(
  'a headless service with an affinity answers with the preferred endpoints, and each endpoint has its own name',
  async t => {
    const world = await createWorld(t)
    const annotations = { 'service.cilium.io/global': 'true', 'service.cilium.io/affinity': 'local' }
    const own = [{ ip: world.ip(11), hostname: 'db-0' }]
    await world.declare('cluster-1', { annotations, pods: own })
    await world.declare('cluster-2', { pods: [{ ip: world.ip(21), hostname: 'db-1' }] })
    for (const ip of [world.ip(11), world.ip(21)]) await startPod(t, ip, 'db')
    await world.start()
    const all = name.replace('cluster.local', 'clusterset.local')
    t.same(await world.resolve(name), [world.ip(11)], 'local endpoints while there are any')
    t.same(await world.resolve(`db-1.${name}`), [world.ip(21)], 'the name of a member always resolves')
    t.same((await world.resolve(all)).sort(), [world.ip(11), world.ip(21)], 'the clusterset has all (KEP-1645 2.4.1)')
    t.same(await world.resolve(`db-1.cluster-2.${all}`), [world.ip(21)])
    await world.declare('cluster-1', { annotations, pods: [] })
    await eventually(async () => assert.deepEqual(await world.resolve(name), [world.ip(21)]))
  },
)

t.test('UDP: a session stays with its backend, and moves when the backend is removed', async t => {
  const world = await createWorld(t)
  const [vip, a, b] = [world.ip(1), world.ip(11), world.ip(21)]
  await startUdpPod(t, a, 'one')
  await startUdpPod(t, b, 'two')
  await world.declare('cluster-1', { clusterIP: vip, protocol: 'UDP', pods: [{ ip: a }] })
  await world.declare('cluster-2', { clusterIP: world.ip(2), protocol: 'UDP', pods: [{ ip: b }] })
  await world.start()

  const socket = createSocket('udp4')
  t.teardown(() => socket.close())
  const heard: string[] = []
  socket.on('message', message => heard.push(`${message}`))
  const say = () => socket.send('hi', 7000, vip)
  await eventually(() => {
    say()
    assert.ok(heard.length >= 3)
  })
  t.equal(new Set(heard).size, 1, 'one backend for one session')
  const first = heard[0] === 'one:hi' ? 'one' : 'two'
  await world.declare(first === 'one' ? 'cluster-1' : 'cluster-2', {
    clusterIP: first === 'one' ? vip : world.ip(2),
    protocol: 'UDP',
    pods: [],
  })
  await eventually(() => {
    say()
    assert.equal(heard.at(-1), first === 'one' ? 'two:hi' : 'one:hi')
  })
  t.pass('it moved')
})

t.test('the backends of a lost cluster are demoted when it is stale, and dropped later', async t => {
  const world = await createWorld(t, { config: { stale: { after: '1500ms', drop: '6s' } } })
  const [vip, a, b] = [world.ip(1), world.ip(11), world.ip(21)]
  await startPod(t, a, 'one')
  await startPod(t, b, 'two')
  await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: a }] })
  await world.declare('cluster-2', { clusterIP: world.ip(2), pods: [{ ip: b }] })
  await world.start()
  const folder = join(world.folder, 'cluster-2')
  await rename(folder, `${folder}-away`)
  await eventually(() => assert.equal(world.status().clusters[1]?.link.state, 'lost'))
  t.match(world.status().clusters[1]?.link, { error: String, staleAt: Number })
  t.ok((await tally(6, vip)).two, 'the last known backends keep serving')
  await eventually(() => assert.equal(world.status().clusters[1]?.link.state, 'stale'))
  await eventually(async () => assert.deepEqual(await tally(4, vip), { one: 4 }))
  t.match(await world.look('/v1/explain/default/rebel-base'), {
    frontends: [
      { steps: [{ step: 'stale', removed: [{ why: 'cluster-2 has been lost for too long, and others are ready' }] }] },
    ],
  })
  await world.declare('cluster-1', { clusterIP: vip, pods: [] })
  await eventually(async () => assert.deepEqual(await tally(4, vip), { two: 4 }))
  await eventually(() => assert.equal(world.status().clusters[1]?.link.state, 'dropped'), 10_000)
  await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: a }] })
  await eventually(async () => assert.deepEqual(await tally(4, vip), { one: 4 }))
  await rename(`${folder}-away`, folder)
  await eventually(async () => assert.ok((await tally(6, vip)).two), 10_000)
  t.equal(world.status().clusters[1]?.link.state, 'live')
})

function healthOf(world: World, ip: string): string | undefined {
  return world
    .runtime()
    .service('default', 'rebel-base')
    ?.backends.find(backend => backend.address === ip)?.health
}
