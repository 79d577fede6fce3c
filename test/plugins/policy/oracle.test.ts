/** Random policies, Pods and flows: the plugin decides as the evaluator of the specifications does. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { backend, clusterService, globalService } from '../../support/model.ts'
import { allowed, type End, type OraclePolicy, type Outsider } from './oracle.ts'
import { PolicyMesh } from './situation.ts'

const clusters = ['cluster-1', 'cluster-2'] as const
const namespaces = { shop: { team: 'blue', env: 'prod' }, till: { team: 'red' } } as const
type Namespace = keyof typeof namespaces
const ports = [
  { name: 'http', port: 8080, protocol: 'TCP' },
  { name: 'dns', port: 5353, protocol: 'UDP' },
] as const

/** Every combination of cluster, namespace and labels; and some addresses outside, of this machine and of another one. */
const pods: (End & { readonly name: string })[] = clusters.flatMap((cluster, c) =>
  (Object.keys(namespaces) as Namespace[]).flatMap((namespace, n) =>
    [{ app: 'web' }, { app: 'db', tier: '1' }, { app: 'web', tier: '2' }, {}].map((labels, i) => ({
      ...{ cluster, namespace, labels, name: `${cluster}-${i}` },
      address: i % 2 === 0 ? `10.${c + 1}.${n}.${i + 1}` : `fd00:${c + 1}:${n + 1}::${i + 1}`,
      namespaceLabels: { ...namespaces[namespace], 'kubernetes.io/metadata.name': namespace },
      ports: i === 3 ? [] : ports,
    })),
  ),
)
const outsiders: Outsider[] = [
  ...['192.0.2.7', '192.0.2.200', '198.51.100.1', '2001:db8::7'].map(address => ({ address, is: 'world' }) as const),
  { address: '198.51.100.5', is: 'host' },
  { address: '192.0.2.130', is: 'remote-node' },
  { address: 'fd00:2::130', is: 'remote-node' },
]
const machine = ['127.0.0.1', '198.51.100.5']
const nodes = ['192.0.2.130/32', 'fd00:2::130/128']

const ends = [...pods, ...outsiders]
const placed = (end: End | Outsider) => {
  const cluster = 'cluster' in end ? end.cluster : 'cluster-1'
  return { cluster, remote: cluster !== 'cluster-1' }
}

const labels = fc.dictionary(fc.constantFrom('app', 'tier'), fc.constantFrom('web', 'db', '1', '2'), { maxKeys: 1 })
const expression = (keys: readonly string[], values: readonly string[]) =>
  fc.oneof(
    fc.record({
      key: fc.constantFrom(...keys),
      operator: fc.constantFrom('In', 'NotIn'),
      values: fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 2 }),
    }),
    fc.record({ key: fc.constantFrom(...keys), operator: fc.constantFrom('Exists', 'DoesNotExist') }),
  )
const podSelector = fc.record(
  {
    matchLabels: labels,
    matchExpressions: fc.array(expression(['app', 'tier'], ['web', 'db', '1']), { maxLength: 1 }),
  },
  { requiredKeys: [] },
)
const namespaceSelector = fc.record(
  {
    matchLabels: fc.dictionary(fc.constantFrom('team', 'env'), fc.constantFrom('blue', 'red', 'prod'), { maxKeys: 1 }),
    matchExpressions: fc.array(expression(['team', 'kubernetes.io/metadata.name'], ['blue', 'shop']), { maxLength: 1 }),
  },
  { requiredKeys: [] },
)
const cidr = fc.constantFrom(
  ...['0.0.0.0/0', '10.0.0.0/8', '10.1.0.0/16', '10.1.1.3/32', '192.0.2.0/24', '192.0.2.128/25', '198.51.100.0/24'],
  ...['::/0', 'fd00:1::/32', 'fd00:1:1::2/128', 'fd00::/15', '2001:db8::/33'],
)
const ipBlock = fc.record({ cidr, except: fc.array(cidr, { maxLength: 1 }) }, { requiredKeys: ['cidr'] })
const npPeer = fc.oneof(
  fc.record({ podSelector }),
  fc.record({ namespaceSelector }),
  fc.record({ podSelector, namespaceSelector }),
  fc.record({ ipBlock }),
)
const npPort = fc.oneof(
  fc.constantFrom(
    ...[{}, { port: 8080 }, { port: 80, endPort: 9000 }, { port: 'http' }, { protocol: 'UDP', port: 'dns' }],
    ...[{ protocol: 'UDP' }, { protocol: 'UDP', port: 'http' }, { port: 53 }],
  ),
)
const rules = (side: 'from' | 'to') =>
  fc.array(
    fc.record(
      { [side]: fc.array(npPeer, { maxLength: 2 }), ports: fc.array(npPort, { maxLength: 2 }) },
      { requiredKeys: [] },
    ),
    { maxLength: 2 },
  )
const namespace = fc.constantFrom<Namespace>('shop', 'till')

const networkPolicy = fc.record({
  apiVersion: fc.constant('networking.k8s.io/v1'),
  kind: fc.constant('NetworkPolicy'),
  metadata: fc.record({ namespace }),
  spec: fc.record(
    {
      podSelector,
      ingress: rules('from'),
      egress: rules('to'),
      policyTypes: fc.constantFrom(['Ingress'], ['Egress'], ['Ingress', 'Egress']),
    },
    { requiredKeys: ['podSelector'] },
  ),
})

const special: Readonly<Record<string, readonly string[]>> = {
  'k8s:io.kubernetes.pod.namespace': ['shop', 'till'],
  'io.cilium.k8s.policy.cluster': ['cluster-1', 'cluster-2'],
  'k8s:io.cilium.k8s.namespace.labels.team': ['blue', 'red'],
  'any:app': ['web', 'db'],
}
const specialLabels = fc.dictionary(
  fc.constantFrom(...Object.keys(special)),
  fc.constantFrom('shop', 'till', 'cluster-1', 'cluster-2', 'blue', 'web'),
  { maxKeys: 2 },
)
const specialExpression = expression(Object.keys(special), ['shop', 'cluster-2', 'blue', 'web'])
/** A selector that no Pod of a namespace is needed for could be met by the world in Cilium; that has facts of its own. */
const endpoints = fc
  .record(
    {
      matchLabels: fc.oneof(labels, specialLabels),
      matchExpressions: fc.array(fc.oneof(expression(['app'], ['web', 'db']), specialExpression), { maxLength: 1 }),
    },
    { requiredKeys: [] },
  )
  .filter(({ matchExpressions = [], matchLabels = {} }) => {
    const negative = matchExpressions.some(({ operator }) => operator === 'NotIn' || operator === 'DoesNotExist')
    return !negative || Object.keys(matchLabels).length > 0
  })
const ciliumPort = fc.constantFrom(
  ...[{ port: '8080', protocol: 'TCP' }, { port: '80', endPort: 9000 }, { port: 'http' }, { port: '0' }],
  ...[
    { port: '0', protocol: 'UDP' },
    { port: '5353', protocol: 'ANY' },
    { port: 'dns', protocol: 'UDP' },
  ],
)
const entities = fc.array(
  fc.constantFrom('all', 'world', 'world-ipv4', 'world-ipv6', 'cluster', 'none', 'host', 'remote-node'),
  { maxLength: 2 },
)
const ciliumRules = (side: 'from' | 'to') =>
  fc.array(
    fc
      .tuple(
        fc.oneof(
          fc.constant({}),
          fc.record({ [`${side}Endpoints`]: fc.array(endpoints, { maxLength: 2 }) }),
          fc.record({ [`${side}CIDR`]: fc.array(cidr, { maxLength: 2 }) }),
          fc.record({ [`${side}CIDRSet`]: fc.array(ipBlock, { maxLength: 2 }) }),
          fc.record({ [`${side}Entities`]: entities }),
        ),
        fc.record(
          { toPorts: fc.array(fc.record({ ports: fc.array(ciliumPort, { maxLength: 2 }) }), { maxLength: 2 }) },
          { requiredKeys: [] },
        ),
      )
      .map(([peers, ports]) => ({ ...peers, ...ports })),
    { maxLength: 2 },
  )
const spec = fc.record(
  {
    endpointSelector: podSelector,
    ingress: ciliumRules('from'),
    ingressDeny: ciliumRules('from'),
    egress: ciliumRules('to'),
    egressDeny: ciliumRules('to'),
    enableDefaultDeny: fc.record({ ingress: fc.boolean(), egress: fc.boolean() }, { requiredKeys: [] }),
  },
  { requiredKeys: ['endpointSelector'] },
)
const ciliumPolicy = fc.oneof(
  fc.record({ kind: fc.constant('CiliumNetworkPolicy'), metadata: fc.record({ namespace }), spec }),
  fc.record({ kind: fc.constant('CiliumClusterwideNetworkPolicy'), metadata: fc.constant({}), spec }),
)

const policies = fc.array(
  fc.tuple(
    fc.constantFrom(...clusters),
    fc.oneof(
      networkPolicy,
      ciliumPolicy.map(policy => ({ apiVersion: 'cilium.io/v2', ...policy })),
    ),
  ),
  { minLength: 1, maxLength: 5 },
)

t.test('the plugin and the oracle agree', async t => {
  const counts = { allowed: 0, refused: 0 }
  fc.assert(
    fc.property(policies, fc.boolean(), (given, defaultLocalCluster) => {
      const named = given.map(([cluster, policy], i) => ({
        cluster,
        object: { ...policy, metadata: { ...policy.metadata, name: `policy-${i}` } },
      })) as OraclePolicy[]
      const mesh = new PolicyMesh({
        ...{ namespaces, pods, machine, options: { defaultLocalCluster, nodes } },
        policies: Object.groupBy(
          named.map(({ object }) => object),
          object => (named.find(each => each.object === object) as OraclePolicy).cluster,
        ) as Record<string, object[]>,
      })
      for (const backend of ends) {
        for (const client of ends) {
          for (const { port, protocol } of [ports[0], ports[1], { port: 9999, protocol: 'TCP' }] as const) {
            const expected = allowed(named, { client, backend, port, protocol }, { defaultLocalCluster })
            const service = mesh.serviceAt(backend.address, {
              ...placed(backend),
              port,
              protocol,
            })
            const flow = mesh.flow(client.address, service)
            const { backends } = flow.frontend
            const found = (mesh.plugin.candidates?.(flow, backends) ?? []).length > 0
            counts[expected ? 'allowed' : 'refused']++
            if (found !== expected) {
              const why = mesh.plugin.why?.(flow, backends[0] as never)
              throw new Error(
                `${JSON.stringify(client)} to ${JSON.stringify(backend)} ${port}/${protocol}: ${found}, not ${expected} (${why})`,
              )
            }
          }
        }
      }
    }),
    { numRuns: Number(process.env.STARLANE_RUNS ?? 150) },
  )
  t.ok(counts.allowed > 1000 && counts.refused > 1000, `${counts.allowed} allowed, ${counts.refused} refused`)
})

t.test('lists in which the clients are backends too, decided ahead or not', async t => {
  let decided = 0
  const port = { port: 8080, protocol: 'TCP' } as const
  await fc.assert(
    fc.asyncProperty(policies, fc.boolean(), fc.nat(), async (given, isAhead, first) => {
      const named = given.map(([cluster, policy], i) => ({
        cluster,
        object: { ...policy, metadata: { ...policy.metadata, name: `policy-${i}` } },
      })) as OraclePolicy[]
      const byCluster = Object.groupBy(named, ({ cluster }) => cluster)
      const mesh = new PolicyMesh({
        ...{ namespaces, pods, machine, options: { nodes } },
        policies: Object.fromEntries(
          Object.entries(byCluster).map(([cluster, some = []]) => [cluster, some.map(({ object }) => object)]),
        ),
      })
      const backends = ends.map(end => backend({ address: end.address, ...placed(end), ...port }))
      const service = globalService({ local: clusterService({ clusterIPs: ['10.96.0.10', 'fd00:96::10'] }), backends })
      mesh.plugin.onService?.(service, [])
      if (isAhead) for (let i = 0; i < 50; i++) await mesh.clock.advance(0)
      for (let i = 0; i < 2 * ends.length; i++) {
        const client = ends[(first + i) % ends.length] as (typeof ends)[number]
        const expected = ends
          .filter(end => allowed(named, { client, backend: end, ...port }, { defaultLocalCluster: true }))
          .map(({ address }) => address)
        const flow = mesh.flow(client.address, service)
        const left = service.frontends.flatMap(frontend =>
          (mesh.plugin.candidates?.({ ...flow, frontend }, frontend.backends) ?? []).map(({ address }) => address),
        )
        decided++
        assert.deepEqual(new Set(left), new Set(expected), client.address)
        const isRefused = mesh.plugin.admit?.(flow.client, service, 'flow') !== undefined
        assert.equal(isRefused, expected.length === 0, client.address)
      }
      await mesh.plugin.close?.()
    }),
    { numRuns: Number(process.env.STARLANE_RUNS ?? 100) },
  )
  t.ok(decided > 1000)
})
