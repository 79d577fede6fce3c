import assert from 'node:assert/strict'
import t, { type Test } from 'tap'
import { Mesh, type MeshOptions } from '../../../proxy/mesh/mesh.ts'
import { VipAllocator } from '../../../proxy/mesh/vip-allocator.ts'
import { type Cidr, parseCidr } from '../../../proxy/model/address.ts'
import type { Health } from '../../../proxy/model/backend.ts'
import type { Change } from '../../../proxy/model/directory.ts'
import { MeshError } from '../../../proxy/model/error.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { FakeClock } from '../../support/clock.ts'
import { eventually } from '../../support/eventually.ts'
import { clusterService, endpoint } from '../../support/model.ts'

const clusters = [
  { name: 'cluster-1', id: 1, local: true },
  { name: 'cluster-2', id: 2, local: false },
]
const unreachable = new MeshError('SOURCE_READ', 'nobody answers')

/** A mesh whose batches run on `flush`, or in turns, with its changes recorded. */
function startMesh(t: Test, { inTurns = false, ...given }: Partial<MeshOptions> & { readonly inTurns?: boolean } = {}) {
  const clock = new FakeClock()
  const changes: Change[] = []
  const verdicts = new Map<string, Health>()
  const mesh = new Mesh({
    clusters,
    staleAfterMs: 600_000,
    services: 'global',
    health: key => verdicts.get(key) ?? 'unknown',
    clock,
    log: silentLog,
    ...(!inTurns && { defer: () => {} }),
    ...given,
  })
  mesh.directory.onChange(change => changes.push(change))
  t.teardown(() => mesh.close())
  const one = mesh.sink('cluster-1')
  const two = mesh.sink('cluster-2')
  const backends = (key = 'default/rebel-base') => mesh.directory.service(key)?.backends.map(b => b.address) ?? []
  return { mesh, clock, changes, verdicts, one, two, backends }
}

const here = clusterService({ endpoints: [endpoint({ address: '10.1.0.1' })] })
const there = clusterService({
  cluster: 'cluster-2',
  clusterIPs: ['127.97.0.10'],
  endpoints: [endpoint({ address: '10.2.0.1' })],
})

t.test('a batch is bounded by the backends that come and go in it', async t => {
  const { mesh, changes, one } = startMesh(t, { inTurns: true })
  const services = Array.from({ length: 30 }, (_, i) => {
    const endpoints = Array.from({ length: 40 }, (_, j) => endpoint({ address: `10.1.${i}.${j + 1}` }))
    return clusterService({ name: `s${i}`, clusterIPs: [`127.96.1.${i + 1}`], endpoints })
  })
  const most = () => Math.max(...changes.map(change => change.length))
  one.reset({ services, namespaces: [] })
  await eventually(() => assert.equal(mesh.directory.size, services.length))
  t.equal(changes.flat().length, services.length)
  t.ok(most() <= 2, 'of 40 each: the second one makes it enough')
  changes.length = 0
  one.reset({ services: [], namespaces: [] })
  await eventually(() => assert.equal(mesh.directory.size, 0))
  t.equal(changes.flat().length, services.length)
  t.ok(most() <= 2, 'those that go count too')
})

t.test('two clusters become one service, changed in one batch', async t => {
  const { mesh, changes, one, two, backends } = startMesh(t)
  one.reset({ services: [here], namespaces: [] })
  two.reset({ services: [there], namespaces: [] })
  t.equal(mesh.directory.synced, false, 'not synced before the first merge')
  mesh.flush()
  t.equal(mesh.directory.synced, true)
  t.same(backends(), ['10.1.0.1', '10.2.0.1'])
  t.same(
    mesh.directory.service('default/rebel-base')?.frontends.map(f => f.key),
    ['127.96.0.10:80/TCP'],
    'the frontend is the local one',
  )
  t.equal(changes.length, 1)
  t.equal(changes[0]?.length, 1)
  mesh.flush()
  t.equal(changes.length, 1, 'a batch without a change reports nothing')
})

t.test('a change rebuilds its own service only', async t => {
  const { mesh, changes, one } = startMesh(t)
  const services = Array.from({ length: 100 }, (_, i) =>
    clusterService({ name: `s${i}`, clusterIPs: [`127.96.1.${i}`] }),
  )
  one.reset({ services, namespaces: [] })
  mesh.flush()
  const untouched = mesh.directory.service('default/s8')
  one.put({ ...(services[7] as (typeof services)[0]), endpoints: [endpoint({ address: '10.1.0.7' })] })
  mesh.flush()
  t.same(
    changes[1]?.map(c => c.key),
    ['default/s7'],
  )
  t.equal(mesh.directory.service('default/s8'), untouched)
})

t.test('initialized: when all clusters have synced and their services are in the directory', async t => {
  const { mesh, one, two } = startMesh(t)
  let initialized = false
  const initializing = mesh.initialized.then(() => {
    initialized = true
  })
  one.reset({ services: [here], namespaces: [] })
  mesh.flush()
  await mesh.synced
  two.reset({ services: [there], namespaces: [] })
  await new Promise(resolve => setImmediate(resolve))
  t.equal(initialized, false, 'not before the batch')
  mesh.flush()
  await initializing
  t.pass('resolved after the batch')

  const alone = startMesh(t)
  alone.two.lost(unreachable)
  alone.one.reset({ services: [], namespaces: [] })
  alone.mesh.flush()
  await alone.mesh.initialized
  t.pass('a lost cluster is not waited for')
})

t.test('an empty mesh is synced too', async t => {
  const { mesh, one } = startMesh(t)
  one.reset({ services: [], namespaces: [{ name: 'shop', global: true }] })
  mesh.flush()
  t.equal(mesh.directory.synced, true)
  t.equal(mesh.directory.hasNamespace('shop'), true)
  t.equal(mesh.directory.hasNamespace('default'), false)
  one.put(here)
  mesh.flush()
  t.equal(mesh.directory.hasNamespace('default'), true, 'a service implies its namespace')
  one.drop('default', 'rebel-base')
  mesh.flush()
  t.equal(mesh.directory.hasNamespace('default'), false)
})

t.test('a change of a namespace, or of the global annotation, needs no repetition by the source', async t => {
  const { mesh, one, two, backends } = startMesh(t)
  one.reset({ services: [here], namespaces: [] })
  two.reset({ services: [there], namespaces: [] })
  mesh.flush()
  two.putNamespace({ name: 'default', global: false })
  mesh.flush()
  t.same(backends(), ['10.1.0.1'])
  two.dropNamespace('default')
  mesh.flush()
  t.same(backends(), ['10.1.0.1', '10.2.0.1'])
  one.putNamespace({ name: 'default', global: false })
  mesh.flush()
  t.same(backends(), ['10.1.0.1', '10.2.0.1'], 'the gate is for export, not for import')
  one.put({ ...here, annotations: {} })
  mesh.flush()
  t.same(backends(), ['10.1.0.1'])
  t.same(
    mesh.directory.service('default/rebel-base')?.parked.map(b => b.address),
    ['10.2.0.1'],
  )
  one.put(here)
  mesh.flush()
  t.same(backends(), ['10.1.0.1', '10.2.0.1'])
})

t.test('the backends of a lost cluster are demoted, then dropped, and return with its next report', async t => {
  const { mesh, clock, one, two, backends } = startMesh(t, { dropAfterMs: 3_600_000 })
  const frontend = () => mesh.directory.service('default/rebel-base')?.frontends[0]
  const fresh = () => frontend()?.fresh?.map(({ address }) => address)
  one.reset({ services: [here], namespaces: [] })
  two.reset({ services: [there], namespaces: [] })
  mesh.flush()
  two.lost(unreachable)
  mesh.flush()
  t.match(mesh.link('cluster-2'), { state: 'lost', staleAt: clock.wall() + 600_000 })
  await clock.advance(599_999)
  mesh.flush()
  t.equal(fresh(), undefined)
  two.lost(unreachable)
  await clock.advance(1)
  mesh.flush()
  t.match(mesh.link('cluster-2'), { state: 'stale', dropAt: clock.wall() + 3_000_000 }, 'counted from the first loss')
  t.same(backends(), ['10.1.0.1', '10.2.0.1'])
  t.same(fresh(), ['10.1.0.1'])
  two.live()
  mesh.flush()
  t.equal(mesh.link('cluster-2').state, 'live')
  t.equal(fresh(), undefined, 'a source that kept following need not report it again')
  two.lost(unreachable)
  await clock.advance(3_600_000)
  mesh.flush()
  t.equal(mesh.link('cluster-2').state, 'dropped')
  t.same(backends(), ['10.1.0.1'])
  two.live()
  mesh.flush()
  t.same(backends(), ['10.1.0.1', '10.2.0.1'])
  two.lost(unreachable)
  await clock.advance(3_600_000)
  two.reset({ services: [], namespaces: [] })
  mesh.flush()
  t.same(backends(), ['10.1.0.1'], 'and one with a change reports it')
  t.equal(clock.waiting, 0)
})

t.test(
  'what an earlier process knew is used until the source answers, and ages from when it was last live',
  async t => {
    const { mesh, clock, one, two, backends } = startMesh(t, { dropAfterMs: 3_600_000 })
    const now = clock.wall()
    one.recall?.({ services: [here], namespaces: [{ name: 'default', global: undefined }] }, now - 86_400_000)
    two.recall?.({ services: [there], namespaces: [] }, now - 300_000)
    mesh.flush()
    await mesh.initialized
    t.same(backends(), ['10.1.0.1', '10.2.0.1'])
    t.equal(mesh.directory.synced, true)
    t.equal(mesh.isConfirmed, false)
    t.same(mesh.unsyncedClusters(), ['cluster-1', 'cluster-2'])
    t.match(mesh.link('cluster-1'), { state: 'remembered', since: now - 86_400_000, staleAt: undefined })
    t.match(mesh.link('cluster-2'), { state: 'remembered', since: now - 300_000, staleAt: now + 300_000 })
    one.live()
    t.equal(mesh.link('cluster-1').state, 'remembered', 'it is live with its first list')
    two.lost(unreachable)
    t.match(mesh.link('cluster-2'), { state: 'remembered', error: unreachable })
    await clock.advance(300_000)
    t.equal(mesh.link('cluster-2').state, 'stale')
    two.reset({ services: [{ ...there, endpoints: [endpoint({ address: '10.2.0.2' })] }], namespaces: [] })
    mesh.flush()
    t.same(backends(), ['10.1.0.1', '10.2.0.2'], 'the first list replaces it')
    two.recall?.({ services: [there], namespaces: [] }, now)
    mesh.flush()
    t.same(backends(), ['10.1.0.1', '10.2.0.2'], 'and memory comes too late then')
  },
)

t.test('what is too old is not recalled, but for the local cluster', async t => {
  const { mesh, clock, one, two, backends } = startMesh(t, { dropAfterMs: 3_600_000 })
  for (const sink of [one, two])
    sink.recall?.({ services: [sink === one ? here : there], namespaces: [] }, clock.wall() - 3_600_000)
  mesh.flush()
  t.same(backends(), ['10.1.0.1'])
  t.equal(mesh.link('cluster-2').state, 'syncing')
})

t.test('a link that recovers in time does not go stale', async t => {
  const { mesh, clock, two } = startMesh(t)
  two.reset({ services: [there], namespaces: [] })
  two.lost(unreachable)
  two.live()
  await clock.advance(3_600_000)
  t.equal(mesh.link('cluster-2').state, 'live')
  t.equal(clock.waiting, 0)
})

t.test('a cluster that has never synced is not live, and removes nothing', async t => {
  const { mesh, one, two, backends } = startMesh(t)
  one.reset({ services: [here], namespaces: [] })
  two.live()
  t.equal(mesh.link('cluster-2').state, 'syncing')
  two.lost(unreachable)
  t.match(mesh.link('cluster-2'), { state: 'lost', staleAt: undefined })
  mesh.flush()
  t.same(backends(), ['10.1.0.1'])
})

t.test('the local cluster never goes stale, nor does any with stale: 0', async t => {
  const { clock, one, mesh } = startMesh(t)
  one.reset({ services: [here], namespaces: [] })
  one.lost(unreachable)
  await clock.advance(86_400_000)
  t.equal(mesh.link('cluster-1').state, 'lost')

  const eternal = startMesh(t, { staleAfterMs: 0 })
  eternal.two.reset({ services: [there], namespaces: [] })
  eternal.two.lost(unreachable)
  await eternal.clock.advance(86_400_000)
  t.equal(eternal.mesh.link('cluster-2').state, 'lost')
})

t.test('clusters are added to and removed from a running mesh; the others are not touched', async t => {
  const { mesh, one, two, backends } = startMesh(t)
  one.reset({ services: [here], namespaces: [] })
  two.reset({ services: [there], namespaces: [] })
  const three = { name: 'cluster-3', id: 3, local: false }
  mesh.setClusters([...clusters, three])
  mesh.sink('cluster-3').reset({
    services: [{ ...there, cluster: 'cluster-3', endpoints: [endpoint({ address: '10.3.0.1' })] }],
    namespaces: [],
  })
  mesh.flush()
  t.same(backends(), ['10.1.0.1', '10.2.0.1', '10.3.0.1'])
  mesh.setClusters([clusters[0] as (typeof clusters)[0], three])
  mesh.flush()
  t.same(backends(), ['10.1.0.1', '10.3.0.1'])
  t.throws(() => mesh.link('cluster-2'))
  t.equal(mesh.link('cluster-3').state, 'live')
})

t.test('a verdict rebuilds the services that hold the backend', async t => {
  const { mesh, changes, verdicts, one } = startMesh(t)
  one.reset({ services: [here, clusterService({ name: 'other', clusterIPs: ['127.96.0.11'] })], namespaces: [] })
  mesh.flush()
  verdicts.set('10.1.0.1:8080/TCP', 'down')
  mesh.healthChanged('10.1.0.1:8080/TCP')
  mesh.flush()
  t.same(
    changes[1]?.map(c => c.key),
    ['default/rebel-base'],
  )
  t.equal(mesh.directory.service('default/rebel-base')?.frontends[0]?.backends[0]?.health, 'down')
  mesh.healthChanged('10.9.9.9:1/TCP')
  mesh.flush()
  t.equal(changes.length, 2, 'a verdict on an unknown backend changes nothing')
})

t.test('a verdict rebuilds no other service at the address of the backend, as on the network of a host', async t => {
  const asked: string[] = []
  const health = (destination: string): Health => {
    asked.push(destination)
    return 'unknown'
  }
  const { mesh, one } = startMesh(t, { health })
  const onHost = (name: string, port: number) =>
    clusterService({
      name,
      clusterIPs: [`127.96.1.${port - 8000}`],
      endpoints: [endpoint({ address: '10.1.0.1', ports: [{ name: 'http', protocol: 'TCP', port }] })],
    })
  one.reset({ services: [onHost('a', 8001), onHost('b', 8002)], namespaces: [] })
  mesh.flush()
  t.same(mesh.directory.servicesAt('10.1.0.1'), ['default/a', 'default/b'])
  asked.length = 0
  mesh.healthChanged('10.1.0.1:8002/TCP')
  mesh.flush()
  t.same(new Set(asked), new Set(['10.1.0.1:8002/TCP']))
})

t.test('two services with one address: the first has it, the second gets it when it is released', async t => {
  const { mesh, one } = startMesh(t)
  const rival = clusterService({ name: 'rival' })
  one.reset({ services: [here, rival], namespaces: [] })
  mesh.flush()
  t.equal(mesh.directory.service('default/rival')?.frontends.length, 0)
  t.match(mesh.problems(), [
    {
      code: 'MERGE_OVERLAP',
      where: '127.96.0.10:80/TCP',
      message: /default\/rival has the same address as default\/rebel-base/,
    },
  ])
  one.drop('default', 'rebel-base')
  mesh.flush()
  mesh.flush()
  t.equal(mesh.directory.service('default/rival')?.frontends.length, 1)
  t.same(mesh.problems(), [])
})

t.test('problems name cluster, service and place, and go when they are fixed', async t => {
  const { mesh, one, two } = startMesh(t)
  one.reset({
    services: [{ ...here, origin: 'base.yaml:3', annotations: { 'service.cilium.io/global': 'yes' } }],
    namespaces: [],
  })
  two.problems([{ code: 'SOURCE_OBJECT', where: 'x.yaml:1', message: 'broken' }])
  t.match(mesh.problems(), [
    { code: 'SERVICE_ANNOTATION', where: 'cluster-1 default/rebel-base (base.yaml:3)' },
    { code: 'SOURCE_OBJECT', where: 'x.yaml:1' },
  ])
  one.put(here)
  two.problems([])
  t.same(mesh.problems(), [])
})

t.test('virtual addresses: stable by name, given to proxied services, freed with them', async t => {
  const vips = parseCidr('127.96.0.0/29') as Cidr
  const { mesh, one } = startMesh(t, { vips })
  const named = (name: string, global = true) =>
    clusterService({ name, clusterIPs: ['10.96.0.1'], annotations: { 'service.cilium.io/global': `${global}` } })
  one.reset({ services: [named('a'), named('plain', false)], namespaces: [] })
  mesh.flush()
  const first = mesh.directory.service('default/a')?.frontends[0]?.ip ?? ''
  t.ok(vips.contains(first))
  t.equal(mesh.directory.service('default/plain')?.frontends[0]?.ip, '10.96.0.1')
  one.drop('default', 'a')
  mesh.flush()
  one.put(named('a'))
  mesh.flush()
  t.equal(mesh.directory.service('default/a')?.frontends[0]?.ip, first)

  for (let i = 0; i < 6; i++) one.put(named(`s${i}`))
  mesh.flush()
  t.match(mesh.problems(), [{ code: 'VIP_RANGE', message: /127\.96\.0\.0\/29/ }], 'six addresses for seven services')
})

t.test('virtual addresses are spread over the range and leave out its ends', async t => {
  const all = new VipAllocator(parseCidr('127.96.0.0/28') as Cidr)
  const taken = Array.from({ length: 14 }, (_, i) => all.allocate(`default/s${i}`)?.address)
  t.equal(new Set(taken).size, 14)
  t.notOk(taken.includes('127.96.0.0') || taken.includes('127.96.0.15'))
  t.equal(all.allocate('default/one-more'), undefined)
  all.release('default/s3')
  t.equal(all.allocate('default/one-more')?.address, taken[3])
  t.match(new VipAllocator(parseCidr('fd00::/64') as Cidr).allocate('default/a')?.address ?? '', /^fd00::/)
})

t.test('a Service that is left to another proxy has no frontend, and no virtual address', async t => {
  const vips = parseCidr('127.98.0.0/30') as Cidr
  const labelled = (name: string, value?: string) =>
    clusterService({
      name,
      ...(value !== undefined && { labels: { 'service.kubernetes.io/service-proxy-name': value } }),
      endpoints: [endpoint({ address: '10.1.0.1' })],
    })
  const frontends = (given: Partial<MeshOptions>) => {
    const { mesh, one } = startMesh(t, { vips, ...given })
    const services = [labelled('other', 'other-proxy'), labelled('empty', ''), labelled('ours', 'starlane')]
    one.reset({ services: [...services, labelled('plain')], namespaces: [] })
    mesh.flush()
    t.same(mesh.directory.service('default/other')?.backends.length, 1)
    return services
      .concat(labelled('plain'))
      .flatMap(({ name }) => (mesh.directory.service(`default/${name}`)?.frontends.length ? name : []))
  }
  t.same(frontends({ proxyName: 'starlane' }), ['ours', 'plain'])
  t.same(frontends({ proxyName: 'other-proxy' }), ['other', 'plain'])
  t.same(frontends({}).length, 2, 'without a name the label is ignored: the two addresses of the range are used')
})

t.test('a cluster with more endpoints than it may have is lost with what it had, until it has fewer', async t => {
  const { mesh, remote, backends } = limited(t)
  remote.reset({ services: [shared('a', 4), shared('b', 4)], namespaces: [] })
  t.same([backends('a'), backends('b')], [4, 4])
  remote.put(shared('b', 7))
  const link = mesh.link('cluster-2')
  t.match(link, {
    state: 'lost',
    error: { code: 'SOURCE_LIMIT', message: /over its limits: more than 10 endpoints; raise limits.endpoints/ },
  })
  t.same([backends('a'), backends('b')], [4, 4])
  remote.put(shared('a', 1))
  t.equal(mesh.link('cluster-2').state, 'live')
  t.same([backends('a'), backends('b')], [1, 7], 'below the limit, all is used as it is then')
  remote.put(shared('c', 9))
  remote.drop('default', 'a')
  remote.live()
  t.equal(mesh.link('cluster-2').state, 'lost', 'a source that answers again does not end it')
  t.same([backends('a'), backends('b'), backends('c')], [1, 7, 0])
  remote.drop('default', 'c')
  t.same([backends('a'), backends('b'), backends('c')], [0, 7, 0])
  remote.reset({ services: [shared('a', 11)], namespaces: [] })
  t.same([mesh.link('cluster-2').state, backends('a'), backends('b')], ['lost', 0, 7])
  remote.reset({ services: [shared('a', 10)], namespaces: [] })
  t.same([mesh.link('cluster-2').state, backends('a'), backends('b')], ['live', 10, 0])
})

function shared(name: string, count: number) {
  const endpoints = Array.from({ length: count }, (_, i) =>
    endpoint({ address: `10.2.${name.charCodeAt(0)}.${i + 1}` }),
  )
  return clusterService({ cluster: 'cluster-2', name, endpoints })
}

function limited(t: Test) {
  const mesh = new Mesh({
    clusters: ['cluster-1', 'cluster-2'].map((name, i) => ({ name, id: i + 1, local: i === 0 })),
    staleAfterMs: 0,
    services: 'global',
    health: () => 'unknown',
    clock: new FakeClock(),
    log: silentLog,
    defer: run => run(),
  })
  t.teardown(() => mesh.close())
  const local = ['a', 'b', 'c'].map(name =>
    clusterService({ name, endpoints: [], clusterIPs: [`10.96.0.${name.charCodeAt(0)}`] }),
  )
  mesh.sink('cluster-1').reset({ services: local, namespaces: [] })
  const backends = (name: string) => mesh.directory.service(`default/${name}`)?.backends.length
  return { mesh, remote: mesh.sink('cluster-2', 10), backends }
}

t.test('with globalNamespaces: marked, a cluster shares only services of namespaces that say so', async t => {
  const marked = [clusters[0], { name: 'cluster-2', id: 2, local: false, globalNamespaces: 'marked' as const }]
  const { mesh, one, two, backends } = startMesh(t, { clusters: marked as MeshOptions['clusters'] })
  one.reset({ services: [here], namespaces: [] })
  two.reset({ services: [there], namespaces: [] })
  mesh.flush()
  t.same(backends(), ['10.1.0.1'], 'a namespace without a word is not global there')
  two.putNamespace({ name: 'default', global: true })
  mesh.flush()
  t.same(backends(), ['10.1.0.1', '10.2.0.1'])
  two.putNamespace({ name: 'default', global: false })
  mesh.flush()
  t.same(backends(), ['10.1.0.1'])
})

t.test('virtual addresses of a predecessor are kept', async t => {
  const vips = parseCidr('127.96.0.0/24') as Cidr
  const first = new VipAllocator(vips)
  // Of two services with one hash, the address of the second depends on which was there first.
  const names = Array.from({ length: 100 }, (_, i) => `default/s${i}`)
  for (const name of names) first.allocate(name)
  const next = new VipAllocator(vips)
  for (const [name, address] of first.held) next.reserve(name, address)
  next.reserve('default/foreign', '127.97.0.1')
  next.reserve('default/double', first.held.get('default/s1') ?? '')
  for (const name of names.toReversed()) t.equal(next.allocate(name)?.address, first.held.get(name))
  t.equal(next.held.size, 100)
})
