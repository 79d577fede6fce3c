/** Pods with labels, identities and policies, from each kind of source. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { decodeKubernetes } from '../../../proxy/sources/decode/decode.ts'
import { decodeAddress, decodeIdentity } from '../../../proxy/sources/etcd/decode-identities.ts'
import { createEtcdSource } from '../../../proxy/sources/etcd/etcd-source.ts'
import { createKubernetesSource } from '../../../proxy/sources/kubernetes/kubernetes-source.ts'
import { createManifestsSource } from '../../../proxy/sources/manifests/manifests-source.ts'
import type { ClusterObject } from '../../../proxy/sources/objects.ts'
import { ServiceAssembler } from '../../../proxy/sources/service-assembler.ts'
import { RecordingSink } from '../../conformance/source.ts'
import { noEtcd, startEtcd } from '../../support/etcd/etcd.ts'
import { Peer } from '../../support/etcd/peer.ts'
import { eventually } from '../../support/eventually.ts'
import { hasty } from '../../support/kube-api/clock.ts'
import { writeKubeconfig } from '../../support/kube-api/kubeconfig.ts'
import { startKubeApi } from '../../support/kube-api/server.ts'
import { ciliumPolicies } from '../../support/kube-api/types.ts'

const aPod = (name: string, ip: string, labels: Record<string, string> = { app: 'cart' }, spec: object = {}) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'shop', labels },
  spec: {
    serviceAccountName: 'seller',
    containers: [{ ports: [{ name: 'http', containerPort: 8080 }, { containerPort: 9090 }] }],
    ...spec,
  },
  status: { phase: 'Running', podIP: ip, hostIP: '172.20.0.5' },
})
const aPolicy = (
  kind: string,
  apiVersion: string,
  name: string,
  metadata: { namespace?: string } = { namespace: 'shop' },
) => ({
  apiVersion,
  kind,
  metadata: { name, ...metadata },
  spec: { podSelector: {} },
})
const cart = {
  namespace: 'shop',
  labels: { app: 'cart' },
  account: 'seller',
  ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
}

t.test('a Pod: labels, account, named ports, node', async t => {
  const decoded = (value: object) => decodeKubernetes(value, { workloads: true }).object
  t.match(decoded(aPod('a', '10.1.0.1')), { pod: { workload: cart, hostAddress: '172.20.0.5' } })
  const sidecar = {
    containers: [],
    initContainers: [
      { restartPolicy: 'Always', ports: [{ name: 'mesh', containerPort: 15001, protocol: 'UDP' }] },
      { ports: [{ name: 'once', containerPort: 1 }] },
    ],
  }
  t.match(decoded(aPod('a', '10.1.0.1', {}, { ...sidecar, serviceAccountName: '', hostNetwork: true })), {
    pod: {
      hostNetwork: true,
      workload: { account: 'default', ports: [{ name: 'mesh', port: 15001, protocol: 'UDP' }] },
    },
  })
  const short = { metadata: { name: 'a' }, status: { podIP: '10.1.0.1' } }
  t.match(decoded({ apiVersion: 'v1', kind: 'Pod', ...short }), { pod: { workload: { labels: {}, ports: [] } } })
  t.notOk(
    (decodeKubernetes(aPod('a', '10.1.0.1')).object as { pod?: { workload?: unknown } }).pod?.workload,
    'addresses alone unless labels were asked for',
  )
})

t.test('policies: read on request, by name alone', async t => {
  const np = aPolicy('NetworkPolicy', 'networking.k8s.io/v1', 'deny')
  t.equal(decodeKubernetes(np).object, undefined)
  t.match(decodeKubernetes(np, { workloads: true }).object, {
    kind: 'NetworkPolicy',
    namespace: 'shop',
    name: 'deny',
    policy: { apiVersion: 'networking.k8s.io/v1', spec: { podSelector: {} } },
  })
  const wide = aPolicy('CiliumClusterwideNetworkPolicy', 'cilium.io/v2', 'all', {})
  t.match(decodeKubernetes(wide, { workloads: true }).object, { namespace: '', name: 'all' })
  const admin = aPolicy('AdminNetworkPolicy', 'policy.networking.k8s.io/v1alpha1', 'first', {})
  t.match(decodeKubernetes(admin, { workloads: true }).object, { kind: 'AdminNetworkPolicy', namespace: '' })
  const foreign = aPolicy('NetworkPolicy', 'projectcalico.org/v3', 'theirs')
  const ignored = 'NetworkPolicy (projectcalico.org/v3)'
  t.same(
    decodeKubernetes(foreign, { workloads: true }),
    { subject: 'NetworkPolicy', faults: [], ignored },
    'of another group',
  )
  const nameless = { ...np, metadata: {} }
  t.match(decodeKubernetes(nameless, { workloads: true }).faults, [{ path: ['metadata', 'name'] }])
  const annotated = {
    ...np,
    metadata: {
      ...np.metadata,
      annotations: { 'starlane.dev/audit': 'true', 'kubectl.kubernetes.io/last-applied-configuration': 'long' },
    },
  }
  t.match(decodeKubernetes(annotated, { workloads: true }).object, {
    policy: { annotations: { 'starlane.dev/audit': 'true' } },
  })
})

t.test('an address and an identity of etcd', async t => {
  const east = { cluster: 'east', clusterId: 7 }
  const json = (value: object) => Buffer.from(JSON.stringify(value))
  const id = (7 << 16) + 25
  const record = {
    ...{ IP: '10.11.3.21', Mask: null, HostIP: '172.20.0.12', ID: id, K8sNamespace: 'shop', K8sPodName: 'cart-0' },
    NamedPorts: [{ Name: 'http', Port: 8080, Protocol: 'TCP' }],
  }
  t.match(decodeAddress('10.11.3.21', json(record), east), [
    {
      record: {
        ...{ address: '10.11.3.21', id, pod: 'shop/cart-0' },
        ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
      },
    },
  ])
  t.match(decodeAddress('172.20.0.12', json({ IP: '172.20.0.12', ID: 6 }), east), [{ record: { id: 6, ports: [] } }])
  t.same(decodeAddress('10.0.0.0/24', json({ IP: '10.0.0.0', ID: id }), east), [], 'a range')
  t.throws(() => decodeAddress('10.11.3.22', json(record), east), /says IP "10.11.3.21", its key says "10.11.3.22"/)
  const stolen = json({ ...record, ID: (8 << 16) + 25 })
  t.throws(() => decodeAddress('10.11.3.21', stolen, east), /identity 524313 is one of cluster 8, not of cluster 7/)
  const large = { ...east, maxClusters: 511 }
  t.match(decodeAddress('10.11.3.21', json({ ...record, ID: (7 << 15) + 1 }), large), [{}], 'a mesh of 511')

  const text =
    'k8s:app=a=b;k8s:io.cilium.k8s.policy.cluster=east;k8s:io.kubernetes.pod.namespace=shop;' +
    'k8s:io.cilium.k8s.policy.serviceaccount=seller;k8s:io.cilium.k8s.namespace.labels.team=blue;container:x=y;k8s:alone;'
  t.same(decodeIdentity(String(id), Buffer.from(text), east), {
    ...{ kind: 'Identity', namespace: '', name: String(id) },
    identity: {
      ...{ id, namespace: 'shop', account: 'seller' },
      labels: { app: 'a=b', alone: '' },
      namespaceLabels: { team: 'blue' },
    },
  })
  t.throws(() => decodeIdentity(String(id), Buffer.from('k8s:app=a;'), east), /says cluster "", its key says "east"/)
  const other = Buffer.from('k8s:io.cilium.k8s.policy.cluster=west;')
  t.throws(() => decodeIdentity(String(id), other, east), /says cluster "west"/)
  t.throws(() => decodeIdentity('7', Buffer.from(text), east), /not the number of an identity/)
})

t.test('Pods of one kind share one object', async t => {
  const assembler = new ServiceAssembler('east')
  const sink = new RecordingSink()
  const put = (name: string, labels: Record<string, string>) =>
    assembler.put(
      decodeKubernetes(aPod(name, `10.1.0.${name.length}`, labels), { workloads: true }).object as ClusterObject,
    )
  put('a', { app: 'cart', tier: '1' })
  put('aa', { tier: '1', app: 'cart' })
  put('aaa', { app: 'till' })
  assembler.flush(sink)
  const of = (name: string) => sink.workloads.get(`shop/${name}`)
  t.equal(of('a'), of('aa'), 'whatever the order of their labels')
  t.not(of('a'), of('aaa'))
  put('aa', { app: 'till' })
  assembler.flush(sink)
  t.equal(of('aa'), of('aaa'))
})

t.test('from manifests', async t => {
  const folder = t.testdir({})
  const write = (...objects: object[]) =>
    writeFileSync(join(folder, 'all.yaml'), objects.map(object => JSON.stringify(object)).join('\n---\n'))
  write(aPod('a', '10.1.0.1'), aPolicy('NetworkPolicy', 'networking.k8s.io/v1', 'deny'))
  const sink = await start(
    t,
    createManifestsSource(folder, {
      ...{ cluster: 'east', clock: systemClock, log: silentLog, debounceMs: 10 },
      workloads: true,
    }),
  )
  t.same(sink.workloads.get('shop/a'), cart)
  t.match(sink.policies.get('NetworkPolicy shop/deny'), { cluster: 'east', origin: `${join(folder, 'all.yaml')}:3` })
  write(aPod('a', '10.1.0.1', { app: 'till' }))
  await eventually(() => assert.deepEqual(sink.workloads.get('shop/a')?.labels, { app: 'till' }))
  t.equal(sink.policies.size, 0)
  t.same(sink.violations, [])
})

t.test('from an API server', async t => {
  const api = await startKubeApi()
  t.teardown(() => api.stop())
  api.put(aPod('a', '10.1.0.1'))
  api.put(aPolicy('NetworkPolicy', 'networking.k8s.io/v1', 'deny'))
  const sink = await start(t, kubernetes(t, api.url))
  t.same(sink.workloads.get('shop/a'), cart)
  t.same([...sink.policies.keys()], ['NetworkPolicy shop/deny'], 'without Cilium')
  await eventually(() => assert.ok(api.watches.count('networkpolicies') > 0 && api.watches.count('pods') > 0))
  api.remove('NetworkPolicy', 'deny', 'shop')
  await eventually(() => assert.equal(sink.policies.size, 0))
  await eventually(() => assert.equal(sink.workloads.size, 0))

  api.install(ciliumPolicies)
  api.put(aPolicy('CiliumNetworkPolicy', 'cilium.io/v2', 'cart'))
  api.put(aPolicy('CiliumClusterwideNetworkPolicy', 'cilium.io/v2', 'all', {}))
  api.put({
    ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumCIDRGroup', spec: { externalCIDRs: ['203.0.113.0/24'] } },
    metadata: { name: 'partners', labels: { role: 'partner' } },
  })
  const other = await start(t, kubernetes(t, api.url))
  t.same([...other.policies.keys()].sort(), [
    'CiliumCIDRGroup partners',
    'CiliumClusterwideNetworkPolicy all',
    'CiliumNetworkPolicy shop/cart',
  ])
  t.match(other.policies.get('CiliumCIDRGroup partners'), { labels: { role: 'partner' } })
  t.same([...sink.violations, ...other.violations], [])
})

t.test('an API server is asked for Pods only while a policy needs them', async t => {
  const api = await startKubeApi()
  t.teardown(() => api.stop())
  api.put(aPod('a', '10.1.0.1'))
  const source = kubernetes(t, api.url)
  const sink = await start(t, source)
  await eventually(() => assert.ok(api.watches.count('networkpolicies') > 0))
  const counts = () => [sink.workloads.size, sink.policies.size, api.watches.count('pods')]
  t.same(counts(), [0, 0, 0], 'without policies')

  const orders: string[] = []
  const { putPod, putPolicy } = sink
  sink.putPod = pod => {
    orders.push(`Pod ${pod.name}`)
    putPod.call(sink, pod)
  }
  sink.putPolicy = policy => {
    orders.push(policy.kind)
    putPolicy.call(sink, policy)
  }
  api.put(aPolicy('NetworkPolicy', 'networking.k8s.io/v1', 'deny'))
  await eventually(() => assert.deepEqual(counts(), [1, 1, 1]))
  t.same(orders, ['Pod a', 'NetworkPolicy'], 'and a policy comes after the Pods')
  api.remove('NetworkPolicy', 'deny', 'shop')
  await eventually(() => assert.deepEqual(counts(), [0, 0, 0]))

  source.followPods?.(true)
  await eventually(() => assert.deepEqual(counts(), [1, 0, 1]), 15_000)
  t.pass('a policy of another cluster')
  api.put(aPolicy('NetworkPolicy', 'networking.k8s.io/v1', 'deny'))
  await eventually(() => assert.equal(sink.policies.size, 1))
  source.followPods?.(false)
  api.put(aPod('b', '10.1.0.2'))
  await eventually(() => assert.deepEqual(counts(), [2, 1, 1]))
  api.remove('NetworkPolicy', 'deny', 'shop')
  await eventually(() => assert.deepEqual(counts(), [0, 0, 0]))
  for (let i = 0; i < 5; i++) {
    source.followPods?.(true)
    source.followPods?.(false)
  }
  source.followPods?.(true)
  await eventually(() => assert.deepEqual(counts(), [2, 0, 1]))
  t.same(sink.violations, [])
})

t.test('a list of ranges alone needs no Pods', async t => {
  const api = await startKubeApi()
  t.teardown(() => api.stop())
  api.install(ciliumPolicies)
  api.put(aPod('a', '10.1.0.1'))
  api.put({ ...aPolicy('CiliumCIDRGroup', 'cilium.io/v2', 'partners', {}), spec: { externalCIDRs: [] } })
  const sink = await start(t, kubernetes(t, api.url))
  await eventually(() => assert.ok(api.watches.count('ciliumcidrgroups') > 0))
  t.same(
    [sink.workloads.size, [...sink.policies.keys()], api.watches.count('pods')],
    [0, ['CiliumCIDRGroup partners'], 0],
  )
  api.put(aPolicy('CiliumNetworkPolicy', 'cilium.io/v2', 'cart'))
  await eventually(() => assert.deepEqual([sink.workloads.size, sink.policies.size], [1, 2]))
})

t.test('from etcd', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const peer = new Peer(await etcd.client(), 'east', 7)
  const id = (7 << 16) + 25
  await peer.put(peer.service('shop/cart'), peer.pod('10.11.3.21', 'shop/cart-0', id, { app: 'cart' }))
  await peer.announce({ syncedCanaries: true })
  await peer.complete('identities', 'ip', 'nodes')
  const plain = { cluster: 'east', id: 7, endpoints: [etcd.url] }
  const parts = { clock: systemClock, random: () => 0.5, log: silentLog }
  const without = await start(t, createEtcdSource(plain, parts))
  t.equal(without.addresses.size, 0, 'only on request')
  const source = createEtcdSource({ ...plain, workloads: true }, parts)
  const sink = await start(t, source)
  const watchers = async () =>
    Number(/^etcd_debugging_mvcc_watcher_total (\d+)/m.exec(await (await fetch(`${etcd.url}/metrics`)).text())?.[1])
  const before = await watchers()
  t.equal(sink.addresses.size + sink.identities.size, 0, 'only while a policy needs them')
  await source.followPods?.(true)
  await eventually(async () => assert.equal(await watchers(), before + 2))
  t.equal(sink.addresses.get('10.11.3.21')?.pod, 'shop/cart-0', 'they have been read when it resolves')
  t.match(sink.identities.get(id), { namespace: 'shop', labels: { app: 'cart' } })
  await peer.drop(peer.key('ip', '10.11.3.21'), peer.key('identities', String(id)))
  await eventually(() => assert.equal(sink.addresses.size + sink.identities.size, 0))

  await peer.put(peer.pod('10.11.3.22', 'shop/cart-1', id, { app: 'cart' }))
  await eventually(() => assert.equal(sink.addresses.size + sink.identities.size, 2))
  await source.followPods?.(false)
  t.equal(sink.addresses.size + sink.identities.size, 0, 'forgotten when no policy needs them any more')
  await eventually(async () => assert.equal(await watchers(), before))
  for (let i = 0; i < 5; i++) {
    void source.followPods?.(true)
    void source.followPods?.(false)
  }
  await peer.put(peer.service('shop/orders'))
  await source.followPods?.(true)
  t.equal(sink.addresses.get('10.11.3.22')?.pod, 'shop/cart-1')
  await eventually(() => assert.equal(sink.services.size, 2))
  t.same(sink.violations, [])
})

function kubernetes(t: Test, server: string) {
  const kubeconfig = join(t.testdir({}), 'config')
  writeKubeconfig(kubeconfig, [{ name: 'east', server }])
  return createKubernetesSource(
    { cluster: 'cluster-1', kubeconfig, workloads: 'needed' },
    { clock: hasty(40), random: Math.random, log: silentLog, env: {} },
  )
}

async function start(t: Test, source: { start(sink: RecordingSink): void; close(): Promise<void> }) {
  const sink = new RecordingSink()
  source.start(sink)
  t.teardown(() => source.close())
  await eventually(() => assert.ok(sink.calls.includes('reset')), 15_000)
  return sink
}
