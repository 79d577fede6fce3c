/** The etcd source against real servers: the source contract, Cilium's order of reading, and losses. */
import assert from 'node:assert/strict'
import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Budget } from '../../../proxy/clients/budget.ts'
import { clusterConfigKey } from '../../../proxy/clients/clustermesh.ts'
import type { EtcdClient } from '../../../proxy/clients/etcd/client.ts'
import { parseClientFile } from '../../../proxy/clients/etcd/client-file.ts'
import { Mirror } from '../../../proxy/clients/etcd/mirror.ts'
import { kv } from '../../../proxy/clients/etcd/rpc.ts'
import type { WatchListener } from '../../../proxy/clients/etcd/watches.ts'
import { defaultLimits } from '../../../proxy/model/cluster.ts'
import type { Problem } from '../../../proxy/model/error.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { derivedServiceName } from '../../../proxy/model/multicluster.ts'
import type { Clock } from '../../../proxy/model/time/clock.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { watchClusterFolder } from '../../../proxy/sources/etcd/cluster-folder.ts'
import { createEtcdSource, type EtcdSourceOptions } from '../../../proxy/sources/etcd/etcd-source.ts'
import { type Declared, examineSource, RecordingSink, until } from '../../conformance/source.ts'
import { FakeClock } from '../../support/clock.ts'
import { sliceEndpoint } from '../../support/etcd/cilium.ts'
import { folder, makeCertificates, noEtcd, startEtcd, startMembers } from '../../support/etcd/etcd.ts'
import { Peer } from '../../support/etcd/peer.ts'
import { Relay } from '../../support/etcd/relay.ts'
import { eventually } from '../../support/eventually.ts'

// Ten times as fast as real time, so that retries are quick; the report of what is missing comes even sooner.
const hasty: Clock = {
  ...systemClock,
  after: (ms, run) => systemClock.after(ms === 30_000 ? 500 : ms / 10, run),
  every: (ms, run) => systemClock.every(ms / 10, run),
}

/** A started source, and the sink that it delivers to. */
function observe(t: Test, options: EtcdSourceOptions, clock: Clock = hasty) {
  const sink = new RecordingSink()
  const source = createEtcdSource(options, { clock, random: () => 0.5, log: silentLog })
  source.start(sink)
  t.teardown(async () => {
    await source.close()
    assert.deepEqual(sink.violations, [])
  })
  return sink
}

const live = (sink: RecordingSink) =>
  until(
    () => sink.link === 'live',
    () => `live (${sink.error?.message})`,
  )
const lost = (sink: RecordingSink, why: RegExp) =>
  until(
    () => sink.link === 'lost' && why.test(sink.error?.message ?? ''),
    () => `lost because of ${why} (${sink.link}, ${sink.error?.message})`,
  )
const sees = (sink: RecordingSink, ...names: string[]) =>
  until(
    () => [...sink.services.keys()].sort().join() === names.sort().join(),
    () => `sees ${names} (${[...sink.services.keys()]})`,
  )

const addressesOf = (sink: RecordingSink, name: string) => sink.services.get(name)?.endpoints.map(each => each.address)

t.test('it satisfies the source contract', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const client = await etcd.client()
  let worlds = 0

  const write = ({ namespace, name, clusterIP, addresses }: Declared, peer: Peer) =>
    peer.service(`${namespace}/${name}`, {
      frontends: { [clusterIP]: { http: { Protocol: 'TCP', Port: 80 } } },
      backends: Object.fromEntries(addresses.map(ip => [ip, { http: { Protocol: 'TCP', Port: 8080 } }])),
      hostnames: {},
      zones: {},
    })

  examineSource(t, async t => {
    const peer = new Peer(client, `world-${++worlds}`, worlds)
    const relay = await Relay.open(t, etcd.url)
    await peer.announce()
    const key = ({ namespace, name }: Declared) => peer.key('services', `${namespace}/${name}`)
    return {
      source: createEtcdSource(
        { cluster: peer.name, id: peer.id, endpoints: [`http://127.0.0.1:${relay.port}`] },
        { clock: hasty, random: () => 0.5, log: silentLog },
      ),
      apply: (...services) => peer.put(...services.map(service => write(service, peer))),
      remove: service => peer.drop(key(service)),
      spoil: service => peer.put({ [key(service)]: Buffer.from('{') }),
      break: () => relay.cut(),
      heal: () => relay.mend(),
    }
  })
})

t.test('what must be there before anything is delivered', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const client = await etcd.client()
  const { servers } = etcd
  let clusters = 0
  const newPeer = (cached = false) => new Peer(client, `c${++clusters}`, clusters, cached)

  t.test('the cluster-config, then the canary of what is read', async t => {
    const peer = newPeer()
    await peer.put(peer.service('shop/cart'))
    const sink = observe(t, { cluster: peer.name, ...servers })
    await lost(sink, /cilium\/cluster-config\/c1 is missing: the cluster has another name, or nobody publishes it/)
    await peer.configure()
    await peer.complete('endpointslices')
    await peer.put(peer.service('shop/late'))
    t.same(sink.services.size, 0, 'absence does not count yet, and neither does presence')
    await peer.complete('services')
    await live(sink)
    await sees(sink, 'shop/cart', 'shop/late')
    t.equal(sink.calls.filter(call => call === 'reset').length, 1)
  })

  t.test('a cluster without canaries is read at once', async t => {
    const peer = newPeer()
    await peer.put(peer.service('shop/cart'))
    await peer.configure({ syncedCanaries: false })
    const sink = observe(t, { cluster: peer.name, id: peer.id, ...servers })
    await sees(sink, 'shop/cart')
  })

  t.test('a KVStoreMesh cache is read under its own keys', async t => {
    const peer = newPeer(true)
    const sink = observe(t, { cluster: peer.name, id: peer.id, ...servers })
    await peer.put(peer.service('shop/cart'))
    await peer.put(new Peer(client, peer.name, peer.id).service('shop/original'))
    await peer.announce()
    await live(sink)
    await sees(sink, 'shop/cart')
  })

  t.test('the keys of a cluster whose name has the same prefix are not read', async t => {
    const peer = newPeer()
    const other = new Peer(client, `${peer.name}1`, 200)
    await other.put(other.service('shop/other'))
    await peer.announce()
    const sink = observe(t, { cluster: peer.name, id: peer.id, ...servers })
    await live(sink)
    await peer.put(peer.service('shop/cart'))
    await other.put(other.service('shop/other', { labels: { changed: 'yes' } }))
    await sees(sink, 'shop/cart')
  })

  t.test('a cluster that announces another id than the configured one is refused until it changes', async t => {
    const peer = newPeer()
    await peer.announce()
    const sink = observe(t, { cluster: peer.name, id: 99, ...servers })
    await lost(sink, new RegExp(`${peer.name} announces cluster id ${peer.id}, but 99 is configured; make them equal`))
    await peer.configure({}, 99)
    await live(sink)
  })

  t.test('a mesh of 511 refuses a cluster of another size until it has the same', async t => {
    const peer = newPeer()
    await peer.announce()
    const sink = observe(t, { cluster: peer.name, id: peer.id, maxClusters: 511, ...servers })
    await lost(sink, new RegExp(`${peer.name} belongs to a mesh of 255 clusters, this is one of 511; set maxConnected`))
    await peer.configure({ maxConnectedClusters: 511 })
    await live(sink)
  })

  t.test('a mesh of 255 has no cluster with a larger id', async t => {
    const peer = newPeer()
    await peer.announce()
    await peer.configure({ maxConnectedClusters: 511 }, 300)
    const sink = observe(t, { cluster: peer.name, id: 300, ...servers })
    await lost(sink, new RegExp(`${peer.name} has id 300, more than 255, the most clusters here`))
  })

  t.test('an invalid cluster-config is refused until it is fixed', async t => {
    const peer = newPeer()
    await peer.announce({ endpointSlicesExportMode: 'tomorrow' })
    const sink = observe(t, { cluster: peer.name, id: peer.id, ...servers })
    await lost(sink, /cilium\/cluster-config\/c\d+: capabilities.endpointSlicesExportMode/)
    await peer.put({ [clusterConfigKey(peer.name)]: Buffer.from('{') })
    await lost(sink, /is not JSON/)
    await peer.configure()
    await live(sink)
  })

  t.test('slices are read where there are no service records, or where they are preferred', async t => {
    const peer = newPeer()
    const leaving = { ready: false, serving: true, terminating: true }
    await peer.put(
      peer.service('shop/cart'),
      peer.slice('shop/cart-a'),
      peer.slice('shop/cart-b', { endpoints: [sliceEndpoint('10.0.0.9', { conditions: leaving })] }),
    )
    await peer.announce({ endpointSlicesExportMode: 'services-and-endpointslices' })
    const asCilium = observe(t, { cluster: peer.name, id: peer.id, ...servers })
    const sink = observe(t, { cluster: peer.name, id: peer.id, prefer: 'slices', ...servers })
    await live(sink)
    await live(asCilium)
    t.match(asCilium.services.get('shop/cart'), { clusterIPs: ['10.96.14.7'] })
    t.match(sink.services.get('shop/cart')?.endpoints, [
      { address: '10.11.3.21', ready: true },
      { address: '10.0.0.9', ...leaving },
    ])
    await peer.drop(peer.key('endpointslices', 'shop/cart-a'))
    await until(() => sink.services.get('shop/cart')?.endpoints.length === 1, 'one slice less')
    await peer.put(peer.slice('shop/cart-b', { labels: new Map([['kubernetes.io/service-name', 'basket']]) }))
    await sees(sink, 'shop/basket', 'shop/cart')
    t.same(addressesOf(sink, 'shop/cart'), ['10.11.3.21', '10.11.4.9'], 'without a slice, the endpoints of the record')
    await peer.drop(peer.key('endpointslices', 'shop/cart-b'))
    await sees(sink, 'shop/cart')

    await peer.put(peer.slice('shop/cart-c'))
    await peer.configure({ endpointSlicesExportMode: 'endpointslices-only' })
    await until(() => asCilium.services.get('shop/cart')?.clusterIPs.length === 0, 'the other mode is followed')
    t.equal(asCilium.error, undefined, 'over the same connection')
  })

  t.test('hostnames are read from slices, with an export beside them', async t => {
    const peer = newPeer()
    const endpoints = [sliceEndpoint('10.0.0.1', { hostname: 'db-0' })]
    await peer.put(peer.slice('shop/db-a', { endpoints, labels: new Map([['kubernetes.io/service-name', 'db']]) }))
    await peer.put(peer.serviceExport('shop/db', { type: 'Headless', ports: [{ name: 'sql', port: 5432 }] }))
    await peer.announce({ endpointSlicesExportMode: 'endpointslices-only', serviceExportsEnabled: true })
    await peer.complete('serviceexports')
    const sink = observe(t, { cluster: peer.name, id: peer.id, ...servers })
    await until(() => sink.services.get('shop/db')?.exported !== undefined, 'the export')
    t.match(sink.services.get('shop/db'), {
      headless: true,
      ports: [{ name: 'sql', port: 5432 }],
      endpoints: [{ hostname: 'db-0', ports: [{ name: 'http', port: 8080 }] }],
    })
  })

  t.test('an export makes a service of its name, with the backends of its derived Service', async t => {
    const peer = newPeer()
    await peer.put(peer.service('shop/cart'), peer.serviceExport('shop/cart'))
    await peer.announce({ serviceExportsEnabled: true })
    const sink = observe(t, { cluster: peer.name, id: peer.id, ...servers })
    await live(sink)
    t.notOk(sink.services.get('shop/cart')?.exported, 'not before the exports are complete')
    await peer.complete('serviceexports', 'nodes')
    await until(() => sink.services.get('shop/cart')?.exported !== undefined, 'the export stands beside the service')
    const derived = `shop/${derivedServiceName('shop', 'basket')}`
    await peer.put(
      peer.serviceExport('shop/basket', { type: 'Headless', exportCreationTimestamp: '2026-01-02T03:04:05Z' }),
    )
    await sees(sink, 'shop/cart', 'shop/basket')
    t.match(sink.services.get('shop/basket'), {
      headless: true,
      ports: [{ name: 'http', port: 80 }],
      endpoints: [],
      exported: { createdAt: Date.UTC(2026, 0, 2, 3, 4, 5) },
    })
    await peer.put(peer.service(derived))
    await until(() => sink.services.get('shop/basket')?.endpoints.length === 2, 'the backends of the derived Service')
    await peer.drop(peer.key('services', derived))
    await until(() => sink.services.get('shop/basket')?.endpoints.length === 0, 'and without them')
    await peer.drop(peer.key('serviceexports', 'shop/basket'), peer.key('serviceexports', 'shop/cart'))
    await sees(sink, 'shop/cart')
    await until(() => sink.services.get('shop/cart')?.exported === undefined, 'a service as before')
  })

  t.test('an endpoint without a zone takes the zone of its node', async t => {
    const peer = newPeer()
    await peer.put(
      peer.slice('shop/cart-a', { endpoints: [sliceEndpoint('10.0.0.1', { nodeName: 'n1' })] }),
      peer.node('n1', 'eu-1a'),
    )
    await peer.announce({ endpointSlicesExportMode: 'endpointslices-only' })
    await peer.complete('nodes')
    const sink = new RecordingSink()
    const source = createEtcdSource(
      { cluster: peer.name, ...servers },
      { clock: hasty, random: () => 0.5, log: silentLog },
    )
    source.start(sink)
    t.teardown(() => source.close())
    const zone = () => sink.services.get('shop/cart')?.endpoints[0]?.zone
    await until(() => zone() === 'eu-1a', 'the zone of the node')
    t.same(source.facts?.(), { id: peer.id, nodes: 1, serviceExports: 0 })
    await peer.put(peer.node('n1', 'eu-1b'))
    await until(() => zone() === 'eu-1b', 'another zone')
    await peer.put({ [peer.key('nodes', 'n1')]: Buffer.from('{}') })
    await until(() => sink.problemList.length === 1, 'a node that is not sound')
    t.equal(zone(), 'eu-1b')
    await peer.drop(peer.key('nodes', 'n1'))
    await until(() => zone() === undefined, 'no node, no zone')
    t.same(sink.problemList, [])
  })

  t.test('a bad value keeps the last good one', async t => {
    const peer = newPeer()
    await peer.put(peer.service('shop/cart'))
    await peer.announce()
    const sink = observe(t, { cluster: peer.name, id: peer.id, ...servers })
    await sees(sink, 'shop/cart')
    const key = peer.key('services', 'shop/cart')
    await peer.put({ [key]: Buffer.from('garbage') })
    await until(() => sink.problemList.length === 1, 'the problem is told')
    t.match(sink.problemList, [
      { code: 'SOURCE_OBJECT', where: key, message: /^shop\/cart: is not JSON.*stays in use$/ },
    ])
    t.ok(sink.services.has('shop/cart'))
    await peer.put(peer.service('shop/cart', { shared: false }))
    await sees(sink)
    t.same(sink.problemList, [])
    await peer.put({ [key]: Buffer.from('garbage') })
    await until(() => sink.problemList.length === 1, 'a problem without a past')
    await peer.drop(key)
    await until(() => sink.problemList.length === 0, 'gone with its key')
  })

  t.test("Cilium's client file is read, and followed", async t => {
    const peer = newPeer()
    await peer.put(peer.service('shop/cart'))
    await peer.announce()
    const file = join(await folder(t), peer.name)
    const sink = observe(t, { cluster: peer.name, id: peer.id, config: file })
    await lost(sink, /cannot read the client file: ENOENT/)
    await writeFile(file, 'endpoints: [')
    await lost(sink, /is not YAML/)
    const write = async (url: string) => {
      await writeFile(`${file}.new`, `endpoints: ["${url}"]\n`)
      await rename(`${file}.new`, file)
    }
    await write(etcd.url)
    await live(sink)
    await write('http://127.0.0.1:1')
    await lost(sink, /127\.0\.0\.1:1 .*ECONNREFUSED/)
    t.ok(sink.services.has('shop/cart'))
    await write(etcd.url)
    await live(sink)
    await rm(file)
    await peer.put(peer.service('shop/late'))
    await sees(sink, 'shop/cart', 'shop/late')
  })
})

t.test('a heartbeat that stops', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const client = await etcd.client()
  const peer = new Peer(client)
  await peer.put(peer.service('shop/cart'))
  await peer.announce()
  const clock = new FakeClock()
  const sink = observe(t, { cluster: 'east', id: 7, ...etcd.servers }, clock)
  await live(sink)
  for (let minute = 0; minute < 3; minute++) {
    await clock.advance(60_000)
    await peer.beat()
    await peer.put(peer.service(`shop/m${minute}`))
    await until(() => sink.services.has(`shop/m${minute}`), 'the beat has been heard, since what came after it has')
  }
  t.equal(sink.link, 'live')
  await clock.advance(120_000)
  t.equal(sink.link, 'lost')
  t.match(sink.error, { code: 'SOURCE_READ', message: /has not been renewed for 2m/ })

  sink.news()
  await peer.drop(peer.key('services', 'shop/cart'))
  await clock.advance(1000)
  await until(() => clock.waiting === 2, 'it has connected again, and waits for a beat')
  t.equal(sink.link, 'lost')
  t.ok(sink.services.has('shop/cart'), 'leases run out where nobody keeps them: that is no news of the services')
  await peer.beat()
  await live(sink)
  t.notOk(sink.services.has('shop/cart'))
})

t.test('failures of a server', { skip: noEtcd }, async t => {
  t.test('killed, and restarted with its data', async t => {
    const etcd = await startEtcd(t)
    const peer = new Peer(await etcd.client())
    await peer.put(peer.service('shop/cart'))
    await peer.announce()
    const sink = observe(t, { cluster: 'east', id: 7, ...etcd.servers })
    await live(sink)
    await etcd.signal('SIGKILL')
    await lost(sink, /127\.0\.0\.1/)
    t.ok(sink.services.has('shop/cart'))
    await etcd.start()
    await live(sink)
    t.same(
      sink.news().filter(call => call !== 'lost'),
      ['reset', 'reset'],
      'nothing was dropped on the way',
    )
    const again = new Peer(await etcd.client())
    await again.put(again.service('shop/late'))
    await sees(sink, 'shop/cart', 'shop/late')
  })

  t.test('restarted without data: the services stay until the cluster has written everything again', async t => {
    const etcd = await startEtcd(t)
    const peer = new Peer(await etcd.client())
    await peer.put(peer.service('shop/cart'), peer.service('shop/old'))
    await peer.announce()
    const sink = observe(t, { cluster: 'east', id: 7, ...etcd.servers })
    await live(sink)
    await etcd.signal('SIGKILL')
    await etcd.start({ empty: true })
    const anew = new Peer(await etcd.client())
    await lost(sink, /is missing/)
    await anew.beat()
    await anew.configure()
    await anew.put(anew.service('shop/new'))
    await lost(sink, /the canary under cilium\/synced\/east\/ is missing/)
    t.same([...sink.services.keys()], ['shop/cart', 'shop/old'])
    await anew.put(anew.service('shop/cart'))
    await anew.complete()
    await live(sink)
    await sees(sink, 'shop/cart', 'shop/new')
  })

  t.test('restored from an older snapshot: its state is used', async t => {
    const etcd = await startEtcd(t)
    const peer = new Peer(await etcd.client())
    await peer.put(peer.service('shop/cart'))
    await peer.announce()
    const sink = observe(t, { cluster: 'east', id: 7, ...etcd.servers })
    const snapshot = join(etcd.data, 'snapshot')
    await etcd.ctl('snapshot', 'save', snapshot)
    await peer.put(peer.service('shop/late'))
    await sees(sink, 'shop/cart', 'shop/late')
    await etcd.signal('SIGKILL')
    await etcd.restore(snapshot)
    await sees(sink, 'shop/cart')
    await live(sink)
  })

  t.test('an expired certificate, then a new one', async t => {
    const certificates = await makeCertificates(t)
    const etcd = await startEtcd(t, { certificates })
    const relay = await Relay.open(t, etcd.url)
    const peer = new Peer(await etcd.client())
    await peer.put(peer.service('shop/cart'))
    await peer.announce()
    const endpoints = [`https://127.0.0.1:${relay.port}`]
    const sink = observe(t, { cluster: 'east', id: 7, endpoints, ...(await certificates.client('remote')) })
    await live(sink)
    await certificates.expire('server')
    await relay.cut()
    await relay.mend()
    await lost(sink, /certificate has expired/)
    t.ok(sink.services.has('shop/cart'))
    await certificates.serve()
    await live(sink)
  })

  t.test('one of three killed: the next is used; two of three: no quorum, and the services stay', async t => {
    const members = await startMembers(t, 3)
    const [first, second, third] = members
    const peer = new Peer((await third?.client()) as EtcdClient)
    await peer.put(peer.service('shop/cart'))
    await peer.announce()
    const sink = observe(t, { cluster: 'east', id: 7, endpoints: members.map(({ url }) => url) })
    await live(sink)
    await first?.signal('SIGKILL')
    await second?.signal('SIGKILL')
    await lost(sink, /./)
    t.ok(sink.services.has('shop/cart'))
    await second?.start()
    await live(sink)
    await until(() => sink.link === 'live', 'live')
    const again = new Peer((await second?.client()) as EtcdClient)
    await again.put(again.service('shop/late'))
    await sees(sink, 'shop/cart', 'shop/late')
  })
})

t.test('a connection that dies silently, and a slow one', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const relay = await Relay.open(t, etcd.url)
  const peer = new Peer(await etcd.client())
  await peer.put(...Array.from({ length: 300 }, (_, i) => peer.service(`shop/s${i}`)))
  await peer.announce()
  const clock = new FakeClock()
  relay.delayMs = 20
  const sink = observe(t, { cluster: 'east', endpoints: [`http://127.0.0.1:${relay.port}`] }, clock)
  await live(sink)
  t.equal(sink.services.size, 300, 'a slow way is a way')

  relay.stall()
  await peer.put(peer.service('shop/late'))
  await clock.advance(119_000)
  t.equal(sink.link, 'live')
  await clock.advance(1000)
  await lost(sink, /has not been renewed for 2m/)
  await clock.advance(1000)
  await until(() => clock.waiting === 1, 'it connects anew')
  await eventually(async () => {
    await clock.advance(1000)
    assert.match(sink.error?.message ?? '', /did not answer within 5s/)
  })
  t.equal(sink.services.size, 300)
  relay.delayMs = 0
  relay.resume()
  await peer.beat()
  await eventually(async () => {
    await clock.advance(200)
    assert.equal(sink.link, 'live')
  })
  await sees(sink, ...Array.from({ length: 300 }, (_, i) => `shop/s${i}`), 'shop/late')
})

t.test('garbage in every value keeps every service', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const peer = new Peer(await etcd.client())
  const names = Array.from({ length: 1100 }, (_, i) => `shop/s${i}`)
  await peer.put(...names.map(name => peer.service(name)))
  await peer.announce()
  const sink = observe(t, { cluster: 'east', ...etcd.servers })
  await live(sink)
  sink.news()
  await peer.put(...names.map((name, i) => ({ [peer.key('services', name)]: Buffer.alloc(1 + (i % 64), i % 256) })))
  await peer.put({
    [peer.key('services', '../../etc/passwd')]: Buffer.from('{}'),
    [peer.key('services', '')]: Buffer.from('[]'),
  })
  await until(
    () => /102 more keys have bad values/.test(sink.problemList.at(-1)?.message ?? ''),
    'all problems are counted',
  )
  t.equal(sink.problemList.length, 1001, 'and a thousand told')
  t.equal(sink.services.size, 1100)
  t.same([...new Set(sink.news())], ['problems'], 'nobody hears of anything else')
  await peer.put(...names.map(name => peer.service(name)))
  await peer.drop(peer.key('services', '../../etc/passwd'), peer.key('services', ''))
  await until(() => sink.problemList.length === 0, 'and all is well again')
})

t.test('compaction between a list and its watch leads to another list', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const client = await etcd.client()
  const put = (key: string) => client.write([{ key, value: Buffer.from('x') }], 0n)
  await put('p/1')
  let isFirst = true
  const late = {
    async *pages(prefix: string, rangeEnd: string) {
      yield* client.pages(prefix, rangeEnd)
      if (!isFirst) return
      isFirst = false
      for (const key of ['p/2', 'p/3']) await put(key)
      const { header } = await client.call(kv.range, { key: 'p/3' })
      await etcd.ctl('compaction', String(header?.revision))
    },
    watch: client.watch.bind(client),
  } as unknown as EtcdClient
  const lists: string[] = []
  const listener = {
    listed: (entries: readonly { key: string }[]) => lists.push(entries.map(({ key }) => key).join()),
    changed: (events: readonly { entry: { key: string } }[]) => lists.push(`+${events[0]?.entry.key}`),
  }
  const mirror = new Mirror(
    late,
    'p/',
    listener,
    { failed: error => t.fail(error) },
    new Budget(defaultLimits, systemClock),
  )
  t.teardown(() => mirror.close())
  await until(() => lists.length === 2, 'two lists')
  await put('p/4')
  await until(() => lists.length === 3, 'and a change')
  t.same(lists, ['p/1', 'p/1,p/2,p/3', '+p/4'])
})

t.test('a mirror lists again after compaction', async t => {
  const entry = (key: string) => ({ key, createRevision: 1, modRevision: 1, value: Buffer.alloc(0), lease: 0n })
  let listing = 0
  let watching: WatchListener | undefined
  const revisions: number[] = []
  const client = {
    async *pages() {
      listing++
      yield { entries: [entry(`p/${listing}`)], revision: listing * 10 }
    },
    watch({ revision }: { revision: number }, listener: WatchListener) {
      revisions.push(revision)
      watching = listener
      return () => {}
    },
  } as unknown as EtcdClient
  const told: string[] = []
  const listener = {
    listed: (entries: readonly { key: string }[]) => told.push(entries.map(({ key }) => key).join()),
    changed: () => {},
  }
  const mirror = new Mirror(
    client,
    'p/',
    listener,
    { failed: error => told.push(error.message) },
    new Budget(defaultLimits, systemClock),
  )
  await until(() => told.length === 1, 'listed')
  watching?.compacted()
  await until(() => told.length === 2, 'listed again')
  t.same(told, ['p/1', 'p/2'])
  t.same(revisions, [11, 21])
  mirror.close()
})

t.test('a folder of client files', async t => {
  const path = await folder(t)
  const version = async (name: string, ...clusters: string[]) => {
    await mkdir(join(path, name))
    for (const cluster of clusters) await writeFile(join(path, name, cluster), 'endpoints: [https://x]')
    await writeFile(join(path, name, 'ca.crt'), 'endpoints: none')
    await writeFile(join(path, name, 'notes'), 'nothing')
    await rm(join(path, '..data'), { force: true })
    await symlink(name, join(path, '..data'))
  }
  // As Kubernetes mounts a Secret: names are links through a link that is swapped.
  await version('..1', 'east', 'west', 'own', 'Not_A_Name')
  for (const name of ['east', 'west', 'own', 'Not_A_Name', 'ca.crt', 'notes']) {
    await symlink(join('..data', name), join(path, name))
  }
  const clock = new FakeClock()
  const told: string[] = []
  let skipped: readonly Problem[] = []
  const listener = {
    changed: (clusters: ReadonlyMap<string, string>, found: readonly Problem[]) => {
      skipped = found
      told.push([...clusters.keys()].join())
    },
    failed: (error: Error) => told.push(error.message),
  }
  const stop = watchClusterFolder(path, { own: 'own', clock, listener })
  await until(() => told.length === 1, 'told at first')
  t.match(skipped, [
    { where: join(path, 'Not_A_Name'), message: /"Not_A_Name" is not a cluster name/ },
    { where: join(path, 'ca.crt'), message: /"ca.crt" is not a cluster name/ },
  ])
  await clock.advance(5000)
  await version('..2', 'east', 'south')
  await symlink(join('..data', 'south'), join(path, 'south'))
  // The looks read real files while the clock is the test's, so that there may be more of them than changes.
  const looksUntil = (last: RegExp) =>
    eventually(async () => {
      await clock.advance(5000)
      assert.match(told.at(-1) ?? '', last)
    }, 15_000)
  await looksUntil(/^east,south$/)
  await rename(path, `${path}-away`)
  await looksUntil(/cannot read the folder of clusters: ENOENT/)
  const before = told.length
  await rename(`${path}-away`, path)
  await clock.advance(5000)
  stop()
  t.equal(told[0], 'east,west')
  // A look that had begun while the folder was away may end now.
  const others = told.slice(before).filter(each => each !== 'east,south' && !/^cannot read/.test(each))
  t.same(others, [], 'what was configured stays while the folder is away')
  t.equal(clock.waiting, 0)
})

t.test('client files', async t => {
  t.same(
    parseClientFile(
      `endpoints:
- https://east.mesh.cilium.io:2379
trusted-ca-file: /var/lib/cilium/clustermesh/common-etcd-client-ca.crt
key-file: east.etcd-client.key
cert-file: east.etcd-client.crt
cilium-host-aliases:
- hostname: east.mesh.cilium.io
  ips: [192.0.2.10, "fd00::1"]
`,
      '/etc/mesh/east',
    ),
    {
      endpoints: ['https://east.mesh.cilium.io:2379'],
      ca: '/var/lib/cilium/clustermesh/common-etcd-client-ca.crt',
      cert: '/etc/mesh/east.etcd-client.crt',
      key: '/etc/mesh/east.etcd-client.key',
      aliases: new Map([['east.mesh.cilium.io', ['192.0.2.10', 'fd00::1']]]),
    },
  )
  const asTable = 'endpoints: [https://a]\ncilium-host-aliases: {a: {ips: [192.0.2.1]}}'
  t.same(parseClientFile(asTable, '/f').aliases, new Map([['a', ['192.0.2.1']]]))
  t.same(parseClientFile('endpoints: [https://a]', '/f'), {
    endpoints: ['https://a'],
    ca: undefined,
    cert: undefined,
    key: undefined,
    aliases: new Map(),
  })
  const refused: [text: string, why: RegExp][] = [
    ['{', /\/f is not YAML/],
    ['', /^\/f: the file: /],
    ['endpoints: []', /endpoints: is empty; give at least one server/],
    ['endpoints: [https://a]\ncilium-host-aliases: [{hostname: "", ips: [192.0.2.1]}]', /cilium-host-aliases/],
    ['endpoints: [https://a]\ncilium-host-aliases: [{hostname: a, ips: []}]', /cilium-host-aliases/],
    ['endpoints: [https://a]\ncilium-host-aliases: [{hostname: a, ips: [b]}]', /cilium-host-aliases/],
    [
      'endpoints: [https://a]\ncilium-host-aliases: [{hostname: a, ips: [192.0.2.1]}, {hostname: a, ips: [192.0.2.1]}]',
      /lists "a" twice/,
    ],
  ]
  for (const [text, message] of refused) t.throws(() => parseClientFile(text, '/f'), { code: 'SOURCE_READ', message })
})
