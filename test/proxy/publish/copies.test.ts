import assert from 'node:assert/strict'
import t, { type Test } from 'tap'
import { canaryKey, clusterConfigKey, heartbeatKey, prefixOf, resources } from '../../../proxy/clients/clustermesh.ts'
import { connectEtcd } from '../../../proxy/clients/etcd/connect.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { type Clock, systemClock } from '../../../proxy/model/time/clock.ts'
import { Batch } from '../../../proxy/publish/batch.ts'
import { Copy, cachedConfig } from '../../../proxy/publish/copy.ts'
import { createPublisher, type Publisher, type PublisherOptions } from '../../../proxy/publish/publisher.ts'
import { createEtcdCopy } from '../../../proxy/sources/etcd/etcd-copy.ts'
import { createEtcdSource } from '../../../proxy/sources/etcd/etcd-source.ts'
import { RecordingSink } from '../../conformance/source.ts'
import { FakeClock } from '../../support/clock.ts'
import { type Etcd, noEtcd, startEtcd } from '../../support/etcd/etcd.ts'
import { Peer } from '../../support/etcd/peer.ts'
import { eventually } from '../../support/eventually.ts'

const hasty: Clock = {
  ...systemClock,
  after: (ms, run) => systemClock.after(ms / 10, run),
  every: (ms, run) => systemClock.every(ms / 10, run),
}
const parts = { clock: hasty, random: () => 0.5, log: silentLog }
const minute = 60_000

/** A publisher of `home` with a clock that the test moves. */
function cache(t: Test, home: Etcd, clock: Clock, changes: Partial<PublisherOptions> = {}): Publisher {
  const open = (signal: AbortSignal) => connectEtcd(home.servers, { ...parts, probe: heartbeatKey, signal })
  const publisher = createPublisher(
    {
      ...{ cluster: 'home', clusterId: 1, slices: false, leaseMs: 900_000, writesPerSecond: 1000 },
      cache: { ttlMs: 10 * minute },
      ...changes,
    },
    { open, clock, random: () => 0.5, log: silentLog },
  )
  publisher.reset([])
  publisher.start()
  t.teardown(() => publisher.close())
  return publisher
}

/** Copies `east` as the runtime would. */
function follow(t: Test, publisher: Publisher, far: Etcd) {
  const { copies } = publisher
  const copy = copies.copy('east')
  const target = {
    described: (id: number, config: Uint8Array) => copy.described(id, config),
    listed: copy.listed.bind(copy),
    changed: copy.changed.bind(copy),
    live: () => copies.live('east'),
    lost: (error: Parameters<typeof copy.lost>[0]) => copies.lost('east', error),
  }
  const reading = createEtcdCopy({ cluster: 'east', ...far.servers }, target, parts)
  reading.start()
  t.teardown(() => reading.close())
  return { copy, reading }
}

/** Waits until `check` holds; fails with `what` after a time. */
const until = (check: () => boolean | Promise<boolean>, what: string | (() => string)) =>
  eventually(async () => assert.ok(await check(), `not yet: ${typeof what === 'string' ? what : what()}`), 15_000)

const contents = async (etcd: Etcd, ...prefixes: string[]) => {
  const client = await etcd.client()
  const found: Record<string, string> = {}
  for (const prefix of prefixes) {
    for await (const { entries } of client.pages(prefix)) {
      for (const { key, value } of entries) found[key] = Buffer.from(value).toString('latin1')
    }
  }
  client.close()
  return found
}

t.test('a cluster is copied byte for byte, and read from the copy', { skip: noEtcd }, async t => {
  const [far, home] = [await startEtcd(t), await startEtcd(t)]
  const peer = new Peer(await far.client())
  const odd = Buffer.from([0, 255, 10, 0x28, 0xb5])
  const raw = {
    [`${prefixOf('identities', 'east')}458801`]: Buffer.from('k8s:app=web;k8s:io.cilium.k8s.policy.cluster=east;'),
    [`${prefixOf('ip', 'east')}10.11.3.21`]: odd,
    [`${prefixOf('nodes', 'east')}n1`]: Buffer.from('{"Name":"n1", "of": "another version"}'),
    [`${prefixOf('endpointslices', 'east')}shop/cart-1`]: odd,
  }
  await peer.put(raw, peer.service('shop/cart'), peer.serviceExport('shop/cart'))
  await peer.beat()
  const said = { endpointSlicesExportMode: 'services-and-endpointslices', serviceExportsEnabled: true, new: { x: 1 } }
  await peer.configure(said)
  const publisher = cache(t, home, systemClock)
  follow(t, publisher, far)
  const client = await home.client()
  const config = async () =>
    JSON.parse(Buffer.from((await client.get(clusterConfigKey('east')))?.value ?? '{}').toString())
  await until(async () => (await config()).id === 7, 'the description comes first')
  t.same((await config()).capabilities, { ...said, syncedCanaries: true, cached: true, maxConnectedClusters: 255 })
  t.equal(await client.count('cilium/synced/east/'), 0, 'and no canary before its own has come')

  const agent = new RecordingSink()
  const source = createEtcdSource({ cluster: 'east', ...home.servers }, parts)
  t.teardown(() => source.close())
  source.start(agent)
  await peer.complete(...resources)
  await until(async () => (await client.count('cilium/synced/east/')) === 6, 'the canaries')
  for (const resource of resources) t.ok(await client.get(canaryKey(resource, 'east', true)), resource)
  t.same(await contents(home, 'cilium/cache/'), {
    'cilium/cache/identities/v1/east/id/458801': 'k8s:app=web;k8s:io.cilium.k8s.policy.cluster=east;',
    'cilium/cache/ip/v1/east/10.11.3.21': odd.toString('latin1'),
    'cilium/cache/nodes/v1/east/n1': '{"Name":"n1", "of": "another version"}',
    'cilium/cache/endpointslices/v1/east/shop/cart-1': odd.toString('latin1'),
    'cilium/cache/services/v1/east/shop/cart': Object.values(peer.service('shop/cart'))[0]?.toString('latin1'),
    'cilium/cache/serviceexports/v1/east/shop/cart': Object.values(peer.serviceExport('shop/cart'))[0]?.toString(),
  })
  await until(
    () => agent.services.get('shop/cart')?.exported !== undefined,
    () => `a reader of the copy sees the service and its export (${agent.error?.message})`,
  )
  await peer.put(peer.service('shop/late'))
  await peer.drop(peer.key('services', 'shop/cart'), peer.key('serviceexports', 'shop/cart'))
  await until(() => [...agent.services.keys()].join() === 'shop/late', 'what changes, and what goes')

  t.test('a second process takes over without a gap in the data', async t => {
    const second = cache(t, home, systemClock)
    follow(t, second, far)
    await until(() => second.state().state === 'standby', 'it waits')
    const before = (await client.get('cilium/cache/services/v1/east/shop/late'))?.modRevision
    agent.news()
    await publisher.close()
    await until(() => second.state().state === 'publishing' && second.state().pending === 0, 'it has taken over')
    await peer.put(peer.service('shop/later'))
    await until(() => agent.services.has('shop/later'), 'and goes on')
    t.equal((await client.get('cilium/cache/services/v1/east/shop/late'))?.modRevision, before)
    t.same(agent.news(), ['put shop/later'])
  })
})

t.test('the life of a copy', { skip: noEtcd }, async t => {
  const [far, home] = [await startEtcd(t), await startEtcd(t)]
  const peer = new Peer(await far.client())
  await peer.put(peer.service('shop/cart'), peer.node('n1', 'a'))
  await peer.announce()
  await peer.complete('nodes', 'identities', 'ip')
  const clock = new FakeClock()
  const publisher = cache(t, home, clock)
  const { copies } = publisher
  const { copy, reading } = follow(t, publisher, far)
  const kept = async () =>
    Object.keys(await contents(home, 'cilium/cache/', 'cilium/cluster-config/east', 'cilium/synced/east/'))
  const written = () =>
    until(async () => {
      await clock.advance(1)
      return publisher.state().pending === 0 && copy.state !== 'syncing'
    }, 'written')
  await until(() => copy.state === 'live', 'read')
  await written()
  const service = 'cilium/cache/services/v1/east/shop/cart'
  const node = 'cilium/cache/nodes/v1/east/n1'
  await until(async () => {
    // A canary may still be written after the records.
    await clock.advance(1)
    return (await kept()).length === 7
  }, 'all of it')

  t.test('a lost cluster keeps its services for a time, and its nodes for good', async t => {
    await far.signal('SIGKILL')
    await until(() => copy.state === 'lost', 'lost')
    await clock.advance(9 * minute)
    await written()
    t.ok((await kept()).includes(service))
    await clock.advance(minute)
    t.equal(copy.state, 'drained')
    t.match(copy.error?.message, /lost for 10m/)
    await written()
    await until(async () => !(await kept()).includes(service), 'removed')
    t.ok((await kept()).includes(node))
    t.ok((await kept()).includes(clusterConfigKey('east')), 'who reads it hears of it')
    await far.start()
    await peer.beat().catch(() => {})
    await new Peer(await far.client()).beat()
    await until(() => copy.state === 'live', 'back')
    await until(async () => {
      await clock.advance(1)
      return (await kept()).includes(service)
    }, 'with its services')
  })

  t.test('a cluster that is removed goes in steps, and may return in between', async t => {
    copies.leave('east')
    await written()
    await until(async () => !(await kept()).includes(clusterConfigKey('east')), 'nobody new begins to read it')
    await clock.advance(2 * minute)
    t.ok((await kept()).includes(service), 'whoever reads it goes on')
    await reading.close()
    follow(t, publisher, far)
    await until(async () => {
      await clock.advance(1)
      return (await kept()).includes(clusterConfigKey('east'))
    }, 'back')
    t.equal(copies.copy('east'), copy)
    await clock.advance(5 * minute)
    t.ok((await kept()).includes(service))
    copies.leave('east')
    await clock.advance(3 * minute)
    await until(async () => {
      await clock.advance(1)
      return (await kept()).length === 0
    }, 'all gone')
    await until(() => publisher.state().pending === 0 && [...copies.entries()].length === 0, 'and forgotten')
  })

  t.test('a cluster left over from another configuration is removed', async t => {
    const client = await home.client()
    await new Peer(client, 'old', 9, true).announce()
    await client.write([{ key: 'cilium/cache/nodes/v1/old/n1', value: Buffer.from('x') }], 0n)
    await publisher.close()
    const next = cache(t, home, clock)
    await until(async () => {
      await clock.advance(1)
      return next.state().state === 'publishing'
    }, 'a new process')
    t.equal([...next.copies.entries()][0]?.[1].state, 'leaving')
    await clock.advance(3 * minute)
    await until(async () => {
      await clock.advance(1)
      return (await client.count('cilium/cache/')) + (await client.count('cilium/synced/old/')) === 0
    }, 'gone')
    t.ok(await client.get(clusterConfigKey('home')), 'but its own')
    await next.close()
  })

  t.test("a tenant's view is removed when the tenant is", async t => {
    const client = await home.client()
    const passing = (what: string, check: () => boolean | Promise<boolean>) =>
      until(async () => {
        await clock.advance(1)
        return check()
      }, what)
    const before = cache(t, home, clock, { cache: undefined, tenants: new Map([['blue', () => true]]) })
    await passing('written', async () => (await client.count('cilium/synced/home--blue/')) === 6)
    await before.close()
    const after = cache(t, home, clock, { cache: undefined })
    await passing('taken over', () => after.state().state === 'publishing' && after.state().pending === 0)
    t.equal(await client.get(clusterConfigKey('home--blue')), undefined)
    await clock.advance(3 * minute)
    await passing('gone', async () => (await client.count('cilium/synced/home--blue/')) === 0)
    t.equal(await client.count('cilium/synced/home/'), 6)
  })
})

t.test('a value too large for etcd is reported, and the rest is copied', async t => {
  const publisher = createPublisher(
    {
      ...{ cluster: 'home', clusterId: 1, slices: false, leaseMs: 900_000, writesPerSecond: 1000 },
      cache: { ttlMs: 0 },
    },
    { ...parts, open: () => Promise.reject(new Error('none')) },
  )
  const copy = publisher.copies.copy('east')
  copy.listed('services', [
    ['shop/large', Buffer.alloc(1_500_000)],
    ['shop/cart', Buffer.from('x')],
  ])
  t.match(publisher.problems(), [
    { code: 'PUBLISH', where: 'cilium/cache/services/v1/east/shop/large', message: /1500000 bytes .* not copied/ },
  ])
  t.equal(copy.keys.size, 1)
  copy.changed('services', 'shop/large', Buffer.from('small again'))
  t.same(publisher.problems(), [])
  t.equal(copy.keys.size, 2)
  assert.deepEqual(JSON.parse(cachedConfig(Buffer.from('{"id":3}')).toString()), {
    id: 3,
    capabilities: { syncedCanaries: true, cached: true },
  })
})

t.test('a cluster with a new id is copied from the start', async t => {
  const copy = new Copy('east', () => {})
  const { keys } = copy
  keys.isCompared = true
  const config = (id: number) => Buffer.from(JSON.stringify({ id }))
  const round = () => {
    const batch = new Batch()
    keys.fill(batch, Buffer.from('now'))
    keys.written(batch.writes)
    return batch.writes.map(write => `${'gone' in write ? '-' : '+'}${write.key.replace(/^cilium\//, '')}`)
  }
  copy.described(7, config(7))
  copy.listed('services', [['shop/cart', Buffer.from('of 7')]])
  t.same(round(), ['+cluster-config/east', '+cache/services/v1/east/shop/cart'])
  t.same(round(), ['+synced/east/cilium/cache/services/v1'], 'a canary once all of it is written')
  t.same(round(), [])
  copy.described(7, config(7))
  t.same(round(), [], 'the same again is nothing to write')
  copy.described(8, config(8))
  t.same(round(), ['+cluster-config/east', '-cache/services/v1/east/shop/cart'])
  copy.listed('services', [['shop/cart', Buffer.from('of 8')]])
  copy.listed('nodes', [])
  t.same(round(), ['+cache/services/v1/east/shop/cart', '+synced/east/cilium/cache/nodes/v1'])
  t.same(round(), ['+synced/east/cilium/cache/services/v1'])
})
