/** 100,000 keys of one cluster: read, copied, and read from the copy. Takes a minute or two: `npm run test:scale`. */
import assert from 'node:assert/strict'
import t from 'tap'
import { heartbeatKey } from '../../proxy/clients/clustermesh.ts'
import { connectEtcd } from '../../proxy/clients/etcd/connect.ts'
import { silentLog } from '../../proxy/model/log.ts'
import { systemClock } from '../../proxy/model/time/clock.ts'
import { createPublisher } from '../../proxy/publish/publisher.ts'
import { createEtcdCopy } from '../../proxy/sources/etcd/etcd-copy.ts'
import { createEtcdSource } from '../../proxy/sources/etcd/etcd-source.ts'
import { RecordingSink } from '../conformance/source.ts'
import { noEtcd, startEtcd } from '../support/etcd/etcd.ts'
import { Peer } from '../support/etcd/peer.ts'
import { eventually } from '../support/eventually.ts'

const keys = 100_000
const skip = noEtcd || (process.env.STARLANE_SCALE ? false : 'takes a minute or two: npm run test:scale')
const parts = { clock: systemClock, random: Math.random, log: silentLog }

t.test('100,000 services of one cluster', { skip, timeout: 600_000 }, async t => {
  const [far, home] = [await startEtcd(t), await startEtcd(t)]
  const peer = new Peer(await far.client())
  const timed = async (what: string, withinMs: number, check: () => void) => {
    const started = performance.now()
    await eventually(check, withinMs)
    t.comment(`${what}: ${((performance.now() - started) / 1000).toFixed(1)} s, RSS ${rss()} MiB`)
  }
  for (let at = 0; at < keys; at += 1000) {
    await peer.put(...Array.from({ length: 1000 }, (_, i) => peer.service(`shop/s${at + i}`)))
  }
  await peer.announce()
  await peer.complete('nodes', 'identities', 'ip')

  const sink = new RecordingSink()
  const source = createEtcdSource({ cluster: 'east', ...far.servers }, parts)
  t.teardown(() => source.close())
  source.start(sink)
  await timed('in step', 60_000, () => assert.equal(sink.services.size, keys))
  await peer.put(peer.service('shop/s99999', { labels: { news: 'yes' } }))
  await timed('a change', 1000, () => assert.equal(sink.services.get('shop/s99999')?.labels.news, 'yes'))

  sink.news()
  await far.signal('SIGKILL')
  await eventually(() => assert.equal(sink.link, 'lost'))
  t.equal(sink.services.size, keys, 'a lost connection removes nothing')
  await far.start()
  await timed('in step again after a kill', 90_000, () => assert.equal(sink.link, 'live'))
  t.same(
    [...new Set(sink.news())].filter(call => call !== 'lost'),
    ['reset'],
  )

  const open = (signal: AbortSignal) => connectEtcd(home.servers, { ...parts, probe: heartbeatKey, signal })
  const publisher = createPublisher(
    {
      ...{ cluster: 'home', clusterId: 1, slices: false, leaseMs: 900_000, writesPerSecond: 100 },
      cache: { ttlMs: 0 },
    },
    { ...parts, open },
  )
  t.teardown(() => publisher.close())
  publisher.reset([])
  publisher.start()
  const copy = publisher.copies.copy('east')
  const target = {
    described: (id: number, config: Uint8Array) => copy.described(id, config),
    listed: copy.listed.bind(copy),
    changed: copy.changed.bind(copy),
    live: () => copy.live(),
    lost: (error: Parameters<typeof copy.lost>[0]) => copy.lost(error),
  }
  const reading = createEtcdCopy({ cluster: 'east', ...far.servers }, target, parts)
  t.teardown(() => reading.close())
  reading.start()
  await timed('copied', 120_000, () => {
    assert.equal(copy.keys.size, keys)
    assert.equal(publisher.state().pending, 0)
  })
  const agent = new RecordingSink()
  const behind = createEtcdSource({ cluster: 'east', ...home.servers }, parts)
  t.teardown(() => behind.close())
  behind.start(agent)
  await timed('in step behind the copy', 60_000, () => assert.equal(agent.services.size, keys))
  const again = new Peer(await far.client())
  await again.drop(again.key('services', 'shop/s0'))
  await timed('a deletion, through the copy', 2000, () => assert.equal(agent.services.size, keys - 1))
  t.same([sink.violations, agent.violations], [[], []])
  t.ok(rss() < 2048, 'two readers and a copy in one process fit into 2 GiB')
})

function rss(): number {
  return Math.round(process.memoryUsage.rss() / 2 ** 20)
}
