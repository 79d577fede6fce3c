/** The Kubernetes source: the source contract, and failures of the API server. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { KubernetesLogin } from '../../../proxy/clients/kubernetes/connect.ts'
import { decodeSettings } from '../../../proxy/mesh/settings.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import type { Clock } from '../../../proxy/model/time/clock.ts'
import { createKubernetesSource } from '../../../proxy/sources/kubernetes/kubernetes-source.ts'
import type { Source } from '../../../proxy/sources/source.ts'
import { type Declared, examineSource, RecordingSink, SlowSink } from '../../conformance/source.ts'
import { FakeClock } from '../../support/clock.ts'
import { eventually } from '../../support/eventually.ts'
import { Authority } from '../../support/kube-api/certificates.ts'
import { hasty } from '../../support/kube-api/clock.ts'
import { namespaceOf, serviceOf, sliceOf } from '../../support/kube-api/declared.ts'
import { openDriver } from '../../support/kube-api/driver.ts'
import { type Entry, writeKubeconfig } from '../../support/kube-api/kubeconfig.ts'
import { type KubeApi, type KubeApiOptions, startKubeApi } from '../../support/kube-api/server.ts'
import { gkeImports, type KubeObject, multicluster } from '../../support/kube-api/types.ts'

const quickClock = hasty(40)

t.test('satisfies the source contract', t => {
  examineSource(t, async t => {
    const api = await startApi(t)
    return openDriver(t, { name: 'east', server: api.url }, quickClock)
  })
  t.end()
})

const web: Declared = { namespace: 'default', name: 'web', clusterIP: '10.96.0.10', addresses: ['10.0.0.1'] }
const late: Declared = { namespace: 'default', name: 'late', clusterIP: '10.96.0.11', addresses: ['10.0.0.2'] }

t.test('the requests to the server', async t => {
  const api = await startApi(t)
  for (let i = 0; i < 1100; i++)
    api.put(serviceOf({ ...web, name: `web-${i}`, clusterIP: `10.97.${i >> 8}.${i & 255}` }))
  const { sink } = await follow(t, api)
  t.equal(sink.services.size, 1100)
  const lists = api.seen.filter(({ verb, resource }) => verb === 'list' && resource === 'services')
  t.same(
    lists.map(({ query }) => query.get('limit')),
    ['500', '500', '500'],
    'pages',
  )
  t.ok(lists.slice(1).every(({ query }) => query.get('continue')))
  const watch = await eventually(() => required(api.seen.find(({ verb }) => verb === 'watch')))
  t.equal(watch.query.get('allowWatchBookmarks'), 'true')
  const seconds = Number(watch.query.get('timeoutSeconds'))
  t.ok(seconds >= 300 && seconds < 600, `${seconds} s`)
  const namespaces = required(api.seen.find(({ resource }) => resource === 'namespaces'))
  t.match(namespaces.headers.accept, /PartialObjectMetadataList/, 'of namespaces only what is read')
  t.notOk(
    api.seen.some(({ resource }) => resource === 'pods'),
    'the largest of all lists is not asked for',
  )
})

t.test('Pods are read on request, as long as they run', async t => {
  const api = await startApi(t)
  const pod = (name: string, status: object) =>
    api.put({ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'default' }, spec: { big: 'x' }, status })
  for (let i = 0; i < 600; i++) pod(`crew-${i}`, { phase: 'Running', podIP: `10.1.${i >> 8}.${i & 255}` })
  pod('done', { phase: 'Succeeded', podIP: '10.1.9.1' })
  const sink = new RecordingSink()
  newSource(t, api, quickClock, {}, temporary(t), { pods: true }).start(sink)
  await eventually(() => required(sink.calls.includes('reset')), 15_000)
  t.equal(sink.pods.size, 600)
  t.same(sink.pods.get('default/crew-599'), ['10.1.2.87'])
  t.equal(api.count('list', 'pods'), 2, 'pages')
  await watching(api, 'pods')
  sink.news()

  pod('luke', { phase: 'Pending' })
  pod('luke', { phase: 'Running', podIP: '10.1.8.1', podIPs: [{ ip: '10.1.8.1' }, { ip: 'fd00::1' }] })
  await eventually(() => assert.deepEqual(sink.pods.get('default/luke'), ['10.1.8.1', 'fd00::1']))
  pod('luke', { phase: 'Running', podIP: '10.1.8.1', podIPs: [{ ip: '10.1.8.1' }, { ip: 'fd00::1' }], reason: 'news' })
  pod('luke', { phase: 'Failed', podIP: '10.1.8.1' })
  await eventually(() => assert.equal(sink.pods.has('default/luke'), false, 'it has ended'))
  api.remove('Pod', 'crew-0')
  await eventually(() => assert.equal(sink.pods.size, 599, 'it is gone'))
  t.same(sink.violations, [])
  t.same(sink.problemList, [])
})

t.test('copies of other clusters’ endpoints are not counted twice', async t => {
  const api = await startApi(t)
  api.install(multicluster)
  put(api, web)
  const slice = sliceOf({ ...web, addresses: ['10.9.9.9'] })
  const labels = { ...slice.metadata.labels, 'multicluster.kubernetes.io/source-cluster': 'cluster-2' }
  api.put({ ...slice, metadata: { ...slice.metadata, name: 'web-cluster-2', labels } })
  const { sink } = await follow(t, api)
  t.same(sink.seen(), [web])

  const mcs = { apiVersion: 'multicluster.x-k8s.io/v1alpha1', kind: 'ServiceImport' }
  const found = { ...labels, 'multicluster.kubernetes.io/service-name': web.name }
  api.put({ ...mcs, metadata: { namespace: web.namespace, name: web.name }, spec: { type: 'Headless', ports: [] } })
  api.put({ ...slice, metadata: { ...slice.metadata, name: 'web-found', labels: found } })
  await eventually(() => assert.ok([...sink.services.values()][0]?.serviceImport))
  t.match([...sink.services.values()][0]?.serviceImport?.endpoints, [{ address: '10.9.9.9', cluster: 'cluster-2' }])
  t.same(sink.seen(), [web], 'beside its own')
})

t.test('zones come from nodes, gates from namespaces', async t => {
  const api = await startApi(t)
  put(api, web)
  const zone = { 'topology.kubernetes.io/zone': 'z1' }
  api.put({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1', labels: zone }, status: { images: ['many'] } })
  const { sink } = await follow(t, api)
  t.match([...sink.services.values()][0], { endpoints: [{ node: 'n1', zone: 'z1' }] })
  api.put({
    ...namespaceOf('default'),
    metadata: { name: 'default', annotations: { 'clustermesh.cilium.io/global': 'false' } },
  })
  await eventually(() => assert.equal(required(sink.namespaces.get('default')).global, false, 'the gate is closed'))
})

t.test('a cut watch continues from its version, without a list and without a loss', async t => {
  const api = await startApi(t)
  put(api, web)
  const { sink } = await follow(t, api)
  for (const trouble of [() => api.watches.cut(), () => api.watches.end(), () => api.watches.garble('{"type":\n')]) {
    await watching(api)
    const name = `late-${api.store.revision}`
    trouble()
    put(api, { ...late, name })
    await eventually(() => required(sink.services.get(`default/${name}`)))
    await eventually(() => required(required(sink.services.get(`default/${name}`)).endpoints[0]))
  }
  t.equal(api.count('list', 'services'), 1)
  t.notOk(sink.calls.includes('lost'))
  t.same(sink.violations, [])
})

t.test('many services that change at once are delivered in several rounds of the event loop', async t => {
  const api = await startApi(t)
  const all = Array.from({ length: 40 }, (_, i) => ({ ...web, name: `web-${i}` }))
  for (const service of all) put(api, service)
  const sink = new SlowSink()
  newSource(t, api, quickClock).start(sink)
  await eventually(() => required(sink.calls.includes('reset')), 15_000)
  await watching(api)
  sink.takes = 2
  for (const service of all) api.put(serviceOf({ ...service, clusterIP: 'None' }))
  const rounds = await sink.roundsOf(40)
  t.ok(rounds >= 5, `80 ms of work in ${rounds} rounds`)
  t.ok([...sink.services.values()].every(({ headless }) => headless))
})

t.test('a bookmark moves the version on', async t => {
  const api = await startApi(t)
  const { sink } = await follow(t, api)
  await watching(api)
  for (let i = 0; i < 5; i++) api.put({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: `noise-${i}` } })
  const { revision } = api.store
  api.watches.bookmark('services')
  api.put(serviceOf(web))
  await eventually(() => required(sink.services.get('default/web')))
  api.watches.end('services')
  const isLater = ({ verb, resource, query }: KubeApi['seen'][number]) =>
    verb === 'watch' && resource === 'services' && Number(query.get('resourceVersion')) > revision
  await eventually(() => required(api.seen.find(isLater)))
  t.equal(api.count('list', 'services'), 1)
})

t.test('410: objects that are gone from the new list are dropped', async t => {
  for (const [name, trouble] of [
    ['as the status of the watch', (api: KubeApi) => api.watches.end()],
    ['within the watch', (api: KubeApi) => api.watches.expire()],
  ] as const) {
    t.test(name, async t => {
      const api = await startApi(t)
      put(api, web)
      put(api, late)
      const { sink } = await follow(t, api)
      await watching(api)
      api.watches.muted = true
      remove(api, late)
      api.store.compact()
      trouble(api)
      api.watches.muted = false
      await eventually(() => assert.deepEqual(sink.seen(), [web], 'the one that is gone has been dropped'))
      t.notOk(sink.calls.includes('lost'))
      t.same(
        sink.calls.filter(call => call === 'put default/web'),
        [],
        'what is the same is not told again',
      )
      t.same(sink.violations, [])
    })
  }
})

t.test('a list that expires while its pages are read is requested in one piece', async t => {
  const api = await startApi(t)
  for (let i = 0; i < 600; i++)
    api.put(serviceOf({ ...web, name: `web-${i}`, clusterIP: `10.97.${i >> 8}.${i & 255}` }))
  api.faults.add({ verb: 'list', resource: 'services', answer: { after: Promise.resolve() } })
  api.faults.add({ verb: 'list', resource: 'services', answer: { status: 410, reason: 'Expired' } })
  const { sink } = await follow(t, api)
  t.equal(sink.services.size, 600)
  const [, , whole] = api.seen.filter(({ verb, resource }) => verb === 'list' && resource === 'services')
  t.equal(required(whole).query.get('limit'), null)
})

t.test('a server restored from a backup, with older versions: list again', async t => {
  const api = await startApi(t)
  put(api, web)
  const { sink } = await follow(t, api)
  await watching(api)
  const status = 504
  const message = 'Too large resource version: 2000, current: 1000'
  api.faults.add({ verb: 'watch', resource: 'services', answer: { status, reason: 'Timeout', message } })
  api.watches.end('services')
  await eventually(() => assert.equal(api.count('list', 'services'), 2))
  t.notOk(sink.calls.includes('lost'))
})

t.test('a partial read never empties a pool', async t => {
  const api = await startApi(t)
  put(api, web)
  let release = () => {}
  const held = new Promise<void>(resolve => {
    release = resolve
  })
  api.faults.add({ verb: 'list', resource: 'endpointslices', answer: { after: held } })
  const sink = new RecordingSink()
  newSource(t, api, quickClock).start(sink)
  await watching(api, 'services')
  t.same(sink.calls, [], 'not a word before every list has come')
  release()
  await eventually(() => assert.deepEqual(sink.news(), ['reset']))
  t.same(sink.seen(), [web])
})

t.test('429: the next request waits for as long as the server asks', async t => {
  const api = await startApi(t)
  const clock = new FakeClock()
  const answer = { status: 429, reason: 'TooManyRequests', retryAfter: 20 }
  api.faults.add({ verb: 'list', resource: 'services', answer })
  const sink = new RecordingSink()
  newSource(t, api, clock).start(sink)
  await eventually(() => assert.equal(api.count('list', 'services'), 1))
  await eventually(() => assert.ok(clock.waiting > 0))
  await watching(api, 'nodes')
  await clock.advance(19_900)
  t.equal(api.count('list', 'services'), 1)
  await clock.advance(1000)
  await eventually(() => assert.deepEqual(sink.calls, ['reset']))
})

t.test('a server that closes every watch at once is not flooded with requests', async t => {
  const api = await startApi(t)
  const clock = new FakeClock()
  const sink = new RecordingSink()
  newSource(t, api, clock).start(sink)
  await eventually(() => assert.deepEqual(sink.news(), ['reset']))
  for (let second = 0; second < 60; second++) {
    api.watches.end('services')
    await clock.advance(1000)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
  const watches = api.count('watch', 'services')
  t.ok(watches >= 3 && watches <= 12, `${watches} watches in a minute`)
})

t.test('a connection that has died silently is noticed', async t => {
  const api = await startApi(t)
  const clock = new FakeClock()
  const sink = new RecordingSink()
  newSource(t, api, clock).start(sink)
  await watching(api)
  api.watches.muted = true
  put(api, web)
  await clock.advance(149_000)
  t.equal(sink.services.size, 0)
  api.watches.muted = false
  await eventually(async () => {
    await clock.advance(500)
    assert.equal(sink.services.size, 1)
  })
  t.equal(api.count('list', 'services'), 1)
})

t.test('a server that sends garbage is lost', async t => {
  const api = await startApi(t)
  api.faults.add({ verb: 'list', resource: 'services', times: 4, answer: { text: '<html>welcome</html>' } })
  const sink = new RecordingSink()
  newSource(t, api, quickClock).start(sink)
  await eventually(() => assert.equal(sink.link, 'lost'))
  t.match(sink.error, { message: /not a list; is this an API server\?/ })
  for (const text of [
    '[]',
    '{"items":7,"metadata":{"resourceVersion":"1"}}',
    '{"items":[{}],"metadata":{"resourceVersion":"1"}}',
  ]) {
    api.faults.add({ verb: 'list', resource: 'services', answer: { text } })
  }
  await eventually(() => assert.equal(sink.link, 'live'), 15_000)
})

t.test('a server that begins to send garbage is lost, and is listed anew when it is well', async t => {
  const api = await startApi(t)
  put(api, web)
  const sink = new RecordingSink()
  newSource(t, api, quickClock).start(sink)
  await eventually(() => assert.equal(sink.link, 'live'))
  api.faults.add({ times: 1_000_000, answer: { text: '<html>welcome</html>' } })
  api.watches.end()
  await eventually(() => assert.equal(sink.link, 'lost'))
  const lists = api.count('list', 'services')
  api.faults.clear()
  await eventually(() => assert.equal(sink.link, 'live'), 15_000)
  t.ok(api.count('list', 'services') > lists, 'what its watches would have said is not missed')
})

t.test('the Multi-Cluster Services API', async t => {
  t.test('is optional, and found when it is installed later', async t => {
    const api = await startApi(t)
    put(api, web)
    const { sink } = await follow(t, api, {}, undefined, hasty(400))
    t.same(sink.problemList, [])
    api.install(multicluster)
    api.put(exportOf('web'))
    await eventually(() => assert.ok(isGlobal(sink)), 15_000)
    api.uninstall(multicluster)
    await eventually(() => assert.ok(!isGlobal(sink)), 15_000)
  })

  t.test('an export makes a service global, unless its own annotation says otherwise', async t => {
    const api = await startApi(t)
    api.install(multicluster)
    put(api, web)
    const { sink } = await follow(t, api)
    t.notOk(isGlobal(sink))
    api.put(exportOf('web'))
    await eventually(() => assert.ok(isGlobal(sink)))
    const own = { 'io.cilium/global-service': 'false' }
    const service = serviceOf(web)
    api.put({ ...service, metadata: { ...service.metadata, annotations: own } })
    await eventually(() => assert.ok(!isGlobal(sink)))
    api.put(service)
    await eventually(() => assert.ok(isGlobal(sink)))
    api.remove('ServiceExport', 'web')
    await eventually(() => assert.ok(!isGlobal(sink)))
  })

  t.test('an import stands in for a service that the cluster does not have', async t => {
    const api = await startApi(t)
    api.install(multicluster)
    const spec = { type: 'ClusterSetIP', ips: ['10.96.0.99'], ports: [{ name: 'http', port: 80, protocol: 'TCP' }] }
    const imported = {
      apiVersion: 'multicluster.x-k8s.io/v1alpha1',
      kind: 'ServiceImport',
      metadata: { name: 'far' },
      spec,
    }
    api.put(imported)
    const { sink } = await follow(t, api)
    t.match(sink.services.get('default/far'), {
      clusterIPs: ['10.96.0.99'],
      ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
      annotations: { 'service.cilium.io/global': 'true', 'service.cilium.io/shared': 'false' },
      endpoints: [],
    })
    const derived = { 'multicluster.kubernetes.io/derived-service': 'derived-x' }
    api.put({ ...imported, metadata: { name: 'far', annotations: derived } })
    await eventually(() => assert.equal(sink.services.get('default/far')?.derived, 'derived-x'))
    t.same(sink.services.get('default/far')?.clusterIPs, [], 'its address is that of the derived Service')
  })

  t.test('an import of GKE, which has a group of its own', async t => {
    const api = await startApi(t)
    api.install(gkeImports)
    const spec = { type: 'ClusterSetIP', ips: ['10.96.0.99'], ports: [{ port: 80, protocol: 'TCP' }] }
    api.put({ apiVersion: 'net.gke.io/v1', kind: 'ServiceImport', metadata: { name: 'far' }, spec })
    const { sink } = await follow(t, api)
    await eventually(() => assert.deepEqual(sink.services.get('default/far')?.clusterIPs, ['10.96.0.99']))
    t.same(sink.problemList, [])
  })
})

t.test('credentials', async t => {
  const authority = new Authority()
  t.teardown(() => authority.close())
  const server = authority.issue('kubernetes', ['IP:127.0.0.1', 'DNS:kubernetes'])
  const elsewhere = authority.issue('elsewhere', ['DNS:kubernetes'])
  const ca = authority.cert

  t.test('a token that was renewed in its file is used at once when the old one is refused', async t => {
    const folder = t.testdir({ token: 'one' })
    const users = { one: { name: 'me' }, two: { name: 'me' } }
    const api = await startApi(t, { users })
    put(api, web)
    const user = { tokenFile: join(folder, 'token') }
    const { sink } = await follow(t, api, { user })
    writeFileSync(join(folder, 'token'), 'two')
    Reflect.deleteProperty(users, 'one')
    api.watches.end()
    await eventually(() => assert.ok(api.seen.some(({ headers }) => headers.authorization === 'Bearer two')))
    await watching(api)
    t.notOk(sink.calls.includes('lost'))
  })

  t.test('an expired token is a loss with its reason, and correcting the file ends it', async t => {
    const folder = t.testdir({ token: 'bad' })
    const api = await startApi(t, { users: { good: { name: 'me' } } })
    put(api, web)
    const sink = new RecordingSink()
    newSource(t, api, quickClock, { user: { tokenFile: join(folder, 'token') } }).start(sink)
    await eventually(() =>
      assert.match(sink.error?.message ?? '', /401 Unauthorized.*has expired .*: renew it in the kubeconfig/),
    )
    writeFileSync(join(folder, 'token'), 'good')
    await eventually(() => assert.equal(sink.link, 'live'), 15_000)
  })

  t.test('client certificates, and the name that the server’s certificate must have', async t => {
    const api = await startApi(t, { tls: { ...elsewhere, ca }, certificateUsers: { ann: { name: 'ann' } } })
    const { cert, key } = authority.issue('ann')
    const folder = t.testdir({ 'ann.crt': cert, 'ann.key': key })
    const user = { 'client-certificate': 'ann.crt', 'client-key': 'ann.key' }
    const sink = new RecordingSink()
    newSource(t, api, quickClock, { ca, user }, folder).start(sink)
    await eventually(() => assert.match(sink.error?.message ?? '', /set tls-server-name to the name/))
    await follow(t, api, { ca, user, cluster: { 'tls-server-name': 'kubernetes' } }, folder)
    t.ok(api.seen.every(({ user }) => user === 'ann'))
  })

  t.test('a server with an untrusted certificate', async t => {
    const api = await startApi(t, { tls: server })
    const sink = new RecordingSink()
    newSource(t, api, quickClock).start(sink)
    await eventually(() => assert.match(sink.error?.message ?? '', /set certificate-authority to the CA/))
    const { sink: careless } = await follow(t, api, { cluster: { 'insecure-skip-tls-verify': true } })
    t.match(careless.problemList, [{ code: 'SOURCE_READ', message: /insecure-skip-tls-verify: a man in the middle/ }])
  })

  t.test('in a Pod', async t => {
    const api = await startApi(t, { tls: server, users: { pod: { name: 'pod' } } })
    put(api, web)
    const folder = t.testdir({ token: 'pod', 'ca.crt': ca })
    const { port } = new URL(api.url)
    const env = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: port }
    const sink = new RecordingSink()
    const login: KubernetesLogin = { inCluster: true, serviceAccountFolder: folder }
    const source = createKubernetesSource({ cluster: 'cluster-1', ...login }, world(quickClock, env))
    t.teardown(() => source.close())
    source.start(sink)
    await eventually(() => assert.deepEqual(sink.seen(), [web]))
  })

  t.test('a missing kubeconfig is waited for', async t => {
    const api = await startApi(t)
    const folder = t.testdir({})
    const file = join(folder, 'config')
    const sink = new RecordingSink()
    const source = createKubernetesSource({ cluster: 'cluster-1', kubeconfig: file }, world(quickClock))
    t.teardown(() => source.close())
    source.start(sink)
    await eventually(() => assert.match(sink.error?.message ?? '', /there is no kubeconfig at/))
    writeKubeconfig(file, [{ name: 'east', server: api.url }])
    await eventually(() => assert.equal(sink.link, 'live'), 15_000)
    rmSync(file)
  })

  t.test('a kubeconfig that changes to another server is followed, and nothing of the first one stays', async t => {
    const [first, second] = [await startApi(t), await startApi(t)]
    put(first, web)
    put(second, late)
    const folder = t.testdir({})
    const { sink } = await follow(t, first, {}, folder)
    await watching(first)
    writeKubeconfig(join(folder, 'config'), [{ name: 'east', server: second.url }])
    await first.stop()
    await eventually(() => assert.deepEqual(sink.seen(), [late]), 15_000)
    t.same(sink.violations, [])
  })

  t.test('through a proxy', async t => {
    const api = await startApi(t, { tls: server })
    put(api, web)
    const { url, tunnels } = await startProxy(t)
    const { sink } = await follow(t, api, { ca, cluster: { 'proxy-url': url } })
    t.same(sink.seen(), [web])
    t.ok(tunnels().length > 0)
    t.ok(
      tunnels().every(({ to, credentials }) => api.url.endsWith(to ?? '') && credentials === 'Basic bWU6aHVudGVyMg=='),
    )
  })
})

t.test('closing during the first list opens no watch afterwards', async t => {
  const api = await startApi(t)
  let release = () => {}
  const held = new Promise<void>(resolve => {
    release = resolve
  })
  api.faults.add({ verb: 'list', times: 10, answer: { after: held } })
  const source = newSource(t, api, quickClock)
  source.start(new RecordingSink())
  await eventually(() => assert.ok(api.seen.length > 0))
  await source.close()
  release()
  await new Promise(resolve => setTimeout(resolve, 50))
  t.equal(api.seen.filter(({ verb }) => verb === 'watch').length, 0)
})

async function startApi(t: Test, options?: KubeApiOptions): Promise<KubeApi> {
  const api = await startKubeApi(options)
  t.teardown(() => api.stop())
  return api
}

function world(clock: Clock, env: Record<string, string | undefined> = {}) {
  return { clock, random: Math.random, log: silentLog, env: { PATH: process.env.PATH, ...env } }
}

function newSource(
  t: Test,
  api: KubeApi,
  clock: Clock,
  entry: Partial<Entry> = {},
  folder = temporary(t),
  options: { pods?: boolean } = {},
): Source {
  const file = join(folder, 'config')
  writeKubeconfig(file, [{ name: 'east', server: api.url, ...entry }])
  const source = createKubernetesSource({ cluster: 'cluster-1', kubeconfig: file, ...options }, world(clock))
  t.teardown(() => source.close())
  return source
}

/** Unlike a testdir, more than one for a test. */
function temporary(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'starlane-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

/** A source that has delivered its first picture. */
async function follow(t: Test, api: KubeApi, entry?: Partial<Entry>, folder?: string, clock = quickClock) {
  const sink = new RecordingSink()
  const source = newSource(t, api, clock, entry, folder)
  source.start(sink)
  await eventually(() => required(sink.calls.includes('reset')), 15_000)
  sink.news()
  return { source, sink }
}

async function watching(api: KubeApi, plural?: string): Promise<void> {
  await eventually(() => {
    const plurals = plural === undefined ? ['services', 'endpointslices', 'namespaces', 'nodes'] : [plural]
    if (!plurals.every(each => api.watches.count(each) > 0)) throw new Error('not every watch is open')
  }, 15_000)
}

function exportOf(name: string): KubeObject {
  return { apiVersion: 'multicluster.x-k8s.io/v1alpha1', kind: 'ServiceExport', metadata: { name } }
}

function put(api: KubeApi, service: Declared): void {
  api.put(namespaceOf(service.namespace))
  // In this order, so that the service is never seen without them.
  api.put(sliceOf(service))
  api.put(serviceOf(service))
}

function remove(api: KubeApi, { namespace, name }: Declared): void {
  api.remove('Service', name, namespace)
  api.remove('EndpointSlice', `${name}-x7k2p`, namespace)
}

function isGlobal(sink: RecordingSink): boolean {
  const service = sink.services.get('default/web')
  return service !== undefined && decodeSettings(service, []).settings.global
}

function required<T>(value: T | undefined | false | null): T {
  if (value === undefined || value === false || value === null) throw new Error('not there yet')
  return value
}

/** Tunnels whatever it is asked to, and notes it. */
async function startProxy(t: Test) {
  const seen: { to: string | undefined; credentials: string | undefined }[] = []
  const proxy: Server = createServer()
  proxy.on('connect', (request, client, head) => {
    seen.push({ to: request.url, credentials: request.headers['proxy-authorization'] })
    const [host = '', port] = (request.url ?? '').split(':')
    const upstream = connect(Number(port), host, () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n')
      upstream.write(head)
      upstream.pipe(client).pipe(upstream)
    })
    for (const socket of [upstream, client]) {
      socket.on('error', () => {})
      socket.on('close', () => [upstream, client].map(end => end.destroy()))
    }
  })
  await new Promise<void>(resolve => proxy.listen(0, '127.0.0.1', resolve))
  t.teardown(() => proxy.close())
  return { url: `http://me:hunter2@127.0.0.1:${(proxy.address() as AddressInfo).port}`, tunnels: () => seen }
}
