/** What the examples in Cilium's documentation allow (examples/policies), with names of our own: who reaches whom, of all pairs. */
import t from 'tap'
import { PolicyMesh, type TestPod, yaml } from './situation.ts'

const pod = (name: string, address: string, cluster = 'cluster-1', namespace = 'port'): TestPod => ({
  ...{ cluster, namespace, name, address, labels: { app: name.replace('far-', ''), env: 'prod' }, account: name },
})
/** A port and a yard in the local cluster, and a port in another. */
const pods = [
  pod('ship', '10.1.0.1'),
  pod('crane', '10.1.0.2'),
  pod('guard', '10.1.0.3'),
  pod('smith', '10.1.1.1', 'cluster-1', 'yard'),
  pod('far-crane', '10.2.0.2', 'cluster-2'),
]
const agent: TestPod = { namespace: 'kube-system', name: 'agent', address: '172.20.0.6', hostNetwork: true }
const namespaces = { port: { faction: 'sea' }, yard: { faction: 'land' } }
const [ship, crane, guard, smith, far] = [
  'port/ship',
  'port/crane',
  'port/guard',
  'yard/smith',
  'port/far-crane',
] as const
const machine = agent.address
const [host, inside, outside] = ['127.0.0.1', '10.1.1.200', '192.0.2.7']
const clients = [ship, crane, guard, smith, far, host, inside, outside]
const local = [ship, crane, guard, smith]

const policy = (kind: string) => (spec: string) =>
  yaml(
    `{ apiVersion: cilium.io/v2, kind: ${kind}, metadata: { name: one${kind === 'CiliumNetworkPolicy' ? ', namespace: port' : ''} }, spec: ${spec} }`,
  )
const cnp = policy('CiliumNetworkPolicy')
const ccnp = policy('CiliumClusterwideNetworkPolicy')
const about = (app: string) => `endpointSelector: { matchLabels: { app: ${app} } }`

interface Case {
  readonly what: string
  readonly policies: object[]
  /** Who reaches each of these; a Pod always reaches itself. */
  readonly reach: Readonly<Record<string, readonly string[]>>
  readonly port?: number
  readonly protocol?: 'TCP' | 'UDP'
  /** What is reported. */
  readonly findings?: readonly RegExp[]
}
const but = (...names: string[]) => clients.filter(name => !names.includes(name))

const cases: Case[] = [
  {
    what: 'l3/egress-allow-all: all endpoints of the namespace',
    policies: cnp(`{ ${about('ship')}, egress: [{ toEndpoints: [{}] }] }`),
    reach: { [crane]: clients, [smith]: but(ship), [far]: but(ship), [outside]: but(ship) },
  },
  {
    what: 'l3/egress-default-deny',
    policies: cnp('{ endpointSelector: {}, egress: [{}] }'),
    reach: { [crane]: but(ship, guard), [outside]: but(ship, crane, guard), [smith]: but(ship, crane, guard) },
  },
  {
    what: 'l3/egress-deny',
    policies: cnp(
      `{ ${about('ship')}, egress: [{ toEntities: [all] }], egressDeny: [{ toEndpoints: [{ matchLabels: { app: crane } }] }] }`,
    ),
    reach: { [crane]: but(ship), [guard]: clients, [far]: clients, [outside]: clients },
  },
  {
    what: 'l3/entities: a cluster that is shut to the world',
    policies: ccnp(
      '{ endpointSelector: {}, ingressDeny: [{ fromEntities: [world] }], ingress: [{ fromEntities: [all] }] }',
    ),
    reach: { [crane]: but(inside, outside), [far]: clients },
  },
  {
    what: 'l3/entities: hosts',
    policies: cnp(`{ ${about('ship')}, egress: [{ toEntities: [host, remote-node] }] }`),
    reach: { [machine]: clients, [crane]: but(ship), [outside]: but(ship) },
  },
  {
    what: 'l3/entities: the API server is not known',
    policies: cnp(`{ ${about('ship')}, egress: [{ toEntities: [kube-apiserver] }] }`),
    reach: { [outside]: but(ship) },
    findings: [/API servers/],
  },
  {
    what: 'l3/match-expressions: one of two',
    policies: cnp(
      `{ ${about('crane')}, ingress: [{ fromEndpoints: [{ matchExpressions: [{ key: app, operator: In, values: [ship, guard] }] }] }] }`,
    ),
    reach: { [crane]: [ship, guard] },
  },
  {
    what: 'l3/match-expressions: both',
    policies: cnp(
      `{ ${about('crane')}, ingress: [{ fromEndpoints: [{ matchExpressions: [{ key: app, operator: In, values: [ship, guard] }, { key: app, operator: NotIn, values: [guard] }] }] }] }`,
    ),
    reach: { [crane]: [ship] },
  },
  {
    what: 'l3/cidr: an address, and a range with a hole',
    policies: cnp(
      `{ ${about('ship')}, egress: [{ toCIDR: [192.0.2.7/32] }, { toCIDRSet: [{ cidr: 10.0.0.0/8, except: [10.96.0.0/12] }] }] }`,
    ),
    reach: {
      [outside]: clients,
      [inside]: clients,
      '10.99.0.1': but(ship),
      '198.51.100.1': but(ship),
      [crane]: but(ship),
    },
  },
  ...[80, 81].map(
    (port): Case => ({
      what: `l4: a port of all destinations: ${port}`,
      policies: cnp(`{ ${about('ship')}, egress: [{ toPorts: [{ ports: [{ port: "80", protocol: TCP }] }] }] }`),
      ...{ port, reach: { [crane]: port === 80 ? clients : but(ship), [outside]: port === 80 ? clients : but(ship) } },
    }),
  ),
  ...[8080, 8089, 8090].map(
    (port): Case => ({
      what: `l4/l4_port_range: ${port}`,
      policies: cnp(
        `{ ${about('ship')}, egress: [{ toPorts: [{ ports: [{ port: "8080", endPort: 8089, protocol: TCP }] }] }] }`,
      ),
      ...{ port, reach: { [crane]: port < 8090 ? clients : but(ship) } },
    }),
  ),
  ...[80, 81].map(
    (port): Case => ({
      what: `l4/cidr_l4_combined: ${port}`,
      policies: cnp(
        `{ ${about('ship')}, egress: [{ toCIDR: [192.0.2.0/24], toPorts: [{ ports: [{ port: "80", protocol: TCP }] }] }] }`,
      ),
      ...{ port, reach: { [outside]: port === 80 ? clients : but(ship), [crane]: but(ship) } },
    }),
  ),
  {
    what: 'l4/icmp: nothing for TCP',
    policies: cnp(`{ ${about('ship')}, egress: [{ icmps: [{ fields: [{ type: 8, family: IPv4 }] }] }] }`),
    reach: { [crane]: but(ship) },
    findings: [/ICMP/],
  },
  {
    what: 'l4/l4_sni, l4/envoy_listener_redirect: reported, and nothing allowed',
    policies: cnp(
      `{ ${about('ship')}, egress: [{ toPorts: [{ ports: [{ port: "443", protocol: TCP }], serverNames: [one.example] }] }, { toPorts: [{ ports: [{ port: "443", protocol: TCP }], listener: { envoyConfig: { kind: CiliumEnvoyConfig, name: e }, name: l } }] }] }`,
    ),
    ...{ port: 443, reach: { [outside]: but(ship) }, findings: [/server name/, /Envoy/] },
  },
  {
    what: 'l4/init: endpoints without an identity are none here',
    policies: ccnp(
      '{ endpointSelector: { matchLabels: { "reserved:init": "" } }, ingress: [{ fromEntities: [host] }], egress: [{ toEntities: [all], toPorts: [{ ports: [{ port: "53", protocol: UDP }] }] }] }',
    ),
    reach: { [crane]: clients, [outside]: clients },
  },
  {
    what: 'kubernetes/clustermesh: a Pod to one of another cluster',
    policies: cnp(
      '{ endpointSelector: { matchLabels: { app: ship, io.cilium.k8s.policy.cluster: cluster-1 } }, egress: [{ toEndpoints: [{ matchLabels: { app: crane, io.cilium.k8s.policy.cluster: cluster-2 } }] }] }',
    ),
    reach: { [far]: clients, [crane]: but(ship), [outside]: but(ship) },
  },
  {
    what: 'kubernetes/clustermesh: in any of its namespaces',
    policies: cnp(
      `{ ${about('ship')}, egress: [{ toEndpoints: [{ matchExpressions: [{ key: "k8s:io.kubernetes.pod.namespace", operator: Exists }, { key: "k8s:io.cilium.k8s.policy.cluster", operator: In, values: [cluster-2] }, { key: "k8s:app", operator: In, values: [crane] }] }] }] }`,
    ),
    reach: { [far]: clients, [crane]: but(ship) },
  },
  {
    what: 'kubernetes/clusterwide: one label for all namespaces',
    policies: ccnp(
      '{ endpointSelector: { matchLabels: { env: prod } }, ingress: [{ fromEndpoints: [{ matchLabels: { app: guard } }] }] }',
    ),
    reach: { [crane]: [guard], [smith]: [guard], [far]: clients },
  },
  {
    what: 'kubernetes/clusterwide: all endpoints, which are not the world',
    policies: ccnp(`{ ${about('crane')}, ingress: [{ fromEndpoints: [{}] }] }`),
    reach: { [crane]: local },
  },
  {
    what: 'kubernetes/clusterwide/health: the entities health and remote-node',
    policies: ccnp(`{ ${about('crane')}, ingress: [{ fromEntities: [remote-node] }, { fromEntities: [health] }] }`),
    reach: { [crane]: [] },
    findings: [/health is not told apart here/],
  },
  {
    what: 'kubernetes/namespace: each its own',
    policies: cnp('{ endpointSelector: { matchLabels: {} }, ingress: [{ fromEndpoints: [{ matchLabels: {} }] }] }'),
    reach: { [crane]: [ship, guard], [smith]: clients },
  },
  {
    what: 'kubernetes/namespace: another one by name',
    policies: cnp(
      `{ ${about('crane')}, ingress: [{ fromEndpoints: [{ matchLabels: { "k8s:io.kubernetes.pod.namespace": yard, app: smith } }] }] }`,
    ),
    reach: { [crane]: [smith] },
  },
  {
    what: 'kubernetes/namespace: by a label of the namespace',
    policies: cnp(
      `{ ${about('crane')}, ingress: [{ fromEndpoints: [{ matchLabels: { io.cilium.k8s.namespace.labels.faction: land } }] }] }`,
    ),
    reach: { [crane]: [smith] },
  },
  ...[53, 54].map(
    (port): Case => ({
      what: `kubernetes/namespace/kubedns: ${port}`,
      policies: cnp(
        '{ endpointSelector: {}, egress: [{ toEndpoints: [{ matchLabels: { "k8s:io.kubernetes.pod.namespace": yard, app: smith } }], toPorts: [{ ports: [{ port: "53", protocol: UDP }] }] }] }',
      ),
      ...{ port, protocol: 'UDP', reach: { [smith]: port === 53 ? clients : but(ship, crane, guard) } },
    }),
  ),
  {
    what: 'kubernetes/serviceaccount',
    policies: cnp(
      '{ endpointSelector: { matchLabels: { io.cilium.k8s.policy.serviceaccount: crane } }, ingress: [{ fromEndpoints: [{ matchLabels: { io.cilium.k8s.policy.serviceaccount: ship } }] }] }',
    ),
    reach: { [crane]: [ship], [guard]: clients },
  },
  {
    what: 'l7: rules of HTTP and Kafka are reported, and nothing allowed',
    policies: cnp(
      `{ ${about('crane')}, ingress: [{ fromEndpoints: [{ matchLabels: { app: ship } }], toPorts: [{ ports: [{ port: "80", protocol: TCP }], rules: { http: [{ method: GET, path: "/public" }] } }] }, { fromEndpoints: [{ matchLabels: { app: guard } }], toPorts: [{ ports: [{ port: "80", protocol: TCP }], rules: { kafka: [{ role: produce }] } }] }] }`,
    ),
    ...{ port: 80, reach: { [crane]: [] }, findings: [/ingress\[0\].*layer 7/, /ingress\[1\].*layer 7/] },
  },
]

for (const { what, policies, reach, port = 8080, protocol = 'TCP', findings = [] } of cases) {
  t.test(what, async t => {
    const mesh = new PolicyMesh({ namespaces, pods: [...pods, agent], policies })
    for (const [to, from] of Object.entries(reach)) {
      const given = { port, protocol, remote: to === far }
      t.same(
        clients.filter(client => client !== to && mesh.ask(client, to, given)),
        clients.filter(client => client !== to && from.includes(client)),
        `to ${to}`,
      )
    }
    const found = mesh.plugin.findings?.() ?? []
    t.equal(found.length, findings.length)
    for (const [i, finding] of findings.entries()) t.match(found[i]?.message, finding)
  })
}

t.test('l3/service: services by their labels, with and without a namespace', async t => {
  const asked = (rule: string) => {
    const policies = cnp(`{ ${about('ship')}, egress: [{ toServices: [{ k8sServiceSelector: ${rule} }] }] }`)
    const mesh = new PolicyMesh({ namespaces, pods, policies })
    return ['none', 'other'].map(head => {
      const service = mesh.serviceAt(crane)
      const local = service.local && { ...service.local, labels: { head } }
      const flow = mesh.flow(ship, { ...service, local })
      return (mesh.plugin.candidates?.(flow, flow.frontend.backends).length ?? 0) > 0
    })
  }
  t.same(asked('{ selector: { matchLabels: { head: none } } }'), [true, false])
  t.same(asked('{ selector: { matchLabels: { "k8s:head": none } }, namespace: port }'), [true, false])
  t.same(asked('{ selector: { matchLabels: { head: none } }, namespace: yard }'), [false, false])
  t.same(asked('{ selector: { matchExpressions: [{ key: head, operator: Exists }] } }'), [true, true])
})
