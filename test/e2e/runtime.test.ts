import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { loadConfig } from '../../proxy/config/load.ts'
import { type Log, silentLog } from '../../proxy/model/log.ts'
import { createRuntime, validate } from '../../proxy/runtime.ts'
import { claimNetwork } from '../../scripts/loopback.ts'
import { fakeUpstream } from '../proxy/dns/upstream.ts'
import { eventually } from '../support/eventually.ts'
import { writeKubeconfig } from '../support/kube-api/kubeconfig.ts'
import { startKubeApi } from '../support/kube-api/server.ts'
import { ask, createWorld, manifests, startPod, tally } from '../support/world.ts'

const name = 'rebel-base.default.svc.cluster.local'

t.test('tenants reach the shared cluster and their own, never each other: by DNS and by proxy', async t => {
  const world = await createWorld(t, {
    clusters: ['hub', 'blue', 'red'],
    config: {
      clusters: [
        { name: 'hub', id: 1, source: { manifests: './hub' } },
        { name: 'blue', id: 2, source: { manifests: './blue' }, tenant: 'blue' },
        { name: 'red', id: 3, source: { manifests: './red' }, tenant: 'red' },
      ],
      plugins: [{ use: 'tenancy', options: { tenants: { blue: ['127.77.0.0/16'], red: ['127.78.0.0/16'] } } }],
    },
  })
  const [vip, h, b, r] = [world.ip(1), world.ip(11), world.ip(21), world.ip(31)]
  await startPod(t, h, 'hub')
  await startPod(t, b, 'blue')
  await startPod(t, r, 'red')
  await world.declare('hub', { clusterIP: vip, pods: [{ ip: h }] })
  await world.declare('blue', { clusterIP: world.ip(2), pods: [{ ip: b }] })
  await world.declare('red', { clusterIP: world.ip(3), pods: [{ ip: r }] })
  await world.start()
  t.same(Object.keys(await tally(12, vip, 7000, '127.77.0.5')).sort(), ['blue', 'hub'])
  t.same(Object.keys(await tally(12, vip, 7000, '127.78.0.5')).sort(), ['hub', 'red'])
})

t.test('a tenant without any backend of its own is refused', async t => {
  const world = await createWorld(t, {
    clusters: ['blue', 'red'],
    config: {
      clusters: [
        { name: 'blue', id: 1, source: { manifests: './blue' }, tenant: 'blue' },
        { name: 'red', id: 2, source: { manifests: './red' }, tenant: 'red' },
      ],
      plugins: [{ use: 'tenancy', options: { tenants: { red: ['127.78.0.0/16'] } } }],
    },
  })
  await startPod(t, world.ip(11), 'blue')
  await world.declare('blue', { clusterIP: world.ip(1), pods: [{ ip: world.ip(11) }] })
  await world.start()
  t.equal(await ask(world.ip(1)), 'blue')
  await t.rejects(ask(world.ip(1), 7000, '127.78.0.5'), { code: 'ECONNRESET' })
  t.match(await world.look(`/v1/dns?name=${name}&from=127.77.0.5`), { rcode: 'NOERROR', client: '127.77.0.5' })
  t.match(
    await world.look(`/v1/dns?name=${name}&from=127.78.0.5`),
    { rcode: 'NXDOMAIN', answers: [], way: [/^zone /, /rebel-base is hidden from this client by tenancy: /, /./] },
    'to which the name does not even exist',
  )
})

t.test(
  'trafficDistribution: flows stay in the zone of this node, in all clusters, while it has a healthy backend',
  async t => {
    // The dials that fail here may be enough for a breaker, and n1 would rest for longer than the test waits.
    const world = await createWorld(t, { config: { plugins: [{ use: 'affinity' }] }, env: { NODE_NAME: 'n1' } })
    const zones = { 'cluster-1': { n1: 'a', n2: 'b' }, 'cluster-2': { m1: 'a', m2: 'b' } }
    const writeNodes = (zones: Record<string, Record<string, string>>) =>
      Promise.all(
        Object.entries(zones).map(([cluster, nodes]) =>
          writeFile(
            join(world.folder, cluster, 'nodes.yaml'),
            Object.entries(nodes)
              .map(
                ([name, zone]) =>
                  `{ apiVersion: v1, kind: Node, metadata: { name: ${name}, labels: { topology.kubernetes.io/zone: ${zone} } } }`,
              )
              .join('\n---\n'),
          ),
        ),
      )
    await writeNodes(zones)
    const pods = ['n1', 'n2', 'm1', 'm2'].map((node, i) => ({ node, ip: world.ip(11 + i) }))
    const started = new Map<string, { close(): Promise<void> }>()
    for (const { node, ip } of pods) started.set(node, await startPod(t, ip, node))
    const vip = world.ip(1)
    const spec = { trafficDistribution: 'PreferClose' }
    await world.declare('cluster-1', { clusterIP: vip, spec, pods: pods.slice(0, 2) })
    await world.declare('cluster-2', { clusterIP: world.ip(2), pods: pods.slice(2) })
    await world.start()
    t.same(Object.keys(await tally(12, vip)).sort(), ['m1', 'n1'])
    await started.get('n1')?.close()
    await eventually(async () => assert.deepEqual(Object.keys(await tally(6, vip)), ['m1']))
    await started.get('m1')?.close()
    await eventually(async () => assert.deepEqual(Object.keys(await tally(12, vip)).sort(), ['m2', 'n2']))
    t.match(await world.look('/v1/services/default/rebel-base'), {
      settings: { trafficDistribution: 'PreferSameZone' },
    })
    await startPod(t, world.ip(11), 'n1')
    await eventually(async () => assert.deepEqual(Object.keys(await tally(12, vip)), ['n1']))
    await writeNodes({ ...zones, 'cluster-1': { n1: 'b', n2: 'b' } })
    await eventually(async () => assert.deepEqual(Object.keys(await tally(12, vip)).sort(), ['m2', 'n1', 'n2']))
  },
)

t.test('a client stays with its backend while the Service has session affinity', async t => {
  const world = await createWorld(t)
  const vip = world.ip(1)
  for (const [i, pod] of ['a', 'b', 'c'].entries()) await startPod(t, world.ip(11 + i), pod)
  const pods = [11, 12, 13].map(last => ({ ip: world.ip(last) }))
  await world.declare('cluster-1', { clusterIP: vip, spec: { sessionAffinity: 'ClientIP' }, pods })
  await world.start()
  t.equal(Object.keys(await tally(9, vip)).length, 1)
  await world.declare('cluster-1', { clusterIP: vip, pods })
  await eventually(async () => assert.equal(Object.keys(await tally(9, vip)).length, 3))
  t.pass('and no longer than that')
})

t.test('a reload replaces the parts that changed; flows in progress continue', async t => {
  const world = await createWorld(t)
  const [vip, a, b] = [world.ip(1), world.ip(11), world.ip(21)]
  await startPod(t, a, 'one')
  await startPod(t, b, 'two')
  await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: a }] })
  await world.declare('cluster-2', { clusterIP: world.ip(2), pods: [{ ip: b }] })
  const runtime = await world.start()

  await world.write({ plugins: [{ use: 'afinity' }] })
  await t.rejects(runtime.reload(await world.load()), { code: 'PLUGIN_LOAD', message: /did you mean "affinity"/ })
  t.equal(world.status().plugins.length, 4, 'a bad plugin changes nothing')

  await world.write({ proxy: { services: 'all' } })
  await t.rejects(runtime.reload(await world.load()), { message: /proxy\.services.*restart/ })

  await world.write({
    plugins: [],
    proxy: { drain: '300ms', limits: { connections: 5 } },
    health: { active: { type: 'none' } },
  })
  await runtime.reload(await world.load())
  t.same(world.status().plugins, [])
  t.match(
    world.status().components.find(c => c.name === 'Health'),
    { state: 'disabled' },
  )
  t.same(Object.keys(await tally(6, vip)).sort(), ['one', 'two'])

  await world.write({ proxy: { balancer: 'maglev' } })
  await runtime.reload(await world.load())
  t.equal(Object.keys(await tally(6, vip)).length, 1, 'maglev keeps a client at one backend')

  await world.write({ clusters: [{ name: 'cluster-1', id: 1, source: { manifests: './cluster-1' } }] })
  await runtime.reload(await world.load())
  await eventually(async () => assert.deepEqual(await tally(4, vip), { one: 4 }))
  t.equal(world.status().clusters.length, 1)
  t.same(await world.resolve(name), [vip], 'DNS still answers')
})

t.test('a reload of DNS: names of pods, other resolvers, the query log', async t => {
  const logged: unknown[] = []
  const log: Log = {
    ...silentLog,
    info: (event, fields) => event === 'dns.query' && logged.push(fields),
  }
  const world = await createWorld(t, { log })
  const corp = await fakeUpstream(t, ({ name }) => ({ answers: [{ type: 'A', name, ttl: 60, data: '192.0.2.7' }] }))
  await world.declare('cluster-1', { clusterIP: world.ip(1), pods: [{ ip: world.ip(11) }] })
  const runtime = await world.start()
  const pod = `${world.ip(11).replaceAll('.', '-')}.default.pod.cluster.local`
  const reload = async (dns: object) => {
    await world.write({ dns: { listen: '127.0.0.1:0', upstream: [], ...dns } })
    await runtime.reload(await world.load())
  }

  await t.rejects(world.resolve(pod), { code: 'ENOTFOUND' })
  await t.rejects(world.resolve('git.corp.example'), { code: 'EREFUSED' })
  const changes = { pods: 'verified', routes: { 'corp.example': corp.text }, networks: ['10.0.0.0/8'] }
  await reload(changes)
  t.same(await world.resolve(pod), [world.ip(11)])
  await t.rejects(world.resolve(pod.replace('-11.', '-12.')), { code: 'ENOTFOUND' }, 'no endpoint has that address')
  const bare = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'bare' }, status: { podIP: world.ip(12) } }
  const file = join(world.folder, 'cluster-1', 'bare.json')
  await writeFile(file, JSON.stringify(bare))
  await eventually(async () => assert.deepEqual(await world.resolve(pod.replace('-11.', '-12.')), [world.ip(12)]))
  await rm(file)
  await eventually(() => assert.rejects(world.resolve(pod.replace('-11.', '-12.')), { code: 'ENOTFOUND' }))
  t.same(await world.resolve('git.corp.example'), ['192.0.2.7'])
  await t.rejects(world.resolve('corp.example.org'), { code: 'EREFUSED' }, 'the route is only for its domain')

  t.match(await world.look('/v1/dns?name=git.corp.example'), {
    answers: ['git.corp.example. 60 IN A 192.0.2.7'],
    way: [/not in our zones/, /resolvers for corp\.example/, /from the cache/],
  })
  t.match(await world.look('/v1/dns?name=7.0.0.10.in-addr.arpa&type=PTR'), { rcode: 'NXDOMAIN', authoritative: true })
  t.match(await world.look('/v1/config'), { dns: { networks: ['10.0.0.0/8'] } })

  t.same(logged, [])
  const { address } = world.status().dns
  await reload({ ...changes, queryLog: { names: 'corp.example' } })
  t.equal(world.status().dns.address, address, 'the responder keeps running')
  await world.resolve('git.corp.example')
  await world.resolve(name)
  t.match(logged, [{ client: '127.0.0.1', name: 'git.corp.example', type: 'A', rcode: 'NOERROR' }])
  t.equal(corp.heard.length, 1, 'its cache is kept')
  await reload({ ...changes, queryLog: { clients: '127.0.0.1', names: 'corp.example' } })
  await world.resolve('git.corp.example')
  await reload(changes)
  await world.resolve('git.corp.example')
  t.equal(logged.length, 2)
})

t.test('a service exported by one cluster is imported by another, under its clusterset name', async t => {
  const world = await createWorld(t)
  const vip = world.ip(9)
  const apiVersion = 'multicluster.x-k8s.io/v1alpha1'
  await startPod(t, world.ip(21), 'two')
  await world.declare('cluster-2', { clusterIP: world.ip(2), annotations: {}, pods: [{ ip: world.ip(21) }] })
  const exported = { apiVersion, kind: 'ServiceExport', metadata: { name: 'rebel-base' } }
  const spec = { type: 'ClusterSetIP', ips: [vip], ports: [{ name: 'main', port: 7000 }] }
  const imported = { apiVersion, kind: 'ServiceImport', metadata: { name: 'rebel-base' }, spec }
  await writeFile(join(world.folder, 'cluster-1', 'import.json'), JSON.stringify(imported))
  await world.start()
  t.same(await world.resolve('rebel-base.default.svc.clusterset.local'), [vip])
  await t.rejects(world.resolve(name), { code: 'ENOTFOUND' }, 'the local cluster has no such Service')
  await t.rejects(ask(vip), 'no cluster exports it yet')
  await writeFile(join(world.folder, 'cluster-2', 'export.json'), JSON.stringify(exported))
  await eventually(async () => assert.equal(await ask(vip), 'two'))
  t.same(world.status().problems, [])
})

t.test('a port in use is one problem, with its remedy; the rest works, and it recovers', async t => {
  const world = await createWorld(t)
  const [vip, other] = [world.ip(1), world.ip(2)]
  const squatter = createServer()
  await new Promise<void>(resolve => squatter.listen(7000, vip, resolve))
  await startPod(t, world.ip(11), 'one')
  await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: world.ip(11) }] })
  await world.declare('cluster-1', { name: 'other', clusterIP: other, pods: [{ ip: world.ip(11) }] })
  await world.start()
  t.equal(await ask(other), 'one')
  t.match(world.status().problems, [{ severity: 'error', code: 'LISTEN', where: new RegExp(`${vip}:7000`) }])
  t.match(
    world.status().components.find(c => c.name === 'Proxy'),
    { state: 'error' },
  )
  await new Promise(resolve => squatter.close(resolve))
  await eventually(async () => assert.equal(await ask(vip), 'one'), 15_000)
  t.same(world.status().problems, [])
})

t.test('a service without any backend refuses, is shown so, and answers when one comes', async t => {
  const world = await createWorld(t)
  const [vip, udp] = [world.ip(1), world.ip(2)]
  await startPod(t, world.ip(11), 'one')
  await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: world.ip(11), ready: false }] })
  await world.declare('cluster-1', { name: 'names', clusterIP: udp, protocol: 'UDP', pods: [] })
  await world.start()
  await t.rejects(ask(vip), { code: 'ECONNREFUSED' })
  const client = createSocket('udp4')
  t.teardown(() => client.close())
  await new Promise<void>(resolve => client.connect(7000, udp, resolve))
  const refused = once(client, 'error')
  client.send('x')
  t.match(await refused, [{ code: 'ECONNREFUSED' }])
  t.match(await world.look('/v1/services/default/rebel-base'), { frontends: [{ ip: vip, refusing: true }] })
  t.ok(world.status().ready)
  t.match(world.status().problems, [
    { severity: 'error', code: 'SERVICE_UNREACHABLE', where: 'default/rebel-base', message: /no backend is ready/ },
    { severity: 'warning', code: 'SERVICE_REDUCED', where: 'default/names' },
  ])
  t.match(
    world.status().components.find(c => c.name === 'Proxy'),
    { state: 'ok', detail: /2 frontends without backends refusing/ },
  )
  await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: world.ip(11) }] })
  await eventually(async () => assert.equal(await ask(vip), 'one'))
  await world.declare('cluster-1', { clusterIP: vip, pods: [] })
  await eventually(() => assert.rejects(ask(vip), { code: 'ECONNREFUSED' }))
})

t.test('bad input is reported with its place, and the rest keeps working', async t => {
  const world = await createWorld(t)
  const vip = world.ip(1)
  await startPod(t, world.ip(11), 'one')
  await world.declare('cluster-1', {
    clusterIP: vip,
    annotations: { 'service.cilium.io/global': 'true', 'service.cilium.io/affinity': 'lokal' },
    pods: [{ ip: world.ip(11) }],
  })
  await writeFile(join(world.folder, 'cluster-1', 'broken.yaml'), 'kind: Service\n  metadata: {')
  await world.start()
  t.equal(await ask(vip), 'one')
  const problems = world.status().problems
  t.ok(
    problems.some(
      p => p.code === 'SERVICE_ANNOTATION' && /rebel-base\.yaml:\d+/.test(p.where) && /lokal/.test(p.message),
    ),
  )
  t.ok(problems.some(p => /broken\.yaml:\d+/.test(p.where)))
  t.match(
    world.status().components.find(c => c.name === 'Sources'),
    { state: 'warning' },
  )
})

t.test('a plugin that throws or returns a promise is skipped, counted and named', async t => {
  const world = await createWorld(t)
  await writeFile(
    join(world.folder, 'bad.js'),
    `export default { name: 'bad', options: {}, onError: 'skip', create: () => ({
       candidates: () => { throw new Error('boom') }, pick: async () => undefined }) }`,
  )
  await world.write()
  await startPod(t, world.ip(11), 'one')
  await world.declare('cluster-1', { clusterIP: world.ip(1), pods: [{ ip: world.ip(11) }, { ip: world.ip(12) }] })
  const runtime = await world.start()
  await world.write({ plugins: [{ use: './bad.js' }] })
  await runtime.reload(await world.load())
  t.equal(await ask(world.ip(1)), 'one')
  t.match(
    world.status().components.find(c => c.name === 'Plugins'),
    { state: 'warning', detail: /bad/ },
  )
  t.ok(world.status().problems.every(p => p.code === 'PLUGIN_FAULT'))
})

t.test('views are ordered and correct: ExternalName services, backends that are down, the drain', async t => {
  const world = await createWorld(t, { config: { proxy: { drain: '10s' } } })
  const [vip, pod, dead] = [world.ip(1), world.ip(11), world.ip(12)]
  await startPod(t, pod, 'one')
  await world.declare('cluster-2', { name: 'zeta', clusterIP: world.ip(2), pods: [] })
  await world.declare('cluster-1', { name: 'web', clusterIP: vip, pods: [{ ip: pod }, { ip: dead }] })
  await world.declare('cluster-1', {
    name: 'mail',
    spec: { type: 'ExternalName', externalName: 'mx.example.com', ports: [] },
    pods: [],
  })
  const runtime = await world.start()
  await world.declare('cluster-1', { name: 'late-but-early', clusterIP: world.ip(3), pods: [] })
  const { admin } = await runtime.ready
  const shown = async () => (await (await fetch(`http://${admin}/v1/services`)).json()) as { name: string }[]
  await eventually(async () => {
    const names = (await shown()).map(({ name }) => name)
    assert.deepEqual(names, ['late-but-early', 'mail', 'web', 'zeta'])
  })
  t.equal(runtime.service('default', 'mail')?.externalName, 'mx.example.com')
  await eventually(() => assert.match(component('Health'), /; 1 backend down, 0 ejected$/))

  const flow = connect({ host: vip, port: 7000 })
  flow.on('error', () => {})
  await once(flow, 'connect')
  await eventually(() => assert.match(component('Proxy'), / 1 connection,/))
  const closed = runtime.close()
  await eventually(() => {
    const { ready, stopping, waiting } = world.status()
    assert.deepEqual(
      { ready, stopping, waiting },
      { ready: false, stopping: true, waiting: ['1 connection and 0 UDP sessions to end'] },
    )
  })
  t.same(await world.resolve('web.default.svc.cluster.local'), [vip], 'DNS answers until the flows have ended')
  flow.destroy()
  await closed

  function component(wanted: string): string {
    return world.status().components.find(({ name }) => name === wanted)?.detail ?? ''
  }
})

t.test('log.format cannot change while Starlane runs', async t => {
  const world = await createWorld(t)
  const runtime = await world.start()
  await world.write({ log: { format: 'json' } })
  await t.rejects(runtime.reload(await world.load()), { code: 'CONF_FIELD', message: /log\.format cannot change/ })
})

t.test('virtual addresses in place of ClusterIPs', async t => {
  const vips = claimNetwork()
  const world = await createWorld(t, { config: { proxy: { vips: { cidr: `${vips}.0/24` }, drain: '300ms' } } })
  await startPod(t, world.ip(11), 'one')
  await world.declare('cluster-1', {
    clusterIP: '10.96.0.10',
    port: 7100,
    pods: [{ ip: world.ip(11) }],
  })
  await world.start()
  const [vip = ''] = await world.resolve(name)
  t.ok(vip.startsWith(`${vips}.`), vip)
  t.equal(await ask(vip, 7100), 'one')
})

t.test('an admin address in use makes the start fail', async t => {
  const world = await createWorld(t)
  const squatter = createServer()
  await new Promise<void>(resolve => squatter.listen(0, '127.0.0.1', resolve))
  t.teardown(() => squatter.close())
  const { port } = squatter.address() as { port: number }
  await world.write({ admin: { listen: `127.0.0.1:${port}` } })
  const runtime = await createRuntime({
    loaded: await loadConfig(world.file),
    log: silentLog,
    version: 'test',
    env: {},
  })
  t.teardown(() => runtime.close())
  await t.rejects(runtime.start(), { code: 'LISTEN', message: new RegExp(`127\\.0\\.0\\.1:${port}`) })
})

t.test('validate reports everything without binding anything', async t => {
  const world = await createWorld(t)
  await world.declare('cluster-1', {
    clusterIP: world.ip(1),
    annotations: { 'service.cilium.io/global': 'ja' },
    pods: [],
  })
  await world.write({ plugins: [{ use: 'affinity' }, { use: 'circuit-breaker', options: { rest: '30' } }] })
  const report = await validate(await loadConfig(world.file))
  t.match(report.clusters, [
    { name: 'cluster-1', read: true, services: 1, globalServices: 0 },
    { name: 'cluster-2', services: 0 },
  ])
  t.ok(report.problems.some(p => p.code === 'SERVICE_ANNOTATION'))
  t.match(
    report.problems.find(p => p.code === 'PLUGIN_OPTION'),
    { where: /starlane\.yaml:\d+/, message: /rest.*no unit; write 30s/ },
  )
})

const addon = new URL('../../native/build/starlane.node', import.meta.url)
const unbuilt = existsSync(addon) ? false : 'the native engine was not built (npm run build:native)'

for (const [engine, skip] of [
  ['streams', false],
  ['native', unbuilt],
] as const) {
  t.test(`the engine ${engine}, asked for by name, serves and fails over`, { skip }, async t => {
    const world = await createWorld(t, { config: { proxy: { engine, drain: '300ms' } } })
    const [vip, a, b] = [world.ip(1), world.ip(11), world.ip(21)]
    const one = await startPod(t, a, 'one')
    await startPod(t, b, 'two')
    await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: a }] })
    await world.declare('cluster-2', { clusterIP: world.ip(2), pods: [{ ip: b }] })
    await world.start()
    t.match(world.status().components.find(c => c.name === 'Proxy')?.detail, `${engine}, `)
    const dgram = process.getActiveResourcesInfo().includes('UDPWrap')
    t.equal(dgram, engine === 'streams', 'DNS uses node:dgram exactly with the streams engine')
    t.same(await world.resolve('rebel-base.default.svc.cluster.local'), [vip])
    t.same(Object.keys(await tally(10, vip)).sort(), ['one', 'two'])
    await one.close()
    t.same(await tally(20, vip), { two: 20 })
  })
}

t.test('with three pumps it serves on all of them, and their number is fixed', { skip: unbuilt }, async t => {
  const world = await createWorld(t, { config: { proxy: { engine: 'native', threads: 3, drain: '300ms' } } })
  const vip = world.ip(1)
  await startPod(t, world.ip(11), 'one')
  await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: world.ip(11) }] })
  const runtime = await world.start()
  t.same(await tally(30, vip), { one: 30 })
  t.match(world.status().components.find(c => c.name === 'Proxy')?.detail, 'native, 3 pumps, ')
  await world.write({ proxy: { engine: 'native', threads: 4, drain: '300ms' } })
  await t.rejects(runtime.reload(await world.load()), { code: 'CONF_FIELD', message: /proxy\.threads cannot change/ })
})

t.test('status shows which engine `auto` chose, and why not the native one', async t => {
  const world = await createWorld(t)
  await world.start()
  const why =
    process.env.STARLANE_NATIVE === '0'
      ? /^streams \(not native: STARLANE_NATIVE=0 is set\), /
      : /^streams \(not native: it was/
  t.match(
    world.status().components.find(c => c.name === 'Proxy')?.detail,
    !unbuilt && process.env.STARLANE_NATIVE !== '0' ? /^native, / : why,
  )
})

t.test('a remote cluster that says nothing holds nobody up, and joins when it speaks', async t => {
  const api = await startKubeApi()
  t.teardown(() => api.stop())
  const speaks = Promise.withResolvers<void>()
  api.faults.add({ times: 1000, answer: { after: speaks.promise } })
  const clusters = [
    { name: 'cluster-1', id: 1, source: { manifests: './cluster-1' } },
    { name: 'cluster-2', id: 2, source: { kubernetes: { kubeconfig: './kubeconfig' } }, allow: { loopback: true } },
  ]
  const world = await createWorld(t, { clusters: ['cluster-1'], config: { clusters } })
  writeKubeconfig(join(world.folder, 'kubeconfig'), [{ name: 'east', server: api.url }])
  await world.declare('cluster-1', { clusterIP: world.ip(10), pods: [{ ip: world.ip(11) }] })
  for (const object of manifests({ clusterIP: '10.99.0.1', pods: [{ ip: world.ip(21) }] }, 'rebel-base'))
    api.put(object as never)
  const at = performance.now()
  await world.start()
  const tookMs = performance.now() - at
  t.ok(tookMs < 10_000, `served after ${Math.round(tookMs)} ms`)
  const addresses = () =>
    world
      .runtime()
      .service('default', 'rebel-base')
      ?.backends.map(({ address }) => address)
  t.same(addresses(), [world.ip(11)])
  t.same(await world.resolve('rebel-base.default.svc.cluster.local'), [world.ip(10)])
  t.equal(world.status().clusters.find(({ name }) => name === 'cluster-2')?.link.state, 'syncing')
  speaks.resolve()
  await eventually(() => assert.deepEqual(addresses(), [world.ip(11), world.ip(21)]))
})
