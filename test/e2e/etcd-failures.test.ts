/** Failures of another cluster's etcd affect neither flows in progress nor known services, until these are stale. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import { noEtcd, startEtcd } from '../support/etcd/etcd.ts'
import { Peer } from '../support/etcd/peer.ts'
import { Relay } from '../support/etcd/relay.ts'
import { eventually } from '../support/eventually.ts'
import { createWorld, startPod, tally } from '../support/world.ts'

/** A flow that stays open, and whether it still carries what is sent. */
async function holdFlow(t: Test, host: string) {
  const socket = connect(7000, host)
  let heard = ''
  let isOver = false
  socket
    .on('data', data => {
      heard += data
    })
    .on('close', () => {
      isOver = true
    })
    .on('error', () => {})
  t.teardown(() => socket.destroy())
  await once(socket, 'data')
  let said = 0
  return async (): Promise<boolean> => {
    const word = `word ${said++};`
    socket.write(word)
    await eventually(() => assert.ok(isOver || heard.includes(word)))
    return !isOver
  }
}

t.test('failures of an etcd', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const relay = await Relay.open(t, etcd.url)
  const world = await createWorld(t, {
    clusters: ['west'],
    config: {
      clusters: [
        { name: 'west', id: 2, source: { manifests: './west' } },
        {
          name: 'east',
          id: 7,
          source: { etcd: { endpoints: [`http://127.0.0.1:${relay.port}`] } },
          allow: { loopback: true },
        },
      ],
      stale: { after: '1h' },
    },
  })
  const [vip, pod, other] = [world.ip(1), world.ip(11), world.ip(12)]
  const service = (peer: Peer, ...addresses: string[]) =>
    peer.service('default/rebel-base', {
      ...{ frontends: {}, hostnames: {}, zones: {} },
      backends: Object.fromEntries(addresses.map(ip => [ip, { main: { Protocol: 'TCP', Port: 8000 } }])),
    })
  await startPod(t, pod, 'east')
  await startPod(t, other, 'other')
  await world.declare('west', { clusterIP: vip, pods: [] })
  const peer = new Peer(await etcd.client())
  await peer.put(service(peer, pod))
  await peer.announce()
  await world.start()
  await eventually(async () => assert.deepEqual(await tally(2, vip), { east: 2 }), 15_000)
  const flows = await holdFlow(t, vip)
  const link = () => world.status().clusters[1]?.link
  const isLost = (why: RegExp) =>
    eventually(() => {
      assert.equal(link()?.state, 'lost')
      assert.match(link()?.error ?? '', why)
    }, 20_000)
  const isLive = () => eventually(() => assert.equal(link()?.state, 'live'), 30_000)
  const goesOn = async (t: Test, what: string) => {
    t.ok(await flows(), `${what}: the flow goes on`)
    t.same(await tally(2, vip), { east: 2 }, `${what}: new ones go there too`)
    const { now, clusters } = world.status()
    const left = (clusters[1]?.link.staleAt ?? 0) - now
    t.ok(left > 3_500_000 && left <= 3_600_000, `${what}: status counts down from an hour`)
  }

  await t.test('disconnected, while its history is compacted', async t => {
    await relay.cut()
    await isLost(/is lost|ECONNREFUSED/)
    await goesOn(t, 'cut off')
    for (let i = 0; i < 5; i++) await peer.put({ 'cilium/other': Buffer.from(String(i)) })
    const { header } = JSON.parse(await etcd.ctl('get', 'cilium/other', '-w', 'json'))
    await etcd.ctl('compaction', String(header.revision))
    await relay.mend()
    await isLive()
    t.equal(link()?.staleAt, undefined)
    t.ok(await flows())
  })

  await t.test('garbage in place of the service', async t => {
    await peer.put({ [peer.key('services', 'default/rebel-base')]: Buffer.from([0xff, 0x00]) })
    await eventually(() => assert.equal(world.status().problems.length, 1))
    t.ok(await flows())
    t.same(await tally(2, vip), { east: 2 })
    await peer.put(service(peer, pod))
    await eventually(() => assert.deepEqual(world.status().problems, []))
  })

  await t.test('killed, and back without data', async t => {
    await etcd.signal('SIGKILL')
    await isLost(/./)
    await goesOn(t, 'killed')
    await etcd.start({ empty: true })
    await isLost(/is missing|is lost|ECONN/)
    await goesOn(t, 'emptied')
    const anew = new Peer(await etcd.client())
    await anew.put(service(anew, pod, other))
    await anew.announce()
    await isLive()
    await eventually(async () => assert.equal(Object.keys(await tally(4, vip)).length, 2))
    t.ok(await flows(), 'the flow continues after the service was read again')
  })

  await t.test('restored from an older snapshot', async t => {
    const snapshot = `${world.folder}/snapshot.db`
    const now = new Peer(await etcd.client())
    await now.put(service(now, pod))
    await eventually(() => assert.equal(world.runtime().service('default', 'rebel-base')?.backends.length, 1))
    await etcd.ctl('snapshot', 'save', snapshot)
    await now.put(service(now, pod, other))
    await eventually(() => assert.equal(world.runtime().service('default', 'rebel-base')?.backends.length, 2))
    await etcd.signal('SIGKILL')
    await etcd.restore(snapshot)
    await eventually(() => assert.equal(world.runtime().service('default', 'rebel-base')?.backends.length, 1), 30_000)
    t.ok(await flows(), 'the restored state counts, and the flow continues')
    await isLive()
  })
})

t.test(
  'a record that no longer names a backend is no proof that it is gone; one that is deleted is',
  { skip: noEtcd },
  async t => {
    const etcd = await startEtcd(t)
    const world = await createWorld(t, {
      clusters: ['west'],
      config: {
        clusters: [
          { name: 'west', id: 2, source: { manifests: './west' } },
          { name: 'east', id: 7, source: { etcd: { endpoints: [etcd.url] } }, allow: { loopback: true } },
        ],
        proxy: { drain: '500ms' },
      },
    })
    const peer = new Peer(await etcd.client())
    const [one, two] = [world.ip(11), world.ip(12)]
    const record = (...ips: string[]) => {
      const backends = Object.fromEntries(ips.map(ip => [ip, { main: { Protocol: 'TCP', Port: 8000 } }]))
      return peer.service('default/rebel-base', { frontends: {}, hostnames: {}, zones: {}, backends })
    }
    await peer.put(record(one))
    await peer.announce()
    await startPod(t, one, 'one')
    await startPod(t, two, 'two')
    await world.declare('west', { clusterIP: world.ip(1), pods: [] })
    await world.start()
    await eventually(async () => assert.deepEqual(await tally(1, world.ip(1)), { one: 1 }), 15_000)
    const flows = await holdFlow(t, world.ip(1))
    await peer.put(record(two))
    await eventually(async () => assert.deepEqual(await tally(2, world.ip(1)), { two: 2 }))
    // Thrice the drain time: a wait for something that must not happen.
    await new Promise(resolve => setTimeout(resolve, 1500))
    t.ok(await flows(), 'the flow goes on')
    await peer.drop(...Object.keys(record()))
    await eventually(async () => assert.equal(await flows(), false))
    t.pass('and drains when the record is gone')
  },
)

t.test(
  'the services of a lost cluster are removed when they are dropped, and not before',
  { skip: noEtcd },
  async t => {
    const etcd = await startEtcd(t)
    const world = await createWorld(t, {
      clusters: ['west'],
      config: {
        clusters: [
          { name: 'west', id: 2, source: { manifests: './west' } },
          { name: 'east', id: 7, source: { etcd: { endpoints: [etcd.url] } }, allow: { loopback: true } },
        ],
        stale: { after: '1s', drop: '3s' },
        proxy: { drain: '1m' },
      },
    })
    const peer = new Peer(await etcd.client())
    const backends = { [world.ip(11)]: { main: { Protocol: 'TCP', Port: 8000 } } }
    await peer.put(peer.service('default/rebel-base', { frontends: {}, hostnames: {}, zones: {}, backends }))
    await peer.announce()
    await startPod(t, world.ip(11), 'east')
    await world.declare('west', { clusterIP: world.ip(1), pods: [] })
    await world.start()
    await eventually(async () => assert.deepEqual(await tally(1, world.ip(1)), { east: 1 }), 15_000)
    const flows = await holdFlow(t, world.ip(1))
    await etcd.signal('SIGKILL')
    await eventually(() => assert.equal(world.status().clusters[1]?.link.state, 'lost'))
    t.same(await tally(1, world.ip(1)), { east: 1 })
    await eventually(() => assert.equal(world.status().clusters[1]?.link.state, 'stale'))
    t.same(await tally(1, world.ip(1)), { east: 1 }, 'no other cluster has any')
    await eventually(() => assert.equal(world.status().clusters[1]?.link.state, 'dropped'))
    await eventually(() => assert.deepEqual(world.runtime().service('default', 'rebel-base')?.backends, []))
    t.ok(await flows(), 'a flow in progress continues, and drains')
  },
)
