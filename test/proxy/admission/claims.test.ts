/** What a cluster may claim, and whose an address is that several clusters name. With a real mesh behind the door. */
import t, { type Test } from 'tap'
import { Admission } from '../../../proxy/admission/admission.ts'
import { ClusterClaims } from '../../../proxy/admission/cluster-claims.ts'
import type { ClusterRights } from '../../../proxy/admission/cluster-rights.ts'
import { NetworkClaims } from '../../../proxy/admission/network-claims.ts'
import { Mesh } from '../../../proxy/mesh/mesh.ts'
import { type Cidr, parseCidr } from '../../../proxy/model/address.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import type { ClusterService } from '../../../proxy/model/service.ts'
import { FakeClock } from '../../support/clock.ts'
import { clusterService, endpoint } from '../../support/model.ts'

/** A mesh of these clusters, in this order; the first is the local one. */
function open(t: Test, given: Readonly<Record<string, Partial<ClusterRights>>>) {
  const names = Object.keys(given)
  const clusters = names.map((name, i) => {
    const { network } = given[name] ?? {}
    return { name, id: i + 1, local: i === 0, ...(network === undefined ? {} : { network }) }
  })
  const admission = new Admission({ wholeAddresses: false })
  const mesh = new Mesh({
    clusters,
    staleAfterMs: 0,
    services: 'global',
    health: () => 'unknown',
    onMerged: change => admission.follow(change),
    clock: new FakeClock(),
    log: silentLog,
    defer: () => {},
  })
  t.teardown(() => mesh.close())
  const allow = (name: string, rights: Partial<ClusterRights>) => {
    const i = names.indexOf(name)
    admission.allow(name, { loopback: false, local: i === 0, rank: i, ...rights })
  }
  for (const name of names) allow(name, given[name] ?? {})
  const sinks = new Map(names.map(name => [name, admission.sink(name, mesh.sink(name))]))
  const sink = (name: string) => {
    const known = sinks.get(name)
    if (!known) throw new Error(`no cluster ${name}`)
    return known
  }
  const put = (cluster: string, service: Partial<ClusterService>) => {
    const of = sinks.get(cluster)
    of?.put(clusterService({ cluster, ...service }))
    mesh.flush()
  }
  for (const [i, name] of names.entries()) {
    const services = i === 0 ? [clusterService({ cluster: name })] : []
    sinks.get(name)?.reset({ services, namespaces: [{ name: 'default', global: undefined }] })
  }
  mesh.flush()
  return {
    admission,
    mesh,
    allow,
    sink,
    put,
    /** Also of services that the local cluster does not have. */
    backends: (name = 'rebel-base') => {
      const { backends = [], parked = [] } = mesh.directory.service(`default/${name}`) ?? {}
      return [...backends, ...parked].map(({ cluster, address }) => `${cluster} ${address}`)
    },
    /** In their short form: who, and why. */
    problems: () => admission.problems().map(({ where, message }) => `${where}: ${message}`),
  }
}

const at = (...addresses: string[]) => addresses.map(address => endpoint({ address }))
const pods = (...addresses: string[]) => addresses.map(address => endpoint({ address, pod: `pod-${address}` }))
const cidrs = (...texts: string[]) => texts.map(text => parseCidr(text) as Cidr)

t.test('endpoints outside of `cidrs` are refused, and claim nothing', async t => {
  const { put, backends, problems, allow, mesh } = open(t, {
    one: {},
    two: { cidrs: cidrs('10.2.0.0/16', 'fd00:2::/64') },
  })
  put('two', { endpoints: pods('10.2.0.1', '10.1.0.1', '1.1.1.1', 'fd00:2::1', 'fd00:3::1') })
  t.same(backends(), ['two 10.2.0.1', 'two fd00:2::1'])
  t.match(problems(), [
    /^two default\/rebel-base: 10\.1\.0\.1:8080 is outside .*allow\.cidrs/,
    /1\.1\.1\.1/,
    /fd00:3::1/,
  ])
  put('one', { endpoints: at('10.1.0.1') })
  t.same(backends(), ['one 10.1.0.1', 'two 10.2.0.1', 'two fd00:2::1'])
  allow('two', { cidrs: cidrs('10.0.0.0/8') })
  mesh.flush()
  t.equal(problems().filter(problem => problem.includes('outside')).length, 3, 'others, since its rights have changed')
})

t.test('services that are not allowed are refused whole, and come back with the right', async t => {
  const { put, backends, problems, allow, mesh } = open(t, {
    one: {},
    two: { namespaces: ['default', 'team-*'], services: ['*/rebel-*'] },
  })
  put('one', { name: 'vault' })
  put('two', { name: 'vault', endpoints: pods('10.2.0.9') })
  put('two', { endpoints: pods('10.2.0.1') })
  put('two', { namespace: 'kube-system', name: 'rebel-dns', endpoints: pods('10.2.0.8') })
  t.same([backends('vault'), backends()], [[], ['two 10.2.0.1']])
  t.match(problems(), [
    /^two default\/vault: default\/vault is a service .*add default\/vault to allow\.services/,
    /^two kube-system\/rebel-dns: .* add kube-system to allow\.namespaces/,
  ])
  put('one', { name: 'vault', endpoints: at('10.2.0.9') })
  t.same(backends('vault'), ['one 10.2.0.9'], 'a refused service claims no address')
  allow('two', {})
  mesh.flush()
  t.same(problems().length, 1, 'its pod is listed by the local cluster, which goes first')
  allow('two', { services: [] })
  mesh.flush()
  t.same(backends(), [], 'none is allowed any more')
})

t.test('one pod network in two clusters: the first keeps each address, over all services', async t => {
  const { put, backends, problems, sink, mesh } = open(t, { one: {}, two: {}, three: {} })
  put('one', { name: 'other', endpoints: pods('10.0.0.1') })
  put('two', { endpoints: pods('10.0.0.1', '10.0.0.2') })
  put('three', { endpoints: pods('10.0.0.2', '10.0.0.3') })
  t.same(backends(), ['two 10.0.0.2', 'three 10.0.0.3'])
  t.match(problems(), [
    /^two default\/rebel-base: 10\.0\.0\.1:8080 is an address of one too, .*pod networks that do not overlap/,
    /^three default\/rebel-base: 10\.0\.0\.2:8080 is an address of two too/,
  ])
  put('one', { name: 'other', endpoints: [] })
  t.same(backends(), ['two 10.0.0.1', 'two 10.0.0.2', 'three 10.0.0.3'], 'the pod has gone')
  sink('two').drop('default', 'rebel-base')
  mesh.flush()
  t.same(backends(), ['three 10.0.0.2', 'three 10.0.0.3'])
  t.same(problems(), [])
})

t.test('whoever is first heard of', async t => {
  const { put, backends } = open(t, { one: {}, two: {}, three: {} })
  put('three', { endpoints: pods('10.0.0.1') })
  t.same(backends(), ['three 10.0.0.1'])
  put('two', { name: 'elsewhere', endpoints: pods('10.0.0.1') })
  t.same(backends(), [])
})

t.test('an external address that clusters list alike is no conflict, and one backend', async t => {
  const { put, backends, problems, mesh } = open(t, { one: {}, two: {}, three: {} })
  put('one', { endpoints: at('203.0.113.5', '10.9.0.1') })
  put('two', { endpoints: at('203.0.113.5', '10.9.0.1') })
  put('three', { endpoints: at('203.0.113.5') })
  t.same(backends(), ['one 10.9.0.1', 'one 203.0.113.5'])
  t.same(
    mesh.directory.service('default/rebel-base')?.backends.map(({ alsoIn }) => alsoIn),
    [['two'], ['two', 'three']],
  )
  t.same(problems(), [])
})

t.test('a pod of one cluster that another lists: it is refused to the other', async t => {
  const { put, backends, problems } = open(t, { one: {}, two: {}, three: {} })
  put('two', { endpoints: at('10.3.0.1') })
  put('three', { name: 'secret', endpoints: pods('10.3.0.1') })
  t.same(backends(), [])
  t.match(problems(), [
    /^two default\/rebel-base: 10\.3\.0\.1:8080 belongs to three, .*list only addresses of the cluster's own pods/,
  ])
})

t.test('no cluster takes an address from the local one by saying that a pod of its is there', async t => {
  const { put, backends, problems, sink, mesh } = open(t, { one: {}, two: {} })
  put('one', { name: 'database', endpoints: at('10.50.0.1') })
  put('two', { endpoints: pods('10.50.0.1') })
  sink('two').putNode?.({ name: 'n1', podCidrs: ['10.50.0.0/24'] })
  mesh.flush()
  t.same([backends('database'), backends()], [['one 10.50.0.1'], []])
  t.match(problems(), [/^two .*10\.50\.0\.1:8080 is listed by one, which goes first/])
})

t.test("the pod networks and addresses of Nodes are their cluster's", async t => {
  const { put, backends, problems, sink, mesh } = open(t, { one: {}, two: {}, three: {} })
  put('three', { endpoints: at('10.2.7.9', '172.20.0.2', '10.2.8.1') })
  t.equal(backends().length, 3, 'nobody says that they are its own')
  sink('two').putNode?.({ name: 'n1', addresses: ['172.20.0.2'], podCidrs: ['10.2.7.0/24', '0.0.0.0/0', 'x'] })
  mesh.flush()
  t.same(backends(), ['three 10.2.8.1'], 'a network of all addresses is not believed')
  put('two', { endpoints: at('10.2.7.9') })
  t.same(backends(), ['two 10.2.7.9', 'three 10.2.8.1'])
  sink('two').putNode?.({ name: 'n1', addresses: ['172.20.0.2'], podCidrs: ['10.2.8.0/24'] })
  mesh.flush()
  t.same(backends(), ['two 10.2.7.9'], 'another network')
  sink('two').putNode?.({ name: 'n2', addresses: ['172.20.0.2'] })
  sink('two').dropNode?.('n1')
  mesh.flush()
  t.same(backends(), ['two 10.2.7.9', 'three 10.2.8.1'], 'the address is that of another Node too')
  t.match(problems(), [/172\.20\.0\.2:8080 belongs to two, which has a pod or node there/])
  sink('two').reset({ services: [], namespaces: [] })
  mesh.flush()
  t.same([backends().length, problems()], [3, []])
})

t.test('Nodes cannot claim more than their cluster may name', async t => {
  const { put, backends, sink, mesh } = open(t, { one: {}, two: { cidrs: cidrs('10.2.0.0/16') }, three: {} })
  put('three', { endpoints: at('10.3.0.1') })
  sink('two').putNode?.({ name: 'n1', addresses: ['10.3.0.1'], podCidrs: ['10.3.0.0/24', '10.0.0.0/14'] })
  mesh.flush()
  t.same(backends(), ['three 10.3.0.1'])
})

t.test('clusters in networks of their own do not meet', async t => {
  const { put, backends, problems } = open(t, { one: {}, two: { network: 'two' }, three: { network: 'three' } })
  for (const cluster of ['one', 'two', 'three']) put(cluster, { endpoints: pods('10.0.0.1') })
  t.same(backends(), ['one 10.0.0.1', 'two 10.0.0.1', 'three 10.0.0.1'])
  t.same(problems(), [])
})

t.test('a cluster that moves to another network, or leaves, takes its claims along', async t => {
  const { put, backends, admission, allow, mesh } = open(t, { one: {}, two: {}, three: {} })
  put('two', { name: 'other', endpoints: pods('10.0.0.1') })
  put('three', { endpoints: pods('10.0.0.1') })
  t.same(backends(), [])
  allow('two', { network: 'two' })
  mesh.flush()
  t.same(backends(), ['three 10.0.0.1'])
  allow('two', {})
  mesh.flush()
  t.same(backends(), [])
  admission.keep(new Set(['one', 'three']))
  mesh.flush()
  t.same(backends(), ['three 10.0.0.1'])
})

t.test('tenants: nobody reaches by its own declaration what it may not reach', async t => {
  const hub = { hub: {}, blue: { tenant: 'blue' }, red: { tenant: 'red' } }
  const cases: [what: string, declared: [cluster: string, endpoints: ClusterService['endpoints']][], left: string[]][] =
    [
      [
        'a pod of another tenant',
        [
          ['red', pods('10.3.0.1')],
          ['blue', at('10.3.0.1')],
        ],
        ['red'],
      ],
      [
        'and the other way round',
        [
          ['blue', at('10.3.0.1')],
          ['red', pods('10.3.0.1')],
        ],
        ['red'],
      ],
      [
        'a pod of two tenants is of neither, whoever it was',
        [
          ['blue', pods('10.3.0.1')],
          ['red', pods('10.3.0.1')],
        ],
        [],
      ],
      [
        'what the hub lists, without targetRef too',
        [
          ['hub', at('10.1.0.9')],
          ['blue', at('10.1.0.9')],
        ],
        ['hub'],
      ],
      [
        'and calls a pod',
        [
          ['hub', at('10.1.0.9')],
          ['blue', pods('10.1.0.9')],
        ],
        ['hub'],
      ],
      [
        'of two tenants that list it nobody, since it may be of either',
        [
          ['blue', at('10.3.0.1')],
          ['red', at('10.3.0.1')],
        ],
        [],
      ],
      [
        'what is public is no pod of another',
        [
          ['blue', at('9.9.9.9')],
          ['red', at('9.9.9.9')],
        ],
        ['blue', 'red'],
      ],
      [
        'loopback is private',
        [
          ['hub', at('127.44.2.1')],
          ['blue', at('127.44.2.1')],
        ],
        ['hub'],
      ],
    ]
  for (const [what, declared, left] of cases) {
    const world = open(
      t,
      Object.fromEntries(Object.entries(hub).map(([name, rights]) => [name, { ...rights, loopback: true }])),
    )
    for (const [i, [cluster, endpoints]] of declared.entries()) world.put(cluster, { name: `s${i}`, endpoints })
    t.same(
      declared
        .flatMap((_, i) => world.backends(`s${i}`))
        .map(text => text.split(' ')[0])
        .sort(),
      left.sort(),
      what,
    )
    t.equal(world.problems().length, declared.length - left.length, what)
  }
})

t.test('tenants: `cidrs` says who may name a private address', async t => {
  const { put, backends, allow, mesh } = open(t, { hub: {}, blue: { tenant: 'blue' }, red: { tenant: 'red' } })
  put('blue', { name: 'a', endpoints: at('10.9.0.1') })
  put('red', { name: 'b', endpoints: at('10.9.0.1') })
  t.same([backends('a'), backends('b')], [[], []])
  const only = (...texts: string[]) => ({ cidrs: cidrs(...texts) })
  allow('red', { tenant: 'red', ...only('10.9.0.0/24') })
  mesh.flush()
  t.same([backends('a'), backends('b')], [[], []], 'blue is not limited')
  allow('blue', { tenant: 'blue', ...only('10.2.0.0/16') })
  mesh.flush()
  t.same([backends('a'), backends('b')], [[], ['red 10.9.0.1']])
  allow('blue', { tenant: 'blue', ...only('10.2.0.0/16', '10.9.0.1/32') })
  mesh.flush()
  t.same([backends('a'), backends('b')], [['blue 10.9.0.1'], ['red 10.9.0.1']], 'both may')
})

t.test('a tenant of its own Starlane does not reach the pods of others either', async t => {
  const { put, backends } = open(t, { blue: { tenant: 'blue' }, red: { tenant: 'red' } })
  put('blue', { endpoints: at('10.3.0.1') })
  put('red', { name: 'secret', endpoints: pods('10.3.0.1') })
  t.same(backends(), [])
})

t.test('a change looks only at the addresses of its service', async t => {
  const { put, backends, sink, mesh } = open(t, { one: {}, two: {}, three: {} })
  const services = Array.from({ length: 2000 }, (_, i) =>
    clusterService({ cluster: 'two', name: `s${i}`, endpoints: pods(`10.2.${i >> 8}.${i & 255}`) }),
  )
  sink('two').reset({ services, namespaces: [] })
  mesh.flush()
  let read = 0
  const counted: ProxyHandler<ClusterService> = {
    get(target, key) {
      read++
      return Reflect.get(target, key)
    },
  }
  const watched = services.map(service => new Proxy(service, counted))
  sink('two').reset({ services: watched, namespaces: [] })
  mesh.flush()
  read = 0
  put('three', { endpoints: pods('10.2.0.7', '10.3.0.1') })
  sink('three').putNode?.({ name: 'n1', podCidrs: ['10.2.5.0/24'] })
  t.same(backends(), ['three 10.3.0.1'])
  // 256 services have an endpoint in the network of the Node; each is read about a dozen times.
  t.ok(read < 256 * 40, `${read} fields of services read`)
})

t.test('what a cluster may not claim is known by its address, and claims nothing', async t => {
  const cluster = {}
  const network = new NetworkClaims<object>()
  const may = { address: (address: string) => address !== '10.9.0.1', range: () => true }
  const claims = new ClusterClaims(cluster, network, may)
  const contested = new Set<string>()
  claims.replace('default/web', [], at('10.0.0.1', '10.9.0.1'), contested)
  claims.replace('other/web', [], at('10.0.0.1'), contested, false)
  t.same(claims.servicesAt('10.9.0.1'), ['default/web'])
  t.same(claims.servicesAt('10.0.0.1'), ['default/web', 'other/web'])
  t.same([network.listing('10.9.0.1'), network.listing('10.0.0.1')], [[], [cluster]])
  claims.replace('default/web', at('10.0.0.1', '10.9.0.1'), at('10.9.0.1'), contested)
  t.same(claims.servicesAt('10.0.0.1'), ['other/web'])
  t.same(network.listing('10.0.0.1'), [], 'the other one does not hold it')
  claims.replace('other/web', at('10.0.0.1'), at('10.0.0.1'), contested)
  t.same(network.listing('10.0.0.1'), [cluster], 'allowed in between')
  t.same(claims.servicesAt('10.0.0.1'), ['other/web'], 'once')
  claims.replace('other/web', at('10.0.0.1'), at('10.0.0.1'), contested, false)
  t.same(network.listing('10.0.0.1'), [], 'and not allowed any more')
  claims.replace('other/web', at('10.0.0.1'), [], contested)
  claims.replace('default/web', at('10.9.0.1'), [], contested)
  t.equal(claims.size, 0)
  t.equal(contested.size, 0)
})
