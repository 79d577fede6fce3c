/** ServiceImports and EndpointSlices that other implementations of the Multi-Cluster Services API put into the local cluster. */
import t, { type Test } from 'tap'
import { Mesh } from '../../../../proxy/mesh/mesh.ts'
import { type Cidr, parseCidr } from '../../../../proxy/model/address.ts'
import { silentLog } from '../../../../proxy/model/log.ts'
import { derivedServiceName } from '../../../../proxy/model/multicluster.ts'
import type { ClusterService } from '../../../../proxy/model/service.ts'
import { decodeKubernetes } from '../../../../proxy/sources/decode/decode.ts'
import { ServiceAssembler } from '../../../../proxy/sources/service-assembler.ts'
import { FakeClock } from '../../../support/clock.ts'
import { clusterService, endpoint, FakeDirectory } from '../../../support/model.ts'
import { ask, responder, told } from '../dns.ts'

const cidr = (text: string) => parseCidr(text) as Cidr

type Fields = Readonly<Record<string, unknown>>

function service(name: string, spec: Fields = {}, annotations: Fields = {}): object {
  const ports = [{ name: 'http', port: 80 }]
  return { apiVersion: 'v1', kind: 'Service', metadata: { name, annotations }, spec: { ports, ...spec } }
}

function anImport(name: string, spec: Fields = {}, annotations: Fields = {}): object {
  return {
    apiVersion: 'multicluster.x-k8s.io/v1alpha1',
    kind: 'ServiceImport',
    metadata: { name, annotations },
    spec: { type: 'ClusterSetIP', ports: [{ name: 'http', protocol: 'TCP', port: 80 }], ...spec },
  }
}

/** A slice that an implementation keeps for an import. `labels` are added to those of the API. */
function slice(
  name: string,
  cluster: string,
  endpoints: readonly Fields[],
  labels: Fields = {},
  given: Fields = {},
): object {
  const own = { 'multicluster.kubernetes.io/service-name': name, 'multicluster.kubernetes.io/source-cluster': cluster }
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: `${name}-${cluster}-${endpoints.length}`.toLowerCase(), labels: { ...own, ...labels } },
    addressType: 'IPv4',
    endpoints,
    ports: [{ name: 'http', port: 8080 }],
    ...given,
  }
}

/** The answers of a responder in `cluster-1`, which has the objects; `cluster-2` is read by Starlane itself. */
function clusterWith(t: Test, objects: readonly object[], remote: readonly ClusterService[] = [], vips = false) {
  const mesh = new Mesh({
    clusters: ['cluster-1', 'cluster-2'].map((name, i) => ({ name, id: i + 1, local: i === 0 })),
    staleAfterMs: 0,
    services: 'global',
    health: () => 'unknown',
    clock: new FakeClock(),
    log: silentLog,
    defer: () => {},
    ...(vips && { vips: cidr('127.96.0.0/16') }),
  })
  t.teardown(() => mesh.close())
  const assembler = new ServiceAssembler('cluster-1')
  const put = (...changed: readonly object[]) => {
    for (const given of changed) {
      const { object, faults } = decodeKubernetes(given)
      t.same(faults, [])
      if (object) assembler.put(object)
    }
    assembler.flush(mesh.sink('cluster-1'))
    mesh.flush()
  }
  put(...objects)
  mesh.sink('cluster-2').reset({ services: remote, namespaces: [] })
  mesh.flush()
  const dns = responder(new FakeDirectory(), { networks: [cidr('10.0.0.0/8')] }, { directory: mesh.directory })
  return {
    mesh,
    put,
    answers: async (...cases: (readonly [name: string, type: string, answer: string])[]) => {
      for (const [name, type, answer] of cases) {
        const full = name.endsWith('.arpa') || name.endsWith('.local') ? name : `${name}.default.svc.clusterset.local`
        t.equal(told(await ask(dns, full, type)), answer, `${name} ${type}`)
      }
    },
  }
}

const pods = [
  { addresses: ['10.2.0.1'], hostname: 'db-0' },
  { addresses: ['10.2.0.2'], conditions: { ready: false } },
  { addresses: ['10.2.0.3'] },
]
const target = (name: string) => `${name}.default.svc.clusterset.local`

t.test('an import with addresses', async t => {
  const web = anImport('web', { ips: ['10.96.5.5', 'fd00:5::5'], ports: [{ name: 'http', port: 8000 }] })
  const expected = [
    ['web', 'A', 'A 10.96.5.5'],
    ['web', 'AAAA', 'AAAA fd00:5::5'],
    ['_http._tcp.web', 'SRV', `SRV 8000 ${target('web')}`],
    ['_grpc._tcp.web', 'SRV', 'NXDOMAIN'],
    ['5.5.96.10.in-addr.arpa', 'PTR', `PTR ${target('web')}`],
    ['cluster-9.web', 'A', 'NXDOMAIN'],
  ] as const
  t.test('alone', async t => {
    const { mesh, answers } = clusterWith(t, [web])
    await answers(...expected, ['web.default.svc.cluster.local', 'A', 'NXDOMAIN'])
    t.same(mesh.directory.service('default/web')?.frontends, [], 'its connections are those of the implementation')
  })
  t.test('with virtual addresses here', async t => {
    await clusterWith(t, [web], [], true).answers(...expected)
  })
  t.test('beside a local Service that is not shared', async t => {
    const { answers, put } = clusterWith(t, [service('web', { clusterIP: '10.96.0.10' }), web])
    await answers(
      ...expected,
      ['web.default.svc.cluster.local', 'A', 'A 10.96.0.10'],
      ['10.0.96.10.in-addr.arpa', 'PTR', 'PTR web.default.svc.cluster.local'],
    )
    put(anImport('web', { ips: ['10.96.5.6'] }))
    await answers(['web', 'A', 'A 10.96.5.6'], ['_http._tcp.web', 'SRV', `SRV 80 ${target('web')}`])
    await answers(
      ['5.5.96.10.in-addr.arpa', 'PTR', 'NXDOMAIN'],
      ['6.5.96.10.in-addr.arpa', 'PTR', `PTR ${target('web')}`],
    )
  })
  t.test('beside a local Service that is shared', async t => {
    const shared = service('web', { clusterIP: '10.96.0.10' }, { 'service.cilium.io/global': 'true' })
    await clusterWith(t, [shared, web]).answers(...expected)
  })
})

t.test('a headless import with endpoints of several clusters', async t => {
  const objects = [
    anImport('db', { type: 'Headless', ips: [] }),
    slice('db', 'East', pods),
    slice('db', 'west', [{ addresses: ['10.3.0.1'], hostname: 'db-0' }]),
    slice('db', 'west', [{ addresses: ['fd00:3::1'] }, { addresses: ['fd00:3::2'] }], {}, { addressType: 'IPv6' }),
  ]
  const expected = [
    ['db', 'A', 'A 10.2.0.1, A 10.2.0.3, A 10.3.0.1'],
    ['db', 'AAAA', 'AAAA fd00:3::1, AAAA fd00:3::2'],
    ['db-0.east.db', 'A', 'A 10.2.0.1'],
    ['db-0.west.db', 'A', 'A 10.3.0.1'],
    ['10-2-0-3.east.db', 'A', 'A 10.2.0.3'],
    ['10-2-0-2.east.db', 'A', 'NXDOMAIN'],
    ['east.db', 'A', 'NODATA'],
    ['south.db', 'A', 'NXDOMAIN'],
    ['db-0.east.db', 'SRV', `SRV 8080 db-0.east.${target('db')}`],
    ['1.0.2.10.in-addr.arpa', 'PTR', `PTR db-0.east.${target('db')}`],
  ] as const
  t.test('alone', async t => {
    const { answers, put } = clusterWith(t, objects)
    await answers(...expected)
    put(slice('db', 'East', [{ addresses: ['10.2.0.9'] }, { addresses: ['10.2.0.3'] }, { addresses: ['10.2.0.4'] }]))
    await answers(['db', 'A', 'A 10.2.0.3, A 10.2.0.4, A 10.2.0.9, A 10.3.0.1'], ['db-0.east.db', 'A', 'NXDOMAIN'])
  })
  t.test('beside a local Service of its name, whose own endpoints stay its own', async t => {
    const own = {
      ...slice('db', '-', [{ addresses: ['10.1.0.1'] }]),
      metadata: { name: 'db-own', labels: { 'kubernetes.io/service-name': 'db' } },
    }
    const { mesh, answers } = clusterWith(t, [service('db', { clusterIP: 'None' }), own, ...objects])
    await answers(...expected, ['db.default.svc.cluster.local', 'A', 'A 10.1.0.1'])
    t.equal(mesh.directory.service('default/db')?.backends.length, 1, 'what is imported takes no connections here')
  })
  t.test('of a cluster that Starlane reads itself, only what it reads is used', async t => {
    const ready = endpoint({ address: '10.4.0.1', hostname: 'db-0' })
    const exported = { createdAt: 1, annotations: {}, labels: {} }
    const read = clusterService({ cluster: 'cluster-2', name: 'db', headless: true, exported, endpoints: [ready] })
    const copies = slice('db', 'cluster-2', [{ addresses: ['10.4.0.2'], hostname: 'stale' }])
    await clusterWith(t, [...objects, copies], [read]).answers(
      ['db', 'A', 'A 10.2.0.1, A 10.2.0.3, A 10.3.0.1, A 10.4.0.1'],
      ['db-0.cluster-2.db', 'A', 'A 10.4.0.1'],
      ['stale.cluster-2.db', 'A', 'NXDOMAIN'],
      ['db-0.east.db', 'A', 'A 10.2.0.1'],
      ['2.0.4.10.in-addr.arpa', 'PTR', 'NXDOMAIN'],
    )
  })
})

t.test('what implementations write', async t => {
  t.test('Submariner, without spec.ips: the endpoints are the Services of the clusters', async t => {
    const manager = { 'endpointslice.kubernetes.io/managed-by': 'lighthouse-agent.submariner.io' }
    const objects = [anImport('web'), slice('web', 'east', [{ addresses: ['100.2.0.1'] }], manager)]
    await clusterWith(t, [...objects, service('web', { clusterIP: '10.96.0.10' })]).answers(
      ['web', 'A', 'A 100.2.0.1'],
      ['_http._tcp.web', 'SRV', `SRV 80 ${target('web')}`],
    )
  })

  t.test("Cilium's operator: a derived Service, and slices of its mesh controller", async t => {
    const derived = derivedServiceName('default', 'db')
    const annotations = { 'multicluster.kubernetes.io/derived-service': derived }
    const of = (manager: string) => ({
      'kubernetes.io/service-name': derived,
      'endpointslice.kubernetes.io/managed-by': manager,
    })
    await clusterWith(t, [
      anImport('db', { type: 'Headless' }, annotations),
      service(derived, { clusterIP: 'None' }, { 'service.cilium.io/global': 'true' }),
      slice('db', 'east', pods, of('endpointslice-mesh-controller.cilium.io')),
      slice(
        'db',
        'cluster-1',
        [{ addresses: ['10.1.0.1'], hostname: 'db-0' }],
        of('endpointslice-local-mcsapi-controller.cilium.io'),
      ),
    ]).answers(
      ['db', 'A', 'A 10.1.0.1, A 10.2.0.1, A 10.2.0.3'],
      ['db-0.east.db', 'A', 'A 10.2.0.1'],
      ['db-0.cluster-1.db', 'A', 'A 10.1.0.1'],
    )
    await clusterWith(t, [
      anImport('db', { ips: ['10.96.7.7'] }, annotations),
      service(derived, { clusterIP: '10.96.7.7' }, { 'service.cilium.io/global': 'true' }),
    ]).answers(['db', 'A', 'A 10.96.7.7'], ['_http._tcp.db', 'SRV', `SRV 80 ${target('db')}`])
  })

  t.test('the name of a cluster may have dots', async t => {
    await clusterWith(t, [anImport('db', { type: 'Headless' }), slice('db', 'east.eu', pods)]).answers(
      ['db-0.east.eu.db', 'A', 'A 10.2.0.1'],
      ['east.eu.db', 'A', 'NODATA'],
      ['eu.db', 'A', 'NODATA'],
      ['db-0.eu.db', 'A', 'NXDOMAIN'],
    )
  })

  t.test('slices without an import, and those of Starlane, are not read', async t => {
    const own = { 'endpointslice.kubernetes.io/managed-by': 'endpointslice-mesh-controller.starlane.dev' }
    await clusterWith(t, [slice('lone', 'east', pods)]).answers(['lone', 'A', 'NXDOMAIN'])
    await clusterWith(t, [anImport('db', { type: 'Headless' }), slice('db', 'east', pods, own)]).answers([
      'db',
      'A',
      'NXDOMAIN',
    ])
  })
})
