/** The store of Pods, identities and policies: who has an address, and what is announced. */
import t from 'tap'
import type { Pod } from '../../../proxy/model/service.ts'
import type { AddressRecord, NumberedIdentity } from '../../../proxy/model/workloads/identity.ts'
import type { PolicyObject } from '../../../proxy/model/workloads/policy-object.ts'
import type { WorkloadChange } from '../../../proxy/model/workloads/workloads.ts'
import { ClusterWorkloads } from '../../../proxy/workloads/cluster-workloads.ts'
import { WorkloadStore } from '../../../proxy/workloads/store.ts'
import { settled } from '../../support/clock.ts'

const ports = [{ name: 'http', port: 8080, protocol: 'TCP' }] as const
const aPod = (name: string, address: string, given: Partial<Pod> = {}, labels = { app: 'cart' }): Pod => ({
  ...{ namespace: 'shop', name, addresses: [address] },
  workload: { namespace: 'shop', labels, account: 'seller', ports },
  ...given,
})
const aPolicy = (cluster: string, name: string): PolicyObject => ({
  ...{ cluster, kind: 'NetworkPolicy', apiVersion: 'networking.k8s.io/v1', namespace: 'shop', name },
  ...{ annotations: {}, spec: {}, specs: undefined, origin: undefined },
})

function opened(...names: string[]) {
  const store = new WorkloadStore()
  store.setClusters(names)
  const heard: WorkloadChange[] = []
  store.onChange(change => heard.push(change))
  return { store, heard, sinks: names.map(name => store.sink(name)) }
}

t.test('a Pod, with the labels of its namespace', async t => {
  const { store, heard, sinks } = opened('east', 'west')
  const [east, west] = sinks
  await settled()
  heard.length = 0
  east?.putPod(aPod('cart-0', '10.1.0.1'))
  const first = store.at('10.1.0.1')
  t.match(first, {
    pod: 'shop/cart-0',
    ports,
    identity: {
      ...{ kind: 'pod', cluster: 'east', namespace: 'shop', labels: { app: 'cart' }, account: 'seller' },
      namespaceLabels: { 'kubernetes.io/metadata.name': 'shop' },
    },
  })
  t.equal(store.at('10.1.0.1')?.identity, first?.identity, 'the same object')
  t.equal(store.at('10.1.0.1', 'west'), undefined, 'as another cluster says')
  await settled()
  t.same(heard.splice(0), [{ addresses: new Set(['10.1.0.1']), everything: false, policies: false }])

  east?.putNamespace({ name: 'shop', global: undefined, labels: { team: 'blue' } })
  t.match(store.at('10.1.0.1')?.identity.namespaceLabels, { team: 'blue', 'kubernetes.io/metadata.name': 'shop' })
  await settled()
  t.match(heard.splice(0), [{ everything: true }])
  east?.putNamespace({ name: 'shop', global: true, labels: { team: 'blue' } })
  await settled()
  t.same(heard, [], 'the same labels are no change')

  west?.putPod(aPod('till-0', '10.1.0.1', {}, { app: 'till' }))
  t.equal(store.at('10.1.0.1')?.identity.cluster, 'east', 'the local cluster is asked first')
  t.same(store.addressesOf('shop/till-0'), ['10.1.0.1'])
  east?.dropPod('shop', 'cart-0')
  t.equal(store.at('10.1.0.1')?.identity.cluster, 'west')
  store.setClusters(['east'])
  t.equal(store.at('10.1.0.1'), undefined, 'a cluster that is gone')
})

t.test('an address that is used again before its old Pod is gone', async t => {
  const { store, sinks } = opened('east')
  const [east] = sinks
  east?.putPod(aPod('old', '10.1.0.1'))
  east?.putPod(aPod('new', '10.1.0.1', {}, { app: 'till' }))
  t.equal(store.at('10.1.0.1')?.pod, 'shop/new')
  east?.dropPod('shop', 'old')
  t.equal(store.at('10.1.0.1')?.pod, 'shop/new')
  east?.dropPod('shop', 'new')
  t.equal(store.at('10.1.0.1'), undefined)
  t.same(store.size, { addresses: 0, policies: 0 })
})

t.test('machines', async t => {
  const { store, sinks } = opened('east')
  const [east] = sinks
  t.equal(store.at('127.0.0.1')?.identity.kind, 'host')
  store.setMachine(new Set(['172.20.0.5']))
  t.equal(store.at('172.20.0.5')?.identity.kind, 'host')
  east?.putPod(aPod('a', '10.1.0.1', { hostAddress: '172.20.0.6' }))
  east?.putPod(aPod('agent', '172.20.0.7', { hostNetwork: true }))
  t.match(store.at('172.20.0.6')?.identity, { kind: 'node', cluster: 'east' }, 'the node of a Pod')
  t.equal(store.at('172.20.0.7')?.identity.kind, 'node', 'a Pod on its network')
  east?.putPod(aPod('demo', '127.2.0.1'))
  t.equal(store.at('127.2.0.1')?.identity.kind, 'pod', 'a pod of the demo')
  east?.dropPod('shop', 'a')
  t.equal(store.at('172.20.0.6'), undefined)
})

t.test('this machine as a destination is of the local cluster, and never by a loopback address', async t => {
  const { store, sinks } = opened('east', 'west')
  store.setMachine(new Set(['127.0.0.1', '172.20.0.5']))
  t.equal(store.at('172.20.0.5', 'east')?.identity.kind, 'host')
  t.equal(store.at('172.20.0.5', 'west'), undefined)
  t.equal(store.at('127.0.0.1', 'east'), undefined)
  sinks[0]?.putPod(aPod('a', '10.1.0.1', { hostAddress: '172.20.0.5' }))
  t.equal(store.at('172.20.0.5', 'east')?.identity.kind, 'host', 'whatever a Pod says')
})

t.test('a client at the address of a frontend is a program of this machine', async t => {
  const { store, sinks } = opened('east')
  store.setMachine(new Set(['10.1.0.1']), address => address === '10.96.0.10')
  t.equal(store.at('10.96.0.10')?.identity.kind, 'host')
  t.equal(store.at('10.96.0.11'), undefined)
  t.equal(store.at('10.96.0.10', 'east'), undefined, 'as a destination')
  sinks[0]?.putPod(aPod('cart-0', '10.1.0.1'))
  t.match(store.at('10.96.0.10'), { pod: 'shop/cart-0', address: '10.1.0.1' })
})

t.test('in a Pod, loopback addresses are this Pod, and its node is this machine', async t => {
  const { store, heard, sinks } = opened('east', 'west')
  const [east, west] = sinks
  store.setMachine(new Set(['127.0.0.1', 'fe80::1', '10.1.0.1', 'fd00::1', '192.168.9.1']))
  await settled()
  t.equal(store.at('127.0.0.1')?.identity.kind, 'host', 'as long as the Pod is not known')
  heard.length = 0
  const own = { addresses: ['10.1.0.1', 'fd00::1'], hostAddress: '172.20.0.6' }
  east?.putPod(aPod('cart-0', '10.1.0.1', own))
  east?.putPod(aPod('till-0', '10.1.0.2', { hostAddress: '172.20.0.7' }))
  await settled()
  t.match(heard, [{ everything: true }], 'who has the loopback addresses has changed too')
  const pod = { pod: 'shop/cart-0', ports, identity: { kind: 'pod', cluster: 'east' } }
  t.match(store.at('127.0.0.1'), { ...pod, address: '10.1.0.1' })
  t.match(store.at('127.96.0.9'), { ...pod, address: '10.1.0.1' })
  t.match(store.at('::1'), { ...pod, address: 'fd00::1' })
  t.match(store.at('192.168.9.1'), { ...pod, address: '10.1.0.1' }, 'another interface of the Pod')
  t.equal(store.at('10.1.0.1')?.address, undefined, 'found by its own address')
  t.equal(store.at('127.0.0.1', 'east'), undefined, 'as a destination')
  t.same(
    ['172.20.0.6', '172.20.0.7'].map(address => store.at(address, 'east')?.identity.kind),
    ['host', 'node'],
  )
  t.equal(store.at('172.20.0.6')?.identity.kind, 'host')
  t.equal(store.at('172.20.0.6', 'west'), undefined)
  east?.dropPod('shop', 'cart-0')
  t.equal(store.at('127.0.0.1')?.identity.kind, 'host')
  west?.putPod(aPod('cart-0', '10.1.0.1'))
  t.equal(store.at('127.0.0.1')?.identity.kind, 'host', 'a Pod of another cluster is not where Starlane runs')
})

t.test('a machine with the addresses of several Pods, as in a demo, is none of them', async t => {
  const { store, sinks } = opened('east')
  const [east] = sinks
  store.setMachine(new Set(['127.0.0.1', '10.1.0.1', '10.1.0.2']))
  east?.putPod(aPod('cart-0', '10.1.0.1', { hostAddress: '172.20.0.6' }))
  east?.putPod(aPod('cart-1', '10.1.0.2', { hostAddress: '172.20.0.6' }))
  t.equal(store.at('127.0.0.1')?.identity.kind, 'host')
  t.equal(store.at('172.20.0.6')?.identity.kind, 'node')
})

t.test('records of etcd, in any order', async t => {
  const { store, heard, sinks } = opened('east', 'west')
  const west = sinks[1]
  const id = (2 << 16) + 9
  west?.putAddress({ address: '10.2.0.1', id, pod: 'shop/cart-0', ports })
  t.equal(store.at('10.2.0.1'), undefined)
  await settled()
  heard.length = 0
  west?.putIdentity({ id, namespace: 'shop', labels: { app: 'cart' }, namespaceLabels: {}, account: '' })
  t.match(store.at('10.2.0.1'), { pod: 'shop/cart-0', ports, identity: { cluster: 'west', labels: { app: 'cart' } } })
  await settled()
  t.match(heard, [{ addresses: new Set(['10.2.0.1']) }])
  west?.putAddress({ address: '172.21.0.1', id: 6, ports: [] })
  t.equal(store.at('172.21.0.1')?.identity.kind, 'node')
  west?.putAddress({ address: '10.2.0.9', id: 8, ports: [] })
  t.equal(store.at('10.2.0.9')?.identity.kind, 'ingress')
  west?.putAddress({ address: '10.2.0.8', id: 2, ports: [] })
  t.equal(store.at('10.2.0.8'), undefined, 'the world')
  west?.dropAddress({ address: '10.2.0.1', id, ports: [] })
  t.equal(store.at('10.2.0.1'), undefined)
})

t.test('policies', async t => {
  const { store, heard, sinks } = opened('west', 'east')
  const [west, east] = sinks
  east?.putPolicy(aPolicy('east', 'b'))
  east?.putPolicy(aPolicy('east', 'a'))
  west?.putPolicy(aPolicy('west', 'z'))
  const names = () => store.policies().map(({ cluster, name }) => `${cluster}/${name}`)
  t.same(names(), ['west/z', 'east/a', 'east/b'])
  await settled()
  t.match(heard, [{ policies: true }], 'announced once')
  east?.dropPolicy(aPolicy('east', 'a'))
  east?.dropPolicy(aPolicy('east', 'none'))
  t.same(names(), ['west/z', 'east/b'])
  east?.reset({ services: [], namespaces: [], policies: [aPolicy('east', 'c')] })
  t.same(names(), ['west/z', 'east/c'])
  t.throws(() => store.sink('north'), /not a cluster of the mesh/)
})

t.test('identities that come after the addresses cost as much as there are of both, not their product', async t => {
  const changed: string[] = []
  const cluster = new ClusterWorkloads('east', {
    address: address => changed.push(address),
    everything() {},
    policies() {},
  })
  const count = 1000
  let reads = 0
  const record = (i: number): AddressRecord => ({
    address: `10.0.${i >> 8}.${i & 255}`,
    ports: [],
    get id() {
      reads++
      return 70_000 + i
    },
  })
  for (let i = 0; i < count; i++) cluster.putAddress(record(i))
  changed.length = 0
  for (let i = 0; i < count; i++)
    cluster.putIdentity({ id: 70_000 + i, ...{ namespace: 'default', labels: {} } } as NumberedIdentity)
  t.equal(changed.length, count, 'each address once')
  t.ok(reads <= 10 * count, `${reads} looks at ${count} addresses`)
})
