/** Readers that share one connection to an etcd: what they have in common, and what one of them cannot do to the others. */
import assert from 'node:assert/strict'
import { copyFile } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { heartbeatKey } from '../../../proxy/clients/clustermesh.ts'
import type { EtcdReader } from '../../../proxy/clients/etcd/client.ts'
import { SharedConnections } from '../../../proxy/clients/etcd/connect.ts'
import type { EtcdServers } from '../../../proxy/clients/etcd/server.ts'
import type { MeshError } from '../../../proxy/model/error.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { createEtcdSource } from '../../../proxy/sources/etcd/etcd-source.ts'
import { RecordingSink } from '../../conformance/source.ts'
import { makeCertificates, noEtcd, startEtcd } from '../../support/etcd/etcd.ts'
import { Peer } from '../../support/etcd/peer.ts'
import { Relay } from '../../support/etcd/relay.ts'
import { eventually } from '../../support/eventually.ts'

const options = { probe: heartbeatKey, clock: systemClock, random: () => 0 }
const ignored = { compacted: () => {}, refused: () => {} }

/** A way to the server that counts its connections, and its URL. */
async function counted(t: Test, url: string): Promise<{ relay: Relay; url: string }> {
  const relay = await Relay.open(t, url)
  return { relay, url: `${new URL(url).protocol}//127.0.0.1:${relay.port}` }
}

async function readers(connections: SharedConnections, servers: EtcdServers, count: number): Promise<EtcdReader[]> {
  return Promise.all(Array.from({ length: count }, () => connections.read(servers, options)))
}

t.test('one connection', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const writer = await etcd.client()
  const put = (key: string) => writer.write([{ key, value: Buffer.from(key) }], 0n)

  t.test('is made for the first reader and closed with the last', async t => {
    const way = await counted(t, etcd.url)
    const connections = new SharedConnections()
    const servers = { endpoints: [way.url] }
    const [first, second, third] = await readers(connections, servers, 3)
    const told: string[] = []
    const watch = (reader: EtcdReader | undefined, name: string) =>
      reader?.watch(
        { key: 'a/', rangeEnd: 'a0', revision: 1 },
        { ...ignored, changed: events => told.push(...events.map(({ entry }) => `${name} ${entry.key}`)) },
      )
    watch(first, 'first')
    watch(second, 'second')
    await put('a/1')
    await eventually(() => assert.deepEqual(told.sort(), ['first a/1', 'second a/1']))
    let ends = 0
    first?.onEnd(() => ends++)
    first?.close()
    first?.close()
    third?.close()
    await put('a/2')
    await eventually(() => assert.deepEqual(told.slice(2), ['second a/2'], 'one that was closed is told nothing'))
    t.equal(way.relay.accepted, 1)
    second?.close()
    await eventually(() => assert.equal(way.relay.open, 0))
    t.equal(ends, 0)
    const [again] = await readers(connections, servers, 1)
    t.equal(way.relay.accepted, 2, 'the next reader has a new one')
    again?.close()
    await eventually(() => assert.equal(way.relay.open, 0))
  })

  t.test('that is lost ends every reader, and the next one connects again', async t => {
    const way = await counted(t, etcd.url)
    const connections = new SharedConnections()
    const two = await readers(connections, { endpoints: [way.url] }, 2)
    const ends = two.map(reader => new Promise<MeshError>(resolve => reader.onEnd(resolve)))
    await way.relay.cut()
    await way.relay.mend()
    for (const end of ends) t.match((await end).message, /is lost/)
    const [again] = await readers(connections, { endpoints: [way.url] }, 1)
    t.equal(way.relay.accepted, 2)
    for (const reader of two) reader.close()
    let isOver = false
    again?.onEnd(() => {
      isOver = true
    })
    for await (const page of again?.pages('a/') ?? []) t.equal(page.entries.length, 2)
    t.equal(isOver, false, 'what is left of the old one does not close the new one')
    again?.close()
  })

  t.test('that cannot be made fails for all who wait, and one who gives up leaves the others', async t => {
    const held = createServer(() => {})
    await new Promise<void>(resolve => held.listen(0, '127.0.0.1', resolve))
    const { port } = held.address() as { port: number }
    const sockets = new Set<Socket>()
    held.on('connection', socket => sockets.add(socket.on('error', () => {})))
    t.teardown(() => held.close())
    const connections = new SharedConnections()
    const servers = { endpoints: [`http://127.0.0.1:${port}`] }
    const stop = new AbortController()
    const impatient = connections.read(servers, { ...options, signal: stop.signal })
    const patient = connections.read(servers, options)
    await eventually(() => assert.equal(sockets.size, 1))
    stop.abort()
    await t.rejects(impatient)
    for (const socket of sockets) t.equal(socket.destroyed, false)
    for (const socket of sockets) socket.destroy()
    await t.rejects(patient, { code: 'SOURCE_READ' })
    t.equal(sockets.size, 1)
  })
})

t.test('other certificates make another connection', { skip: noEtcd }, async t => {
  const certificates = await makeCertificates(t)
  const etcd = await startEtcd(t, { certificates })
  const way = await counted(t, etcd.url)
  const connections = new SharedConnections()
  const servers = (files: { ca: string; cert: string; key: string }) => ({ endpoints: [way.url], ...files })
  const one = await certificates.client('one')
  const copied = { ca: one.ca, cert: join(certificates.folder, 'copy.crt'), key: join(certificates.folder, 'copy.key') }
  await copyFile(one.cert, copied.cert)
  await copyFile(one.key, copied.key)
  const open = [
    ...(await readers(connections, servers(one), 2)),
    ...(await readers(connections, servers(copied), 1)),
    ...(await readers(connections, servers(await certificates.client('other')), 1)),
  ]
  t.equal(way.relay.accepted, 2, 'the content of the files counts, not their paths')
  const other = await certificates.client('another')
  await copyFile(other.cert, copied.cert)
  await copyFile(other.key, copied.key)
  open.push(...(await readers(connections, servers(copied), 1)))
  t.equal(way.relay.accepted, 3, 'a renewed certificate is used')
  for (const reader of open) reader.close()
  await eventually(() => assert.equal(way.relay.open, 0))
})

t.test('clusters of one etcd', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t, { flags: ['--max-request-bytes', String(64 << 20)] })
  const client = await etcd.client()
  const names = ['east', 'west', 'north']
  const peers = names.map((cluster, i) => new Peer(client, cluster, i + 1))
  for (const peer of peers) await peer.announce()
  const way = await counted(t, etcd.url)
  const connections = new SharedConnections()
  const parts = { clock: systemClock, random: () => 0, log: silentLog, connections }
  const sources = names.map(cluster => {
    const source = createEtcdSource({ cluster, endpoints: [way.url] }, parts)
    const sink = new RecordingSink()
    source.start(sink)
    return { source, sink }
  })
  t.teardown(() => Promise.all(sources.map(({ source }) => source.close())))
  await eventually(() =>
    assert.deepEqual(
      sources.map(({ sink }) => sink.link),
      names.map(() => 'live'),
    ),
  )
  t.equal(way.relay.accepted, 1, 'are read over one connection')

  await client.write([{ key: 'cilium/state/services/v1/east/shop/huge', value: Buffer.alloc(17 << 20) }], 0n)
  await eventually(() => assert.equal(way.relay.open, names.length - 1), 20_000)
  await eventually(
    () =>
      assert.deepEqual(
        sources.map(({ sink }) => sink.link),
        ['lost', 'live', 'live'],
      ),
    20_000,
  )
  const made = way.relay.accepted
  await peers[1]?.put(peers[1].service('shop/late'))
  await eventually(() => assert.ok(sources[1]?.sink.services.has('shop/late')))
  await client.write([{ key: 'cilium/state/services/v1/east/shop/huge', gone: true }], 0n)
  await eventually(() => assert.equal(sources[0]?.sink.link, 'live'), 20_000)
  t.ok(way.relay.accepted > made, 'what one of them cannot be read for is its own trouble')
})
