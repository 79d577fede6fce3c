/** The policy plugin beside its rules: audit, DNS, counters, machines, unknown Pods, and what it costs many clients. */
import t from 'tap'
import type { Backend } from '../../../proxy/model/backend.ts'
import { backend, flow, globalService } from '../../support/model.ts'
import { PolicyMesh, type TestPod, yaml } from './situation.ts'

const cart: TestPod = { namespace: 'shop', name: 'cart', address: '10.1.0.1', labels: { app: 'cart' } }
const web: TestPod = { namespace: 'shop', name: 'web', address: '10.1.0.2', labels: { app: 'web' } }
const bot: TestPod = { namespace: 'shop', name: 'bot', address: '10.1.0.3', labels: { app: 'bot' } }
const pods = [cart, web, bot]
const denyAll = (name: string, more = '') =>
  yaml(
    `{ apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: { name: ${name}, namespace: shop${more} }, spec: { podSelector: { matchLabels: { app: cart } } } }`,
  )
const allowWeb = yaml(
  '{ apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: { name: allow-web, namespace: shop }, spec: { podSelector: { matchLabels: { app: cart } }, ingress: [{ from: [{ podSelector: { matchLabels: { app: web } } }] }] } }',
)

t.test('a refusal names client, policy and object', async t => {
  const mesh = new PolicyMesh({ pods, policies: [...denyAll('deny'), ...allowWeb] })
  const service = mesh.serviceAt('shop/cart')
  const { client } = mesh.flow('shop/bot', service)
  t.same(mesh.plugin.admit?.(client, service, 'flow'), {
    code: 'policy',
    rule: 'shop/allow-web',
    why: 'shop/bot of cluster-1 may not reach shop/service: ingress: no rule of NetworkPolicy shop/allow-web, NetworkPolicy shop/deny allows it (for cluster-1/10.1.0.1:8080/TCP)',
  })
  t.match(mesh.plugin.state?.(), { policies: 2, addresses: 3 })
})

t.test('a counter for each policy', async t => {
  const mesh = new PolicyMesh({ pods, policies: denyAll('deny') })
  const asked = mesh.flow('shop/bot', mesh.serviceAt('shop/cart'))
  mesh.plugin.onRefused?.(asked, { code: 'policy', why: '' })
  mesh.plugin.onRefused?.(asked, { code: 'policy', why: '' })
  mesh.plugin.onRefused?.(asked, { code: 'no-backend', why: '' })
  t.same(mesh.counters(), { 'starlane_plugin_policy_refused_total shop/deny': 2 })
})

t.test('audit, of one policy', async t => {
  const policies = [
    ...allowWeb.map(object => object),
    ...denyAll('deny-later', ', annotations: { starlane.dev/audit: "true" }'),
  ]
  const mesh = new PolicyMesh({ pods, policies: denyAll('later', ', annotations: { starlane.dev/audit: "true" }') })
  const asked = mesh.flow('shop/bot', mesh.serviceAt('shop/cart'))
  const [target] = asked.frontend.backends as [Backend]
  t.ok(mesh.ask('shop/bot', 'shop/cart'), 'it is let through')
  t.match(mesh.why('shop/bot', 'shop/cart'), /no rule of NetworkPolicy shop\/later allows it/)
  mesh.plugin.onConnect?.(asked, target)
  mesh.plugin.onConnect?.(asked, target)
  t.same(mesh.counters(), { 'starlane_plugin_policy_audited_total shop/later': 2 })
  t.match(
    mesh.lines,
    [['policy.audited', { policy: 'shop/later', client: '10.1.0.3', backend: target.key }]],
    'logged once',
  )
  await mesh.clock.advance(10_000)
  mesh.plugin.onConnect?.(asked, target)
  t.equal(mesh.lines.length, 2)

  const inAudit = (value: string) =>
    new PolicyMesh({ pods, policies: denyAll('later', `, annotations: { starlane.dev/audit: "${value}" }`) })
  t.ok(inAudit('True').ask('shop/bot', 'shop/cart'), 'in any case, as other annotations')
  t.notOk(inAudit('FALSE').ask('shop/bot', 'shop/cart'))
  t.notOk(inAudit('yes').ask('shop/bot', 'shop/cart'), 'what means nothing is a finding, and enforced')

  const both = new PolicyMesh({ pods, policies })
  t.notOk(both.ask('shop/bot', 'shop/cart'), 'another policy is enforced')
  t.ok(both.ask('shop/web', 'shop/cart'))
  const allowing = allowWeb.map(object => ({
    ...object,
    metadata: { ...(object as { metadata: object }).metadata, annotations: { 'starlane.dev/audit': 'true' } },
  }))
  const neither = new PolicyMesh({ pods, policies: [...denyAll('deny'), ...allowing] })
  t.notOk(neither.ask('shop/web', 'shop/cart'), 'a policy in audit does not allow either')
})

t.test('audit, of all', async t => {
  const mesh = new PolicyMesh({ pods, policies: denyAll('deny'), options: { audit: true } })
  t.ok(mesh.ask('shop/bot', 'shop/cart'))
  t.match(mesh.plugin.state?.(), { audited: 1 })
})

t.test('a bad audit annotation is reported, and the policy enforced', async t => {
  const mesh = new PolicyMesh({ pods, policies: denyAll('deny', ', annotations: { starlane.dev/audit: "maybe" }') })
  t.notOk(mesh.ask('shop/bot', 'shop/cart'))
  t.match(mesh.plugin.findings?.(), [
    { message: /starlane.dev\/audit: is neither "true" nor "false"; the policy is enforced/ },
  ])
})

t.test('DNS answers, or hides', async t => {
  const refused = (dns: string, client: string) => {
    const mesh = new PolicyMesh({ pods, policies: [...denyAll('deny'), ...allowWeb], options: { dns } })
    const service = mesh.serviceAt('shop/cart')
    return mesh.plugin.admit?.(mesh.flow(client, service).client, service, 'name') !== undefined
  }
  t.same(
    ['shop/bot', 'shop/web'].map(client => refused('answer', client)),
    [false, false],
  )
  t.same(
    ['shop/bot', 'shop/web'].map(client => refused('hide', client)),
    [true, false],
  )
  const headless = (dns: string) => {
    const mesh = new PolicyMesh({ pods, policies: denyAll('deny'), options: { dns } })
    const service = mesh.serviceAt('shop/cart')
    const frontend = {
      key: '',
      service: service.key,
      ip: '',
      port: 0,
      protocol: 'TCP' as const,
      name: '',
      backends: service.backends,
    }
    return mesh.plugin.candidates?.({ ...mesh.flow('shop/bot', service), frontend }, service.backends).length
  }
  t.same([headless('answer'), headless('hide')], [1, 0], 'endpoints of a headless service')
})

t.test('a Pod is always reached from its node, and this machine is a node to others', async t => {
  const policies = denyAll('deny')
  const mesh = new PolicyMesh({ pods, policies, node: 'n1' })
  t.ok(mesh.ask('127.0.0.1', 'shop/cart', { node: 'n1' }))
  t.notOk(mesh.ask('127.0.0.1', 'shop/cart', { node: 'n2' }))
  t.notOk(new PolicyMesh({ pods, policies }).ask('127.0.0.1', 'shop/cart', { node: 'n1' }), 'the own node is not known')
  const entity = (name: string) =>
    yaml(
      `{ apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: { name: e, namespace: shop }, spec: { endpointSelector: {}, ingress: [{ fromEntities: [${name}] }] } }`,
    )
  const asked = (name: string, node: string) =>
    new PolicyMesh({ pods, policies: entity(name), node: 'n1' }).ask('127.0.0.1', 'shop/cart', { node })
  t.same([asked('host', 'n2'), asked('remote-node', 'n2')], [false, true])
  t.same([asked('host', 'n1'), asked('remote-node', 'n1')], [true, true])
})

t.test('where flows go: this machine is `host` to its Pods, another one is `remote-node`', async t => {
  const egress = (section: string, entity: string) =>
    yaml(
      `{ apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: { name: e, namespace: shop }, spec: { endpointSelector: {}, ${section}: [{ toEntities: [${entity}] }] } }`,
    )
  const machine = ['127.0.0.1', '172.20.0.5']
  const options = { nodes: ['172.20.1.0/24'] }
  const nodes = { here: '172.20.0.5', byPod: '172.20.0.6', byRange: '172.20.1.7', outside: '192.0.2.9' }
  const others = [{ ...bot, name: 'agent', address: nodes.byPod, hostNetwork: true as const }]
  const reached = (section: string, entity: string, at: object = {}) => {
    const mesh = new PolicyMesh({ pods: [...pods, ...others], policies: egress(section, entity), machine, options })
    return Object.entries(nodes).flatMap(([name, address]) => (mesh.ask('shop/cart', address, at) ? [name] : []))
  }
  t.same(reached('egress', 'host'), ['here'])
  t.same(reached('egress', 'remote-node'), ['byPod', 'byRange'])
  t.same(reached('egress', 'world'), ['outside'])
  t.same(reached('egress', 'cluster'), ['here', 'byPod', 'byRange'])
  const denied = yaml(
    '{ apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: { name: e, namespace: shop }, spec: { endpointSelector: {}, egress: [{ toEntities: [all] }], egressDeny: [{ toEntities: [host] }] } }',
  )
  const mesh = new PolicyMesh({ pods: [...pods, ...others], policies: denied, machine, options })
  t.same(
    Object.values(nodes).map(address => mesh.ask('shop/cart', address)),
    [false, true, true, true],
  )
  t.same(reached('egress', 'host', { cluster: 'cluster-2', remote: true }), [], 'an address of another cluster')

  const far = [{ ...cart, cluster: 'cluster-2', name: 'far', address: '10.2.0.1' }]
  const farther = (entity: string) => {
    const policies = { 'cluster-2': egress('egress', entity) }
    const both = new PolicyMesh({ pods: [...pods, ...far], policies, machine, options })
    return [both.ask('shop/far', nodes.here), both.ask('shop/far', nodes.byRange)]
  }
  t.same(
    [farther('host'), farther('remote-node')],
    [
      [false, false],
      [true, true],
    ],
    'to a Pod of another cluster',
  )
})

t.test('in a Pod, clients at loopback addresses are this Pod', async t => {
  const machine = ['127.0.0.1', cart.address]
  const policies = [
    ...yaml(
      '{ apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: { name: e, namespace: shop }, spec: { podSelector: { matchLabels: { app: cart } }, policyTypes: [Egress], egress: [{ to: [{ podSelector: { matchLabels: { app: web } } }] }] } }',
    ),
    ...yaml(
      '{ apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: { name: i, namespace: shop }, spec: { podSelector: { matchLabels: { app: web } }, ingress: [{ from: [{ ipBlock: { cidr: 10.1.0.1/32 } }] }] } }',
    ),
  ]
  const own = { ...cart, hostAddress: '172.20.0.5' }
  const mesh = new PolicyMesh({ pods: [own, web, bot], policies, machine, node: 'n1' })
  for (const client of ['127.0.0.1', 'shop/cart']) {
    t.ok(mesh.ask(client, 'shop/web', { node: 'n1' }), 'by its labels, and by its own address')
    t.notOk(mesh.ask(client, 'shop/bot', { node: 'n1' }), 'a backend of its node too: the Pod is not the node')
    t.ok(mesh.ask(client, 'shop/cart', { node: 'n1' }), 'itself')
    t.notOk(mesh.ask(client, '172.20.0.5'))
  }
  t.match(mesh.why('127.0.0.1', 'shop/bot'), /egress: no rule of NetworkPolicy shop\/e allows it/)
  const { client } = mesh.flow('127.0.0.1', mesh.serviceAt('shop/bot'))
  t.match(mesh.plugin.admit?.(client, mesh.serviceAt('shop/bot'), 'flow'), {
    why: /^shop\/cart of cluster-1 may not reach/,
  })

  const late = new PolicyMesh({ pods: [web, bot], policies, machine, node: 'n1' })
  t.ok(late.ask('127.0.0.1', 'shop/bot'), 'not known yet')
  late.put(own)
  t.notOk(late.ask('127.0.0.1', 'shop/bot'))
  const toHost = yaml(
    '{ apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: { name: e, namespace: shop }, spec: { endpointSelector: {}, egress: [{ toEntities: [host] }] } }',
  )
  const alone = new PolicyMesh({ pods: [own, web, { ...bot, hostAddress: '172.20.0.6' }], policies: toHost, machine })
  t.same(
    ['172.20.0.5', '172.20.0.6', 'shop/web'].map(address => alone.ask('127.0.0.1', address)),
    [true, false, false],
    'the node of the Pod is its host',
  )
})

t.test('what this machine may do holds for no other client, whoever asks first', async t => {
  const nodes = yaml(
    '{ apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: { name: e, namespace: shop }, spec: { endpointSelector: { matchLabels: { app: cart } }, ingress: [{ fromEntities: [remote-node] }] } }',
  )
  const others = ['shop/bot', 'shop/web', '192.0.2.7']
  const cases = [
    { what: 'its own Pods', policies: denyAll('deny'), node: 'n1' },
    { what: 'as a node of others', policies: nodes, node: 'n2' },
  ]
  for (const { what, policies, node } of cases) {
    for (const isAhead of [false, true]) {
      const mesh = new PolicyMesh({ pods, policies, node: 'n1' })
      const service = mesh.serviceAt('shop/cart', { node })
      mesh.plugin.onService?.(service, [])
      if (isAhead) for (let i = 0; i < 10; i++) await mesh.clock.advance(0)
      const reaches = (client: string) => {
        const asked = mesh.flow(client, service)
        const isRefused = mesh.plugin.admit?.(asked.client, service, 'flow') !== undefined
        const { length } = mesh.plugin.candidates?.(asked, asked.frontend.backends) ?? []
        return !isRefused && length > 0
      }
      t.same(['127.0.0.1', ...others, '127.0.0.1'].filter(reaches), ['127.0.0.1', '127.0.0.1'], what)
      const after = new PolicyMesh({ pods, policies, node: 'n1' })
      t.same(
        [...others, '127.0.0.1', ...others].filter(client => after.ask(client, 'shop/cart', { node })),
        ['127.0.0.1'],
        what,
      )
    }
  }
})

t.test('an address of the ranges of Pods is refused until its Pod is known', async t => {
  const egress = yaml(
    '{ apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: { name: e, namespace: shop }, spec: { podSelector: { matchLabels: { app: new } }, policyTypes: [Egress] } }',
  )
  const mesh = new PolicyMesh({ pods, policies: egress, options: { pods: ['10.1.0.0/16'] } })
  t.notOk(mesh.ask('10.1.0.9', 'shop/cart'))
  t.match(mesh.why('10.1.0.9', 'shop/cart'), /no Pod is known that has it/)
  mesh.put({ ...bot, name: 'late', address: '10.1.0.9' })
  t.ok(mesh.ask('10.1.0.9', 'shop/cart'))
  t.ok(new PolicyMesh({ pods, policies: egress }).ask('10.1.0.9', 'shop/cart'), 'without ranges it is one from outside')
  t.ok(
    new PolicyMesh({ pods, policies: [], options: { pods: ['10.1.0.0/16'] } }).ask('10.1.0.9', 'shop/cart'),
    'without policies',
  )
})

t.test('nodes by range', async t => {
  const policies = yaml(
    '{ apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: { name: e, namespace: shop }, spec: { endpointSelector: {}, ingress: [{ fromEntities: [remote-node] }] } }',
  )
  const mesh = new PolicyMesh({ pods, policies, options: { nodes: ['172.20.0.0/16'] } })
  t.same(
    ['172.20.0.9', '172.21.0.9'].map(client => mesh.ask(client, 'shop/cart')),
    [true, false],
  )
})

t.test('ranges of NetworkPolicies may leave Pods out', async t => {
  const policies = yaml(
    '{ apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: { name: e, namespace: shop }, spec: { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: 0.0.0.0/0 } }] }] } }',
  )
  const asked = (ipBlocks: string) => {
    const mesh = new PolicyMesh({ pods, policies, options: { ipBlocks } })
    return ['shop/bot', '192.0.2.7'].map(client => mesh.ask(client, 'shop/cart'))
  }
  t.same(
    [asked('all'), asked('outside')],
    [
      [true, true],
      [false, true],
    ],
  )
})

t.test('a client that is a backend of the service reaches itself, and lets no other through', async t => {
  const same: TestPod = { ...cart, name: 'cart-2', address: '10.1.0.4' }
  const mesh = new PolicyMesh({ pods: [...pods, same], policies: denyAll('deny') })
  const backends = [backend({ address: cart.address }), backend({ address: same.address })]
  const service = globalService({ backends })
  const left = (pod: TestPod) => {
    const asked = flow(service, { client: { address: pod.address, port: 1 } })
    return mesh.plugin.candidates?.(asked, asked.frontend.backends).map(({ address }) => address)
  }
  for (let round = 0; round < 2; round++) {
    t.same(left(cart), ['10.1.0.1'])
    t.same(left(same), ['10.1.0.4'])
    mesh.put(bot)
    mesh.put(cart)
  }
})

t.test('policies of unstable API versions are reported', async t => {
  const versions = [
    ['AdminNetworkPolicy', 'v1alpha1'],
    ['BaselineAdminNetworkPolicy', 'v1alpha1'],
    ['ClusterNetworkPolicy', 'v1alpha2'],
    ['ClusterNetworkPolicy', 'v1beta1'],
  ]
  for (const [kind, version] of versions) {
    const policies = yaml(
      `{ apiVersion: policy.networking.k8s.io/${version}, kind: ${kind}, metadata: { name: first }, spec: {} }`,
    )
    const mesh = new PolicyMesh({ pods, policies })
    t.match(mesh.plugin.findings?.(), [
      {
        message: `${kind} first: apiVersion: policy.networking.k8s.io/${version} is not a stable version of this API; the policy is not used`,
      },
    ])
    t.ok(mesh.ask('shop/bot', 'shop/cart'))
  }
})

t.test('a policy that an API server would refuse is reported, and allows nothing by what is wrong', async t => {
  const cases: [spec: string, message: RegExp][] = [
    ['{ podSelector: [], ingress: [{}] }', /spec.podSelector: is not a mapping/],
    [
      '{ podSelector: {}, ingress: [{ from: [{}] }] }',
      /spec.ingress\[0\].from\[0\]: needs either an ipBlock or selectors/,
    ],
    [
      '{ podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: nowhere } }] }] }',
      /ipBlock: has something else than ranges/,
    ],
    ['{ podSelector: {}, ingress: [{ ports: [{ port: 99999 }] }] }', /ports\[0\]: is not a port/],
    ['{ podSelector: {}, ingress: [{ ports: [{ port: http, endPort: 9 }] }] }', /ports\[0\]: is not a port/],
    ['{ podSelector: {}, ingress: [{ sources: [] }] }', /spec.ingress\[0\].sources: is not known here/],
    ['{ podSelector: {}, ingress: {} }', /spec.ingress: is not a list/],
    [
      '{ podSelector: {}, ingress: [{ from: [{ podSelector: { matchExpressions: [{ key: a, operator: Near }] } }] }] }',
      /is not a requirement on a label/,
    ],
    ['{ podSelector: {}, policyTypes: [Inward] }', /policyTypes\[0\]: is neither Ingress nor Egress/],
  ]
  for (const [spec, message] of cases) {
    const policies = yaml(
      `{ apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: { name: e, namespace: shop }, spec: ${spec} }`,
    )
    const mesh = new PolicyMesh({ pods, policies })
    t.match(mesh.plugin.findings?.(), [{ message }], spec)
    if (!/podSelector: \[\]|Inward/.test(spec)) t.notOk(mesh.ask('shop/bot', 'shop/cart'), spec)
  }
})

t.test('a client behind the gateway of another cluster is what that cluster says, among its own', async t => {
  const theirs: TestPod = { ...web, cluster: 'cluster-2', name: 'far-web', address: '10.2.0.2' }
  const ours: TestPod = { ...web, name: 'near-web', address: '10.1.0.9' }
  const rule = (more: string) =>
    yaml(
      `{ apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: { name: g, namespace: shop }, spec: { endpointSelector: { matchLabels: { app: cart } }, ingress: [{ fromEndpoints: [{ matchLabels: { app: web${more} } }] }] } }`,
    )
  const identity = { id: 'spiffe://mesh/ns/cluster-2/sa/proxy', trustDomain: 'mesh', cluster: 'cluster-2' }
  const asked = (policies: object[], origin: string | undefined, address = '192.0.2.1') => {
    const mesh = new PolicyMesh({ pods: [cart, theirs, ours], policies })
    const service = mesh.serviceAt('shop/cart')
    const client = { address, port: 1, identity, ...(origin === undefined ? {} : { origin }) }
    return mesh.plugin.admit?.(client, service, 'flow')?.why
  }
  const theirWeb = rule(', io.cilium.k8s.policy.cluster: cluster-2')
  t.equal(asked(theirWeb, theirs.address), undefined, 'a Pod of that cluster')
  t.match(asked(theirWeb, '10.2.0.77'), /^10\.2\.0\.77 of cluster-2, whose Pod is not known, may not reach/)
  t.match(asked(theirWeb, undefined), /of cluster-2, whose Pod is not known/)
  t.match(
    asked(rule(''), theirs.address),
    /far-web of cluster-2 may not reach/,
    'not one of this cluster by its labels',
  )
  t.match(asked(rule(''), ours.address), /whose Pod is not known/, 'nor by the address of one of this cluster')
  t.match(asked(rule(''), cart.address), /whose Pod is not known/, 'nor by that of the backend')
  t.match(asked(rule(''), undefined, ours.address), /whose Pod is not known/, 'nor by where its proxy is')
  t.equal(
    asked(denyAll('deny'), undefined, '0.0.0.0'),
    undefined,
    'what any of its clients may reach is asked with no address',
  )
})
