import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parseAllDocuments } from 'yaml'
import { Mesh } from '../../../proxy/mesh/mesh.ts'
import type { Problem } from '../../../proxy/model/error.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import type { ClusterService } from '../../../proxy/model/service.ts'
import { createKubernetesSource } from '../../../proxy/sources/kubernetes/kubernetes-source.ts'
import { managedByLabel, sliceManager, sourceClusterLabel } from '../../../proxy/writeback/slices.ts'
import { KubernetesWriter } from '../../../proxy/writeback/writer.ts'
import { RecordingSink } from '../../conformance/source.ts'
import { eventually } from '../../support/eventually.ts'
import type { Rule } from '../../support/kube-api/authorize.ts'
import { hasty } from '../../support/kube-api/clock.ts'
import { writeKubeconfig } from '../../support/kube-api/kubeconfig.ts'
import { type KubeApi, type KubeApiOptions, startKubeApi } from '../../support/kube-api/server.ts'
import { builtIn, type KubeObject, multicluster } from '../../support/kube-api/types.ts'
import { clusterService, endpoint } from '../../support/model.ts'

const clock = hasty(40)
const syncs = { 'service.cilium.io/global': 'true', 'service.cilium.io/global-sync-endpoint-slices': 'True' }
const port = { name: 'http', protocol: 'TCP', port: 8080 } as const
/** A ServiceExport without a spec. */
const noSpec = { annotations: {}, labels: {} }

t.test('remote endpoints of a service that asks for it become EndpointSlices here', async t => {
  const { api, mesh } = await open(t)
  const remote = {
    cluster: 'cluster-2',
    endpoints: [podOf('10.2.0.1', { zone: 'z', node: 'n', hostname: 'h-0' }), podOf('fd00::1')],
  }
  mesh.deliver('cluster-1', clusterService({ annotations: syncs, endpoints: [podOf('10.1.0.1')] }))
  mesh.deliver('cluster-2', clusterService(remote))
  await eventually(() => assert.equal(slicesIn(api).length, 2))
  const [v4, v6] = slicesIn(api).sort((a, b) => (a.addressType < b.addressType ? -1 : 1))
  t.match(v4, {
    metadata: {
      namespace: 'default',
      name: /^rebel-base-cluster-2-/,
      labels: {
        'kubernetes.io/service-name': 'rebel-base',
        'multicluster.kubernetes.io/source-cluster': 'cluster-2',
        'endpointslice.kubernetes.io/managed-by': 'endpointslice-mesh-controller.starlane.dev',
      },
    },
    addressType: 'IPv4',
    ports: [port],
    endpoints: [
      {
        addresses: ['10.2.0.1'],
        conditions: { ready: true, serving: true, terminating: false },
        hostname: 'h-0',
        zone: 'z',
      },
    ],
  })
  t.notOk(v4?.endpoints[0].nodeName, 'its node is not in this cluster')
  t.match(v6, { addressType: 'IPv6', endpoints: [{ addresses: ['fd00::1'] }] })

  mesh.put('cluster-2', clusterService({ ...remote, endpoints: [podOf('10.2.0.2', { ready: false, serving: false })] }))
  await eventually(() => {
    assert.deepEqual(
      slicesIn(api).map(({ endpoints }) => endpoints[0].addresses),
      [['10.2.0.2']],
    )
    assert.equal(slicesIn(api)[0]?.endpoints[0].conditions.ready, false)
  })

  const [name] = slicesIn(api).map(({ metadata }) => metadata.name)
  api.remove('EndpointSlice', String(name))
  await eventually(() => assert.equal(slicesIn(api).length, 1, 'what somebody deletes comes back'))

  mesh.put('cluster-1', clusterService({ annotations: { 'service.cilium.io/global': 'true' } }))
  await eventually(() => assert.equal(slicesIn(api).length, 0, 'nobody asks for them any more'))
})

t.test('pods that share an address keep their own ports, conditions and weights', async t => {
  const { api, mesh } = await open(t)
  const http = (port: number) => [{ name: 'http', protocol: 'TCP' as const, port }]
  const endpoints = [
    podOf('10.2.0.1', { ports: http(8080), hostname: 'a' }),
    podOf('10.2.0.1', { ports: http(8081), hostname: 'b', ready: false, serving: false }),
    podOf('10.2.0.1', { ports: http(8082), weight: 7 }),
  ]
  mesh.deliver('cluster-1', clusterService({ annotations: syncs }))
  mesh.deliver('cluster-2', clusterService({ cluster: 'cluster-2', endpoints }))
  await eventually(() => assert.equal(slicesIn(api).length, 3))
  const written = slicesIn(api).map(({ metadata, ports, endpoints: [{ conditions, hostname }] }) =>
    [ports[0].port, conditions.ready, hostname, metadata.annotations?.['service.cilium.io/weight']].join(' '),
  )
  t.same(written.sort(), ['8080 true a ', '8081 false b ', '8082 true  7'])
})

t.test('a headless service gets slices without asking; others do not', async t => {
  const { api, mesh } = await open(t)
  for (const cluster of ['cluster-1', 'cluster-2']) {
    const endpoints = [podOf(cluster === 'cluster-1' ? '10.1.0.1' : '10.2.0.1')]
    const optOut = { 'service.cilium.io/global': 'true', 'service.cilium.io/global-sync-endpoint-slices': 'no' }
    mesh.deliver(
      cluster,
      clusterService({ cluster, name: 'headless', headless: true, endpoints }),
      clusterService({ cluster, name: 'plain', endpoints }),
      clusterService({ cluster, name: 'declines', headless: true, annotations: optOut, endpoints }),
      clusterService({ cluster, name: 'private', headless: true, annotations: {}, endpoints }),
    )
  }
  await eventually(() => assert.equal(slicesIn(api).length, 1))
  t.match(slicesIn(api)[0]?.metadata.name, /^headless-cluster-2-/)
})

t.test('many endpoints make many slices, and a change writes one of them', async t => {
  const { api, mesh } = await open(t)
  const addresses = Array.from({ length: 250 }, (_, i) => `10.2.${i >> 7}.${i & 127}`)
  const remote = (list: readonly string[]) =>
    clusterService({ cluster: 'cluster-2', endpoints: list.map(address => podOf(address)) })
  mesh.deliver('cluster-1', clusterService({ annotations: syncs }))
  mesh.deliver('cluster-2', remote(addresses))
  const written = () => slicesIn(api).flatMap(({ endpoints }) => endpoints.map((each: KubeObject) => each.addresses[0]))
  await eventually(() => assert.deepEqual(written().sort(), addresses.toSorted()))
  t.ok(slicesIn(api).every(({ endpoints }) => endpoints.length <= 100))
  const before = api.count('patch', 'endpointslices')
  mesh.put('cluster-2', remote([...addresses, '10.2.9.9']))
  await eventually(() => assert.equal(written().length, 251))
  t.equal(api.count('patch', 'endpointslices'), before + 1)
})

t.test('nothing of a cluster is deleted before it has synced', async t => {
  const { api, mesh, writer } = await open(t)
  mesh.deliver('cluster-1', clusterService({ annotations: syncs }))
  mesh.deliver('cluster-2', clusterService({ cluster: 'cluster-2', endpoints: [podOf('10.2.0.1')] }))
  await eventually(() => assert.equal(slicesIn(api).length, 1))
  await writer.close()
  const leftover = {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: 'zz-leftover',
      labels: { [managedByLabel]: sliceManager, [sourceClusterLabel]: 'cluster-removed' },
    },
  }
  api.put(leftover)

  const restarted = await open(t, { api })
  restarted.mesh.deliver('cluster-1', clusterService({ annotations: syncs }))
  await leads(api, restarted)
  // Objects are compared in the order of the list: when the last one is gone, the first was kept.
  await eventually(() => assert.equal(api.get('EndpointSlice', leftover.metadata.name), undefined), 15_000)
  t.equal(slicesIn(api).length, 1, 'kept until cluster-2 has synced')
  restarted.mesh.deliver('cluster-2')
  await eventually(() => assert.equal(slicesIn(api).length, 0, 'cluster-2 has no services'))
})

t.test('one of several replicas writes; another takes over when it stops', async t => {
  const first = await open(t)
  const service = clusterService({ annotations: syncs })
  const remote = (address: string) => clusterService({ cluster: 'cluster-2', endpoints: [podOf(address)] })
  const second = await open(t, { api: first.api })
  const { api } = first
  await eventually(() => assert.ok(api.get('Lease', 'starlane-write', 'starlane')))
  const holder = () => api.get('Lease', 'starlane-write', 'starlane')?.spec.holderIdentity
  const [leader, other] = holder() === first.identity ? [first, second] : [second, first]
  // Each replica would write another address, which shows who wrote.
  for (const [replica, address] of [
    [leader, '10.2.0.1'],
    [other, '10.2.0.2'],
  ] as const) {
    replica.mesh.deliver('cluster-1', service)
    replica.mesh.deliver('cluster-2', remote(address))
  }
  const written = () => slicesIn(api).map(({ endpoints }) => endpoints[0].addresses[0])
  await eventually(() => assert.deepEqual(written(), ['10.2.0.1']))
  await leader.writer.close()
  await eventually(() => assert.equal(holder(), other.identity), 15_000)
  await eventually(() => assert.deepEqual(written(), ['10.2.0.2']), 15_000)
})

t.test('written objects are not read as declarations of this cluster', async t => {
  const { api, mesh, kubeconfig } = await open(t)
  api.put({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'rebel-base' },
    spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }] },
  })
  mesh.deliver('cluster-1', clusterService({ annotations: syncs, exported: noSpec }))
  mesh.deliver('cluster-2', clusterService({ cluster: 'cluster-2', endpoints: [podOf('10.2.0.1')] }))
  await eventually(() => assert.equal(slicesIn(api).length, 1))
  await eventually(() => assert.ok(api.get('ServiceImport', 'rebel-base')))
  const sink = new RecordingSink()
  const source = createKubernetesSource(
    { cluster: 'cluster-1', kubeconfig },
    { clock, random: Math.random, log: silentLog, env: {} },
  )
  t.teardown(() => source.close())
  source.start(sink)
  await eventually(() => assert.equal(sink.link, 'live'))
  t.same(sink.seen(), [{ namespace: 'default', name: 'rebel-base', clusterIP: '10.96.0.1', addresses: [] }])
})

t.test('exports of any cluster become ServiceImports here, with their status', async t => {
  const { api, mesh } = await open(t)
  const exported = { annotations: {}, exported: noSpec }
  const web = { name: 'http', protocol: 'TCP', port: 80 } as const
  api.put({ apiVersion: 'multicluster.x-k8s.io/v1alpha1', kind: 'ServiceExport', metadata: { name: 'rebel-base' } })
  api.put({ apiVersion: 'multicluster.x-k8s.io/v1alpha1', kind: 'ServiceExport', metadata: { name: 'nobody' } })
  mesh.deliver('cluster-1', clusterService({ ...exported, ports: [web] }))
  const dns = { name: 'dns', protocol: 'UDP', port: 53 } as const
  mesh.deliver(
    'cluster-2',
    clusterService({ cluster: 'cluster-2', ...exported, ports: [{ ...web, port: 81 }, dns] }),
    clusterService({ cluster: 'cluster-2', name: 'far', ...exported, ports: [web] }),
    clusterService({ cluster: 'cluster-2', namespace: 'elsewhere', name: 'other', ...exported }),
    clusterService({ cluster: 'cluster-2', name: 'annotated-only' }),
  )
  await eventually(() => assert.ok(api.get('ServiceImport', 'rebel-base')?.status))
  await eventually(() => assert.ok(api.get('ServiceImport', 'far')?.status))
  t.match(api.get('ServiceImport', 'rebel-base'), {
    metadata: { labels: { 'app.kubernetes.io/managed-by': 'starlane.dev' } },
    spec: { type: 'ClusterSetIP', ips: ['127.96.0.10'], ports: [web, dns] },
    status: {
      clusters: [{ cluster: 'cluster-1' }, { cluster: 'cluster-2' }],
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  })
  t.match(api.get('ServiceImport', 'far')?.status, {
    conditions: [{ type: 'Ready', status: 'False', reason: 'Pending' }],
  })
  t.equal(api.list('ServiceImport').length, 2, 'none without the namespace, none for an annotation alone')

  const conditions = (name: string) => api.get('ServiceExport', name)?.status?.conditions
  await eventually(() => assert.ok(conditions('rebel-base') && conditions('nobody')))
  t.match(conditions('rebel-base'), [
    { type: 'Valid', status: 'True', lastTransitionTime: /Z$/ },
    { type: 'Ready', status: 'True', reason: 'Exported' },
    {
      type: 'Conflict',
      status: 'True',
      reason: 'PortConflict',
      message: /"http" 80\/TCP is as in cluster-1, so "http" 81\/TCP of cluster-2 is left out/,
    },
  ])
  t.match(conditions('nobody'), [
    { type: 'Valid', status: 'False', reason: 'NoService' },
    { type: 'Ready', status: 'False', reason: 'Pending' },
    { type: 'Conflict', status: 'False', reason: 'NoConflicts' },
  ])

  mesh.drop('cluster-2', 'default', 'far')
  await eventually(() => assert.equal(api.get('ServiceImport', 'far'), undefined))
})

t.test('a condition keeps its transition time, and a new writer does not rewrite statuses', async t => {
  const first = await open(t)
  const { api, mesh } = first
  api.put({ apiVersion: 'multicluster.x-k8s.io/v1alpha1', kind: 'ServiceExport', metadata: { name: 'rebel-base' } })
  const conditions = () => api.get('ServiceExport', 'rebel-base')?.status?.conditions ?? []
  mesh.deliver('cluster-2')
  mesh.deliver('cluster-1', clusterService({ type: 'ExternalName', exported: noSpec }))
  await eventually(() => assert.equal(conditions()[0]?.reason, 'InvalidServiceType'))
  const long = '2020-01-01T00:00:00Z'
  const aged = conditions().map((each: object) => ({ ...each, lastTransitionTime: long }))
  api.put({ ...(api.get('ServiceExport', 'rebel-base') as KubeObject), status: { conditions: aged } })
  await first.writer.close()

  const second = await open(t, { api })
  second.mesh.deliver('cluster-2')
  second.mesh.deliver('cluster-1', clusterService({ type: 'ExternalName', exported: noSpec }))
  await leads(api, second)
  second.mesh.put('cluster-1', clusterService({ annotations: { 'service.cilium.io/global': 'no' }, exported: noSpec }))
  await eventually(() => assert.equal(conditions()[1]?.reason, 'Failed', 'its own annotation says no'))
  const [valid, ready, conflict] = conditions()
  t.match(valid, { status: 'True' })
  t.not(valid.lastTransitionTime, long)
  t.match([ready, conflict], [{ lastTransitionTime: long }, { lastTransitionTime: long }])
})

t.test('a deleted import is written again, with its status', async t => {
  const { api, mesh } = await open(t)
  mesh.deliver('cluster-1', clusterService({ exported: noSpec }))
  mesh.deliver('cluster-2')
  const found = () => api.get('ServiceImport', 'rebel-base')
  await eventually(() => assert.ok(found()?.status))
  const uid = found()?.metadata.uid
  api.remove('ServiceImport', 'rebel-base')
  await eventually(() => assert.ok(found()?.status && found()?.metadata.uid !== uid))
})

t.test('an import gets a derived Service and takes its address', async t => {
  const { api, mesh } = await open(t, { derivedServices: true })
  const name = 'derived-q358ba8kk0'
  const exported = { createdAt: 1, annotations: { 'service.cilium.io/affinity': 'local' }, labels: { team: 'x' } }
  const web = { name: 'http', protocol: 'TCP', port: 80 } as const
  const given = { cluster: 'cluster-2', exported, ports: [web], sessionAffinity: { timeoutMs: 7000 } }
  const own = clusterService({ annotations: {} })
  mesh.deliver('cluster-1', own)
  mesh.deliver('cluster-2', clusterService({ ...given, endpoints: [podOf('10.2.0.1')] }))
  const derived = await eventually(() => {
    const found = api.get('Service', name)
    assert.ok(found)
    return found
  })
  const imported = api.get('ServiceImport', 'rebel-base')
  t.match(imported, {
    metadata: { annotations: { 'multicluster.kubernetes.io/derived-service': name, ...exported.annotations } },
    spec: { type: 'ClusterSetIP', ips: [], sessionAffinity: 'ClientIP' },
  })
  t.match(derived, {
    metadata: {
      labels: { 'app.kubernetes.io/managed-by': 'starlane.dev', team: 'x' },
      annotations: { 'service.cilium.io/global': 'true', ...exported.annotations },
      ownerReferences: [{ kind: 'ServiceImport', name: 'rebel-base', uid: imported?.metadata.uid }],
    },
    spec: {
      type: 'ClusterIP',
      ports: [web],
      ipFamilies: ['IPv4'],
      ipFamilyPolicy: 'SingleStack',
      sessionAffinity: 'ClientIP',
      sessionAffinityConfig: { clientIP: { timeoutSeconds: 7 } },
    },
  })
  t.notOk(derived.spec.selector)
  const condition = () => api.get('ServiceImport', 'rebel-base')?.status?.conditions[0]
  await eventually(() => assert.match(condition()?.message ?? '', /derived Service has no address yet/))

  const { labels = {}, annotations = {} } = derived.metadata
  const read = { name, derivedFrom: 'rebel-base', labels, annotations, ports: [web] }
  mesh.put('cluster-1', clusterService({ ...read, clusterIPs: ['10.96.0.77'] }))
  mesh.put('cluster-1', { ...own, derived: name })
  await eventually(() => assert.deepEqual(api.get('ServiceImport', 'rebel-base')?.spec.ips, ['10.96.0.77']))
  await eventually(() => assert.equal(condition()?.status, 'True'))
  t.equal(slicesIn(api).length, 0, 'nobody asks for slices')

  const headless = { ...given, headless: true, clusterIPs: [], endpoints: [podOf('10.2.0.1')] }
  mesh.put('cluster-2', clusterService(headless))
  await eventually(() => assert.equal(api.get('Service', name)?.spec.clusterIP, 'None'))
  t.not(api.get('Service', name)?.metadata.uid, derived.metadata.uid, 'the API cannot update one into the other')
  mesh.put('cluster-1', clusterService({ ...read, headless: true, clusterIPs: [] }))
  await eventually(() => assert.equal(slicesIn(api).length, 1, 'its clients have nothing else'))
  t.match(slicesIn(api)[0]?.metadata.labels, {
    'kubernetes.io/service-name': name,
    'multicluster.kubernetes.io/service-name': 'rebel-base',
    'multicluster.kubernetes.io/source-cluster': 'cluster-2',
  })

  mesh.drop('cluster-2', 'default', 'rebel-base')
  await eventually(() => assert.equal(api.list('ServiceImport').length + api.list('Service').length, 0))
})

t.test('derived Services of an earlier configuration are deleted, those of others are not', async t => {
  const labels = { 'app.kubernetes.io/managed-by': 'starlane.dev' }
  const services = ['derived-old', 'starlane'].map((name, i) => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, labels: { ...labels, ...(i === 0 && { 'starlane.dev/derived': 'true' }) } },
    spec: { ports: [{ port: 80 }] },
  }))
  const { api, mesh } = await open(t)
  for (const service of services) api.put(service)
  mesh.deliver('cluster-1')
  mesh.deliver('cluster-2')
  await eventually(() =>
    assert.deepEqual(
      api.list('Service').map(({ metadata }) => metadata.name),
      ['starlane'],
    ),
  )
})

t.test('without the Multi-Cluster Services API nothing fails; once it is installed, all is written', async t => {
  const { api, mesh, writer } = await open(t)
  api.uninstall(multicluster)
  const exported = { annotations: syncs, exported: noSpec }
  mesh.deliver('cluster-1', clusterService({ ...exported }))
  mesh.deliver('cluster-2', clusterService({ cluster: 'cluster-2', ...exported, endpoints: [podOf('10.2.0.1')] }))
  await eventually(() => assert.equal(slicesIn(api).length, 1))
  await eventually(() => assert.deepEqual(writer.problems(), []))
  api.install(multicluster)
  await eventually(() => assert.ok(api.get('ServiceImport', 'rebel-base')?.status), 15_000)
})

t.test('with the Multi-Cluster Services API at v1beta1 only, that version is written', async t => {
  const { api, mesh } = await open(t, { derivedServices: true })
  api.uninstall(multicluster)
  api.install(multicluster.map(type => ({ ...type, version: 'v1beta1' })))
  const apiVersion = 'multicluster.x-k8s.io/v1beta1'
  api.put({ apiVersion, kind: 'ServiceExport', metadata: { name: 'rebel-base' } })
  mesh.deliver('cluster-2')
  mesh.deliver('cluster-1', clusterService({ exported: noSpec }))
  await eventually(() => assert.ok(api.get('ServiceImport', 'rebel-base')?.status), 15_000)
  t.equal(api.get('ServiceImport', 'rebel-base')?.apiVersion, apiVersion)
  await eventually(() => assert.ok(api.get('ServiceExport', 'rebel-base')?.status), 15_000)
  await eventually(() => assert.equal(api.list('Service')[0]?.metadata.ownerReferences[0].apiVersion, apiVersion))
})

t.test('a bad annotation becomes an Event of its Service', async t => {
  const { api, writer } = await open(t)
  const bad: Problem = {
    code: 'SERVICE_ANNOTATION',
    where: 'cluster-1 default/rebel-base (services.yaml:3)',
    message: 'service.cilium.io/affinity: "both" is none of local, remote, none',
  }
  const others: Problem[] = [
    { ...bad, where: 'cluster-2 default/rebel-base' },
    { ...bad, code: 'SOURCE_OBJECT' },
    { ...bad, where: 'somewhere' },
  ]
  writer.report([bad, ...others])
  await eventually(() => assert.equal(api.list('Event').length, 1))
  t.match(api.list('Event')[0], {
    type: 'Warning',
    reason: 'BadAnnotation',
    message: bad.message,
    involvedObject: { kind: 'Service', namespace: 'default', name: 'rebel-base' },
    source: { component: 'starlane.dev' },
  })
  const before = api.count('patch', 'events')
  writer.report([bad])
  writer.report([bad, { ...bad, where: 'cluster-1 default/other' }])
  await eventually(() => assert.equal(api.list('Event').length, 2))
  t.equal(api.count('patch', 'events'), before + 1, 'an unchanged Event is not written again')
})

t.test('the writing role', async t => {
  const rules = ['deploy/base/read.yaml', 'deploy/components/write-back/write.yaml'].flatMap(rulesOf)
  const exported = { annotations: syncs, exported: noSpec }
  /** A mesh with one object of each kind to write. */
  const exercise = async (t: Test, rules: readonly Rule[]) => {
    const opened = await open(t, { rules, derivedServices: true })
    const { api, mesh, writer } = opened
    api.put({ apiVersion: 'multicluster.x-k8s.io/v1alpha1', kind: 'ServiceExport', metadata: { name: 'rebel-base' } })
    mesh.deliver('cluster-1', clusterService({ ...exported }))
    mesh.deliver('cluster-2', clusterService({ cluster: 'cluster-2', ...exported, endpoints: [podOf('10.2.0.1')] }))
    writer.report([{ code: 'SERVICE_ANNOTATION', where: 'cluster-1 default/rebel-base', message: 'bad' }])
    return opened
  }
  const complete = (api: KubeApi) =>
    slicesIn(api).length === 1 &&
    api.list('Event').length === 1 &&
    api.list('Service').length === 1 &&
    api.get('ServiceImport', 'rebel-base')?.status !== undefined &&
    api.get('ServiceExport', 'rebel-base')?.status !== undefined

  t.test('is enough', async t => {
    const { api, writer, mesh } = await exercise(t, rules)
    await eventually(() => assert.ok(complete(api)), 15_000)
    t.same(writer.problems(), [])
    mesh.drop('cluster-1', 'default', 'rebel-base')
    mesh.drop('cluster-2', 'default', 'rebel-base')
    const left = () => [slicesIn(api), api.list('ServiceImport'), api.list('Service')].flat()
    await eventually(() => assert.deepEqual(left(), []))
    t.same(writer.problems(), [])
  })

  for (const resource of [
    'endpointslices',
    'services',
    'events',
    'serviceimports',
    'serviceimports/status',
    'serviceexports/status',
  ]) {
    t.test(`without ${resource} the rule is named`, async t => {
      const writes = (rule: Rule) => !rule.verbs.includes('list')
      const less = rules.map(rule => ({
        ...rule,
        resources: rule.resources.filter(each => !writes(rule) || each !== resource),
      }))
      const { writer } = await exercise(t, less)
      const message = new RegExp(`may not write ${resource}; its role needs {.*resources: \\[${resource}\\]`)
      await eventually(() => assert.ok(writer.problems().some(problem => message.test(problem.message))), 15_000)
      t.ok(writer.problems().every(({ code }) => code === 'SOURCE_WRITE'))
    })
  }

  t.test('without the lease nothing is written', async t => {
    const less = rules.filter(({ resources }) => !resources.includes('leases'))
    const { api, writer } = await exercise(t, less)
    await eventually(() => assert.ok(writer.problems().some(({ message }) => /resources: \[leases\]/.test(message))))
    t.equal(slicesIn(api).length, 0)
  })
})

let replicas = 0

async function open(t: Test, given: { api?: KubeApi; rules?: readonly Rule[]; derivedServices?: boolean } = {}) {
  const api = given.api ?? (await startApi(t, given.rules))
  const folder = mkdtempSync(join(tmpdir(), 'starlane-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const kubeconfig = join(folder, 'config')
  writeKubeconfig(kubeconfig, [{ name: 'cluster-1', server: api.url, user: { token: 'secret' } }])
  const mesh = new TestMesh()
  t.teardown(() => mesh.close())
  const identity = `starlane-${++replicas}`
  const login = { kubeconfig }
  const options = {
    cluster: 'cluster-1',
    login,
    endpointSlices: true,
    multicluster: true,
    derivedServices: given.derivedServices ?? false,
    events: true,
    namespace: 'starlane',
    identity,
  }
  const writer = new KubernetesWriter(options, { clock, random: Math.random, log: silentLog, env: {} }, mesh)
  t.teardown(() => writer.close())
  writer.start()
  return { api, mesh, writer, identity, kubeconfig }
}

async function startApi(t: Test, rules?: readonly Rule[]): Promise<KubeApi> {
  const users: KubeApiOptions['users'] = { secret: { name: 'starlane', ...(rules && { rules }) } }
  const api = await startKubeApi({ users, types: [...builtIn, ...multicluster] })
  t.teardown(() => api.stop())
  return api
}

/** A mesh of two clusters, `cluster-1` the local one. */
class TestMesh {
  readonly #mesh = new Mesh({
    clusters: [
      { name: 'cluster-1', id: 1, local: true },
      { name: 'cluster-2', id: 2, local: false },
    ],
    staleAfterMs: 0,
    services: 'global',
    health: () => 'unknown',
    clock,
    log: silentLog,
  })
  readonly #unsynced = new Set(['cluster-1', 'cluster-2'])
  readonly directory = this.#mesh.directory

  deliver(cluster: string, ...services: ClusterService[]): void {
    this.#unsynced.delete(cluster)
    this.#mesh.sink(cluster).reset({ services, namespaces: [] })
  }

  put(cluster: string, service: ClusterService): void {
    this.#mesh.sink(cluster).put(service)
  }

  drop(cluster: string, namespace: string, name: string): void {
    this.#mesh.sink(cluster).drop(namespace, name)
  }

  isGlobalNamespace(name: string): boolean {
    return this.#mesh.isGlobalNamespace(name)
  }

  unsyncedClusters(): string[] {
    return [...this.#unsynced]
  }

  close(): void {
    this.#mesh.close()
  }
}

async function leads(api: KubeApi, { identity }: { identity: string }): Promise<void> {
  const lease = () => api.get('Lease', 'starlane-write', 'starlane')
  await eventually(() => assert.equal(lease()?.spec.holderIdentity, identity), 15_000)
}

function podOf(address: string, rest: Partial<ReturnType<typeof endpoint>> = {}) {
  return endpoint({ address, ports: [port], ...rest })
}

function slicesIn(api: KubeApi): KubeObject[] {
  return api.list('EndpointSlice')
}

function rulesOf(file: string): Rule[] {
  const objects = parseAllDocuments(readFileSync(file, 'utf8')).map(document => document.toJS())
  return objects.flatMap(({ kind, rules }) => (kind === 'ClusterRole' || kind === 'Role' ? rules : []))
}
