/** What Starlane publishes is read by Cilium's own packages, and what those write is read by Starlane. */
import t, { type Test } from 'tap'
import { heartbeatKey } from '../../proxy/clients/clustermesh.ts'
import { connectEtcd } from '../../proxy/clients/etcd/connect.ts'
import { rangeEndOf } from '../../proxy/clients/etcd/rpc.ts'
import { silentLog } from '../../proxy/model/log.ts'
import { derivedServiceName } from '../../proxy/model/multicluster.ts'
import type { ClusterService } from '../../proxy/model/service.ts'
import { systemClock } from '../../proxy/model/time/clock.ts'
import { clusterConfigValue, recordsOf } from '../../proxy/publish/encode-cilium.ts'
import { createPublisher } from '../../proxy/publish/publisher.ts'
import { createEtcdSource } from '../../proxy/sources/etcd/etcd-source.ts'
import { RecordingSink, until } from '../conformance/source.ts'
import { noEtcd, startEtcd } from '../support/etcd/etcd.ts'
import { eventually } from '../support/eventually.ts'
import { clusterService, endpoint } from '../support/model.ts'
import { ciliumVersion, noHelper, runHelper } from './helper.ts'

const skip = noHelper || noEtcd
const north = { cluster: 'north', clusterId: 5, slices: true }
const parts = { clock: systemClock, random: Math.random, log: silentLog }

const http = { name: 'http', protocol: 'TCP', port: 80 } as const
const exported = { annotations: { a: 'b' }, labels: { c: 'd' } }
const cart = clusterService({
  cluster: 'north',
  namespace: 'shop',
  name: 'cart',
  clusterIPs: ['10.96.0.7', 'fd00::7'],
  ports: [
    { ...http, appProtocol: 'h2c' },
    { name: 'dns', protocol: 'UDP', port: 53 },
  ],
  labels: { app: 'cart' },
  sessionAffinity: { timeoutMs: 60_000 },
  internalTrafficPolicy: 'Local',
  trafficDistribution: 'PreferClose',
  exported,
  endpoints: [
    endpoint({
      address: '10.0.0.2',
      ports: [{ ...http, port: 8080 }],
      hostname: 'cart-0',
      node: 'n1',
      zone: 'eu-1a',
      forZones: ['eu-1a'],
    }),
    endpoint({ address: '10.0.0.1', ready: false, serving: true, terminating: true, weight: 50, ports: [] }),
    endpoint({ address: 'fd00::1', node: 'n2' }),
  ],
})
const database = clusterService({
  ...{ cluster: 'north', namespace: 'shop', name: 'db', headless: true, families: [6], exported },
  trafficDistribution: 'Tomorrow',
  endpoints: [endpoint({ address: 'fd00::2', hostname: 'db-0' })],
})
const empty = clusterService({ cluster: 'north', namespace: 'shop', name: 'empty', clusterIPs: [], exported })

interface Verdict {
  readonly kind?: string
  readonly object?: unknown
  readonly error?: string
}
type Entries = readonly { readonly key: string; readonly value: string }[]

async function check(entries: Entries, id = north.clusterId): Promise<Readonly<Record<string, Verdict>>> {
  return (await runHelper('check', { cluster: 'north', id, entries })) as Record<string, Verdict>
}

function entriesOf(records: Iterable<readonly [string, Uint8Array]>): Entries {
  return [...records].map(([key, value]) => ({ key, value: Buffer.from(value).toString('base64') }))
}

/** Everything in etcd after these services have been published, but for canaries, heartbeats and locks. */
async function published(t: Test, services: readonly ClusterService[]): Promise<Entries> {
  const etcd = await startEtcd(t)
  const publisher = createPublisher(
    { ...north, leaseMs: 900_000, writesPerSecond: 1000 },
    { ...parts, open: signal => connectEtcd(etcd.servers, { ...parts, probe: heartbeatKey, signal }) },
  )
  publisher.start()
  t.teardown(() => publisher.close())
  publisher.reset(services)
  const client = await etcd.client()
  await eventually(async () => {
    if ((await client.count('cilium/synced/north/')) < 6) throw new Error('not everything is written')
  }, 15_000)
  const records: [string, Uint8Array][] = []
  for await (const page of client.pages('cilium/', rangeEndOf('cilium/'))) {
    for (const { key, value } of page.entries) records.push([key, value])
  }
  return entriesOf(records.filter(([key]) => /^cilium\/(state|cluster-config)\//.test(key)))
}

t.test(`Cilium ${ciliumVersion} reads what is published`, { skip }, async t => {
  const entries = await published(t, [cart, database, empty])
  const verdicts = await check(entries)
  const state = (resource: string, name: string) => verdicts[`cilium/state/${resource}/v1/north/${name}`]
  for (const [key, { error }] of Object.entries(verdicts)) t.equal(error, undefined, key)
  t.same(
    Map.groupBy(Object.values(verdicts), ({ kind }) => kind).size,
    5,
    'cluster-config, services, slices, exports and nodes',
  )

  t.match(verdicts['cilium/cluster-config/north']?.object, {
    id: 5,
    capabilities: {
      syncedCanaries: true,
      serviceExportsEnabled: true,
      endpointSlicesExportMode: 'services-and-endpointslices',
    },
  })
  t.match(state('services', 'shop/cart')?.object, {
    frontends: { '10.96.0.7': { http: { Protocol: 'TCP', Port: 80 } }, 'fd00::7': {} },
    backends: { '10.0.0.2': { http: { Protocol: 'TCP', Port: 8080 } }, '10.0.0.1': {}, 'fd00::1': {} },
    hostnames: { '10.0.0.2': 'cart-0' },
    zones: { '10.0.0.2': { zone: 'eu-1a', forZones: [{ name: 'eu-1a' }] } },
    shared: true,
    includeExternal: true,
  })
  t.ok(state('services', `shop/${derivedServiceName('shop', 'cart')}`)?.object, 'its derived Service')
  const slices = Object.entries(verdicts).filter(([key]) => key.includes('/endpointslices/v1/north/shop/cart-'))
  t.equal(slices.length, 3, 'by family, ports and weight')
  const endpoints = slices.flatMap(([, { object }]) => (object as { endpoints: { addresses: string[] }[] }).endpoints)
  const at = (address: string) => endpoints.find(({ addresses }) => addresses[0] === address)
  t.match(at('10.0.0.2'), {
    conditions: { ready: true, serving: true },
    hostname: 'cart-0',
    nodeName: 'n1',
    zone: 'eu-1a',
    hints: { forZones: [{ name: 'eu-1a' }] },
  })
  t.match(at('10.0.0.1'), { conditions: { ready: false, serving: true, terminating: true } })
  t.match(state('serviceexports', 'shop/cart')?.object, {
    annotations: exported.annotations,
    labels: exported.labels,
    exportCreationTimestamp: '9999-12-31T00:00:00Z',
    ports: [{ name: 'http', protocol: 'TCP', port: 80, appProtocol: 'h2c' }, { name: 'dns' }],
    type: 'ClusterSetIP',
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
    ipFamilies: ['IPv4', 'IPv6'],
    internalTrafficPolicy: 'Local',
    trafficDistribution: 'PreferClose',
  })
  t.match(state('serviceexports', 'shop/db')?.object, { type: 'Headless', ipFamilies: ['IPv6'] })
  t.match(state('nodes', 'n1')?.object, { ClusterID: 5, Labels: { 'topology.kubernetes.io/zone': 'eu-1a' } })
})

t.test('it reads a copy in the layout of a cache too', { skip }, async t => {
  const cached = { ...north, cached: true }
  const records = entriesOf([
    ...recordsOf(cart, cached),
    ...[['cilium/cluster-config/north', clusterConfigValue(cached)] as const],
  ])
  const verdicts = Object.values(await check(records))
  t.same(
    verdicts.map(({ error }) => error).filter(error => error !== undefined),
    [],
  )
  t.match(verdicts.find(({ kind }) => kind === 'config')?.object, { capabilities: { cached: true } })
})

t.test('it refuses what is not so', { skip }, async t => {
  const records = entriesOf(recordsOf(cart, north))
  const wrongId = Object.entries(await check(records, 6)).filter(([key]) => !key.includes('/serviceexports/'))
  for (const [key, { error }] of wrongId) t.match(error, /cluster ID/, key)
  const untimed = records.map(({ key, value }) => {
    const text = Buffer.from(value, 'base64').toString()
    return { key, value: Buffer.from(text.replace(/"exportCreationTimestamp":"[^"]*",/, '')).toString('base64') }
  })
  const key = 'cilium/state/serviceexports/v1/north/shop/cart'
  const verdicts = await check(untimed.filter(entry => entry.key === key))
  t.match(verdicts[key]?.error, /exportCreationTimestamp is unset/)
})

t.test('what it writes is read', { skip }, async t => {
  const etcd = await startEtcd(t)
  const client = await etcd.client()
  const entries = (await runHelper('write')) as Entries
  const writes = entries.map(({ key, value }) => ({ key, value: Buffer.from(value, 'base64') }))
  await client.write(writes, 0n)
  const sink = new RecordingSink()
  const source = createEtcdSource({ cluster: 'east', id: 7, prefer: 'slices', ...etcd.servers }, parts)
  source.start(sink)
  t.teardown(() => source.close())
  await until(() => sink.services.get('shop/db')?.exported !== undefined && sink.services.has('shop/cart'), 'read')
  t.same(sink.problemList, [])
  t.match(sink.services.get('shop/cart'), {
    clusterIPs: ['10.96.14.7'],
    ports: [http],
    endpoints: [{ address: '10.11.3.21', hostname: 'cart-0', zone: 'eu-1a', ports: [{ name: 'http', port: 8080 }] }],
  })
  t.match(sink.services.get('shop/db'), {
    headless: true,
    families: [4],
    ports: [{ name: 'sql', port: 15_432 }],
    sessionAffinity: { timeoutMs: 60_000 },
    internalTrafficPolicy: 'Local',
    trafficDistribution: 'PreferClose',
    exported: { createdAt: Date.UTC(2026, 0, 2, 3, 4, 5), annotations: { a: 'b' }, labels: { c: 'd' } },
    endpoints: [{ address: '10.11.4.9', hostname: 'db-0', node: 'n1', ready: false, serving: true, terminating: true }],
  })
  await until(() => sink.services.get('shop/db')?.endpoints[0]?.zone === 'eu-1a', 'the zone of its node')
  t.same(source.facts?.(), { id: 7, nodes: 1, serviceExports: 1 })
})
