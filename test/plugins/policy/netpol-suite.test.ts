/**
 * The cases of Kubernetes' network policy conformance suite (test/e2e/network/netpol), as truth tables in our own words: which pairs of
 * Pods x/a to z/c the policies part, of all pairs. A Pod's way to itself is left out, as in the suite.
 */
import t from 'tap'
import { PolicyMesh, type TestPod } from './situation.ts'

const namespaces = ['x', 'y', 'z']
const ports = (['TCP', 'UDP', 'SCTP'] as const).flatMap(protocol =>
  [80, 81].map(port => ({ name: `serve-${port}-${protocol.toLowerCase()}`, port, protocol })),
)
const pods: TestPod[] = namespaces.flatMap((namespace, n) =>
  ['a', 'b', 'c'].map((name, i) => ({
    ...{ namespace, name, address: `10.0.${n}.${i + 1}`, labels: { pod: name }, ports },
  })),
)
const all = pods.map(({ namespace, name }) => `${namespace}/${name}`)
const labels = Object.fromEntries(namespaces.map(name => [name, { 'kubernetes.io/metadata.name': name }]))

/** A policy of namespace x, unless told. Sections that are given are its types, as the suite's generator has it. */
function np(podSelector: object, sections: { ingress?: object[]; egress?: object[] }, namespace = 'x') {
  const policyTypes = [...(sections.ingress ? ['Ingress'] : []), ...(sections.egress ? ['Egress'] : [])]
  return (name: string) => ({
    ...{ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name, namespace } },
    spec: { podSelector, policyTypes, ...sections },
  })
}
const of = (pod: string) => ({ matchLabels: { pod } })
const named = (namespace: string) => ({ matchLabels: { 'kubernetes.io/metadata.name': namespace } })
const expression = (key: string, operator: string, ...values: string[]) => ({
  matchExpressions: [{ key, operator, values }],
})
const notNamed = (namespace: string) => expression('kubernetes.io/metadata.name', 'NotIn', namespace)
const toA = (...ingress: object[]) => np(of('a'), { ingress })
const fromA = (...egress: object[]) => np(of('a'), { egress })

type Parted = (from: string, to: string) => boolean
const in_ = (namespace: string, pod: string) => pod.startsWith(`${namespace}/`)
/** All that go to x/a, but from these. */
const toXaBut =
  (...allowed: string[]): Parted =>
  (from, to) =>
    to === 'x/a' && !allowed.some(each => from === each || in_(each, from))
const fromXaBut =
  (...allowed: string[]): Parted =>
  (from, to) =>
    from === 'x/a' && !allowed.some(each => to === each || in_(each, to))
const none: Parted = () => false
const intoX: Parted = (_from, to) => in_('x', to)
const outOfX: Parted = from => in_('x', from)

interface Case {
  readonly what: string
  readonly policies: ((name: string) => object)[]
  readonly parted: Parted
  readonly port?: number
  readonly protocol?: 'TCP' | 'UDP' | 'SCTP'
}

const block = (cidr: string, ...except: string[]) => ({ ipBlock: { cidr, ...(except.length > 0 && { except }) } })
const sctp = (port: number) => toA({ ports: [{ protocol: 'SCTP', port }] })
const byProtocol = (['TCP', 'UDP', 'SCTP'] as const).flatMap((protocol): Case[] => [
  { what: 'default deny of ingress', policies: [np({}, { ingress: [] })], parted: intoX, protocol },
  {
    what: 'a port from a namespace',
    policies: [toA({ from: [{ namespaceSelector: named('y') }], ports: [{ protocol, port: 81 }] })],
    ...{ parted: toXaBut('y'), port: 81, protocol },
  },
  {
    what: 'a Pod of another namespace alone',
    policies: [toA({ from: [{ namespaceSelector: named('y'), podSelector: of('a') }] })],
    ...{ parted: toXaBut('y/a'), protocol },
  },
])

const cases: Case[] = [
  ...byProtocol,
  {
    what: 'default deny of both',
    policies: [np({}, { ingress: [], egress: [] })],
    parted: (from, to) => intoX(from, to) || outOfX(from, to),
  },
  { what: 'a Pod of the own namespace', policies: [toA({ from: [{ podSelector: of('b') }] })], parted: toXaBut('x/b') },
  {
    what: 'ingress for one target of a namespace that is shut',
    policies: [np({}, { ingress: [] }), toA({ from: [{ podSelector: {}, namespaceSelector: {} }] })],
    parted: (_from, to) => to === 'x/b' || to === 'x/c',
  },
  { what: 'all namespaces', policies: [toA({ from: [{ namespaceSelector: {} }] })], parted: none },
  { what: 'another namespace', policies: [toA({ from: [{ namespaceSelector: named('y') }] })], parted: toXaBut('y') },
  {
    what: 'Pods by expression',
    policies: [toA({ from: [{ podSelector: expression('pod', 'In', 'b') }] })],
    parted: toXaBut('x/b'),
  },
  {
    what: 'namespaces by expression',
    policies: [toA({ from: [{ namespaceSelector: expression('kubernetes.io/metadata.name', 'In', 'y') }] })],
    parted: toXaBut('y'),
  },
  {
    what: 'Pods or namespaces',
    policies: [toA({ from: [{ namespaceSelector: notNamed('x') }, { podSelector: of('b') }] })],
    parted: toXaBut('y', 'z', 'x/b'),
  },
  {
    what: 'Pods and namespaces',
    policies: [toA({ from: [{ namespaceSelector: notNamed('x'), podSelector: of('b') }] })],
    parted: toXaBut('y/b', 'z/b'),
  },
  {
    what: 'several Pods and namespaces',
    policies: [toA({ from: [{ namespaceSelector: notNamed('x'), podSelector: expression('pod', 'In', 'b', 'c') }] })],
    parted: toXaBut('y/b', 'y/c', 'z/b', 'z/c'),
  },
  {
    what: 'any of several Pods',
    policies: [toA({ from: [{ podSelector: of('b') }, { podSelector: of('c') }] })],
    parted: toXaBut('x/b', 'x/c'),
  },
  ...[81, 80].map(
    (port): Case => ({
      what: 'one of two ports, before another policy opens the other',
      policies: [toA({ from: [{ namespaceSelector: named('y') }], ports: [{ protocol: 'TCP', port: 81 }] })],
      ...{ port, parted: port === 81 ? toXaBut('y') : toXaBut() },
    }),
  ),
  {
    what: 'and after it',
    policies: [81, 80].map(port =>
      toA({ from: [{ namespaceSelector: named('y') }], ports: [{ protocol: 'TCP', port }] }),
    ),
    parted: toXaBut('y'),
  },
  ...[80, 81].map((port): Case => ({ what: 'allow all', policies: [np({}, { ingress: [{}] })], parted: none, port })),
  ...[80, 81].map(
    (port): Case => ({
      what: 'ingress by the name of a port',
      policies: [np({}, { ingress: [{ ports: [{ port: 'serve-81-tcp' }] }] })],
      ...{ port, parted: port === 81 ? none : intoX },
    }),
  ),
  ...[80, 81].map(
    (port): Case => ({
      what: 'a namespace by the name of a port',
      policies: [
        toA({ from: [{ namespaceSelector: named('y') }], ports: [{ protocol: 'TCP', port: 'serve-80-tcp' }] }),
      ],
      ...{ port, parted: port === 80 ? toXaBut('y') : toXaBut() },
    }),
  ),
  ...[80, 81].map(
    (port): Case => ({
      what: 'egress by the name of a port',
      policies: [np({}, { egress: [{ ports: [{ port: 'serve-80-tcp' }] }] })],
      ...{ port, parted: port === 80 ? none : outOfX },
    }),
  ),
  {
    what: 'ingress from other namespaces is shut',
    policies: [np({}, { ingress: [{ from: [{ podSelector: {} }] }] })],
    parted: (from, to) => in_('x', to) && !in_('x', from),
  },
  { what: 'egress of a Pod is shut', policies: [fromA()], parted: fromXaBut() },
  { what: 'egress of a namespace is shut', policies: [np({}, { egress: [] })], parted: outOfX },
  ...[80, 81].map(
    (port): Case => ({
      what: 'ingress and egress in one policy',
      policies: [np(of('a'), { ingress: [{ from: [{ podSelector: of('b') }] }], egress: [{ ports: [{ port: 80 }] }] })],
      ...{ port, parted: (from, to) => toXaBut('x/b')(from, to) || (port === 81 && from === 'x/a') },
    }),
  ),
  {
    what: 'egress is shut at the client, whatever the server allows',
    policies: [
      fromA({ to: [{ namespaceSelector: named('y'), podSelector: of('a') }] }),
      ...['a', 'b'].map(pod =>
        np(of(pod), { ingress: [{ from: [{ namespaceSelector: named('x'), podSelector: of('a') }] }] }, 'y'),
      ),
    ],
    parted: (from, to) => (from === 'x/a' ? to !== 'y/a' : to === 'y/a' || to === 'y/b'),
  },
  {
    what: 'egress to a Pod of another namespace',
    policies: [fromA({ to: [{ namespaceSelector: named('y'), podSelector: of('a') }] })],
    parted: fromXaBut('y/a'),
  },
  ...(['TCP', 'UDP'] as const).map(
    (protocol): Case => ({
      what: 'any port of a protocol',
      policies: [toA({ ports: [{ protocol: 'TCP' }] })],
      ...{ protocol, parted: protocol === 'TCP' ? none : toXaBut() },
    }),
  ),
  {
    what: 'a policy for one port shuts the other of ingress',
    policies: [np({}, { ingress: [{ ports: [{ port: 80 }] }] })],
    ...{ port: 81, parted: intoX },
  },
  {
    what: 'one that allows all beside it opens it',
    policies: [np({}, { ingress: [{ ports: [{ port: 80 }] }] }), np({}, { ingress: [{}] })],
    ...{ port: 81, parted: none },
  },
  {
    what: 'a policy for one port shuts the other of egress',
    policies: [np({}, { egress: [{ ports: [{ port: 80 }] }] })],
    ...{ port: 81, parted: outOfX },
  },
  {
    what: 'one that allows all beside it opens it too',
    policies: [np({}, { egress: [{ ports: [{ port: 80 }] }] }), np({}, { egress: [{}] })],
    ...{ port: 81, parted: none },
  },
  { what: 'egress to a range', policies: [fromA({ to: [block('10.0.1.2/32')] })], parted: fromXaBut('y/b') },
  {
    what: 'egress to a range with a hole',
    policies: [fromA({ to: [block('10.0.0.0/16', '10.0.0.2/32')] })],
    parted: (from, to) => from === 'x/a' && to === 'x/b',
  },
  {
    what: 'a hole that another policy fills',
    policies: [fromA({ to: [block('10.0.0.0/16', '10.0.0.2/32')] }), fromA({ to: [block('10.0.0.2/32')] })],
    parted: none,
  },
  {
    what: 'ingress and egress of one Pod by two policies',
    policies: [fromA({}), toA()],
    parted: toXaBut(),
  },
  { what: 'SCTP is not TCP', policies: [np({}, { ingress: [] }), sctp(81)], parted: intoX, port: 81 },
  { what: 'a policy for SCTP isolates', policies: [sctp(80)], parted: toXaBut(), port: 81 },
  {
    what: 'UDP is not TCP',
    policies: [toA({ ports: [{ protocol: 'UDP', port: 81 }] })],
    ...{ parted: toXaBut(), port: 81 },
  },
  {
    what: 'egress to all namespaces but one',
    policies: [fromA({ to: [{ namespaceSelector: notNamed('y') }] })],
    parted: fromXaBut('x', 'z'),
  },
]

/** The pairs that are parted. */
function partedOf(mesh: PolicyMesh, port: number, protocol: 'TCP' | 'UDP' | 'SCTP'): string[] {
  return pairs(([from, to]) => !mesh.ask(from, to, { port, protocol: protocol as 'TCP' }))
}

function pairs(test: (pair: [from: string, to: string]) => boolean): string[] {
  const every = all.flatMap(from => all.filter(to => to !== from).map((to): [string, string] => [from, to]))
  return every.filter(test).map(pair => pair.join(' to '))
}

for (const { what, policies, parted, port = 80, protocol = 'TCP' } of cases) {
  t.test(`${what}: ${port}/${protocol}`, async t => {
    const objects = policies.map((policy, i) => policy(`policy-${i}`))
    const mesh = new PolicyMesh({ namespaces: labels, pods, policies: objects })
    t.same(
      partedOf(mesh, port, protocol),
      pairs(([from, to]) => parted(from, to)),
    )
    t.same(mesh.plugin.findings?.(), [])
  })
}

t.test('policies that change or go, and labels that change', async t => {
  const shut = np({}, { ingress: [], egress: [] })('one')
  const mesh = new PolicyMesh({ namespaces: labels, pods, policies: [np({}, { ingress: [{}] })('one')] })
  const parted = () => partedOf(mesh, 81, 'TCP')
  t.same(parted(), [])
  mesh.apply(shut)
  const both = pairs(([from, to]) => intoX(from, to) || outOfX(from, to))
  t.same(parted(), both, 'it is updated')
  const [policy] = mesh.store.policies()
  if (policy) mesh.sink().dropPolicy(policy)
  t.same(parted(), [], 'it is deleted')
  mesh.apply(toA({ from: [{ namespaceSelector: { matchLabels: { ns2: 'updated' } } }] })('one'))
  t.same(
    parted(),
    pairs(([, to]) => to === 'x/a'),
  )
  mesh.sink().putNamespace({ name: 'y', global: undefined, labels: { ns2: 'updated' } })
  t.same(
    parted(),
    pairs(([from, to]) => toXaBut('y')(from, to)),
    'a namespace has another label',
  )
  mesh.apply(np({ matchLabels: { target: 'isolated' } }, { ingress: [] })('one'))
  t.same(parted(), [])
  const [a] = pods as [TestPod]
  mesh.put({ ...a, labels: { pod: 'a', target: 'isolated' } })
  t.same(
    parted(),
    pairs(([, to]) => to === 'x/a'),
    'a Pod has another label',
  )
})
