/** What a policy has that cannot be read, or is not known here: it allows nothing more, denies nothing less, and is reported. */
import t from 'tap'
import { PolicyMesh, type TestPod, yaml } from './situation.ts'

const pods: TestPod[] = ['cart', 'web', 'bot'].map((name, i) => ({
  ...{ namespace: 'shop', name, address: `10.1.0.${i + 1}`, labels: { app: name } },
}))
const clients = ['shop/web', 'shop/bot', '192.0.2.7']
const kubernetes = (rules: string, subject = 'matchLabels: { app: cart }') =>
  yaml(
    `{ apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: { name: n, namespace: shop }, spec: { podSelector: { ${subject} }, ${rules} } }`,
  )
const cilium = (rules: string, subject = 'matchLabels: { app: cart }') =>
  yaml(
    `{ apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: { name: c, namespace: shop }, spec: { endpointSelector: { ${subject} }, ${rules} } }`,
  )
const egress = (rules: string) =>
  yaml(
    `{ apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: { name: e, namespace: shop }, spec: { endpointSelector: { matchLabels: { app: web } }, ${rules} } }`,
  )
const allowAll = 'ingress: [{ fromEntities: [all] }]'
const openEgress = 'egress: [{ toEntities: [all] }]'

function asked(policies: object[], options: object = {}) {
  const mesh = new PolicyMesh({ pods, policies, options })
  return {
    open: clients.filter(client => mesh.ask(client, 'shop/cart')),
    places: (mesh.plugin.findings?.() ?? []).map(({ message }) => message),
  }
}

t.test('a field that is not known, at any depth of a rule or beside it: the rule allows nothing', async t => {
  const cases: [place: string, policies: object[]][] = [
    [
      'from[0].podSelector.matchLabel',
      kubernetes('ingress: [{ from: [{ podSelector: { matchLabel: { app: web } } }] }]'),
    ],
    [
      'matchExpressions[0].value',
      kubernetes(
        'ingress: [{ from: [{ podSelector: { matchExpressions: [{ key: app, operator: Exists, value: web }] } }] }]',
      ),
    ],
    ['from[0].nodeSelector', kubernetes('ingress: [{ from: [{ podSelector: {}, nodeSelector: {} }] }]')],
    ['ipBlock.excpet', kubernetes('ingress: [{ from: [{ ipBlock: { cidr: 0.0.0.0/0, excpet: [10.1.0.3/32] } }] }]')],
    ['ports[0].prot', kubernetes('ingress: [{ ports: [{ protocol: TCP, prot: 80 }] }]')],
    ['spec.podSelector.matchLabel', kubernetes('ingress: [{}]', 'matchLabel: { app: cart }')],
    ['spec.tier', kubernetes('ingress: [{}], tier: 1')],
    ['fromEndpoints[0].matchLabel', cilium('ingress: [{ fromEndpoints: [{ matchLabel: { app: web } }] }]')],
    ['fromCIDRSet[0].excpet', cilium('ingress: [{ fromCIDRSet: [{ cidr: 0.0.0.0/0, excpet: [192.0.2.0/24] }] }]')],
    [
      'toPorts[0].newRules',
      cilium('ingress: [{ fromEntities: [all], toPorts: [{ ports: [{ port: "0" }], newRules: {} }] }]'),
    ],
    ['ports[0].mark', cilium('ingress: [{ fromEntities: [all], toPorts: [{ ports: [{ port: "0", mark: 1 }] }] }]')],
    ['spec.endpointSelector.matchLabel', cilium(allowAll, 'matchLabel: { app: cart }')],
    ['spec.order', cilium(`${allowAll}, order: 5`)],
  ]
  for (const [place, policies] of cases) {
    const { open, places } = asked(policies)
    t.same(open, [], place)
    t.equal(places.length, 1, place)
    t.ok(places[0]?.includes(`${place}: is not known here`), `${places}`)
    t.ok(asked(policies, { undecided: 'allow' }).open.length > 0, `${place}, unless the option says so`)
  }
  const beside = cilium(
    'ingress: [{ fromEndpoints: [{ matchLabel: {} }] }, { fromEndpoints: [{ matchLabels: { app: web } }] }]',
  )
  t.same(asked(beside).open, ['shop/web'], 'other rules of the policy are decided')
})

t.test('what a rule that allows has and cannot be read matches nothing', async t => {
  const cases = [
    ...['ingress: 5', 'ingress: {}', 'ingress: [5]', 'ingress: [null]'],
    ...['[{ fromEntities: [all], toPorts: 5 }]', '[{ fromEntities: [all], toPorts: [5] }]'].map(
      all => `ingress: ${all}`,
    ),
    ...['5', '[5]', '[{ port: "99999" }]', '[{ port: "80", protocol: TPC }]', '[{ port: "90", endPort: 80 }]'].map(
      ports => `ingress: [{ fromEntities: [all], toPorts: [{ ports: ${ports} }] }]`,
    ),
    ...['fromEndpoints: 5', 'fromEndpoints: [5]', 'fromCIDRSet: [5]', 'fromCIDR: [5]', 'fromEntities: 5'].map(
      peers => `ingress: [{ ${peers} }]`,
    ),
    'ingress: [{ fromCIDRSet: [{ cidr: 0.0.0.0/0, except: 5 }] }]',
  ]
  for (const rules of cases) {
    const { open, places } = asked(cilium(rules))
    t.same(open, [], rules)
    t.ok(places.length > 0, rules)
    t.equal(new Set(places).size, places.length, 'reported once')
  }
})

t.test('what a rule that denies has and cannot be read matches all that it could be', async t => {
  const others = ['shop/bot', '192.0.2.7']
  const cases: [rules: string, open: string[]][] = [
    ['ingressDeny: 5', []],
    ['ingressDeny: {}', []],
    ['ingressDeny: [5]', []],
    ['ingressDeny: [{ fromEndpoints: 5 }]', []],
    ['ingressDeny: [{ fromEndpoints: [5] }]', []],
    ['ingressDeny: [{ fromCIDRSet: [5] }]', ['shop/web', 'shop/bot']],
    ['ingressDeny: [{ fromCIDRSet: [{ cidr: 198.51.100.0/24, except: 5 }] }]', ['shop/web', 'shop/bot']],
    ['ingressDeny: [{ fromEndpoints: [{ matchLabels: { app: web } }], later: 1 }]', others],
    ['ingressDeny: [{ fromEndpoints: [{ matchLabels: { app: web }, later: 1 }] }]', others],
    ...[
      '5',
      '[5]',
      '[{ ports: 5 }]',
      '[{ ports: [5] }]',
      '[{ ports: [{ port: "99999" }] }]',
      '[{ ports: [{ port: "80", protocol: TPC }] }]',
    ].map((ports): [string, string[]] => [
      `ingressDeny: [{ fromEndpoints: [{ matchLabels: { app: web } }], toPorts: ${ports} }]`,
      others,
    ]),
  ]
  for (const [rules, open] of cases) {
    const policies = cilium(`${allowAll}, ${rules}`)
    t.same(asked(policies).open, open, rules)
    t.ok(asked(policies).places.length > 0, rules)
    t.same(asked(policies, { undecided: 'allow' }).open, clients, `${rules}, unless the option says so`)
  }
  const required = cilium('ingress: [{ fromEntities: [all] }, { fromRequires: [{ matchLabel: { app: web } }] }]')
  t.same(asked(required).open, ['192.0.2.7'], 'a requirement that cannot be read is met by no Pod')
  const services = [
    '5',
    '[5]',
    '[{ k8sService: 5 }]',
    '[{ k8sService: { namespace: shop } }]',
    '[{ k8sServiceSelector: 5 }]',
    '[{ k8sServiceSelector: { selector: { matchExpressions: [5] } } }]',
  ]
  for (const text of services) {
    t.same(asked(egress(`${openEgress}, egressDeny: [{ toServices: ${text} }]`)).open, others, text)
    t.same(asked(egress(`egress: [{ toServices: ${text} }]`)).open, others, `${text}, which allows`)
  }
})

t.test('a default that is neither true nor false is reported', async t => {
  const { places } = asked(cilium('enableDefaultDeny: { ingress: "no" }, ingress: [{}]'))
  t.match(places, [/spec\.enableDefaultDeny\.ingress: is neither true nor false, and is ignored/])
})
