/** The Kubernetes source against a real API server; skipped without one. See test/support/kube-apiserver.ts. */
import assert from 'node:assert/strict'
import t, { type Test } from 'tap'
import type { ApiRequest, KubernetesClient } from '../../../proxy/clients/kubernetes/client.ts'
import { createKubernetesClient } from '../../../proxy/clients/kubernetes/connect.ts'
import { resources } from '../../../proxy/clients/kubernetes/resources.ts'
import { Watcher, type WatchState } from '../../../proxy/clients/kubernetes/watcher.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { examineSource } from '../../conformance/source.ts'
import { eventually } from '../../support/eventually.ts'
import { openDriver } from '../../support/kube-api/driver.ts'
import type { KubeObject } from '../../support/kube-api/types.ts'
import { type RealApi, skipped, startKubeApiserver, webObjects } from '../../support/kube-apiserver.ts'

const options = { ...skipped, timeout: 110_000 }
const world = { clock: systemClock, random: Math.random, log: silentLog, env: {} }

t.test('the contract of sources, on a real API server', options, async t => {
  const { entry } = await startKubeApiserver(t)
  examineSource(t, t => openDriver(t, entry, systemClock))
})

t.test('watching', options, async t => {
  const api = await startKubeApiserver(t, ['--watch-cache-sizes=endpointslices.discovery.k8s.io#0'])
  const [services, slices] = ['Service', 'EndpointSlice'].map(kind =>
    resources.find(resource => resource.kind === kind),
  )
  assert.ok(services && slices)

  t.test('bookmarks advance the version while the selected objects do not change', async t => {
    const own = { ...services, labelSelector: 'starlane.dev/derived=true' }
    const follow = await followed(t, api, own, request => shortWatch(request, 4))
    await eventually(() => assert.ok(follow.watches.length > 0), 10_000)
    // Services without the label: of changes of other kinds the server's cache of Services hears only when etcd tells its progress.
    for (let i = 0; i < 3; i++) await api.apply(...webObjects({}, { name: `other-${i}` }))
    await eventually(() => {
      const [first, ...more] = follow.watches.map(({ query }) => Number(query?.resourceVersion))
      assert.ok(more.some(version => version > Number(first)))
    }, 60_000)
    t.same(follow.put, [])
    t.equal(follow.lists(), 1)
  })

  t.test('after a compaction it lists again, and reports deleted objects', async t => {
    await api.apply(...webObjects({}, { name: 'gone' }), ...webObjects({}, { name: 'stays' }))
    let open = true
    const follow = await followed(t, api, slices, async request => {
      if (request.query?.watch && !open) throw new Error('cut')
      return shortWatch(request, 2)
    })
    await eventually(() => assert.ok(follow.put.includes('gone-1')), 10_000)
    open = false
    await eventually(() => assert.ok(follow.failing()), 20_000)
    await api.kubectl(['delete', 'endpointslice', 'gone-1'])
    await api.apply(...webObjects({}, { name: 'new' }))
    await api.compact()
    const lists = follow.lists()
    open = true
    await eventually(() => assert.ok(follow.put.includes('new-1') && follow.dropped.includes('gone-1')), 30_000)
    t.ok(follow.lists() > lists, 'by a list')
    t.equal(follow.put.filter(name => name === 'stays-1').length, 1, 'an unchanged object is not reported again')
  })

  t.test('a list of many pages is complete, also when its pages expire', async t => {
    const names = Array.from({ length: 1100 }, (_, i) => `many-${i}`)
    const sliceOf = (name: string) =>
      webObjects({}, { name }).find(({ kind }) => kind === 'EndpointSlice') as KubeObject
    await api.kubectl(
      ['create', '-f', '-'],
      JSON.stringify({ apiVersion: 'v1', kind: 'List', items: names.map(sliceOf) }),
    )
    let compacted = false
    const follow = await followed(t, api, slices, async request => {
      if (request.query?.continue && !compacted) {
        compacted = true
        await api.apply(...webObjects({}, { name: 'meanwhile' }))
        await api.compact()
      }
      return request
    })
    await eventually(() => assert.ok(follow.listed() && follow.put.includes('meanwhile-1')), 30_000)
    t.ok(names.every(name => follow.put.includes(`${name}-1`)))
    t.equal(new Set(follow.put).size, follow.put.length, 'each object is reported once')
    t.match(
      follow.requests.filter(({ query }) => !query?.watch).map(({ query }) => query?.limit),
      ['500', '500', undefined],
    )
  })
})

function shortWatch(request: ApiRequest, seconds: number): ApiRequest {
  return request.query?.watch ? { ...request, query: { ...request.query, timeoutSeconds: String(seconds) } } : request
}

/** A watcher whose requests a test can see, change or refuse. */
async function followed(
  t: Test,
  api: RealApi,
  resource: (typeof resources)[number],
  edit: (request: ApiRequest) => ApiRequest | Promise<ApiRequest>,
) {
  const client = createKubernetesClient({ kubeconfig: api.kubeconfig }, world)
  const requests: ApiRequest[] = []
  const put: string[] = []
  const dropped: string[] = []
  const states: WatchState[] = []
  let listed = false
  const seen: Pick<KubernetesClient, 'list' | 'stream'> = {
    list: async (request, signal) => {
      requests.push(request)
      return client.list(await edit(request), signal)
    },
    stream: async (request, signal) => {
      requests.push(request)
      return client.stream(await edit(request), signal)
    },
  }
  const listener = {
    put: ({ metadata }: { metadata: { name: string } }) => void put.push(metadata.name),
    drop: (_: string, name: string) => void dropped.push(name),
    listed: () => {
      listed = true
    },
    stateChanged: (state: WatchState) => void states.push(state),
  }
  const stop = new AbortController()
  const running = new Watcher(resource, listener, { ...world, client: seen, cluster: 'one' }).run(stop.signal)
  t.teardown(async () => {
    stop.abort()
    await client.close()
    await running
  })
  return {
    requests,
    put,
    dropped,
    listed: () => listed,
    failing: () => states.some(({ state }) => state === 'failing'),
    lists: () => requests.filter(({ query }) => !query?.watch).length,
    get watches() {
      return requests.filter(({ query }) => query?.watch)
    },
  }
}
