import t from 'tap'
import { type MemberService, type MergeContext, merge, remerge } from '../../../proxy/mesh/merge.ts'
import { decodeSettings } from '../../../proxy/mesh/settings.ts'
import { familyOf } from '../../../proxy/model/address.ts'
import { type Backends, type Health, select } from '../../../proxy/model/backend.ts'
import type { ClusterService, Endpoint, GlobalService } from '../../../proxy/model/service.ts'
import { clusterService, endpoint } from '../../support/model.ts'

const clusters = ['cluster-1', 'cluster-2', 'cluster-3']

t.test('annotations', async t => {
  const decode = (annotations: Record<string, string>) => decodeSettings(clusterService({ annotations }), clusters)

  const cases: [string, Record<string, string>, object, number][] = [
    ['nothing is not global', {}, { global: false, shared: false }, 0],
    ['global is shared by default', { 'service.cilium.io/global': 'true' }, { global: true, shared: true }, 0],
    ['any case is true', { 'service.cilium.io/global': 'TRUE' }, { global: true }, 0],
    ['the old name is an alias', { 'io.cilium/global-service': 'true' }, { global: true, shared: true }, 0],
    [
      'the new name hides the old one, even when empty',
      { 'service.cilium.io/global': '', 'io.cilium/global-service': 'true' },
      { global: false },
      1,
    ],
    ['1 is not true', { 'service.cilium.io/global': '1' }, { global: false }, 1],
    ['padded is not true', { 'service.cilium.io/global': ' true' }, { global: false }, 1],
    ['unshared', { 'service.cilium.io/global': 'true', 'service.cilium.io/shared': 'false' }, { shared: false }, 0],
    [
      'unshared by alias',
      { 'io.cilium/global-service': 'true', 'io.cilium/shared-service': 'false' },
      { shared: false },
      0,
    ],
    [
      'shared: yes is not shared',
      { 'service.cilium.io/global': 'true', 'service.cilium.io/shared': 'yes' },
      { shared: false },
      1,
    ],
    ['shared counts only for global ones', { 'service.cilium.io/shared': 'true' }, { global: false, shared: false }, 0],
    [
      'affinity',
      { 'service.cilium.io/global': 'true', 'service.cilium.io/affinity': 'local' },
      { affinity: 'local' },
      0,
    ],
    [
      'affinity by alias',
      { 'io.cilium/global-service': 'true', 'io.cilium/service-affinity': 'remote' },
      { affinity: 'remote' },
      0,
    ],
    [
      'affinity none equals absent',
      { 'service.cilium.io/global': 'true', 'service.cilium.io/affinity': 'none' },
      { affinity: 'none' },
      0,
    ],
    [
      'affinity in any case',
      { 'service.cilium.io/global': 'True', 'service.cilium.io/affinity': 'Local' },
      { affinity: 'local' },
      0,
    ],
    [
      'affinity in capitals, by alias',
      { 'io.cilium/global-service': 'TRUE', 'io.cilium/service-affinity': 'REMOTE' },
      { affinity: 'remote' },
      0,
    ],
    [
      'None is none',
      { 'service.cilium.io/global': 'true', 'service.cilium.io/affinity': 'None' },
      { affinity: 'none' },
      0,
    ],
    [
      'a mistyped affinity is none, and said',
      { 'service.cilium.io/global': 'true', 'service.cilium.io/affinity': 'lokal' },
      { affinity: 'none' },
      1,
    ],
    [
      'a padded affinity is none, as in Cilium, and said',
      { 'service.cilium.io/global': 'true', 'service.cilium.io/affinity': ' local' },
      { affinity: 'none' },
      1,
    ],
    [
      'shared in any case',
      { 'service.cilium.io/global': 'true', 'service.cilium.io/shared': 'FALSE' },
      { shared: false },
      0,
    ],
    [
      'names of clusters in any case',
      {
        'service.cilium.io/global': 'true',
        'starlane.dev/affinity': 'Cluster-2,CLUSTER-3',
        'starlane.dev/cluster-weights': 'Cluster-1=80,CLUSTER-2=20',
      },
      { clusterOrder: ['cluster-2', 'cluster-3'], clusterWeights: { 'cluster-1': 80, 'cluster-2': 20 } },
      0,
    ],
    [
      'ordered clusters, the unknown one said and kept',
      { 'service.cilium.io/global': 'true', 'starlane.dev/affinity': 'cluster-2, cluster-9' },
      { clusterOrder: ['cluster-2', 'cluster-9'] },
      1,
    ],
    [
      'minimum as a count',
      { 'service.cilium.io/global': 'true', 'starlane.dev/min-healthy-local': '3' },
      { minHealthyLocal: { count: 3 } },
      0,
    ],
    [
      'minimum as a share',
      { 'service.cilium.io/global': 'true', 'starlane.dev/min-healthy-local': '30%' },
      { minHealthyLocal: { percent: 30 } },
      0,
    ],
    [
      'a bad minimum is ignored, and said',
      { 'service.cilium.io/global': 'true', 'starlane.dev/min-healthy-local': '300%' },
      { minHealthyLocal: undefined },
      1,
    ],
    [
      'weights',
      { 'service.cilium.io/global': 'true', 'starlane.dev/cluster-weights': 'cluster-1=80,cluster-2=20' },
      { clusterWeights: { 'cluster-1': 80, 'cluster-2': 20 } },
      0,
    ],
    [
      'bad weights are ignored whole',
      { 'service.cilium.io/global': 'true', 'starlane.dev/cluster-weights': 'cluster-1=80,two' },
      { clusterWeights: undefined },
      1,
    ],
    [
      'weights of nothing',
      { 'service.cilium.io/global': 'true', 'starlane.dev/cluster-weights': 'cluster-1=0' },
      { clusterWeights: undefined },
      1,
    ],
  ]
  for (const [name, annotations, expected, faults] of cases) {
    const decoded = decode(annotations)
    t.match(decoded.settings, expected, name)
    t.equal(decoded.faults.length, faults, `${name}: ${faults} faults`)
  }
  t.match(decode({ 'service.cilium.io/global': 'yes' }).faults[0], /service\.cilium\.io\/global: "yes" is neither/)
})

t.test('the PROXY protocol, of any service', async t => {
  const global = { 'service.cilium.io/global': 'true' }
  for (const more of [{}, global]) {
    const decode = (value: string) =>
      decodeSettings(clusterService({ annotations: { ...more, 'starlane.dev/send-proxy': value } }), clusters)
    t.same([decode('v2').settings.sendProxy, decode('v2').faults], [true, []])
    t.equal(decode('').settings.sendProxy, undefined)
    t.equal(decode('v1').settings.sendProxy, undefined)
    t.match(decode('v1').faults, [/starlane\.dev\/send-proxy.* is not "v2"/])
  }
})

t.test('an annotation with nearly the name of one that is read is reported, and no other', async t => {
  const faultsOf = (...keys: string[]) =>
    decodeSettings(clusterService({ annotations: Object.fromEntries(keys.map(key => [key, 'true'])) }), clusters).faults
  for (const [key, meant] of [
    ['service.cilium.io/globl', 'service.cilium.io/global'],
    ['service.cilium.io/Shared', 'service.cilium.io/shared'],
    ['io.cilium/global-servce', 'io.cilium/global-service'],
    ['starlane.dev/cluster-weight', 'starlane.dev/cluster-weights'],
    ['starlane.dev/global', 'service.cilium.io/global'],
    ['service.cilium.io/min-healthy-local', 'starlane.dev/min-healthy-local'],
  ] as const)
    t.same(faultsOf(key), [`"${key}" is not an annotation that is read; did you mean "${meant}"?`])
  // Cilium's own, those of other objects, and of others.
  const foreign = [
    'lb-algorithm',
    'global-sync-endpoint-slices',
    'type',
    'node',
    'src-ranges-policy',
    'lb-l7',
    'weight',
  ]
  t.same(faultsOf(...foreign.map(name => `service.cilium.io/${name}`)), [])
  t.same(
    faultsOf('starlane.dev/gateway', 'starlane.dev/gateways', 'starlane.dev/owner', 'example.com/global', 'global'),
    [],
  )
  t.same(faultsOf(`starlane.dev/${'affinity'.repeat(1000)}`), [])
  t.equal(faultsOf(...Array.from({ length: 5000 }, (_, i) => `starlane.dev/affinit${i % 10}${i}`)).length < 11, true)
})

t.test('spec.trafficDistribution', async t => {
  for (const [value, expected, faults] of [
    [undefined, undefined, 0],
    ['PreferSameZone', 'PreferSameZone', 0],
    ['PreferClose', 'PreferSameZone', 0],
    ['PreferSameNode', 'PreferSameNode', 0],
    ['PreferFar', undefined, 1],
  ] as const) {
    for (const annotations of [{}, { 'service.cilium.io/global': 'true' }]) {
      const given = { annotations, ...(value && { trafficDistribution: value }) }
      const decoded = decodeSettings(clusterService(given), clusters)
      t.equal(decoded.settings.trafficDistribution, expected, value ?? 'nothing')
      t.equal(decoded.faults.length, faults)
    }
  }
})

t.test('a ServiceExport makes a service global unless an annotation says otherwise', async t => {
  const exported = { annotations: {}, labels: {} }
  for (const [annotations, global] of [
    [{}, true],
    [{ 'service.cilium.io/global': 'false' }, false],
    [{ 'io.cilium/global-service': 'no' }, false],
  ] as const) {
    const { settings } = decodeSettings(clusterService({ annotations, exported }), clusters)
    t.match(settings, { global, shared: global })
  }
})

t.test('Cilium truth table: which backends a cluster uses (1.3)', async t => {
  for (const [g1, g2, s1, s2, c1, c2] of [
    ['n', 'y', 'y', 'y', 'local', 'local'],
    ['y', 'n', 'y', 'y', 'local', 'local'],
    ['n', 'n', 'y', 'y', 'local', 'local'],
    ['y', 'y', 'y', 'y', 'local+remote', 'local+remote'],
    ['y', 'y', 'y', 'n', 'local', 'local+remote'],
    ['y', 'y', 'n', 'y', 'local+remote', 'local'],
    ['y', 'y', 'n', 'n', 'local', 'local'],
  ] as const) {
    const declare = (cluster: string, global: string, shared: string, address: string): ClusterService =>
      clusterService({
        cluster,
        annotations: {
          'service.cilium.io/global': `${global === 'y'}`,
          'service.cilium.io/shared': `${shared === 'y'}`,
        },
        endpoints: [endpoint({ address })],
      })
    const one = declare('cluster-1', g1, s1, '10.1.0.1')
    const two = declare('cluster-2', g2, s2, '10.2.0.1')
    const name = `C1 global=${g1} shared=${s1}, C2 global=${g2} shared=${s2}`
    t.equal(uses(merged(one, two), '10.1.0.1'), c1, `${name}: C1`)
    t.equal(uses(merged(two, one), '10.2.0.1'), c2, `${name}: C2`)
  }
})

t.test('backends that are known but not used are parked', async t => {
  const remote = clusterService({ cluster: 'cluster-2', endpoints: [endpoint({ address: '10.2.0.1' })] })
  const withLocal = merged(clusterService({ annotations: {} }), remote)
  t.equal(withLocal.backends.length, 0)
  t.same(addresses(withLocal.parked), ['10.2.0.1'], 'the local Service is not global')

  const alone = merge(
    'default/rebel-base',
    [{ service: remote, local: false, exported: true }],
    settingsOf(remote),
    context(),
  )
  t.equal(alone.local, undefined)
  t.same(alone.frontends, [], 'a service that only other clusters have has no frontend')
})

t.test('readiness (1.5)', async t => {
  const cases: [Partial<Endpoint>, string, boolean][] = [
    [{ ready: true, serving: true, terminating: false }, 'active', true],
    [{ ready: true, serving: true, terminating: true }, 'active', true],
    [{ ready: false, serving: true, terminating: true }, 'terminating', true],
    [{ ready: false, serving: false, terminating: true }, 'terminating', false],
    [{ ready: false, serving: true, terminating: false }, 'maintenance', true],
    [{ ready: false, serving: false, terminating: false }, 'maintenance', false],
    [{ weight: 0 }, 'maintenance', true],
  ]
  for (const [conditions, state, serving] of cases) {
    const service = merged(clusterService({ endpoints: [endpoint({ address: '10.1.0.1', ...conditions })] }))
    t.match(service.backends[0], { state, serving }, JSON.stringify(conditions))
    t.equal(service.frontends[0]?.backends.length, state === 'maintenance' ? 0 : 1)
  }
})

t.test('ports match by name, never by number', async t => {
  const service = merged(
    clusterService({
      ports: [
        { name: 'http', protocol: 'TCP', port: 80 },
        { name: 'dns', protocol: 'UDP', port: 53 },
        { name: 'web', protocol: 'TCP', port: 8080 },
      ],
      endpoints: [
        endpoint({
          address: '10.1.0.1',
          ports: [
            { name: 'http', protocol: 'TCP', port: 8080 },
            { name: 'web', protocol: 'TCP', port: 8080 },
            { name: 'dns', protocol: 'UDP', port: 5353 },
          ],
        }),
      ],
    }),
    clusterService({
      cluster: 'cluster-2',
      ports: [{ name: 'http', protocol: 'TCP', port: 9999 }],
      endpoints: [
        endpoint({ address: '10.2.0.1', ports: [{ name: 'http', protocol: 'TCP', port: 80 }] }),
        endpoint({ address: '10.2.0.2', ports: [{ name: '', protocol: 'TCP', port: 81 }] }),
        endpoint({ address: '10.2.0.3', ports: [{ name: 'metrics', protocol: 'TCP', port: 80 }] }),
        endpoint({ address: '10.2.0.4', ports: [{ name: 'http', protocol: 'UDP', port: 80 }] }),
      ],
    }),
  )
  t.equal(
    service.backends.filter(b => b.address === '10.1.0.1').length,
    2,
    'two names on one target port are one backend',
  )
  t.same(
    service.frontends.map(f => [f.name, f.backends.map(b => `${b.address}:${b.port}`)]),
    [
      ['http', ['10.1.0.1:8080', '10.2.0.1:80', '10.2.0.2:81']],
      ['dns', ['10.1.0.1:5353']],
      ['web', ['10.1.0.1:8080', '10.2.0.2:81']],
    ],
  )
})

t.test('dual stack: a frontend has backends of its family; a virtual address has both', async t => {
  const local = clusterService({
    clusterIPs: ['10.96.0.1', 'fd00::1'],
    endpoints: [endpoint({ address: '10.1.0.1' }), endpoint({ address: 'fd01::1' })],
  })
  const remote = clusterService({ cluster: 'cluster-2', endpoints: [endpoint({ address: '10.2.0.1' })] })
  const service = merged(local, remote)
  t.same(addresses(service.frontends[0]?.backends), ['10.1.0.1', '10.2.0.1'])
  t.same(addresses(service.frontends[1]?.backends), ['fd01::1'])
  const virtual = merge('default/rebel-base', members(local, remote), settingsOf(local), {
    ...context(),
    frontendIps: [{ ip: '127.96.0.1', family: undefined }],
  })
  t.same(addresses(virtual.frontends[0]?.backends), ['10.1.0.1', 'fd01::1', '10.2.0.1'])
})

t.test('one address in two clusters is one backend: of the local cluster, then by the order of clusters', async t => {
  const at = (cluster: string, address: string) => clusterService({ cluster, endpoints: [endpoint({ address })] })
  const result = merge(
    'default/rebel-base',
    members(at('cluster-1', '10.0.0.1'), at('cluster-2', '10.0.0.1'), at('cluster-3', '10.0.0.1')),
    settingsOf(at('cluster-1', '10.0.0.1')),
    context(),
  )
  t.same(
    result.backends.map(b => [b.cluster, b.alsoIn]),
    [['cluster-1', ['cluster-2', 'cluster-3']]],
  )
  t.equal(result.backends[0]?.destination, '10.0.0.1:8080/TCP')
})

t.test('cluster weights hold whatever the number of backends', async t => {
  const annotations = {
    'service.cilium.io/global': 'true',
    'starlane.dev/cluster-weights': 'cluster-1=80,cluster-2=20',
  }
  const many = (cluster: string, count: number, net: number) =>
    clusterService({
      cluster,
      annotations,
      endpoints: Array.from({ length: count }, (_, i) => endpoint({ address: `10.${net}.0.${i + 1}` })),
    })
  const share = (service: GlobalService, cluster: string, usable = (_: string) => true) =>
    service.backends.filter(b => b.cluster === cluster && usable(b.address)).reduce((sum, b) => sum + b.weight, 0)

  const all = merged(many('cluster-1', 2, 1), many('cluster-2', 5, 2), many('cluster-3', 3, 3))
  t.equal(share(all, 'cluster-1'), 80)
  t.equal(Math.round(share(all, 'cluster-2')), 20)
  t.equal(share(all, 'cluster-3'), 0, 'a cluster without a weight is the last resort')

  const down = merged(many('cluster-1', 2, 1), many('cluster-2', 5, 2), undefined, key =>
    key.includes('10.1.0.1:') ? 'down' : 'up',
  )
  t.equal(
    share(down, 'cluster-1', a => a !== '10.1.0.1'),
    80,
    'the ones that are left take the share of those that are down',
  )
})

t.test('two pods with one address are two backends, each with its own state, node and weight', async t => {
  const http = (port: number) => [{ name: '', protocol: 'TCP' as const, port }]
  const local = clusterService({
    internalTrafficPolicy: 'Local',
    endpoints: [
      endpoint({ address: '10.1.0.1', ports: http(8080), pod: 'a', node: 'n1', hostname: 'a' }),
      endpoint({ address: '10.1.0.1', ports: http(8081), pod: 'b', node: 'n2', weight: 50, zone: 'z' }),
      endpoint({ address: '10.1.0.1', ports: http(8082), pod: 'c', node: 'n1', ready: false, serving: false }),
    ],
  })
  const on = (node?: string) => merge('default/rebel-base', members(local), settingsOf(local), { ...context(), node })
  t.match(on().backends, [
    { port: 8080, state: 'active', pod: 'a', node: 'n1', hostname: 'a', weight: 100, zone: undefined },
    { port: 8081, state: 'active', pod: 'b', node: 'n2', hostname: undefined, weight: 50, zone: 'z' },
    { port: 8082, state: 'maintenance', pod: 'c', node: 'n1' },
  ])
  const ports = (node: string) => on(node).frontends[0]?.backends.map(({ port }) => port)
  t.same([ports('n1'), ports('n2')], [[8080], [8081]], 'internalTrafficPolicy: Local')
})

t.test('ready endpoints with one address and port are one backend with the host names of all', async t => {
  const pod = (hostname: string | undefined, ready = true) =>
    endpoint({ address: '10.1.0.1', ports: [], ready, serving: ready, ...(hostname === undefined ? {} : { hostname }) })
  const service = merged(clusterService({ endpoints: [pod('late', false), pod('a'), pod('b'), pod(undefined)] }))
  t.match(service.backends, [{ hostname: 'a', state: 'active', otherHostnames: ['b', ''] }])
  t.equal(service.backends.length, 1)
})

t.test('a verdict replaces the backend that it is about, and no other', async t => {
  const ports = [{ name: 'http', protocol: 'TCP', port: 8080 }] as const
  const endpoints = ['10.0.0.1', '10.0.0.2', '10.0.0.3'].map(address => endpoint({ address, ports }))
  const local = clusterService({ annotations: { 'service.cilium.io/global': 'true' }, endpoints })
  const key = 'default/rebel-base'
  const first = remerge(key, members(local), settingsOf(local), context(), undefined)
  const before = first.service.backends
  const down = before[1]?.destination
  const verdict = (one: string) => (one === down ? 'down' : 'unknown')
  const after = remerge(key, members(local), settingsOf(local), context(verdict), first).service.backends
  t.equal(after[0], before[0])
  t.equal(after[2], before[2])
  t.same(after[1], { ...before[1], health: 'down' })
  t.equal(after[1]?.ports, before[1]?.ports)
  t.equal(before[0]?.ports, before[1]?.ports, 'backends with one port name share its list')
})

/** What a frontend gives each cluster, in percent, of its active and healthy backends. */
function shares(backends: Backends | undefined): Record<string, number> {
  return sharesOf((backends ?? []).filter(b => b.state === 'active' && b.health !== 'down'))
}

function sharesOf(usable: Backends): Record<string, number> {
  const sum = usable.reduce((all, { weight }) => all + weight, 0)
  const byCluster: Record<string, number> = {}
  for (const b of usable) byCluster[b.cluster] = (byCluster[b.cluster] ?? 0) + (100 * b.weight) / sum
  return Object.fromEntries(Object.entries(byCluster).map(([cluster, part]) => [cluster, Math.round(part)]))
}

t.test('cluster weights hold in each frontend, whatever the port names, families and pods', async t => {
  const http = { name: 'http', protocol: 'TCP', port: 8080 } as const
  const grpc = { name: 'grpc', protocol: 'TCP', port: 8080 } as const
  const local = clusterService({
    clusterIPs: ['10.96.0.1', 'fd00::1'],
    ports: [
      { name: 'http', protocol: 'TCP', port: 80 },
      { name: 'grpc', protocol: 'TCP', port: 81 },
    ],
    annotations: { 'service.cilium.io/global': 'true', 'starlane.dev/cluster-weights': 'cluster-1=80,cluster-2=20' },
    endpoints: [
      endpoint({ address: '10.1.0.1', ports: [http], pod: 'p' }),
      endpoint({ address: 'fd01::1', ports: [http], pod: 'p' }),
    ],
  })
  const remote = clusterService({
    cluster: 'cluster-2',
    endpoints: [
      endpoint({ address: '10.2.0.1', ports: [http] }),
      endpoint({ address: '10.2.0.2', ports: [http, grpc] }),
      endpoint({ address: '10.2.0.3', ports: [http, grpc], ready: false, serving: false }),
      endpoint({ address: 'fd02::1', ports: [http] }),
    ],
  })
  const seen = (family: 4 | 6 | undefined, health?: (key: string) => Health) =>
    merge('default/rebel-base', members(local, remote), settingsOf(local), {
      ...context(health),
      frontendIps: [{ ip: '10.96.0.1', family }],
    }).frontends.map(({ backends }) => shares(backends))
  const split = { 'cluster-1': 80, 'cluster-2': 20 }
  t.same(seen(4), [split, { 'cluster-2': 100 }])
  t.same(seen(6), [split, {}])
  t.same(seen(undefined)[0], split, 'a virtual address has both families')
  t.same(seen(undefined, key => (key.includes('10.2.0.1:') ? 'down' : 'up'))[0], split, 'unusable ones do not count')
  t.same(seen(4, key => (key.includes('10.1.') ? 'down' : 'up'))[0], { 'cluster-2': 100 })
})

t.test('cluster weights hold among the backends that are chosen from, whatever else a cluster lists', async t => {
  const annotations = {
    'service.cilium.io/global': 'true',
    'starlane.dev/cluster-weights': 'cluster-1=80,cluster-2=20',
  }
  const chosen = (state: Partial<Endpoint>, verdicts: Partial<Pick<MergeContext, 'health' | 'untested'>>) => {
    const pods = (cluster: string, net: number, count: number) => {
      const addresses = Array.from({ length: count }, (_, i) => `10.${net}.0.${i + 1}`)
      return clusterService({
        cluster,
        annotations,
        endpoints: addresses.map(address => endpoint({ address, ...state })),
      })
    }
    const local = pods('cluster-1', 1, 4)
    const all = members(local, pods('cluster-2', 2, 3))
    const { frontends } = merge('default/rebel-base', all, settingsOf(local), { ...context(), ...verdicts })
    return sharesOf(select(frontends[0]?.backends ?? []))
  }
  const split = { 'cluster-1': 80, 'cluster-2': 20 }
  const isYoung = (destination: string) => /10\.1\.0\.[34]:/.test(destination)
  t.same(chosen({}, { untested: isYoung }), split, 'pods that no check has reached yet')
  t.same(chosen({}, { health: () => 'down' }), split, 'all are down')
  t.same(chosen({}, { health: () => 'ejected', untested: isYoung }), split, 'all are ejected, and some untested too')
  const terminating = { ready: false, serving: true, terminating: true }
  t.same(chosen(terminating, {}), split, 'only terminating ones are left')
})

t.test('the backends of one pod share the weight of one', async t => {
  const local = clusterService({
    endpoints: [
      endpoint({ address: '10.1.0.1', pod: 'a' }),
      endpoint({ address: 'fd01::1', pod: 'a' }),
      endpoint({ address: '10.1.0.2', pod: 'b' }),
    ],
  })
  const remote = clusterService({ cluster: 'cluster-2', endpoints: [endpoint({ address: '10.2.0.1', pod: 'a' })] })
  const weights = (family: 4 | undefined, health?: (key: string) => Health) =>
    merge('default/rebel-base', members(local, remote), settingsOf(local), {
      ...context(health),
      frontendIps: [{ ip: '127.96.0.1', family }],
    }).frontends[0]?.backends.map(({ address, weight }) => `${address} ${weight}`)
  t.same(weights(undefined), ['10.1.0.1 50', '10.1.0.2 100', 'fd01::1 50', '10.2.0.1 100'])
  t.same(weights(4), ['10.1.0.1 100', '10.1.0.2 100', '10.2.0.1 100'])
  t.same(
    weights(undefined, key => (key.includes('fd01') ? 'down' : 'up')),
    ['10.1.0.1 100', '10.1.0.2 100', 'fd01::1 100', '10.2.0.1 100'],
    'the address that is left has all of it',
  )
})

t.test('internalTrafficPolicy Local stays on this node', async t => {
  const local = clusterService({
    internalTrafficPolicy: 'Local',
    endpoints: [
      endpoint({ address: '10.1.0.1', node: 'n1' }),
      endpoint({ address: '10.1.0.2', node: 'n2' }),
      endpoint({ address: '10.1.0.3' }),
    ],
  })
  const remote = clusterService({ cluster: 'cluster-2', endpoints: [endpoint({ address: '10.2.0.1', node: 'n1' })] })
  const on = (node: string | undefined) =>
    merge('default/rebel-base', members(local, remote), settingsOf(local), { ...context(), node }).frontends[0]
      ?.backends
  t.same(addresses(on('n1')), ['10.1.0.1', '10.1.0.3'])
  t.equal(on(undefined)?.length, 4, 'without a known node all backends are used')
})

t.test('an endpoint without ports is visible to DNS and has no frontend', async t => {
  const service = merged(clusterService({ endpoints: [endpoint({ address: '10.1.0.1', ports: [] })] }))
  t.equal(service.backends[0]?.port, 0)
  t.equal(service.frontends[0]?.backends.length, 0)
})

function merged(
  local: ClusterService,
  remote?: ClusterService,
  third?: ClusterService,
  health?: (key: string) => Health,
): GlobalService {
  const remotes = [remote, third].filter(service => service !== undefined)
  return merge('default/rebel-base', members(local, ...remotes), settingsOf(local), context(health, local))
}

function members(local: ClusterService, ...remotes: ClusterService[]): MemberService[] {
  return [
    { service: local, local: true, exported: true },
    ...remotes
      .map(service => ({ service, settings: settingsOf(service) }))
      .filter(({ settings }) => settings.global && settings.shared)
      .map(({ service }) => ({ service, local: false, exported: true })),
  ]
}

function settingsOf(service: ClusterService) {
  return decodeSettings(service, clusters).settings
}

function context(health: (key: string) => Health = () => 'unknown', local = clusterService()): MergeContext {
  return { health, frontendIps: local.clusterIPs.map(ip => ({ ip, family: familyOf(ip) })), node: undefined, now: 0 }
}

function uses(service: GlobalService, own: string): string {
  const used = addresses(service.frontends[0]?.backends)
  return [used.includes(own) ? 'local' : [], used.some(a => a !== own) ? 'remote' : []].flat().join('+')
}

function addresses(backends: Backends | undefined): string[] {
  return (backends ?? []).map(b => b.address)
}
