/** The tenancy plugin. */
import t from 'tap'
import tenancy from '../../plugins/tenancy/index.ts'
import type { Chain } from '../../proxy/chain/chain.ts'
import type { Cluster } from '../../proxy/model/cluster.ts'
import type { GlobalService, Settings } from '../../proxy/model/service.ts'
import { hostParts, plugin, startChain } from '../support/chain.ts'
import { backend, clusterService, flow, globalService } from '../support/model.ts'

const addresses = { blue: '10.1.0.9', red: '10.2.0.9', other: '192.168.0.9' }
const tenants = { blue: '10.1.0.0/16', red: ['10.2.0.0/16', 'fd00:2::/32'] }

/** A mesh of these clusters, by tenant or `hub`; the first is the local one. */
function mesh(...owners: string[]): Cluster[] {
  return owners.map((owner, i) => ({
    name: `${owner}-${i}`,
    id: i + 1,
    local: i === 0,
    ...(owner === 'hub' ? {} : { tenant: owner }),
  }))
}

/** A service that these clusters declare, with one backend in each, unless it is a stub. */
function declared(
  clusters: readonly Cluster[],
  settings: Partial<Settings> = {},
  given: Partial<GlobalService> = {},
): GlobalService {
  return globalService({
    members: clusters.map(({ name }) => clusterService({ cluster: name })),
    backends: clusters.map(({ name, local }, i) =>
      backend({ address: `10.${100 + i}.0.1`, cluster: name, remote: !local }),
    ),
    ...given,
    settings,
  })
}

function start(
  test: Parameters<typeof startChain>[0],
  clusters: readonly Cluster[],
  options: unknown = { tenants },
): Chain {
  return startChain(test, { plugins: [plugin(tenancy, { options, parts: hostParts({ clusters }) })] })
}

/** The clusters a client gets backends of, or who refuses it. */
function reached(chain: Chain, service: GlobalService, address: string): string {
  const client = { address, port: 1 }
  const refusal = chain.admit(client, service)
  const trace = chain.explain(flow(service, { client }))
  if (refusal && refusal.code !== trace.refusal?.code) throw new Error('DNS and proxy do not agree')
  const clusterOf = (key: string) => service.backends.find(b => b.key === key)?.cluster
  return trace.refusal ? `refused by ${trace.refusal.code}` : trace.candidates.map(clusterOf).join(' ')
}

t.test('what each tenant reaches', async t => {
  const refused = 'refused by tenancy'
  const cases: [
    what: string,
    clusters: Cluster[],
    blue: string,
    red: string,
    other: string,
    settings?: Partial<Settings>,
  ][] = [
    [
      'at the hub: its own, and what the tenants share with it',
      mesh('hub', 'blue', 'red'),
      'hub-0 blue-1',
      'hub-0 red-2',
      'hub-0 blue-1 red-2',
    ],
    [
      'at the hub: what it does not share, its own clients alone reach',
      mesh('hub', 'blue'),
      'blue-1',
      refused,
      'hub-0 blue-1',
      { shared: false },
    ],
    ['at the hub: nor what is not global', mesh('hub'), refused, refused, 'hub-0', { global: false }],
    [
      'at a tenant: its own and the shared ones, never the other tenant',
      mesh('blue', 'hub', 'red'),
      'blue-0 hub-1',
      'hub-1 red-2',
      'blue-0 hub-1',
    ],
    ['at a tenant: a private service', mesh('blue'), 'blue-0', refused, 'blue-0', { shared: false }],
    ['at a tenant: a shared service is not for the other tenant either', mesh('blue'), 'blue-0', refused, 'blue-0'],
    [
      'at a tenant: a stub of the service of the hub',
      mesh('blue', 'hub'),
      'blue-0 hub-1',
      'hub-1',
      'blue-0 hub-1',
      { shared: false },
    ],
    [
      'several clusters of one tenant',
      mesh('blue', 'blue', 'red', 'blue'),
      'blue-0 blue-1 blue-3',
      'red-2',
      'blue-0 blue-1 blue-3',
    ],
  ]
  for (const [what, clusters, blue, red, other, settings] of cases) {
    const chain = start(t, clusters)
    const service = declared(clusters, settings)
    const found = [addresses.blue, addresses.red, addresses.other].map(address => reached(chain, service, address))
    t.same(found, [blue, red, other], what)
  }
})

t.test('a service without endpoints is open to the tenants that could reach them', async t => {
  const clusters = mesh('blue', 'red')
  const chain = start(t, clusters)
  const stub = declared(clusters.slice(0, 1), {}, { backends: [] })
  t.equal(reached(chain, stub, addresses.blue), 'refused by no-backend')
  t.equal(reached(chain, stub, addresses.red), 'refused by tenancy')
})

t.test('an unknown cluster belongs to no tenant', async t => {
  const [blue] = mesh('blue') as [Cluster]
  const service = declared([blue, { name: 'gone-7', id: 7, local: false }])
  t.equal(reached(start(t, [blue]), service, addresses.blue), 'blue-0')
})

t.test('a hub opens the services that `shared` matches', async t => {
  const clusters = mesh('blue', 'hub')
  const named = (namespace: string, name: string) => {
    const members = [clusterService({ cluster: 'hub-1', namespace, name })]
    return globalService({ namespace, name, members, backends: [backend({ address: '10.101.0.1', cluster: 'hub-1' })] })
  }
  const opened = (shared: unknown, ...services: string[]) =>
    services.filter(key => {
      const [namespace = '', name = ''] = key.split('/')
      return reached(start(t, clusters, { tenants, shared }), named(namespace, name), addresses.red) === 'hub-1'
    })
  const all = ['secrets/vault', 'secrets/vault-ui', 'monitoring/prometheus', 'default/vault']
  t.same(opened(undefined, ...all), all)
  t.same(opened([], ...all), [])
  t.same(opened('secrets/*', ...all), ['secrets/vault', 'secrets/vault-ui'])
  t.same(opened(['*/vault', 'monitoring/prom*'], ...all), ['secrets/vault', 'monitoring/prometheus', 'default/vault'])
  t.same(opened(['secrets/vaul.'], ...all), [], 'a dot is a dot')
})

t.test('the narrowest range decides the tenant of a client', async t => {
  const clusters = mesh('hub', 'blue', 'red')
  const ranges = { blue: ['10.0.0.0/8', '10.2.3.4'], red: ['10.2.0.0/16', 'fd00::/16'] }
  const chain = start(t, clusters, { tenants: ranges })
  const whose = (address: string) => reached(chain, declared(clusters), address)
  t.equal(whose('10.7.0.1'), 'hub-0 blue-1')
  t.equal(whose('10.2.0.1'), 'hub-0 red-2')
  t.equal(whose('10.2.3.4'), 'hub-0 blue-1')
  t.equal(whose('fd00::1'), 'hub-0 red-2')
  t.equal(whose('fe80::1'), 'hub-0 blue-1 red-2')
  t.equal(whose('10.2.0.1'), 'hub-0 red-2', 'and again, from memory')
})

t.test('a tenant does not see the endpoints of another in headless services', async t => {
  const clusters = mesh('hub', 'blue', 'red')
  const headless = declared(clusters, {}, { local: clusterService({ headless: true }) })
  const told = (address: string) =>
    start(t, clusters)
      .visible({ address, port: 0 }, headless)
      .map(({ cluster }) => cluster)
  t.same(told(addresses.red), ['hub-0', 'red-2'])
  t.same(told(addresses.other), ['hub-0', 'blue-1', 'red-2'])
  t.same(start(t, mesh('blue')).visible({ address: addresses.red, port: 0 }, declared(mesh('blue'))), [])
})

t.test('an external address that several clusters list is open to those who reach one of them', async t => {
  const clusters = mesh('hub', 'blue', 'red')
  const shared = backend({ address: '9.9.9.9', cluster: 'blue-1', remote: true, alsoIn: ['red-2'] })
  const chain = start(t, clusters, { tenants, shared: [] })
  const service = declared(clusters, { shared: false }, { backends: [shared] })
  t.equal(reached(chain, service, addresses.blue), 'blue-1')
  t.equal(reached(chain, service, addresses.red), 'blue-1')
  const own = declared(clusters, { shared: false }, { backends: [{ ...shared, alsoIn: [] }] })
  t.equal(reached(chain, own, addresses.red), 'refused by tenancy')
})

t.test('failover stays within the open clusters', async t => {
  const clusters = mesh('hub', 'blue', 'red')
  const service = declared(clusters)
  const chain = start(t, clusters)
  const client = { address: addresses.blue, port: 1 }
  const tried = service.backends.filter(({ cluster }) => cluster !== 'red-2').map(({ key }) => key)
  t.equal(chain.choose(flow(service, { client, tried })).refusal?.code, 'tenancy')
})

t.test('the same list gives the same result, so that later steps can memoize', async t => {
  const clusters = mesh('hub', 'blue', 'red')
  const { plugin: hooks } = plugin(tenancy, { options: { tenants }, parts: hostParts({ clusters }) })
  const asked = flow(declared(clusters), { client: { address: addresses.blue, port: 1 } })
  const left = () => hooks.candidates?.(asked, asked.frontend.backends)
  t.equal(left(), left())
  t.equal(left()?.length, 2)
  const own = flow(asked.service)
  t.equal(hooks.candidates?.(own, own.frontend.backends), own.frontend.backends)
})

t.test('without tenants all is open', async t => {
  const clusters = mesh('hub', 'hub')
  t.equal(reached(start(t, clusters, {}), declared(clusters), addresses.red), 'hub-0 hub-1')
})

t.test('clusters that are added by a reload count at once', async t => {
  let clusters = mesh('blue', 'red')
  const loaded = plugin(tenancy, { options: { tenants }, parts: { ...hostParts(), clusters: () => clusters } })
  const chain = startChain(t, { plugins: [loaded] })
  const service = declared(clusters)
  t.equal(reached(chain, service, addresses.blue), 'blue-0')
  clusters = clusters.map(cluster => ({ ...cluster, tenant: 'blue' }))
  t.equal(reached(chain, service, addresses.blue), 'blue-0 red-1')
  t.same(chain.state(), { tenancy: { local: 'blue', clusters: { 'blue-0': 'blue', 'red-1': 'blue' } } })
})

t.test('explanations', async t => {
  const clusters = mesh('blue', 'hub', 'red')
  const chain = start(t, clusters, { tenants, shared: [] })
  const trace = chain.explain(flow(declared(clusters), { client: { address: addresses.blue, port: 1 } }))
  t.same(
    trace.steps[0]?.removed.map(({ why }) => why),
    [
      'hub-1 does not share the service, and the client belongs to tenant blue',
      'red-2 belongs to tenant red, and the client belongs to tenant blue',
    ],
  )
  const refusal = chain.admit({ address: addresses.red, port: 1 }, declared(mesh('blue')))
  t.same(refusal, { code: 'tenancy', why: 'tenant red may not use default/rebel-base' })
})

t.test('contradictory and malformed options', async t => {
  const wrong = (options: unknown) => () => plugin(tenancy, { options })
  t.throws(
    wrong({ tenants: { blue: '10.0.0.0/8', red: ['10.0.0.0/8'] } }),
    /10\.0\.0\.0\/8 is given to both (blue and red|red and blue); give it to one of them/,
  )
  t.throws(wrong({ tenants: { blue: '10.0.0.1/8' } }), /options\.tenants\.blue\[0\]: .*is not a CIDR/)
  t.throws(
    wrong({ shared: ['vault'] }),
    /options\.shared\[0\]: "vault" is not a service pattern; write NAMESPACE\/NAME, with \* as a wildcard/,
  )
  t.throws(wrong({ shared: [7] }), /options\.shared\[0\]: 7 is not a service pattern/)
})
