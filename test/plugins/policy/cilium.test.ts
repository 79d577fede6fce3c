/** What Cilium's documentation says of its policies, as facts in our own words: layers 3 and 4, entities, deny, defaults, cluster mesh. */
import t from 'tap'
import { nameTest } from '../../../plugins/policy/names.ts'
import type { PolicyObject } from '../../../proxy/model/workloads/policy-object.ts'
import { PolicyMesh, type TestPod, yaml } from './situation.ts'

const http = [{ name: 'http', port: 80, protocol: 'TCP' }] as const
const pod = (
  namespace: string,
  name: string,
  address: string,
  labels: TestPod['labels'],
  cluster = 'cluster-1',
): TestPod => ({
  ...{ namespace, name, address, labels: labels ?? {}, cluster, ports: http },
})
/** An empire and an alliance, in two clusters. */
const pods = [
  pod('default', 'deathstar', '10.1.0.1', { class: 'deathstar', org: 'empire' }),
  pod('default', 'tiefighter', '10.1.0.2', { class: 'tiefighter', org: 'empire' }),
  pod('default', 'xwing', '10.1.0.3', { class: 'xwing', org: 'alliance' }),
  pod('kube-system', 'dns', '10.1.1.1', { 'k8s-app': 'kube-dns' }),
  pod('default', 'far-tiefighter', '10.2.0.2', { class: 'tiefighter', org: 'empire' }, 'cluster-2'),
  pod('default', 'far-deathstar', '10.2.0.1', { class: 'deathstar', org: 'empire' }, 'cluster-2'),
]
const everybody = [
  ...pods.map(({ namespace, name }) => `${namespace}/${name}`),
  '192.0.2.7',
  '198.51.100.1',
  '172.20.0.6',
  '127.0.0.1',
]
const machines = [{ namespace: 'kube-system', name: 'agent', address: '172.20.0.6', hostNetwork: true as const }]
const namespaces = { default: {}, 'kube-system': { team: 'admins' } }

const cnp = (spec: string, kind = 'CiliumNetworkPolicy') =>
  yaml(`
apiVersion: cilium.io/v2
kind: ${kind}
metadata: { name: one${kind === 'CiliumNetworkPolicy' ? ', namespace: default' : ''} }
spec: ${spec}`)
const ccnp = (spec: string) => cnp(spec, 'CiliumClusterwideNetworkPolicy')
const deathstar = 'endpointSelector: { matchLabels: { class: deathstar } }'
const [d, tie, x, dns, farTie, farDeath] = everybody as [string, string, string, string, string, string]
const world = ['192.0.2.7', '198.51.100.1']
const [node, host] = ['172.20.0.6', '127.0.0.1']
const near = [d, tie, x, dns]
const far = [farTie, farDeath]

interface Fact {
  readonly what: string
  readonly policies: object[]
  readonly from: readonly string[]
  readonly to?: string
  readonly port?: number
  readonly protocol?: 'TCP' | 'UDP'
  readonly service?: string
  readonly options?: object
}

const facts: Fact[] = [
  {
    what: 'endpoints by label, of the own namespace and cluster',
    policies: cnp(`{ ${deathstar}, ingress: [{ fromEndpoints: [{ matchLabels: { org: empire } }] }] }`),
    from: [d, tie],
  },
  {
    what: 'with policy-default-local-cluster off: of any cluster',
    policies: cnp(`{ ${deathstar}, ingress: [{ fromEndpoints: [{ matchLabels: { org: empire } }] }] }`),
    options: { defaultLocalCluster: false },
    from: [d, tie, ...far],
  },
  {
    what: 'of a cluster by its label',
    policies: cnp(
      `{ ${deathstar}, ingress: [{ fromEndpoints: [{ matchLabels: { org: empire, io.cilium.k8s.policy.cluster: cluster-2 } }] }] }`,
    ),
    from: [d, ...far],
  },
  {
    what: 'of any cluster by Exists',
    policies: cnp(
      `{ ${deathstar}, ingress: [{ fromEndpoints: [{ matchExpressions: [{ key: io.cilium.k8s.policy.cluster, operator: Exists }] }] }] }`,
    ),
    from: [d, tie, x, ...far],
  },
  {
    what: 'of a namespace by its label',
    policies: cnp(
      `{ ${deathstar}, ingress: [{ fromEndpoints: [{ matchLabels: { k8s:io.kubernetes.pod.namespace: kube-system, k8s:k8s-app: kube-dns } }] }] }`,
    ),
    from: [d, dns],
  },
  {
    what: 'of namespaces by their labels',
    policies: cnp(
      `{ ${deathstar}, ingress: [{ fromEndpoints: [{ matchLabels: { io.cilium.k8s.namespace.labels.team: admins } }] }] }`,
    ),
    from: [d, dns],
  },
  {
    what: 'an empty selector: all endpoints of the namespace',
    policies: cnp(`{ ${deathstar}, ingress: [{ fromEndpoints: [{}] }] }`),
    from: [d, tie, x],
  },
  {
    what: 'in a clusterwide policy: all endpoints of the cluster',
    policies: ccnp(`{ ${deathstar}, ingress: [{ fromEndpoints: [{}] }] }`),
    from: near,
  },
  {
    what: 'an empty list selects nobody',
    policies: cnp(`{ ${deathstar}, ingress: [{ fromEndpoints: [] }] }`),
    from: [d],
  },
  {
    what: 'an empty rule: default deny, and nobody is allowed',
    policies: cnp(`{ ${deathstar}, ingress: [{}] }`),
    from: [d],
  },
  { what: 'an empty section: no default deny', policies: cnp(`{ ${deathstar}, ingress: [] }`), from: everybody },
  {
    what: 'default deny switched off',
    policies: cnp(`{ ${deathstar}, enableDefaultDeny: { ingress: false }, ingress: [{}] }`),
    from: everybody,
  },
  { what: 'and on without a rule', policies: cnp(`{ ${deathstar}, enableDefaultDeny: { ingress: true } }`), from: [d] },
  {
    what: 'a policy is about its own cluster',
    policies: ccnp(`{ ${deathstar}, ingress: [{}] }`),
    to: farDeath,
    from: everybody,
  },
  ...(
    [
      [80, 'TCP', everybody],
      [81, 'TCP', [d]],
      [80, 'UDP', [d]],
    ] as const
  ).map(([port, protocol, from]) => ({
    what: `a port without peers is open to all: ${port}/${protocol}`,
    policies: cnp(`{ ${deathstar}, ingress: [{ toPorts: [{ ports: [{ port: "80", protocol: TCP }] }] }] }`),
    ...{ port, protocol, from },
  })),
  {
    what: 'a port of any protocol',
    policies: cnp(`{ ${deathstar}, ingress: [{ toPorts: [{ ports: [{ port: "80" }] }] }] }`),
    protocol: 'UDP',
    from: everybody,
  },
  {
    what: 'a range of ports',
    policies: cnp(
      `{ ${deathstar}, ingress: [{ toPorts: [{ ports: [{ port: "80", endPort: 90, protocol: TCP }] }] }] }`,
    ),
    port: 85,
    from: everybody,
  },
  {
    what: 'a port by name',
    policies: cnp(`{ ${deathstar}, ingress: [{ toPorts: [{ ports: [{ port: http, protocol: TCP }] }] }] }`),
    from: everybody,
  },
  {
    what: 'port 0: all ports',
    policies: cnp(`{ ${deathstar}, ingress: [{ toPorts: [{ ports: [{ port: "0", protocol: TCP }] }] }] }`),
    port: 7,
    from: everybody,
  },
  {
    what: 'a list of no ports allows nothing',
    policies: cnp(`{ ${deathstar}, ingress: [{ toPorts: [{ ports: [] }] }] }`),
    from: [d],
  },
  {
    what: 'the entity world',
    policies: cnp(`{ ${deathstar}, ingress: [{ fromEntities: [world] }] }`),
    from: [d, ...world],
  },
  {
    what: 'the entity world-ipv6',
    policies: cnp(`{ ${deathstar}, ingress: [{ fromEntities: [world-ipv6] }] }`),
    from: [d],
  },
  {
    what: 'the entity cluster: Pods and machines, not those of other clusters',
    policies: cnp(`{ ${deathstar}, ingress: [{ fromEntities: [cluster] }] }`),
    from: [...near, node, host],
  },
  {
    what: 'the entity host: this machine',
    policies: cnp(`{ ${deathstar}, ingress: [{ fromEntities: [host] }] }`),
    from: [d, host],
  },
  {
    what: 'the entity remote-node',
    policies: cnp(`{ ${deathstar}, ingress: [{ fromEntities: [remote-node] }] }`),
    from: [d, node],
  },
  { what: 'the entity all', policies: cnp(`{ ${deathstar}, ingress: [{ fromEntities: [all] }] }`), from: everybody },
  { what: 'the entity none', policies: cnp(`{ ${deathstar}, ingress: [{ fromEntities: [none] }] }`), from: [d] },
  {
    what: 'reserved labels',
    policies: cnp(`{ ${deathstar}, ingress: [{ fromEndpoints: [{ matchLabels: { "reserved:host": "" } }] }] }`),
    from: [d, host],
  },
  {
    what: 'a range counts for what is outside alone',
    policies: cnp(`{ ${deathstar}, ingress: [{ fromCIDR: [0.0.0.0/0] }] }`),
    from: [d, ...world],
  },
  {
    what: 'a range with a hole',
    policies: cnp(`{ ${deathstar}, ingress: [{ fromCIDRSet: [{ cidr: 0.0.0.0/0, except: [192.0.2.0/24] }] }] }`),
    from: [d, '198.51.100.1'],
  },
  {
    what: 'deny comes before allow',
    policies: cnp(
      `{ ${deathstar}, ingress: [{ fromEntities: [all] }], ingressDeny: [{ fromEndpoints: [{ matchLabels: { org: alliance } }] }] }`,
    ),
    from: everybody.filter(each => each !== x),
  },
  {
    what: 'deny alone puts into default deny',
    policies: cnp(`{ ${deathstar}, ingressDeny: [{ fromEndpoints: [{ matchLabels: { org: alliance } }] }] }`),
    from: [d],
  },
  {
    what: 'unless it is switched off',
    policies: cnp(`{ ${deathstar}, enableDefaultDeny: { ingress: false }, ingressDeny: [{ fromEntities: [world] }] }`),
    from: everybody.filter(each => !world.includes(each)),
  },
  {
    what: 'deny of one port',
    policies: cnp(
      `{ ${deathstar}, ingress: [{ fromEntities: [all] }], ingressDeny: [{ toPorts: [{ ports: [{ port: "81", protocol: TCP }] }] }] }`,
    ),
    from: everybody,
  },
  {
    what: 'egress to endpoints',
    policies: cnp(
      '{ endpointSelector: { matchLabels: { class: tiefighter } }, egress: [{ toEndpoints: [{ matchLabels: { class: deathstar } }] }] }',
    ),
    from: everybody,
  },
  {
    what: 'which excludes others',
    policies: cnp(
      '{ endpointSelector: { matchLabels: { class: tiefighter } }, egress: [{ toEndpoints: [{ matchLabels: { class: xwing } }] }] }',
    ),
    from: everybody.filter(each => each !== tie),
  },
  {
    what: 'and those of other clusters',
    policies: cnp(
      '{ endpointSelector: { matchLabels: { class: tiefighter } }, egress: [{ toEndpoints: [{ matchLabels: { class: deathstar } }] }] }',
    ),
    to: farDeath,
    from: everybody.filter(each => each !== tie),
  },
  {
    what: 'egress to a service by name',
    policies: cnp(
      '{ endpointSelector: { matchLabels: { class: tiefighter } }, egress: [{ toServices: [{ k8sService: { serviceName: base, namespace: default } }] }] }',
    ),
    service: 'base',
    from: everybody,
  },
  {
    what: 'and not to another',
    policies: cnp(
      '{ endpointSelector: { matchLabels: { class: tiefighter } }, egress: [{ toServices: [{ k8sService: { serviceName: base, namespace: default } }] }] }',
    ),
    service: 'other',
    from: everybody.filter(each => each !== tie),
  },
  {
    what: 'egress to services by label',
    policies: cnp(
      '{ endpointSelector: { matchLabels: { class: tiefighter } }, egress: [{ toServices: [{ k8sServiceSelector: { selector: { matchLabels: { no: such } } } }] }] }',
    ),
    from: everybody.filter(each => each !== tie),
  },
  {
    what: 'fromRequires forbids what others allow',
    policies: cnp(
      `{ ${deathstar}, ingress: [{ fromEntities: [all] }, { fromRequires: [{ matchLabels: { org: empire } }] }] }`,
    ),
    from: [d, tie, ...world, node, host],
  },
  {
    what: 'a subject of another namespace, which the selector cannot ask for',
    policies: cnp('{ endpointSelector: { matchLabels: { io.kubernetes.pod.namespace: kube-system } }, ingress: [{}] }'),
    to: dns,
    from: everybody,
  },
  {
    what: 'several specs',
    policies: yaml(
      `{ apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: { name: one, namespace: default }, specs: [{ ${deathstar}, ingress: [{ fromEntities: [world] }] }, { ${deathstar}, ingress: [{ fromEntities: [host] }] }] }`,
    ),
    from: [d, ...world, host],
  },
]

for (const { what, policies, from, to = d, port = 80, protocol = 'TCP', service, options } of facts) {
  t.test(what, async t => {
    const mesh = new PolicyMesh({ namespaces, pods: [...pods, ...machines], policies, ...(options && { options }) })
    const remote = to === farDeath
    const given = { port, protocol, remote, ...(service === undefined ? {} : { name: service }) }
    const expected = everybody.filter(each => from.includes(each) || each === to)
    t.same(
      everybody.filter(each => mesh.ask(each, to, given)),
      // The other deathstar is not the Pod itself.
      expected.filter(each => each !== farDeath || from.includes(farDeath) || to === farDeath),
    )
  })
}

t.test('what cannot be decided at layer 4 allows nothing, and is reported', async t => {
  const cases: [rule: string, place: string, why: RegExp][] = [
    [
      '{ fromEntities: [all], toPorts: [{ ports: [{ port: "80" }], rules: { http: [{ path: / }] } }] }',
      'ingress[0].toPorts[0].rules',
      /layer 7/,
    ],
    [
      '{ fromEntities: [all], toPorts: [{ ports: [{ port: "80" }], serverNames: [a.example] }] }',
      'toPorts[0].serverNames',
      /server name of TLS/,
    ],
    [
      '{ fromEntities: [all], toPorts: [{ ports: [{ port: "80" }], listener: { name: l } }] }',
      'toPorts[0].listener',
      /Envoy/,
    ],
    [
      '{ fromEntities: [all], authentication: { mode: required } }',
      'ingress[0].authentication',
      /mutual authentication/,
    ],
    ['{ fromCIDRSet: [{ cidrGroupRef: partners }] }', 'fromCIDRSet[0]', /no usable CiliumCIDRGroup partners/],
    ['{ fromGroups: [{ aws: {} }] }', 'fromGroups[0]', /cloud provider/],
    ['{ fromNodes: [{ matchLabels: { a: b } }] }', 'fromNodes[0]', /labels of nodes/],
    ['{ fromEntities: [kube-apiserver] }', 'fromEntities[0]', /API servers/],
    ['{ fromEntities: [all], icmps: [{ fields: [{ type: 8 }] }] }', 'icmps', /ICMP/],
    ['{ fromEntities: [all], toPorts: [{ ports: [{ port: "8", protocol: ICMP }] }] }', 'toPorts[0].ports[0]', /ICMP/],
    ['{ fromEntities: [all], fromNowhere: [x] }', 'ingress[0].fromNowhere', /not known here/],
    ['{ fromEntities: [nobody] }', 'fromEntities[0]', /not an entity/],
    [
      '{ fromEndpoints: [{ matchLabels: { "container:a": b } }] }',
      'fromEndpoints[0].matchLabels.container:a',
      /no label/,
    ],
    ['{ fromCIDR: [10.0.0.0/99] }', 'fromCIDR[0]', /not a range/],
  ]
  for (const [rule, place, why] of cases) {
    const policies = cnp(`{ ${deathstar}, ingress: [${rule}] }`)
    const mesh = new PolicyMesh({ namespaces, pods: [...pods, ...machines], policies })
    t.same(
      everybody.filter(each => mesh.ask(each, d, { port: 80 })),
      [d],
      rule,
    )
    const findings = mesh.plugin.findings?.() ?? []
    t.ok(
      findings.some(
        ({ message }) =>
          message.includes(`CiliumNetworkPolicy default/one: spec.`) && message.includes(place) && why.test(message),
      ),
      JSON.stringify(findings),
    )
  }
  const layer7 = cnp(`{ ${deathstar}, ingress: [${cases[0]?.[0]}] }`)
  const open = new PolicyMesh({ pods, policies: layer7, options: { undecided: 'allow' } })
  t.ok(open.ask(x, d, { port: 80 }), 'unless the option says so')
  t.notOk(open.ask(x, d, { port: 81 }), 'on its ports')
  const closed = new PolicyMesh({ pods, policies: layer7 })
  t.match(
    closed.why(x, d, { port: 80 }),
    /no rule of CiliumNetworkPolicy default\/one allows it; ingress\[0\] of .* might, but it has a rule of layer 7/,
  )
})

t.test('groups of ranges, by name and by label', async t => {
  const group = (name: string, label: string, ranges: string) =>
    yaml(
      `{ apiVersion: cilium.io/v2, kind: CiliumCIDRGroup, metadata: { name: ${name}, labels: { role: ${label} } }, spec: { externalCIDRs: [${ranges}] } }`,
    )
  const groups = [
    ...group('partners', 'friend', '192.0.2.0/24'),
    ...group('others', 'stranger', '198.51.100.0/24, "2001:db8::/32"'),
  ]
  const asked = (rule: string, objects: object[] = groups) => {
    const policies = [...cnp(`{ ${deathstar}, ingress: [{ fromCIDRSet: [${rule}] }] }`), ...objects]
    const mesh = new PolicyMesh({ pods, policies })
    const open = ['192.0.2.7', '192.0.2.200', '198.51.100.7', x].filter(client => mesh.ask(client, d, { port: 80 }))
    return { open, findings: mesh.plugin.findings?.().map(({ message }) => message) }
  }
  t.same(asked('{ cidrGroupRef: partners }'), { open: ['192.0.2.7', '192.0.2.200'], findings: [] })
  t.same(asked('{ cidrGroupRef: partners, except: [192.0.2.128/25] }').open, ['192.0.2.7'])
  t.same(asked('{ cidrGroupSelector: { matchLabels: { role: stranger } } }').open, ['198.51.100.7'])
  t.same(asked('{ cidrGroupSelector: { matchLabels: { role: nobody } } }'), { open: [], findings: [] })
  t.same(asked('{ cidrGroupSelector: {} }').open, ['192.0.2.7', '192.0.2.200', '198.51.100.7'])
  const broken = asked('{ cidrGroupRef: partners }', group('partners', 'friend', '192.0.2.0/99'))
  t.same(broken.open, [], 'a group that cannot be read allows nobody')
  t.match(broken.findings, [/externalCIDRs\[0\]: is not a range/, /no usable CiliumCIDRGroup partners/])

  const policies = {
    'cluster-1': cnp(`{ ${deathstar}, ingress: [{ fromCIDRSet: [{ cidrGroupRef: partners }] }] }`),
    'cluster-2': groups,
  }
  t.notOk(new PolicyMesh({ pods, policies }).ask('192.0.2.7', d), 'a group of another cluster is another group')
})

t.test('a rule that denies, and cannot be decided, denies all it could be about', async t => {
  const policies = cnp(
    `{ ${deathstar}, ingress: [{ fromEntities: [all] }], ingressDeny: [{ fromCIDRSet: [{ cidrGroupRef: bad }] }] }`,
  )
  const asked = (options: object) => {
    const mesh = new PolicyMesh({ pods, policies, options })
    return ['192.0.2.7', x].map(client => mesh.ask(client, d, { port: 80 }))
  }
  t.same(asked({}), [false, true], 'the world')
  t.same(asked({ undecided: 'allow' }), [true, true])
})

t.test('egress to names that DNS has answered', async t => {
  const policies = (rule: string) =>
    cnp(`{ endpointSelector: { matchLabels: { class: tiefighter } }, egress: [{ toFQDNs: [${rule}] }] }`)
  const mesh = new PolicyMesh({
    pods,
    policies: policies('{ matchName: API.example }, { matchPattern: "*.cdn.example" }'),
  })
  const told: string[] = []
  const answer = (name: string, ttlSeconds: number, ...addresses: string[]) => {
    if (mesh.store.names.wants(name)) told.push(name)
    mesh.store.names.answered({ name, addresses, ttlSeconds })
  }
  t.same(mesh.plugin.findings?.(), [])
  t.notOk(mesh.ask(tie, '192.0.2.7'), 'nobody has asked for the name')
  answer('other.example', 300, '192.0.2.7')
  answer('deep.a.cdn.example', 300, '192.0.2.7')
  t.notOk(mesh.ask(tie, '192.0.2.7'), 'other names')
  answer('api.example', 300, '192.0.2.7', '192.0.2.17')
  t.same(
    ['192.0.2.7', '192.0.2.8', '192.0.2.17', d].map(to => mesh.ask(tie, to)),
    [true, false, true, false],
  )
  answer('a.cdn.example', 5, '192.0.2.9', '10.1.0.1')
  t.same(
    ['192.0.2.9', d].map(to => mesh.ask(tie, to)),
    [true, false],
    'by a pattern; a name does not stand for a Pod',
  )
  t.same(told, ['api.example', 'a.cdn.example'])
  t.match(mesh.plugin.state?.(), { names: 2 })

  const successor = new PolicyMesh({ pods, policies: policies('{ matchName: api.example }') })
  successor.plugin.restore?.(JSON.parse(JSON.stringify(mesh.plugin.save?.())))
  t.ok(successor.ask(tie, '192.0.2.7'), 'a successor knows it')

  await mesh.clock.advance(50_000)
  t.ok(mesh.ask(tie, '192.0.2.9'), 'at least for a minute')
  await mesh.clock.advance(30_000)
  t.same(
    ['192.0.2.9', '192.0.2.7'].map(to => mesh.ask(tie, to)),
    [false, true],
  )
  await mesh.clock.advance(240_000)
  t.notOk(mesh.ask(tie, '192.0.2.7'), 'until the TTL ends')
  for (let i = 0; i < 10_010; i++) answer(`n${i}.cdn.example`, 300, '192.0.2.7')
  t.match(mesh.plugin.state?.(), { names: 10_000 }, 'bounded')
  mesh.sink().dropPolicy({ ...(mesh.store.policies()[0] as PolicyObject) })
  t.match(mesh.plugin.state?.(), { names: 0 })
  t.equal(mesh.store.names.generation, 0, 'nobody follows names without such a policy')
  await mesh.plugin.close?.()
  await mesh.clock.advance(60_000)
  t.equal(mesh.clock.waiting, 0)
})

t.test('patterns of names', async t => {
  const cases: [pattern: string, yes: string[], no: string[]][] = [
    ['*', ['a', 'a.b.c'], []],
    ['api.example', ['api.example'], ['xapi.example', 'apixexample', 'api.example.org']],
    ['*.example', ['a.example'], ['a.b.example', 'example']],
    ['api-*.*.example', ['api-1.eu.example', 'api-.eu.example'], ['api.eu.example', 'api-1.example']],
    ['**.example', ['a.example', 'a.b.example'], ['example', 'aexample']],
  ]
  for (const [pattern, yes, no] of cases) {
    const test = nameTest(pattern)
    for (const name of yes) t.ok(test.test(name), `${pattern} ${name}`)
    for (const name of no) t.notOk(test.test(name), `${pattern} ${name}`)
  }
  const bad = new PolicyMesh({
    pods,
    policies: cnp(
      '{ endpointSelector: {}, egress: [{ toFQDNs: [{ matchName: "*.a" }, { matchPattern: "a b" }, {}] }] }',
    ),
  })
  t.equal(bad.plugin.findings?.().length, 3)
  t.notOk(bad.ask(tie, '192.0.2.7'))
})

t.test('a rule of DNS that lets every name pass is no condition', async t => {
  const asked = (pattern: string) => {
    const ports = `[{ ports: [{ port: "53" }], rules: { dns: [{ matchPattern: "${pattern}" }] } }]`
    const policies = cnp(
      `{ endpointSelector: {}, egress: [{ toEndpoints: [{ matchLabels: { class: deathstar } }], toPorts: ${ports} }] }`,
    )
    return new PolicyMesh({ pods, policies }).ask(tie, d, { port: 53 })
  }
  t.same([asked('*'), asked('*.example')], [true, false])
})

t.test('a spec about nodes is left out', async t => {
  const mesh = new PolicyMesh({ pods, policies: ccnp('{ nodeSelector: {}, ingress: [{}] }') })
  t.ok(mesh.ask(x, d))
  t.match(mesh.plugin.findings?.(), [
    { message: /CiliumClusterwideNetworkPolicy one: spec\.nodeSelector: is about nodes/ },
  ])
})
