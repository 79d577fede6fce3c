/**
 * What Kubernetes' network policy conformance suite and API reference say, as facts: three namespaces x, y, z with Pods a, b, c in each,
 * all of which serve TCP and UDP 80 and 81. Each fact is a policy, and who may then reach whom.
 */
import t from 'tap'
import { PolicyMesh, type TestPod, yaml } from './situation.ts'

const namespaces = ['x', 'y', 'z'] as const
const letters = ['a', 'b', 'c'] as const
const pods: TestPod[] = namespaces.flatMap((namespace, n) =>
  letters.map((name, i) => ({
    ...{ namespace, name, address: `10.0.${n}.${i + 1}`, labels: { pod: name } },
    ports: [
      { name: 'serve-80-tcp', port: 80, protocol: 'TCP' },
      { name: 'serve-81-tcp', port: 81, protocol: 'TCP' },
      { name: 'serve-80-udp', port: 80, protocol: 'UDP' },
    ],
  })),
)
const all = pods.map(({ namespace, name }) => `${namespace}/${name}`)
const labels = Object.fromEntries(namespaces.map(ns => [ns, { ns, 'kubernetes.io/metadata.name': ns }]))

const policy = (spec: string, namespace = 'x') =>
  yaml(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: one, namespace: ${namespace} }
spec: ${spec}`)

/** Who reaches `to`; a Pod always reaches itself. */
interface Fact {
  readonly what: string
  readonly policies: object[]
  readonly to: string
  readonly from: readonly string[]
  readonly port?: number
  readonly protocol?: 'TCP' | 'UDP'
}

const of = (...names: string[]) => all.filter(pod => names.some(name => pod === name || pod.startsWith(`${name}/`)))
const but = (...names: string[]) => all.filter(pod => !of(...names).includes(pod))

const facts: Fact[] = [
  { what: 'no policy: everybody', policies: [], to: 'x/a', from: all },
  {
    what: 'default deny of ingress',
    policies: policy('{ podSelector: {}, policyTypes: [Ingress] }'),
    to: 'x/a',
    from: ['x/a'],
  },
  { what: 'which leaves other namespaces alone', policies: policy('{ podSelector: {} }'), to: 'y/a', from: all },
  {
    what: 'a rule without from allows everybody',
    policies: policy('{ podSelector: {}, ingress: [{}] }'),
    to: 'x/a',
    from: all,
  },
  {
    what: 'a policy on some Pods',
    policies: policy('{ podSelector: { matchLabels: { pod: a } } }'),
    to: 'x/b',
    from: all,
  },
  {
    what: 'Pods of the same namespace by label',
    policies: policy(
      '{ podSelector: { matchLabels: { pod: a } }, ingress: [{ from: [{ podSelector: { matchLabels: { pod: b } } }] }] }',
    ),
    to: 'x/a',
    from: ['x/a', 'x/b'],
  },
  {
    what: 'all Pods of the same namespace',
    policies: policy('{ podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] }'),
    to: 'x/a',
    from: of('x'),
  },
  {
    what: 'all Pods of all namespaces',
    policies: policy('{ podSelector: {}, ingress: [{ from: [{ namespaceSelector: {} }] }] }'),
    to: 'x/a',
    from: all,
  },
  {
    what: 'namespaces by label',
    policies: policy(
      '{ podSelector: { matchLabels: { pod: a } }, ingress: [{ from: [{ namespaceSelector: { matchLabels: { ns: y } } }] }] }',
    ),
    to: 'x/a',
    from: ['x/a', ...of('y')],
  },
  {
    what: 'a namespace by its own name',
    policies: policy(
      '{ podSelector: {}, ingress: [{ from: [{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: z } } }] }] }',
    ),
    to: 'x/a',
    from: ['x/a', ...of('z')],
  },
  {
    what: 'namespaces by an expression',
    policies: policy(
      '{ podSelector: {}, ingress: [{ from: [{ namespaceSelector: { matchExpressions: [{ key: ns, operator: NotIn, values: [x] }] } }] }] }',
    ),
    to: 'x/a',
    from: ['x/a', ...of('y', 'z')],
  },
  {
    what: 'podSelector and namespaceSelector in one peer: both must hold',
    policies: policy(
      '{ podSelector: {}, ingress: [{ from: [{ namespaceSelector: { matchLabels: { ns: y } }, podSelector: { matchLabels: { pod: b } } }] }] }',
    ),
    to: 'x/a',
    from: ['x/a', 'y/b'],
  },
  {
    what: 'as two peers: one of them',
    policies: policy(
      '{ podSelector: {}, ingress: [{ from: [{ namespaceSelector: { matchLabels: { ns: y } } }, { podSelector: { matchLabels: { pod: b } } }] }] }',
    ),
    to: 'x/a',
    from: ['x/a', 'x/b', ...of('y')],
  },
  {
    what: 'Pods by an expression',
    policies: policy(
      '{ podSelector: { matchExpressions: [{ key: pod, operator: In, values: [a, b] }] }, ingress: [{ from: [{ podSelector: { matchExpressions: [{ key: pod, operator: DoesNotExist }] } }] }] }',
    ),
    to: 'x/b',
    from: ['x/b'],
  },
  {
    what: 'several policies add up',
    policies: [
      ...policy('{ podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { pod: b } } }] }] }'),
      ...policy(
        '{ podSelector: { matchLabels: { pod: a } }, ingress: [{ from: [{ namespaceSelector: { matchLabels: { ns: y } } }] }] }',
      ).map(renamed),
    ],
    to: 'x/a',
    from: ['x/a', 'x/b', ...of('y')],
  },
  {
    what: 'allow all beside deny all',
    policies: [...policy('{ podSelector: {} }'), ...policy('{ podSelector: {}, ingress: [{}] }').map(renamed)],
    to: 'x/a',
    from: all,
  },
  ...(
    [
      [80, all],
      [81, ['x/a']],
    ] as const
  ).map(([port, from]) => ({
    what: `a port by number: ${port}`,
    policies: policy('{ podSelector: {}, ingress: [{ ports: [{ port: 80 }] }] }'),
    ...{ to: 'x/a', from, port },
  })),
  ...(
    [
      [80, all],
      [81, all],
      [82, ['x/a']],
      [79, ['x/a']],
    ] as const
  ).map(([port, from]) => ({
    what: `a range of ports: ${port}`,
    policies: policy('{ podSelector: {}, ingress: [{ ports: [{ port: 80, endPort: 81 }] }] }'),
    ...{ to: 'x/a', from, port },
  })),
  ...(
    [
      [80, ['x/a']],
      [81, all],
    ] as const
  ).map(([port, from]) => ({
    what: `a port by name: ${port}`,
    policies: policy('{ podSelector: {}, ingress: [{ ports: [{ port: serve-81-tcp }] }] }'),
    ...{ to: 'x/a', from, port },
  })),
  {
    what: 'a name of another protocol',
    policies: policy('{ podSelector: {}, ingress: [{ ports: [{ port: serve-80-udp }] }] }'),
    ...{ to: 'x/a', from: ['x/a'], port: 80 },
  },
  ...(['TCP', 'UDP'] as const).map(protocol => ({
    what: `a protocol alone: ${protocol}`,
    policies: policy('{ podSelector: {}, ingress: [{ ports: [{ protocol: UDP }] }] }'),
    ...{ to: 'x/a', from: protocol === 'UDP' ? all : ['x/a'], port: 80, protocol },
  })),
  {
    what: 'peers and ports of one rule belong together',
    policies: policy(
      '{ podSelector: {}, ingress: [{ from: [{ namespaceSelector: { matchLabels: { ns: y } } }], ports: [{ port: 80 }] }, { ports: [{ port: 81 }] }] }',
    ),
    ...{ to: 'x/a', from: ['x/a', ...of('y')], port: 80 },
  },
  {
    what: 'default deny of egress',
    policies: policy('{ podSelector: {}, policyTypes: [Egress] }'),
    ...{ to: 'y/a', from: but('x') },
  },
  {
    what: 'which leaves ingress alone',
    policies: policy('{ podSelector: {}, policyTypes: [Egress] }'),
    to: 'x/a',
    from: ['x/a', ...but('x')],
  },
  {
    what: 'egress to a namespace',
    policies: policy(
      '{ podSelector: { matchLabels: { pod: a } }, policyTypes: [Egress], egress: [{ to: [{ namespaceSelector: { matchLabels: { ns: y } } }] }] }',
    ),
    ...{ to: 'z/a', from: but('x/a') },
  },
  {
    what: 'an egress section without types isolates ingress too',
    policies: policy('{ podSelector: { matchLabels: { pod: a } }, egress: [{}] }'),
    ...{ to: 'x/a', from: ['x/a'] },
  },
  {
    what: 'an empty egress section without types does not isolate egress',
    policies: policy('{ podSelector: { matchLabels: { pod: a } }, egress: [] }'),
    ...{ to: 'y/a', from: all },
  },
  {
    what: 'egress and ingress must both allow',
    policies: [
      ...policy(
        '{ podSelector: {}, policyTypes: [Egress], egress: [{ to: [{ namespaceSelector: { matchLabels: { ns: y } } }] }] }',
      ),
      ...policy(
        '{ podSelector: { matchLabels: { pod: a } }, ingress: [{ from: [{ podSelector: { matchLabels: { pod: b } } }] }] }',
        'y',
      ),
    ],
    ...{ to: 'y/a', from: ['y/a', 'y/b'] },
  },
  {
    what: 'egress to a port by the name at the destination',
    policies: policy('{ podSelector: {}, policyTypes: [Egress], egress: [{ ports: [{ port: serve-80-tcp }] }] }'),
    ...{ to: 'y/a', from: all, port: 80 },
  },
  {
    what: 'egress to a range that has the Pod',
    policies: policy(
      '{ podSelector: { matchLabels: { pod: a } }, policyTypes: [Egress], egress: [{ to: [{ ipBlock: { cidr: 10.0.1.1/32 } }] }] }',
    ),
    ...{ to: 'y/a', from: all },
  },
  {
    what: 'and to a range with a hole where the Pod is',
    policies: policy(
      '{ podSelector: { matchLabels: { pod: a } }, policyTypes: [Egress], egress: [{ to: [{ ipBlock: { cidr: 10.0.0.0/8, except: [10.0.1.0/24] } }] }] }',
    ),
    ...{ to: 'y/a', from: but('x/a') },
  },
  {
    what: 'holes of one rule do not limit another',
    policies: policy(
      '{ podSelector: { matchLabels: { pod: a } }, policyTypes: [Egress], egress: [{ to: [{ ipBlock: { cidr: 10.0.0.0/8, except: [10.0.1.0/24] } }] }, { to: [{ ipBlock: { cidr: 10.0.1.1/32 } }] }] }',
    ),
    ...{ to: 'y/a', from: all },
  },
]

function renamed(object: object): object {
  const { metadata, ...rest } = object as { metadata: object }
  return { ...rest, metadata: { ...metadata, name: 'two' } }
}

for (const { what, policies, to, from, port = 80, protocol = 'TCP' } of facts) {
  t.test(what, async t => {
    const mesh = new PolicyMesh({ namespaces: labels, pods, policies })
    t.same(
      all.filter(pod => mesh.ask(pod, to, { port, protocol })),
      all.filter(pod => from.includes(pod)),
      `to ${to} ${port}/${protocol}`,
    )
    t.same(mesh.plugin.findings?.(), [])
  })
}

t.test('a change of a Pod, a namespace or a policy is a change of the answer', async t => {
  const [object] = policy(
    '{ podSelector: { matchLabels: { pod: a } }, ingress: [{ from: [{ namespaceSelector: { matchLabels: { ns: y } }, podSelector: { matchLabels: { pod: b } } }] }] }',
  )
  const mesh = new PolicyMesh({ namespaces: labels, pods, policies: [object as object] })
  const asks = () => ['x/a', 'y/b', 'y/c'].map(pod => mesh.ask(pod, 'x/a', { port: 80 }))
  t.same(asks(), [true, true, false])
  const [, , , , b, c] = pods
  mesh.put({ ...(c as TestPod), labels: { pod: 'b' } })
  t.same(asks(), [true, true, true], 'a Pod has other labels')
  mesh.sink().putNamespace({ name: 'y', global: undefined, labels: { ns: 'other' } })
  t.same(asks(), [true, false, false], 'a namespace has other labels')
  mesh.sink().putNamespace({ name: 'y', global: undefined, labels: { ns: 'y' } })
  mesh.sink().dropPod('y', 'b')
  t.equal(mesh.ask((b as TestPod).address, 'x/a', { port: 80 }), false, 'the Pod is gone')
  const [backend] = pods
  mesh.put({ ...(backend as TestPod), labels: {} })
  t.same(asks(), [true, true, true], 'the backend is no subject any more')
  mesh.put(backend as TestPod)
  t.same(asks(), [true, false, true])
  mesh.apply(policy('{ podSelector: { matchLabels: { pod: a } } }')[0] as object)
  t.same(asks(), [true, false, false], 'the policy has changed')
})
