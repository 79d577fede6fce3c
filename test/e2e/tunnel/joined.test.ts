/** Whole Starlanes of two clusters, joined by gateways: failover, health, half-closing, datagrams, in both engines. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { statusText } from '../../../proxy/cli/terminal/status-text.ts'
import { eventually } from '../../support/eventually.ts'
import { folderFor, idOf, TunnelAuthority } from '../../support/tunnel/certificates.ts'
import { ask, createWorld, startPod, startUdpPod, tally } from '../../support/world.ts'

const authority = await TunnelAuthority.create()

async function scratch(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'starlane-tls-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** A Starlane in cluster-2 that is its gateway. */
async function gatewayWorld(t: Test, config: object = {}) {
  const folder = await folderFor(await scratch(t), authority, idOf('cluster-2', 'gateway'))
  const world = await createWorld(t, {
    clusters: ['cluster-2', 'cluster-1'],
    config: { gateway: { listen: '127.0.0.1:0', certificates: folder }, ...config },
  })
  return world
}

async function clientWorld(t: Test, gateways: readonly string[], config: object = {}) {
  const folder = await folderFor(await scratch(t), authority, idOf('cluster-1'))
  const world = await createWorld(t, {
    config: {
      tunnel: { certificates: folder },
      clusters: [
        { name: 'cluster-1', id: 1, source: { manifests: './cluster-1' } },
        { name: 'cluster-2', id: 2, source: { manifests: './cluster-2' }, route: 'tunnel', gateways },
      ],
      ...config,
    },
  })
  return world
}

/** How many threads of this process are pumps. */
async function pumps(): Promise<number> {
  const tasks = await readdir('/proc/self/task')
  const names = await Promise.all(tasks.map(task => readFile(`/proc/self/task/${task}/comm`, 'utf8').catch(() => '')))
  return names.filter(name => name === 'starlane pump\n').length
}

for (const engine of process.env.STARLANE_NATIVE === '0' ? ['streams'] : ['auto', 'streams']) {
  t.test(`${engine}: a backend behind a gateway is a backend as any other`, async t => {
    const there = await gatewayWorld(t, { proxy: { engine } })
    const pod = there.ip(21)
    const two = await startPod(t, pod, 'two')
    await startUdpPod(t, pod, 'two', 9000)
    const udp = { name: 'quic', port: 7001, targetPort: 9000, protocol: 'UDP' as const }
    await there.declare('cluster-2', { clusterIP: there.ip(2), pods: [{ ip: pod }] })
    await there.declare('cluster-2', { ...udp, clusterIP: there.ip(3), pods: [{ ip: pod }] })
    const before = await pumps()
    await there.start()
    const ofGateway = (await pumps()) - before
    const gateway = there.status().gateway?.address ?? ''
    t.match(gateway, /^127\.0\.0\.1:\d+$/)

    const here = await clientWorld(t, [gateway], { proxy: { engine, drain: '300ms' } })
    const [vip, own] = [here.ip(1), here.ip(11)]
    await here.declare('cluster-1', { clusterIP: vip, pods: [{ ip: own }] })
    await here.declare('cluster-1', { ...udp, clusterIP: vip, pods: [] })
    await here.declare('cluster-2', { clusterIP: there.ip(2), pods: [{ ip: pod }] })
    await here.declare('cluster-2', { ...udp, clusterIP: there.ip(3), pods: [{ ip: pod }] })
    const one = await startPod(t, own, 'one')
    await here.start()
    const isNative = here.status().components.some(({ detail }) => detail.startsWith('native,'))
    const others = (await pumps()) - before - ofGateway
    t.equal(
      ofGateway - others,
      isNative ? 1 : 0,
      isNative ? 'the gateway has a pump of its own' : 'the gateway has none',
    )
    await eventually(() => assert.equal(healthOf(here, pod), 'up'))

    const { one: ones = 0, two: twos = 0 } = await tally(20, vip)
    t.ok(ones >= 8 && twos >= 8, `both answer in turn: ${ones} and ${twos}`)
    await one.close()
    t.same(await tally(10, vip), { two: 10 }, 'and takes over')

    const views = here.status().clusters.find(({ name }) => name === 'cluster-2')?.tunnels
    t.match(views, [{ gateway, state: 'open', tunnels: 1, certificate: { id: idOf('cluster-2', 'gateway') } }])
    t.match(there.status().gateway, { clusters: [{ cluster: 'cluster-1' }] })
    t.match(noteOf(here, pod), { state: 'open', detail: gateway })
    const { admin } = await here.runtime().ready
    const flows = await (await fetch(`http://${admin}/v1/flows?cluster=cluster-2&last=1`)).text()
    t.match(JSON.parse(flows), { flow: { starlane: { route: 'tunnel', backend: /^cluster-2\// } } })
    t.match(
      statusText(here.status(), (_style, text) => text),
      /CLUSTER +GATEWAY +STATE .*\ncluster-2 +127\.0\.0\.1:\d+ +open for \S+ +1 +\d+ +[\d.]+ms +valid for (23h|1d)/,
    )

    // The gateway checks it, and tells; the client does not wait for failures of its own.
    await two.close()
    await eventually(() => assert.equal(healthOf(here, pod), 'down'))
    await startPod(t, pod, 'two')
    await eventually(() => assert.equal(healthOf(here, pod), 'up'))
    t.equal(await ask(vip), 'two')
  })

  t.test(`${engine}: two gateways; one is killed under load, and no request is lost`, async t => {
    const [first, second] = [await gatewayWorld(t), await gatewayWorld(t)]
    const pod = first.ip(21)
    await startPod(t, pod, 'two')
    for (const there of [first, second]) {
      await there.declare('cluster-2', { clusterIP: there.ip(2), pods: [{ ip: pod }] })
      await there.start()
    }
    const gateways = [first, second].map(there => there.status().gateway?.address ?? '')
    const here = await clientWorld(t, gateways, { proxy: { engine, drain: '300ms' } })
    const vip = here.ip(1)
    await here.declare('cluster-1', { clusterIP: vip, pods: [] })
    await here.declare('cluster-2', { clusterIP: first.ip(2), pods: [{ ip: pod }] })
    await here.start()
    await eventually(() => {
      const views = here.status().clusters[1]?.tunnels ?? []
      assert.deepEqual(
        views.map(({ state }) => state),
        ['open', 'open'],
      )
      assert.equal(healthOf(here, pod), 'up')
    })
    const answers: string[] = []
    let asking = true
    const load = Array.from({ length: 4 }, async () => {
      while (asking) answers.push(await ask(vip).catch(() => 'lost'))
    })
    await eventually(() => assert.ok(answers.length > 50))
    for (const there of [first, second]) assert.ok((there.status().gateway?.clusters[0]?.sessions ?? 0) > 0)
    const before = answers.length
    first.runtime().destroy()
    await eventually(() => assert.ok(answers.length > before + 100), 15_000)
    asking = false
    await Promise.all(load)
    const lost = answers.filter(answer => answer !== 'two').length
    // A request whose answer was on its way through the dead gateway is lost with it; a dial is not.
    t.ok(lost <= 4, `${lost} of ${answers.length} requests lost`)
  })
}

t.test('the ends of a connection pass through both gateways, one at a time', async t => {
  const there = await gatewayWorld(t)
  const pod = there.ip(21)
  const { createServer } = await import('node:net')
  const server = createServer({ allowHalfOpen: true }, socket => {
    let got = ''
    socket.on('data', chunk => {
      got += chunk
    })
    socket.on('end', () => socket.end(`${got} heard`))
    // A check resets its connection.
    socket.on('error', () => {})
  }).listen(8000, pod)
  await once(server, 'listening')
  t.teardown(() => server.close())
  await there.declare('cluster-2', { clusterIP: there.ip(2), pods: [{ ip: pod }] })
  await there.start()
  const here = await clientWorld(t, [there.status().gateway?.address ?? ''])
  await here.declare('cluster-1', { clusterIP: here.ip(1), pods: [] })
  await here.declare('cluster-2', { clusterIP: there.ip(2), pods: [{ ip: pod }] })
  await here.start()
  await eventually(() => assert.equal(healthOf(here, pod), 'up'))
  const client = connect({ host: here.ip(1), port: 7000, allowHalfOpen: true })
  client.end('question')
  let answer = ''
  for await (const chunk of client) answer += chunk
  t.equal(answer, 'question heard')
})

t.test('without a gateway that answers, its backends are down and the local ones serve', async t => {
  const here = await clientWorld(t, ['127.0.0.1:9'])
  const [vip, own, pod] = [here.ip(1), here.ip(11), here.ip(21)]
  await startPod(t, own, 'one')
  await here.declare('cluster-1', { clusterIP: vip, pods: [{ ip: own }] })
  await here.declare('cluster-2', { clusterIP: here.ip(2), pods: [{ ip: pod }] })
  await here.start()
  await eventually(() => assert.equal(healthOf(here, pod), 'down'))
  t.same(await tally(10, vip), { one: 10 })
  t.match(noteOf(here, pod), { state: 'lost', detail: /^127\.0\.0\.1:9: .*ECONNREFUSED/ })
  const { problems, components } = here.status()
  t.match(
    problems.filter(({ code }) => code === 'TUNNEL'),
    [{ where: 'cluster-2 127.0.0.1:9', message: /ECONNREFUSED/ }],
  )
  t.match(
    components.find(({ name }) => name === 'Tunnels'),
    { state: 'error', detail: /0\/1 clusters reached; not: cluster-2/ },
  )
})

function noteOf(world: Awaited<ReturnType<typeof createWorld>>, address: string): unknown {
  const service = world.runtime().service('default', 'rebel-base')
  return service?.backends.find(backend => backend.address === address)?.notes?.tunnel
}

function healthOf(world: Awaited<ReturnType<typeof createWorld>>, address: string): string | undefined {
  const service = world.runtime().service('default', 'rebel-base')
  return service?.backends.find(backend => backend.address === address)?.health
}
