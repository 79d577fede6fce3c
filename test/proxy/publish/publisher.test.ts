import assert from 'node:assert/strict'
import t, { type Test } from 'tap'
import { heartbeatKey, lockKey } from '../../../proxy/clients/clustermesh.ts'
import type { EtcdStore, Write } from '../../../proxy/clients/etcd/client.ts'
import { decodeClusterConfig } from '../../../proxy/clients/etcd/cluster-config.ts'
import { connectEtcd } from '../../../proxy/clients/etcd/connect.ts'
import type { Entry } from '../../../proxy/clients/etcd/rpc.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { derivedServiceName } from '../../../proxy/model/multicluster.ts'
import type { ClusterService } from '../../../proxy/model/service.ts'
import { type Clock, systemClock } from '../../../proxy/model/time/clock.ts'
import { Batch } from '../../../proxy/publish/batch.ts'
import { DesiredKeys } from '../../../proxy/publish/desired-keys.ts'
import { clusterConfigValue, recordsOf } from '../../../proxy/publish/encode-cilium.ts'
import { followDirectory } from '../../../proxy/publish/follow-directory.ts'
import { createPublisher, type Publisher, type PublisherOptions } from '../../../proxy/publish/publisher.ts'
import { decodeServiceExport } from '../../../proxy/sources/etcd/decode-cilium.ts'
import { decodeSlice } from '../../../proxy/sources/etcd/decode-slices.ts'
import { createEtcdSource } from '../../../proxy/sources/etcd/etcd-source.ts'
import { RecordingSink, until } from '../../conformance/source.ts'
import { FakeClock } from '../../support/clock.ts'
import { assembled } from '../../support/etcd/assembled.ts'
import { decodeService } from '../../support/etcd/decoded.ts'
import { type Etcd, noEtcd, startEtcd } from '../../support/etcd/etcd.ts'
import { eventually } from '../../support/eventually.ts'
import { clusterService, endpoint, FakeDirectory, globalService } from '../../support/model.ts'

const hasty: Clock = {
  ...systemClock,
  after: (ms, run) => systemClock.after(ms / 10, run),
  every: (ms, run) => systemClock.every(ms / 10, run),
}
const mine = { cluster: 'north', clusterId: 5, slices: false }
const defaults: PublisherOptions = { ...mine, leaseMs: 900_000, writesPerSecond: 1000 }

const cart = clusterService({
  cluster: 'north',
  namespace: 'shop',
  name: 'cart',
  clusterIPs: ['10.96.0.7', 'fd00::7'],
  labels: { tier: 'front', app: 'cart' },
  ports: [
    { name: 'http', protocol: 'TCP', port: 80 },
    { name: 'dns', protocol: 'UDP', port: 53 },
  ],
  endpoints: [
    endpoint({
      address: '10.0.0.2',
      ports: [
        { name: 'http', protocol: 'TCP', port: 8080 },
        { name: 'dns', protocol: 'UDP', port: 5353 },
      ],
      hostname: 'cart-0',
      node: 'n1',
      zone: 'eu-1a',
      forZones: ['eu-1a'],
    }),
    endpoint({ address: '10.0.0.1', ready: false, serving: true, terminating: true, weight: 50 }),
    endpoint({ address: '10.0.0.3', ready: false, serving: false }),
    endpoint({ address: 'fd00::1' }),
  ],
})
const named = (name: string, changes: Partial<ClusterService> = {}): ClusterService => ({ ...cart, name, ...changes })

t.test('the encoding of a service', async t => {
  const records = recordsOf(cart, { ...mine, slices: true })
  const [key, value] = [...records][0] ?? ['', Buffer.alloc(0)]
  t.equal(key, 'cilium/state/services/v1/north/shop/cart')
  t.same(JSON.parse(value.toString()), {
    cluster: 'north',
    namespace: 'shop',
    name: 'cart',
    frontends: {
      '10.96.0.7': { dns: { Protocol: 'UDP', Port: 53 }, http: { Protocol: 'TCP', Port: 80 } },
      'fd00::7': { dns: { Protocol: 'UDP', Port: 53 }, http: { Protocol: 'TCP', Port: 80 } },
    },
    backends: {
      '10.0.0.1': { '': { Protocol: 'TCP', Port: 8080 } },
      '10.0.0.2': { dns: { Protocol: 'UDP', Port: 5353 }, http: { Protocol: 'TCP', Port: 8080 } },
      'fd00::1': { '': { Protocol: 'TCP', Port: 8080 } },
    },
    hostnames: { '10.0.0.2': 'cart-0' },
    zones: { '10.0.0.2': { zone: 'eu-1a', forZones: [{ name: 'eu-1a' }] } },
    labels: { app: 'cart', tier: 'front' },
    selector: {},
    includeExternal: true,
    shared: true,
    clusterID: 5,
  })

  t.test('is decoded to the same service', async t => {
    const owner = { cluster: 'north', clusterId: 5 }
    t.match(assembled('north', ...decodeService('shop/cart', value, owner))[0], {
      clusterIPs: ['10.96.0.7', 'fd00::7'],
      labels: cart.labels,
      endpoints: [{ address: '10.0.0.1' }, { address: '10.0.0.2', hostname: 'cart-0' }, { address: 'fd00::1' }],
    })
    const slices = [...records].slice(1).map(([key, frame]) => {
      const suffix = key.replace('cilium/state/endpointslices/v1/north/', '')
      t.not(suffix, key)
      return decodeSlice(suffix, frame, owner)
    })
    t.equal(slices.length, 4, 'by family, ports and weight')
    const byAddress = (a: { address: string }, b: { address: string }) => (a.address < b.address ? -1 : 1)
    t.same(
      assembled('north', ...slices)[0]?.endpoints.toSorted(byAddress),
      cart.endpoints.toSorted(byAddress),
      'with all conditions and hostnames',
    )
  })

  t.test('endpoints that share an address: one entry of the record, each by itself in slices', async t => {
    const http = (port: number, name = 'http') => [{ name, protocol: 'TCP' as const, port }]
    const shared = named('shared', {
      endpoints: [
        endpoint({ address: '10.0.0.9', ports: http(8081), ready: false, serving: false, hostname: 'b' }),
        endpoint({ address: '10.0.0.9', ports: http(8082), ready: false, terminating: true, hostname: 'c', zone: 'z' }),
        endpoint({ address: '10.0.0.9', ports: http(8080), hostname: 'a' }),
        endpoint({ address: '10.0.0.9', ports: http(9090, 'grpc'), pod: 'd' }),
      ],
    })
    const written = recordsOf(shared, { ...mine, slices: true })
    const [record, ...slices] = [...written.values()]
    t.match(JSON.parse(`${record}`), {
      backends: { '10.0.0.9': { http: { Port: 8080 }, grpc: { Port: 9090 } } },
      hostnames: { '10.0.0.9': 'a' },
      zones: { '10.0.0.9': { zone: 'z' } },
    })
    t.equal(slices.length, 4)
    const turned = recordsOf({ ...shared, endpoints: shared.endpoints.toReversed() }, { ...mine, slices: true })
    t.same([...turned].sort(), [...written].sort())
  })

  t.test('has the same bytes in any order of its parts', async t => {
    const shuffled = {
      ...cart,
      clusterIPs: cart.clusterIPs.toReversed(),
      ports: cart.ports.toReversed(),
      labels: { app: 'cart', tier: 'front' },
      endpoints: cart.endpoints.toReversed(),
    }
    t.same([...recordsOf(shuffled, { ...mine, slices: true })].sort(), [...records].sort())
  })

  t.test('headless, empty, large and ExternalName services', async t => {
    const record = (service: ClusterService) => {
      const [value] = recordsOf(service, mine).values()
      return value && JSON.parse(value.toString())
    }
    t.match(record(named('x', { headless: true })), { frontends: {} })
    t.same(record(named('x', { endpoints: [] })).backends, {})
    t.equal(record(named('x', { type: 'ExternalName' })), undefined)
    const many = Array.from({ length: 2500 }, (_, i) => endpoint({ address: `10.1.${i >> 8}.${i & 255}` }))
    t.equal(recordsOf(named('x', { endpoints: many }), { ...mine, slices: true }).size, 1 + 3)
  })

  t.same(decodeClusterConfig(clusterConfigValue({ ...mine, slices: true })), {
    id: 5,
    syncedCanaries: true,
    cached: false,
    maxConnectedClusters: 255,
    serviceExports: true,
    slicesMode: 'services-and-endpointslices',
    gateways: [],
  })
  t.match(decodeClusterConfig(clusterConfigValue({ ...mine, maxClusters: 511 })), { maxConnectedClusters: 511 })
})

t.test('the encoding of an export', async t => {
  const plain = { annotations: {}, labels: {} }
  const encoded = (changes: Partial<ClusterService>) => {
    const records = recordsOf({ ...cart, exported: plain, ...changes }, mine)
    return JSON.parse(records.get('cilium/state/serviceexports/v1/north/shop/cart')?.toString() ?? 'null')
  }
  const owner = { cluster: 'north', clusterId: 5 }
  const decoded = (changes: Partial<ClusterService>) =>
    decodeServiceExport('shop/cart', Buffer.from(JSON.stringify(encoded(changes))), owner)

  t.test('one without a creation time has a stable one, later than all others', async t => {
    const { exportCreationTimestamp } = encoded({})
    t.ok(Date.parse(exportCreationTimestamp) > Date.UTC(9999), 'Cilium refuses an export without it')
    t.equal(encoded({}).exportCreationTimestamp, exportCreationTimestamp)
    t.same(decoded({}).exported, plain, 'and it is read as what it was: the youngest')
    const exported = { ...plain, createdAt: Date.UTC(2026, 0, 2) }
    t.same(decoded({ exported }).exported, exported)
  })

  t.test('families are those of the Service, else of its addresses, else of its endpoints', async t => {
    t.same(encoded({}).ipFamilies, ['IPv4', 'IPv6'])
    t.same(encoded({ families: [6] }).ipFamilies, ['IPv6'], 'as in spec.ipFamilies')
    t.same(encoded({ headless: true, clusterIPs: [], families: [6, 4] }).ipFamilies, ['IPv6', 'IPv4'], 'in its order')
    const endpoints = [endpoint({ address: 'fd00::1' }), endpoint({ address: '10.0.0.1' })]
    t.same(encoded({ clusterIPs: [], endpoints }).ipFamilies, ['IPv4', 'IPv6'])
    t.equal(encoded({ clusterIPs: [], endpoints: [] }).ipFamilies, undefined, 'nothing is known')
    t.same(decoded({ families: [6] }).standIn?.spec.families, [6])
  })

  t.test('policies, and both names of annotations and labels', async t => {
    t.match(encoded({}), { internalTrafficPolicy: 'Cluster', trafficDistribution: undefined })
    const local = { internalTrafficPolicy: 'Local', trafficDistribution: 'PreferSameZone' } as const
    t.match(encoded(local), local)
    t.match(decoded(local).standIn?.spec, local)
    t.equal(
      encoded({ trafficDistribution: 'Tomorrow' }).trafficDistribution,
      undefined,
      'Cilium refuses what it does not know',
    )
    const exported = { annotations: { a: 'b' }, labels: { c: 'd' } }
    const { annotations, labels } = exported
    t.match(encoded({ exported }), { annotations, labels, Annotations: annotations, Labels: labels })
  })
})

t.test('exports and nodes are read as they were written, and deleted with their service', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const client = await etcd.client()
  const publisher = publish(t, etcd, { slices: true })
  const exported = { createdAt: Date.UTC(2026, 0, 2), annotations: { a: 'b' }, labels: { c: 'd' } }
  const asExport = named('cart', { exported, sessionAffinity: { timeoutMs: 60_000 } })
  publisher.reset([asExport, named('plain', { endpoints: [endpoint({ address: '10.0.0.9', node: 'n2' })] })])
  await settled(publisher)
  const derived = `cilium/state/services/v1/north/shop/${derivedServiceName('shop', 'cart')}`
  const text = async (key: string) => JSON.parse(Buffer.from((await client.get(key))?.value ?? 'null').toString())
  t.match(await text('cilium/state/serviceexports/v1/north/shop/cart'), {
    exportCreationTimestamp: '2026-01-02T00:00:00.000Z',
    type: 'ClusterSetIP',
    ports: [{ name: 'http', port: 80 }, { name: 'dns' }],
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
  })
  t.match(await text(derived), { backends: { '10.0.0.1': {}, '10.0.0.2': {} } }, 'where Cilium looks for its backends')
  t.match(await text('cilium/state/nodes/v1/north/n1'), {
    ...{ Name: 'n1', Cluster: 'north', ClusterID: 5, IPAddresses: null },
    Labels: { 'topology.kubernetes.io/zone': 'eu-1a' },
  })
  t.match(await text('cilium/state/nodes/v1/north/n2'), { Labels: {} })
  t.equal(await client.count('cilium/synced/north/'), 6, 'a canary for each resource')
  const sink = read(t, etcd)
  await until(() => sink.services.get('shop/cart')?.exported !== undefined, 'read')
  t.same(sink.services.get('shop/cart')?.exported, exported)

  publisher.put(cart)
  publisher.drop('shop', 'plain')
  await settled(publisher)
  t.equal(await text(derived), null)
  t.equal(await text('cilium/state/serviceexports/v1/north/shop/cart'), null)
  t.equal(await text('cilium/state/nodes/v1/north/n2'), null, 'nobody runs there any more')
  t.ok(await text('cilium/state/nodes/v1/north/n1'))
})

t.test('desired keys against stored ones', async t => {
  const value = (text: string) => Buffer.from(text)
  const keysOf = (writes: readonly Write[]) =>
    writes.map(write => ('gone' in write ? `-${write.key}` : `+${write.key}`))
  const stored = (key: string, text: string, lease = 1n) => ({
    key,
    value: value(text),
    lease,
    createRevision: 1,
    modRevision: 1,
  })

  const next = (from: DesiredKeys) => {
    const batch = new Batch()
    from.fill(batch)
    return batch.writes
  }
  const desired = new DesiredKeys()
  desired.setStored([stored('same', 'a'), stored('other', 'b'), stored('old', 'c'), stored('moved', 'd', 2n)], 1n)
  for (const [key, text] of [
    ['same', 'a'],
    ['other', 'B'],
    ['moved', 'd'],
    ['new', 'e'],
  ] as const) {
    desired.set(key, value(text))
  }
  t.same(keysOf(next(desired)), ['+other', '+moved', '+new'], 'nothing is deleted before the list is complete')
  desired.complete()
  const writes = next(desired)
  t.same(keysOf(writes).sort(), ['+moved', '+new', '+other', '-old'])
  desired.set('new', value('newer'))
  for (const write of writes) desired.written(write)
  t.same(keysOf(next(desired)), ['+new'], 'a key that changed while it was written')
  for (const write of next(desired)) desired.written(write)
  t.equal(desired.pending, 0)
  desired.delete('same')
  desired.set('same', value('a'))
  t.equal(desired.pending, 0, 'a key changed back needs no write')
  for (let i = 0; i < 250; i++) desired.set(`k${i}`, value('x'))
  t.equal(next(desired).length, 100)
  const large = new DesiredKeys()
  for (let i = 0; i < 4; i++) large.set(`k${i}`, Buffer.alloc(600_000))
  t.equal(next(large).length, 1, 'one request takes about a mebibyte')
})

/** A publisher on a real etcd, closed with the test. */
function publish(t: Test, etcd: Etcd, changes: Partial<PublisherOptions> = {}, clock: Clock = hasty): Publisher {
  const parts = { clock: systemClock, random: () => 0.5, probe: heartbeatKey }
  const publisher = createPublisher(
    { ...defaults, ...changes },
    { open: signal => connectEtcd(etcd.servers, { ...parts, signal }), clock, random: () => 0.5, log: silentLog },
  )
  publisher.start()
  t.teardown(() => publisher.close())
  return publisher
}

const settled = (publisher: Publisher, state = 'publishing') =>
  until(
    () => publisher.state().state === state && (state !== 'publishing' || publisher.state().pending === 0),
    () => `${state}, not ${JSON.stringify(publisher.state())}`,
  )

function read(t: Test, etcd: Etcd): RecordingSink {
  const sink = new RecordingSink()
  const options = { cluster: 'north', id: 5, ...etcd.servers }
  const source = createEtcdSource(options, { clock: systemClock, random: () => 0.5, log: silentLog })
  source.start(sink)
  t.teardown(() => source.close())
  return sink
}

const sees = (sink: RecordingSink, ...names: string[]) =>
  until(
    () =>
      sink.link === 'live' &&
      [...sink.services.values()]
        .map(({ name }) => name)
        .sort()
        .join() === names.sort().join(),
    () => `sees ${names}, not ${[...sink.services.keys()]} (${sink.link}, ${sink.error?.message})`,
  )

t.test(
  'a service that is put can be read by other clusters, and is deleted when dropped',
  { skip: noEtcd },
  async t => {
    const etcd = await startEtcd(t)
    const publisher = publish(t, etcd)
    const sink = read(t, etcd)
    const client = await etcd.client()
    publisher.put(cart)
    await settled(publisher)
    await until(() => publisher.state().pending === 0, 'written')
    t.equal(sink.link, 'syncing', 'no canary as long as not all has been told')
    publisher.reset([cart, named('late')])
    await sees(sink, 'cart', 'late')
    for (const resource of ['nodes', 'identities', 'ip', 'services']) {
      t.ok(await client.get(`cilium/synced/north/cilium/state/${resource}/v1`), `a peer waits for ${resource} too`)
    }
    publisher.put(named('late', { labels: { changed: 'yes' } }))
    await until(() => sink.services.get('shop/late')?.labels.changed === 'yes', 'the change')
    publisher.drop('shop', 'cart')
    await sees(sink, 'late')
    publisher.reset([])
    await sees(sink)
    t.equal(publisher.state().services, 0)
    const heartbeat = await client.get(heartbeatKey)
    const config = await client.get('cilium/cluster-config/north')
    t.ok(config?.lease, 'everything is under a lease')
    t.equal(heartbeat?.lease, config?.lease)
    t.same(sink.violations, [])

    t.test('a service too large for etcd is a problem, and the others are written', async t => {
      const endpoints = Array.from({ length: 30_000 }, (_, i) => endpoint({ address: `10.1.${i >> 8}.${i & 255}` }))
      publisher.reset([named('vast', { endpoints }), cart])
      await sees(sink, 'cart')
      t.match(publisher.problems(), [{ code: 'PUBLISH', where: /shop\/vast/, message: /bytes and etcd takes 1.5 MiB/ }])
      publisher.put(named('vast', { endpoints: [] }))
      await sees(sink, 'cart', 'vast')
      t.same(publisher.problems(), [])
    })
  },
)

t.test('the next publisher does not rewrite what is stored already', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const client = await etcd.client()
  const revision = async (name: string) =>
    (await client.get(`cilium/state/services/v1/north/shop/${name}`))?.modRevision
  const first = publish(t, etcd)
  first.reset([cart, named('a')])
  await settled(first)
  const sink = read(t, etcd)
  await sees(sink, 'cart', 'a')
  const before = await revision('cart')
  const second = publish(t, etcd)
  second.reset([cart, named('b')])
  await settled(second, 'standby')
  t.equal(await revision('b'), undefined, 'one of them writes')
  await first.close()
  await settled(second)
  await sees(sink, 'cart', 'b')
  t.equal(await revision('cart'), before)
  t.same(
    sink.news().filter(call => call.endsWith('cart') || call === 'lost'),
    [],
    'a reader hears nothing of the change of hands',
  )

  t.test('a publisher that lost the lock writes nothing', async t => {
    const third = publish(t, etcd)
    third.reset([cart, named('c')])
    await settled(third, 'standby')
    await client.write([{ key: lockKey('north'), gone: true }], 0n)
    await settled(third)
    second.put(named('d'))
    await until(() => second.state().state !== 'publishing', 'the second notices')
    await settled(second, 'standby')
    t.equal(await revision('d'), undefined)
    await sees(sink, 'cart', 'c')
  })
})

t.test('a restart, and a publisher that stops', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const client = await etcd.client()
  const keys = async () => {
    const found: string[] = []
    for await (const { entries } of client.pages('cilium/state/services/')) found.push(...entries.map(({ key }) => key))
    return found
  }

  t.test('nothing stored is deleted before the full list is known', async t => {
    const before = publish(t, etcd)
    before.reset([cart, named('gone')])
    await settled(before)
    await before.close()
    t.equal((await keys()).length, 2)
    const after = publish(t, etcd)
    after.put(cart)
    await settled(after)
    t.equal((await keys()).length, 2)
    after.reset([cart])
    await until(() => after.state().pending === 0, 'written')
    await settled(after)
    t.same(await keys(), ['cilium/state/services/v1/north/shop/cart'])
    await after.close()
    await client.clear('cilium/')
  })

  t.test(
    'the data of a publisher that stops expires with the lease, and is complete again when it returns',
    async t => {
      const clock = new FakeClock()
      const silent = publish(t, etcd, { leaseMs: 1000, lockMs: 1000 }, clock)
      silent.reset([cart])
      await settled(silent)
      t.same(await keys(), ['cilium/state/services/v1/north/shop/cart'])
      await eventually(async () => assert.deepEqual(await keys(), [], 'the lease expires'), 15_000)
      await clock.advance(1000)
      await until(() => silent.state().state === 'lost', 'the loss is noticed')
      t.match(silent.state(), { error: { code: 'PUBLISH', message: /north is not published: / } })
      await clock.advance(1000)
      await settled(silent)
      t.same(await keys(), ['cilium/state/services/v1/north/shop/cart'])
    },
  )
})

t.test('etcd with a full disk, and etcd stopped', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t, { flags: ['--quota-backend-bytes', '1000000'] })
  const client = await etcd.client()
  const publisher = publish(t, etcd)
  publisher.reset([cart])
  await settled(publisher)
  const sink = read(t, etcd)
  await sees(sink, 'cart')
  const filler = Buffer.alloc(300_000)
  await t.rejects(
    async () => {
      // etcd checks its size every 100 ms: a fast disk accepts many writes until then.
      for (let i = 0; i < 1000; i++) await client.write([{ key: `filler/${i}`, value: filler }], 0n)
    },
    { message: /database space exceeded/ },
  )
  publisher.put(named('late'))
  await until(() => publisher.state().state === 'lost', 'the loss is reported')
  t.match(publisher.state(), { pending: 1, error: { message: /database space exceeded/ } })
  t.equal(sink.link, 'live', 'reading goes on')
  t.same([...sink.services.keys()], ['shop/cart'])

  await etcd.signal('SIGKILL')
  await until(() => sink.link === 'lost', 'gone')
  await etcd.start({ empty: true })
  await sees(sink, 'cart', 'late')
  await settled(publisher)
  t.same(sink.violations, [])
})

t.test('requests are paced and full', async t => {
  const clock = new FakeClock()
  const requests: { at: number; writes: readonly Write[] }[] = []
  let lock: Entry | undefined
  const store: EtcdStore = {
    clusterId: 'e1',
    get: async key => (key === lockKey('north') ? lock : undefined),
    async *pages() {},
    write: async writes => {
      const [write] = writes
      if (write && 'value' in write && write.key === lockKey('north'))
        lock = { ...write, createRevision: 1, modRevision: 1, lease: 1n }
      else requests.push({ at: clock.now(), writes })
      return true
    },
    grant: async () => 1n,
    keepAlive: async () => true,
    revoke: async () => {},
    onEnd: () => () => {},
    close: () => {},
  }
  const parts = { open: async () => store, clock, random: () => 0.5, log: silentLog }
  const publisher = createPublisher({ ...defaults, writesPerSecond: 10 }, parts)
  publisher.start()
  publisher.reset(Array.from({ length: 250 }, (_, i) => named(`s${i}`)))
  await clock.advance(500)
  const data = requests.filter(({ writes }) => writes.some(({ key }) => key.includes('/services/v1/north/')))
  t.same(
    data.map(({ writes }) => writes.length),
    [100, 100, 57],
    'with the cluster-config, the node, and the canaries of resources that are complete',
  )
  t.same(
    data.map(({ at }) => at),
    [0, 100, 200],
  )
  t.match(requests.at(-1)?.writes[0]?.key, /^cilium\/synced\//, 'the canaries come last')
  await clock.advance(60_000)
  t.equal(requests.at(-1)?.writes[0]?.key, heartbeatKey)
  await publisher.close()
  t.equal(clock.waiting, 0, 'no timer is left')
})

t.test('a directory is followed once it has synced, and not from memory alone', async t => {
  const told: string[] = []
  const publisher = {
    reset: (services: readonly ClusterService[]) => told.push(`reset ${services.map(({ name }) => name)}`),
    put: ({ name }: ClusterService) => told.push(`put ${name}`),
    drop: (namespace: string, name: string) => told.push(`drop ${namespace}/${name}`),
  } as unknown as Publisher
  const clock = new FakeClock()
  const directory = new FakeDirectory()
  directory.synced = false
  let isConfirmed = false
  const stop = followDirectory(directory, publisher, {
    isGlobalNamespace: name => name !== 'private',
    isConfirmed: () => isConfirmed,
    clock,
  })
  const service = (name: string, settings = {}, namespace = 'default') =>
    globalService({
      key: `${namespace}/${name}`,
      namespace,
      name,
      local: clusterService({ namespace, name }),
      settings,
    })
  directory.set(service('a'))
  t.same(told, [])
  directory.synced = true
  await clock.advance(1000)
  t.same(told, [])
  isConfirmed = true
  await clock.advance(1000)
  directory.set(service('b'), service('c', { shared: false }), service('d', {}, 'private'))
  directory.set(service('b', { global: false }))
  directory.remove('default/a')
  t.same(told, ['reset a', 'put b', 'drop default/b', 'drop default/a'])
  stop()
  directory.set(service('e'))
  t.equal(told.length, 4)
  t.equal(clock.waiting, 0)
})
