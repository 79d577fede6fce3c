import fc from 'fast-check'
import t, { type Test } from 'tap'
import { Mesh, type MeshOptions } from '../../../proxy/mesh/mesh.ts'
import { parseCidr } from '../../../proxy/model/address.ts'
import { agree, type Exporter } from '../../../proxy/model/clusterset.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { derivedServiceName } from '../../../proxy/model/multicluster.ts'
import type { ClusterService } from '../../../proxy/model/service.ts'
import { FakeClock } from '../../support/clock.ts'
import { clusterService, endpoint, FakeDirectory } from '../../support/model.ts'
import { ask, responder, told } from '../dns/dns.ts'

const http = { name: 'http', protocol: 'TCP', port: 80 } as const
const dns = { name: 'dns', protocol: 'UDP', port: 53 } as const

/** A Service of a cluster with its ServiceExport, made at a time. */
function exporter(cluster: string, createdAt?: number, given: Partial<ClusterService> = {}): Exporter {
  const exported = { ...(createdAt !== undefined && { createdAt }), annotations: {}, labels: {} }
  return { ...clusterService({ cluster, annotations: {}, ports: [http], ...given }), exported }
}

t.test('where exports of equal rank disagree, the oldest wins (KEP-1645)', async t => {
  const cases: [reason: string, young: Partial<Exporter>, message: string][] = [
    ['TypeConflict', { headless: true, clusterIPs: [] }, 'type: ClusterSetIP as in b, {oldest}; a has Headless'],
    [
      'SessionAffinityConflict',
      { sessionAffinity: { timeoutMs: 5000 } },
      'sessionAffinity: None as in b, {oldest}; a has ClientIP',
    ],
    [
      'InternalTrafficPolicyConflict',
      { internalTrafficPolicy: 'Local' },
      'internalTrafficPolicy: Cluster as in b, {oldest}; a has Local',
    ],
    [
      'TrafficDistributionConflict',
      { trafficDistribution: 'PreferClose' },
      'trafficDistribution: none as in b, {oldest}; a has PreferClose',
    ],
    [
      'AnnotationsConflict',
      { exported: { createdAt: 2, annotations: { x: 'y' }, labels: {} } },
      'exportedAnnotations: {} as in b, {oldest}; a has {"x":"y"}',
    ],
    [
      'LabelsConflict',
      { exported: { createdAt: 2, annotations: {}, labels: { x: 'y' } } },
      'exportedLabels: {} as in b, {oldest}; a has {"x":"y"}',
    ],
    [
      'IPFamilyConflict',
      { clusterIPs: ['127.96.0.10', 'fd00::1'] },
      'ipFamilies: IPv4 is what most have in common; a has IPv4 and IPv6',
    ],
  ]
  for (const [reason, young, message] of cases) {
    const agreed = agree([{ ...exporter('a', 2), ...young }, exporter('b', 1)])
    const oldest = 'whose export is the oldest'
    t.same(agreed?.conflicts, [{ reason, message: message.replace('{oldest}', oldest) }])
    t.match(agreed, { headless: false, sessionAffinity: undefined, internalTrafficPolicy: 'Cluster' })
    t.same(agreed?.clusters, ['a', 'b'], 'in the order they were given')
  }
  const timeouts = [2, 1].map(seconds =>
    exporter(`c${seconds}`, seconds, { sessionAffinity: { timeoutMs: seconds * 1000 } }),
  )
  t.match(agree(timeouts)?.conflicts, [
    { reason: 'SessionAffinityConfigConflict', message: /^sessionAffinityConfig: 1 s as in c1, .*; c2 has 2 s$/ },
  ])
  t.equal(agree([]), undefined)
})

t.test('ports are the union; on a conflict of name or number the older export wins', async t => {
  const conflicts = (...ports: ClusterService['ports'][]) => {
    const agreed = agree(ports.map((own, i) => exporter(`c${i + 1}`, i, { ports: own })))
    return { ports: agreed?.ports, conflicts: agreed?.conflicts.map(({ message }) => message) }
  }
  t.same(conflicts([http, dns], [dns, http]), { ports: [http, dns], conflicts: [] }, 'in any order')
  t.same(conflicts([http], [http, dns]), {
    ports: [http, dns],
    conflicts: ['ports: c1 is without "dns" 53/UDP'],
  })
  t.same(conflicts([http], [{ ...http, port: 8080 }]), {
    ports: [http],
    conflicts: ['ports: "http" 80/TCP is as in c1, so "http" 8080/TCP of c2 is left out'],
  })
  t.same(conflicts([http], [{ ...http, name: 'web' }]), {
    ports: [http],
    conflicts: ['ports: "http" 80/TCP is as in c1, so "web" 80/TCP of c2 is left out'],
  })
  t.same(
    conflicts([http], [{ ...http, protocol: 'UDP', name: 'h3' }]).ports?.length,
    2,
    'a protocol is a place of its own',
  )
})

t.test('exports without a creation time count as the youngest; equal ones are ordered by cluster name', async t => {
  const headless = { headless: true, clusterIPs: [] }
  t.equal(agree([exporter('a', undefined, headless), exporter('b', 5)])?.headless, false)
  t.equal(agree([exporter('b', 5), exporter('a', 5, headless)])?.headless, true)
  t.match(agree([exporter('b'), exporter('a', undefined, headless)])?.conflicts, [
    { message: /as in a, the first by name of those whose exports are of one age; b has ClusterSetIP/ },
  ])
})

t.test('for any exports, the ports are valid for a Service and do not depend on the order', async () => {
  const port = fc.record({
    name: fc.constantFrom('a', 'b', 'c'),
    protocol: fc.constantFrom('TCP' as const, 'UDP' as const),
    port: fc.constantFrom(1, 2, 3),
  })
  const exporters = fc.uniqueArray(
    fc.record({
      cluster: fc.constantFrom('a', 'b', 'c'),
      at: fc.constantFrom(undefined, 1, 2),
      ports: fc.array(port),
    }),
    { selector: ({ cluster }) => cluster, minLength: 1 },
  )
  fc.assert(
    fc.property(exporters, all => {
      const made = all.map(({ cluster, at, ports }) => exporter(cluster, at, { ports }))
      const { ports = [] } = agree(made) ?? {}
      const reversed = agree(made.toReversed())
      const places = ports.map(({ port, protocol }) => `${port}/${protocol}`)
      return (
        new Set(ports.map(({ name }) => name)).size === ports.length &&
        new Set(places).size === ports.length &&
        JSON.stringify(reversed?.ports) === JSON.stringify(ports)
      )
    }),
  )
})

function start(t: Test, given: Partial<MeshOptions> = {}) {
  const mesh = new Mesh({
    clusters: ['cluster-1', 'cluster-2', 'cluster-3'].map((name, i) => ({ name, id: i + 1, local: i === 0 })),
    staleAfterMs: 0,
    services: 'global',
    health: () => 'unknown',
    clock: new FakeClock(),
    log: silentLog,
    defer: () => {},
    ...given,
  })
  t.teardown(() => mesh.close())
  const deliver = (cluster: string, ...services: ClusterService[]) => {
    mesh.sink(cluster).reset({ services, namespaces: [] })
    mesh.flush()
  }
  const server = responder(new FakeDirectory(), {}, { directory: mesh.directory })
  t.teardown(() => server.close())
  const answer = async (name: string, type = 'A') =>
    told(await ask(server, `${name}.default.svc.clusterset.local`, type))
  const service = (name = 'rebel-base') => mesh.directory.service(`default/${name}`)
  const frontends = (name?: string) => service(name)?.frontends.map(({ key }) => key)
  const backends = (name?: string) => service(name)?.backends.map(({ key }) => key)
  return { mesh, deliver, answer, service, frontends, backends }
}

const vips = { vips: parseCidr('127.99.0.0/24') } as MeshOptions
const pod = (address: string) => endpoint({ address, ports: [{ ...http, port: 8080 }] })

t.test('a service that only other clusters export has a virtual address, if its namespace exists here', async t => {
  const { mesh, deliver, answer, service, frontends, backends } = start(t, vips)
  const given = { endpoints: [pod('10.2.0.1')], sessionAffinity: { timeoutMs: 7000 } }
  const two = exporter('cluster-2', 1, given)
  deliver('cluster-1')
  deliver('cluster-2', two)
  t.same(frontends(), [], 'the namespace does not exist here')
  t.equal(await answer('rebel-base'), 'NXDOMAIN')
  mesh.sink('cluster-1').putNamespace({ name: 'default', global: true })
  mesh.flush()
  const [frontend = ''] = frontends() ?? []
  t.match(frontend, /^127\.99\.0\.\d+:80\/TCP$/)
  t.match(service(), { local: { imported: true }, settings: { global: true, shared: false } })
  t.same(service()?.settings.sessionAffinity, { timeoutMs: 7000 })
  t.same(backends(), ['cluster-2/10.2.0.1:8080/TCP'])
  t.equal(await answer('rebel-base'), `A ${frontend.split(':')[0]}`)
  t.equal(await answer('_http._tcp.rebel-base', 'SRV'), 'SRV 80 rebel-base.default.svc.clusterset.local')

  deliver('cluster-3', exporter('cluster-3', 0, { ports: [http, dns], endpoints: [pod('10.3.0.1')] }))
  t.same(service()?.settings.sessionAffinity, { timeoutMs: 7000 }, 'an older date takes over nothing')
  t.equal(frontends()?.length, 2)
  t.equal(frontends()?.[0], frontend, 'the address stays')
  t.equal(await answer('_dns._udp.rebel-base', 'SRV'), 'SRV 53 rebel-base.default.svc.clusterset.local')

  mesh.sink('cluster-1').dropNamespace('default')
  mesh.flush()
  t.same(frontends(), [])
  t.equal(await answer('rebel-base'), 'NXDOMAIN')
})

t.test('exportedAnnotations are those of the import', async t => {
  const { deliver, service } = start(t, vips)
  const annotations = { 'service.cilium.io/affinity': 'remote', 'service.cilium.io/shared': 'true' }
  deliver('cluster-1', clusterService({ name: 'other' }))
  deliver('cluster-2', { ...exporter('cluster-2'), exported: { annotations, labels: {} } })
  t.match(service()?.settings, { affinity: 'remote', shared: false, global: true }, 'but an import exports nothing')
})

t.test(
  'without virtual addresses a service that only others export has none, and a headless one needs none',
  async t => {
    const { deliver, answer, frontends } = start(t)
    deliver('cluster-1', clusterService({ name: 'other' }))
    const headless = { name: 'tail', headless: true, clusterIPs: [] }
    const endpoints = [{ ...pod('10.2.0.1'), hostname: 'tail-0' }]
    deliver('cluster-2', exporter('cluster-2', 1), exporter('cluster-2', 1, { ...headless, endpoints }))
    t.same(frontends(), [])
    t.equal(await answer('rebel-base'), 'NXDOMAIN')
    t.equal(await answer('tail'), 'A 10.2.0.1')
    t.equal(await answer('tail-0.cluster-2.tail'), 'A 10.2.0.1')
  },
)

t.test(
  'an exported Service keeps its own ports, whatever date others have, and adds those that others export',
  async t => {
    const { deliver, answer, frontends } = start(t)
    deliver('cluster-1', exporter('cluster-1', 2, { endpoints: [pod('10.1.0.1')] }))
    const other = { ports: [{ ...http, port: 8080 }, dns], endpoints: [pod('10.2.0.1')] }
    deliver('cluster-2', exporter('cluster-2', 1, other))
    t.same(frontends(), ['127.96.0.10:80/TCP', '127.96.0.10:53/UDP'])
    t.equal(await answer('_http._tcp.rebel-base', 'SRV'), 'SRV 80 rebel-base.default.svc.clusterset.local')
  },
)

t.test('the first export decides whether there is an address', async t => {
  const headless = { headless: true, clusterIPs: [] }
  for (const [first, second, answers] of [
    [headless, {}, /^A 10\.1\.0\.1, A 10\.2\.0\.1$/],
    [{}, headless, /^A 127\.99\.0\.\d+$/],
  ] as const) {
    const { deliver, answer } = start(t, vips)
    deliver('cluster-1', exporter('cluster-1', 2, { ...first, endpoints: [pod('10.1.0.1')] }))
    deliver('cluster-2', exporter('cluster-2', 1, { ...second, endpoints: [pod('10.2.0.1')] }))
    t.match(await answer('rebel-base'), answers)
  }
})

t.test(
  'the local cluster decides, then the order of the configuration, and dates among discovered clusters',
  async t => {
    const own = (cluster: string, createdAt: number) =>
      exporter(cluster, createdAt, { sessionAffinity: { timeoutMs: createdAt } })
    const rankOf = (cluster: string) => ['local', 'one', 'two'].indexOf(cluster) >>> 0
    const winner = (...exporters: Exporter[]) => agree(exporters, rankOf)?.sessionAffinity?.timeoutMs
    const [local, one, two, young, old] = [own('local', 9), own('one', 8), own('two', 7), own('x', 6), own('y', 0)]
    t.equal(winner(old, young, two, one, local), 9)
    t.equal(winner(old, young, two, one), 8)
    t.equal(winner(old, young, two), 7)
    t.equal(winner(young, old), 0)
    t.match(
      agree([one, old], rankOf)
        ?.conflicts.map(({ message }) => message)
        .join(),
      /as in one, the first in the order of the clusters; y has/,
    )
  },
)

t.test('a discovered cluster has no place in the order', async t => {
  const clusters = [
    { name: 'cluster-1', id: 1, local: true },
    { name: 'cluster-2', id: 0, local: false, discovered: true },
    { name: 'cluster-3', id: 0, local: false, discovered: true },
  ]
  const { deliver, service } = start(t, { ...vips, clusters })
  deliver('cluster-1', clusterService({ name: 'other' }))
  deliver('cluster-2', exporter('cluster-2', 2, { sessionAffinity: { timeoutMs: 2 } }))
  deliver('cluster-3', exporter('cluster-3', 1, { sessionAffinity: { timeoutMs: 1 } }))
  t.same(service()?.settings.sessionAffinity, { timeoutMs: 1 })
})

t.test('a Service annotated as not global is not exported, and gets no ports of others', async t => {
  const { deliver, service, frontends } = start(t)
  deliver('cluster-1', exporter('cluster-1', 1, { annotations: { 'service.cilium.io/global': 'false' } }))
  deliver('cluster-2', exporter('cluster-2', 2, { ports: [http, dns] }))
  t.same(service()?.clusterset?.clusters, ['cluster-2'])
  t.same(frontends(), ['127.96.0.10:80/TCP'])
})

t.test('a derived Service leads to the clusters that export its origin', async t => {
  const { mesh, deliver, answer, service, frontends, backends } = start(t)
  const name = derivedServiceName('default', 'rebel-base')
  t.equal(name, 'derived-q358ba8kk0', 'as Cilium’s operator names it')
  const derived = clusterService({ name, derivedFrom: 'rebel-base', clusterIPs: ['10.96.7.7'], ports: [http] })
  const plain = clusterService({ annotations: {}, derived: name, endpoints: [pod('10.1.0.1')] })
  deliver('cluster-1', plain, derived)
  deliver('cluster-2', exporter('cluster-2', 1, { endpoints: [pod('10.2.0.1')] }))
  // As Cilium's operator does it, where the export itself cannot be read.
  deliver('cluster-3', clusterService({ cluster: 'cluster-3', name, endpoints: [pod('10.3.0.1')] }))
  t.same(frontends(name), ['10.96.7.7:80/TCP'])
  t.same(backends(name), ['cluster-2/10.2.0.1:8080/TCP', 'cluster-3/10.3.0.1:8080/TCP'])
  t.same(backends(), ['cluster-1/10.1.0.1:8080/TCP'], 'the local Service is unchanged')
  t.equal(await answer('rebel-base'), 'A 10.96.7.7')
  t.equal(await answer('_http._tcp.rebel-base', 'SRV'), 'SRV 80 rebel-base.default.svc.clusterset.local')

  const before = service(name)
  mesh.sink('cluster-1').put({ ...exporter('cluster-1', 2, { endpoints: [pod('10.1.0.1')] }), derived: name })
  mesh.flush()
  t.same(backends(name)?.[0], 'cluster-1/10.1.0.1:8080/TCP', 'exported here too')
  t.not(service(name), before)
  const settled = service(name)
  mesh.healthChanged('10.9.9.9:1/TCP')
  mesh.sink('cluster-2').put(exporter('cluster-2', 1, { name: 'else' }))
  mesh.flush()
  t.equal(service(name), settled, 'a change elsewhere does not touch it')

  mesh.sink('cluster-1').drop('default', name)
  mesh.flush()
  t.match(await answer('rebel-base'), 'A 127.96.0.10', 'without the derived Service its own address is left')
})

t.test('a derived headless Service has the endpoints of all clusters', async t => {
  const { deliver, answer } = start(t)
  const name = derivedServiceName('default', 'rebel-base')
  const headless = { headless: true, clusterIPs: [] }
  const stand = clusterService({ imported: true, derived: name, ...headless, endpoints: [] })
  deliver('cluster-1', stand, clusterService({ name, derivedFrom: 'rebel-base', ...headless }))
  deliver('cluster-2', exporter('cluster-2', 1, { ...headless, endpoints: [{ ...pod('10.2.0.1'), hostname: 'h' }] }))
  t.equal(await answer('rebel-base'), 'A 10.2.0.1')
  t.equal(await answer('h.cluster-2.rebel-base'), 'A 10.2.0.1')
})

t.test(
  'exports of others never use up the range: local services come first, then each cluster has its share',
  async t => {
    const { mesh, deliver, answer, frontends } = start(t, vips)
    const many = (cluster: string, count: number) =>
      Array.from({ length: count }, (_, i) => exporter(cluster, i, { name: `${cluster}-${i}` }))
    deliver('cluster-1', clusterService({ name: 'here' }))
    deliver('cluster-2', ...many('cluster-2', 300))
    const held = () => [...mesh.directory.services()].filter(({ frontends: [first] }) => first)
    const of = (cluster: string) => held().filter(({ name }) => name.startsWith(cluster)).length
    t.equal(of('cluster-2'), 127, 'half of 254')
    t.match(mesh.problems(), [{ code: 'VIP_RANGE', where: 'cluster-2', message: /^173 services of it, such as / }])
    t.equal(await answer('cluster-2-299'), 'NXDOMAIN', 'no address of another service')

    deliver('cluster-3', ...many('cluster-3', 100))
    t.same([of('cluster-2'), of('cluster-3')], [95, 95], 'three quarters of the range, in equal parts')

    const locals = Array.from({ length: 120 }, (_, i) => clusterService({ name: `local-${i}` }))
    deliver('cluster-1', clusterService({ name: 'here' }), ...locals)
    t.equal(locals.filter(({ name }) => frontends(name)?.length === 1).length, 120)
    t.same([of('cluster-2'), of('cluster-3')].sort(), [66, 67], 'the others make room')
    const addresses = held().flatMap(({ frontends }) => frontends.map(({ ip }) => ip))
    t.equal(new Set(addresses).size, addresses.length, 'no address has two services')
    for (const { name, frontends } of held().slice(0, 20)) t.equal(await answer(name), `A ${frontends[0]?.ip}`)

    deliver('cluster-1', clusterService({ name: 'here' }))
    mesh.flush()
    for (let i = 0; i < 200; i++) mesh.flush()
    t.same([of('cluster-2'), of('cluster-3')].sort(), [95, 95], 'and get it back')
    deliver('cluster-1', ...Array.from({ length: 300 }, (_, i) => clusterService({ name: `local-${i}` })))
    t.same([of('local'), of('cluster')], [254, 0])
    t.equal(mesh.problems().filter(({ where }) => where.startsWith('default/local')).length, 46)
  },
)

t.test('an evicted service is announced before its address has another one, and in the same batch', async t => {
  const tiny = { vips: parseCidr('127.99.0.0/30') } as MeshOptions
  const { mesh, deliver, frontends } = start(t, tiny)
  deliver('cluster-1', clusterService({ name: 'a' }))
  deliver('cluster-2', exporter('cluster-2', 1, { name: 'far' }))
  const [address] = frontends('far') ?? []
  const batches: string[][] = []
  mesh.directory.onChange(change => batches.push(change.map(({ key, after }) => `${key} ${after?.frontends[0]?.key}`)))
  mesh.sink('cluster-1').put(clusterService({ name: 'b' }))
  mesh.flush()
  t.same(batches, [['default/far undefined', `default/b ${address}`]])
})

t.test('ports that others export and the local Service does not declare are shown', async t => {
  const { mesh, deliver } = start(t)
  deliver('cluster-1', exporter('cluster-1'))
  deliver('cluster-2', exporter('cluster-2', 2, { ports: [http, dns] }))
  t.match(mesh.problems(), [
    { code: 'EXPORT_PORTS', where: 'cluster-1 default/rebel-base', message: /\(cluster-2 53\/UDP\).*add them to it/ },
  ])
  deliver('cluster-2', exporter('cluster-2', 2))
  t.same(mesh.problems(), [])
})
