/** The session and the follower: heartbeats after a compaction, one session whatever the files do, streams without an answer. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import t from 'tap'
import { Budget } from '../../../proxy/clients/budget.ts'
import { clusterConfigKey, heartbeatKey } from '../../../proxy/clients/clustermesh.ts'
import type { EtcdClient } from '../../../proxy/clients/etcd/client.ts'
import { connectEtcd } from '../../../proxy/clients/etcd/connect.ts'
import { Follower } from '../../../proxy/clients/etcd/follower.ts'
import { Mirror } from '../../../proxy/clients/etcd/mirror.ts'
import { kv, lease } from '../../../proxy/clients/etcd/rpc.ts'
import { type Heartbeat, Session } from '../../../proxy/clients/etcd/session.ts'
import type { WatchListener } from '../../../proxy/clients/etcd/watches.ts'
import { defaultLimits, type Limits } from '../../../proxy/model/cluster.ts'
import type { MeshError } from '../../../proxy/model/error.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { type Clock, systemClock } from '../../../proxy/model/time/clock.ts'
import { FakeClock } from '../../support/clock.ts'
import { folder, noEtcd, startEtcd } from '../../support/etcd/etcd.ts'
import { Peer } from '../../support/etcd/peer.ts'
import { Relay } from '../../support/etcd/relay.ts'
import { headerOf } from '../../support/etcd/scripted.ts'
import { eventually } from '../../support/eventually.ts'

t.test('a heartbeat that is listed after a compaction is a new one', async t => {
  const clock = new FakeClock()
  let revision = 5
  let beats: WatchListener | undefined
  const ended: string[] = []
  const client = {
    server: { url: 'http://etcd' },
    clusterId: 'abc',
    onEnd: () => {},
    close: () => {},
    pages: async function* (key: string) {
      const entry = { key, value: Buffer.alloc(0), modRevision: revision, createRevision: 1, lease: 0n }
      yield { entries: key === heartbeatKey ? [entry] : [], revision }
    },
    watch: ({ key }: { key: string }, listener: WatchListener) => {
      if (key === heartbeatKey) beats = listener
      return () => {}
    },
  }
  const session = new Session(client as unknown as EtcdClient, {
    cluster: 'east',
    open: () => assert.fail('there is no cluster-config'),
    stale: undefined,
    synced: () => {},
    waiting: () => {},
    ended: error => ended.push(error.message),
    clock,
    budget: new Budget(defaultLimits, clock),
  })
  t.teardown(() => session.close())
  for (let minute = 0; minute < 5; minute++) {
    await clock.advance(60_000)
    revision += 10
    beats?.compacted()
  }
  await clock.advance(119_000)
  t.same(ended, [])
  beats?.compacted()
  await clock.advance(2000)
  t.match(ended, [/has not been renewed for 2m/], 'the same one listed again is none')
})

t.test('a store that went silent is not mistaken for another with the same etcd cluster id', async t => {
  const clock = new FakeClock()
  const session = (lease: bigint, stale: Heartbeat | undefined) => {
    const asked: string[] = []
    const ended = Promise.withResolvers<Heartbeat | undefined>()
    const client = {
      server: { url: 'http://etcd' },
      clusterId: 'cdf818194e3a8c32',
      onEnd: () => {},
      close: () => {},
      pages: async function* (key: string) {
        asked.push(key)
        const entry = { key, value: Buffer.alloc(0), modRevision: 9, createRevision: 2, lease }
        yield { entries: key === heartbeatKey ? [entry] : [], revision: 9 }
      },
      watch: () => () => {},
    }
    const session = new Session(client as unknown as EtcdClient, {
      ...{ cluster: 'east', stale, clock, budget: new Budget(defaultLimits, clock) },
      open: () => assert.fail('there is no cluster-config'),
      synced: () => {},
      waiting: () => {},
      ended: (_error, last) => ended.resolve(last),
    })
    t.teardown(() => session.close())
    return { asked, ended: ended.promise }
  }
  const first = session(0xan, undefined)
  await clock.advance(121_000)
  const stale = await first.ended
  t.match(stale, { heartbeat: 'a@2', revision: 9 })
  const again = session(0xan, stale)
  const other = session(0xbn, stale)
  await clock.advance(1000)
  t.same(again.asked, [heartbeatKey], 'the same store waits for a new heartbeat')
  t.same(other.asked, [heartbeatKey, clusterConfigKey('east')], 'another is read')
})

t.test('two changes of the client file while it connects lead to one session', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const peer = new Peer(await etcd.client())
  await peer.announce()
  const relay = await Relay.open(t, etcd.url)
  relay.stall()
  const file = join(await folder(t), 'east')
  const write = (n: number) => writeFile(file, `endpoints: ["http://127.0.0.1:${relay.port}"] # ${n}\n`)
  await write(0)
  // Only the polls of the file are quick.
  const clock: Clock = { ...systemClock, every: (ms, run) => systemClock.every(ms / 100, run) }
  let opened = 0
  let reconfigured = 0
  const log = { ...silentLog, info: (event: string) => void (event === 'etcd.reconfigured' && reconfigured++) }
  const follower = new Follower(
    'east',
    { config: file },
    { clock, random: () => 0, log },
    {
      open: ({ config }) => {
        opened++
        assert.equal(config.id, 7)
        return [{ resource: 'services', listener: { listed: () => {}, changed: () => {} } }]
      },
      lost: () => {},
    },
  )
  follower.start()
  await eventually(() => assert.equal(relay.accepted, 1))
  for (const change of [1, 2]) {
    await write(change)
    await eventually(() => assert.equal(reconfigured, change))
  }
  relay.resume()
  await eventually(() => assert.ok(opened > 0), 10_000)
  await eventually(() => assert.equal(relay.open, 1), 10_000)
  t.equal(opened, 1)
  await follower.close()
  await eventually(() => assert.equal(relay.open, 0))
})

t.test('a renewal whose stream ends without an answer fails', async t => {
  const server = new Server()
  const { range } = kv
  type Range = Parameters<typeof range.answer.encode>[0]
  server.register(
    range.path,
    (_call: unknown, done: (error: null, answer: Range) => void) => done(null, { header: headerOf(1n) }),
    (values: Range) => range.answer.encode(values),
    bytes => range.request.decode(bytes),
    'unary',
  )
  server.register(
    lease.keepAlive.path,
    (call: { end(): void; resume(): void }) => {
      call.resume()
      call.end()
    },
    (values: Parameters<typeof lease.keepAlive.answer.encode>[0]) => lease.keepAlive.answer.encode(values),
    bytes => lease.keepAlive.request.decode(bytes),
    'bidi',
  )
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  )
  t.teardown(() => server.forceShutdown())
  const clock = new FakeClock()
  const client = await connectEtcd(
    { endpoints: [`http://127.0.0.1:${port}`] },
    { probe: heartbeatKey, clock, random: () => 0 },
  )
  await t.rejects(client.keepAlive(7n), { code: 'SOURCE_WRITE', message: /LeaseKeepAlive failed/ })
  t.equal(clock.waiting, 0)
  client.close()
  await t.rejects(client.keepAlive(7n), { message: /was closed/ })
})

t.test('a store with more than its limits ends the session, whether listed or watched', async t => {
  const clock = new FakeClock()
  const value = Buffer.alloc(1000)
  const entryOf = (i: number) => ({ key: `p/${i}`, value, modRevision: 1, createRevision: 1, lease: 0n })
  const mirror = (pages: number, limits: Partial<Limits>) => {
    let watch: WatchListener | undefined
    let read = 0
    const failures: MeshError[] = []
    const client = {
      pages: async function* () {
        for (; read < pages; read++) {
          yield { entries: Array.from({ length: 1000 }, (_, i) => entryOf(read * 1000 + i)), revision: 1 }
        }
      },
      watch: (_: object, listener: WatchListener) => {
        watch = listener
        return () => {}
      },
    }
    const changes: number[] = []
    const listener = { listed: () => {}, changed: (events: readonly unknown[]) => void changes.push(events.length) }
    const budget = new Budget({ ...defaultLimits, rate: 2 ** 40, ...limits }, clock)
    const followed = new Mirror(
      client as unknown as EtcdClient,
      'p/',
      listener,
      { failed: error => failures.push(error) },
      budget,
    )
    t.teardown(() => followed.close())
    return { failures, read: () => read, watch: () => watch, changes, budget }
  }
  const endless = mirror(Number.POSITIVE_INFINITY, { objects: 5000 })
  await eventually(() => assert.equal(endless.failures.length, 1))
  t.match(endless.failures, [{ code: 'SOURCE_LIMIT', message: /more than 5000 objects/ }])
  t.equal(endless.read(), 5, 'and the rest is not read')
  const large = mirror(10, { bytes: 1 << 20 })
  await eventually(() => assert.match(String(large.failures[0]?.message), /more than 1048576 bytes/))

  const growing = mirror(1, { objects: 1500 })
  await eventually(() => assert.ok(growing.watch()))
  const event = (i: number, kept = true) => ({ kept, entry: entryOf(i) })
  growing.watch()?.changed(Array.from({ length: 400 }, (_, i) => event(1000 + i)))
  growing.watch()?.changed(Array.from({ length: 400 }, (_, i) => event(i, false)))
  await eventually(() =>
    assert.equal(
      growing.changes.reduce((sum, count) => sum + count, 0),
      800,
    ),
  )
  t.equal(growing.budget.objects, 1000)
  growing.watch()?.changed(Array.from({ length: 600 }, (_, i) => event(2000 + i)))
  await eventually(() => assert.match(String(growing.failures[0]?.message), /more than 1500 objects/))
})
