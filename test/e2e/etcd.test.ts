/** Starlanes that know each other only through etcd, like clusters of a Cilium ClusterMesh. */
import assert from 'node:assert/strict'
import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { type LogFields, silentLog } from '../../proxy/model/log.ts'
import { noEtcd, startEtcd } from '../support/etcd/etcd.ts'
import { Peer } from '../support/etcd/peer.ts'
import { eventually } from '../support/eventually.ts'
import { createWorld, startPod, tally } from '../support/world.ts'

t.test('a service published by one cluster is used by another, until it is unshared', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const publish = { endpoints: [etcd.url] }
  const east = await createWorld(t, {
    clusters: ['east'],
    config: { clusters: [{ name: 'east', id: 1, source: { manifests: './east' } }], publish },
  })
  const west = await createWorld(t, {
    clusters: ['west'],
    config: {
      clusters: [
        { name: 'west', id: 2, source: { manifests: './west' } },
        { name: 'east', id: 1, source: { etcd: publish }, allow: { loopback: true } },
      ],
    },
  })
  const [vip, pod] = [west.ip(1), east.ip(11)]
  await startPod(t, pod, 'east')
  const shared = { clusterIP: east.ip(1), pods: [{ ip: pod }] }
  await east.declare('east', shared)
  await west.declare('west', { clusterIP: vip, pods: [] })
  await east.start()
  await west.start()

  await eventually(async () => assert.deepEqual(await tally(4, vip), { east: 4 }), 20_000)
  t.equal(west.status().clusters[1]?.link.state, 'live')
  await east.declare('east', {
    ...shared,
    annotations: { 'service.cilium.io/global': 'true', 'service.cilium.io/shared': 'false' },
  })
  await eventually(() => assert.deepEqual(west.runtime().service('default', 'rebel-base')?.backends, []), 20_000)
  t.pass('what is shared no more is gone from the others')
  t.same(east.status().problems, [])
})

t.test('a folder of client files, a cache of their clusters, and a reader of the cache', { skip: noEtcd }, async t => {
  const [far, near] = [await startEtcd(t), await startEtcd(t)]
  const local = (name: string, id: number) => ({ name, id, source: { manifests: `./${name}` } })
  const east = await createWorld(t, {
    clusters: ['east'],
    config: { clusters: [local('east', 7)], publish: { endpoints: [far.url] } },
  })
  const home = await createWorld(t, {
    clusters: ['home'],
    config: {
      clusters: [local('home', 1)],
      clustermesh: { folder: './peers', allow: { loopback: true } },
      publish: { endpoints: [near.url], cache: true },
    },
  })
  // Another process of the same cluster, which reaches only its own etcd.
  const agent = await createWorld(t, {
    clusters: ['home'],
    config: { clusters: [local('home', 1)], clustermesh: { folder: './peers', allow: { loopback: true } } },
  })
  const clientFile = async (world: typeof home, url: string) => {
    await mkdir(join(world.folder, 'peers'), { recursive: true })
    const file = join(world.folder, 'peers', 'east')
    await writeFile(`${file}.new`, `endpoints: ["${url}"]\n`)
    await rename(`${file}.new`, file)
  }
  await startPod(t, east.ip(11), 'east')
  await east.declare('east', { clusterIP: east.ip(1), pods: [{ ip: east.ip(11) }] })
  for (const world of [home, agent]) await world.declare('home', { clusterIP: world.ip(1), pods: [] })
  await clientFile(home, far.url)
  await clientFile(agent, near.url)
  await east.start()
  await home.start()
  await agent.start()

  await eventually(async () => assert.deepEqual(await tally(2, home.ip(1)), { east: 2 }), 25_000)
  await eventually(async () => assert.deepEqual(await tally(2, agent.ip(1)), { east: 2 }), 25_000)
  t.match(agent.status().clusters[1], { name: 'east', id: 7, link: { state: 'live' }, nodes: 0, serviceExports: 0 })
  await eventually(() => {
    assert.equal(home.status().publisher?.copies[0]?.state, 'live')
    assert.equal(home.status().publisher?.pending, 0)
  })
  t.match(
    home.status().components.find(({ name }) => name === 'Publisher'),
    {
      state: 'ok',
      detail: /^1 service; 1 cluster copied; to http/,
    },
  )
  t.same(home.status().problems, [])

  await rm(join(agent.folder, 'peers', 'east'))
  await eventually(() => assert.equal(agent.status().clusters.length, 1), 25_000)
  t.same(agent.runtime().service('default', 'rebel-base')?.backends, [], 'a deleted file removes its cluster')
})

t.test(
  'etcds that were started with the defaults have one cluster id, and are not mixed up',
  { skip: noEtcd },
  async t => {
    // Of machines of their own: there each has the default peer URL, of which the ids are made.
    const peers = ['--initial-advertise-peer-urls', 'http://localhost:2380', '--initial-cluster-token', 'etcd-cluster']
    const defaults = { flags: ['--name', 'default', '--initial-cluster', 'default=http://localhost:2380', ...peers] }
    const [far, near, moved] = await Promise.all([1, 2, 3].map(() => startEtcd(t, defaults)))
    assert.ok(far && near && moved)
    const clients = await Promise.all([far, near, moved].map(etcd => etcd.client()))
    t.equal(new Set(clients.map(({ clusterId }) => clusterId)).size, 1, 'the ids say nothing')
    const warned: unknown[] = []
    const log = {
      ...silentLog,
      warn: (event: string, fields?: LogFields) => void warned.push([event, fields?.cluster]),
    }
    const local = (name: string, id: number) => ({ name, id, source: { manifests: `./${name}` } })
    const east = await createWorld(t, {
      clusters: ['east'],
      config: { clusters: [local('east', 7)], publish: { endpoints: [far.url] } },
    })
    const home = await createWorld(t, {
      clusters: ['home'],
      log,
      config: {
        clusters: [
          local('home', 1),
          { name: 'east', id: 7, source: { etcd: { config: './east.etcd' } }, allow: { loopback: true } },
        ],
        publish: { endpoints: [near.url], cache: true },
      },
    })
    const stored = async (etcd: typeof far) =>
      (await etcd.ctl('get', '--prefix', '--keys-only', 'cilium/'))
        .split('\n')
        .filter(key => /\/services\/v1\/.*\/default\//.test(key) && !key.includes('/synced/'))
        .sort()
    const clientFile = (url: string) => writeFile(join(home.folder, 'east.etcd'), `endpoints: ["${url}"]\n`)
    await startPod(t, east.ip(11), 'east')
    await east.declare('east', { clusterIP: east.ip(1), pods: [{ ip: east.ip(11) }] })
    await home.declare('home', { clusterIP: home.ip(1), pods: [] })
    await clientFile(far.url)
    await east.start()
    await home.start()

    await eventually(async () => assert.deepEqual(await tally(2, home.ip(1)), { east: 2 }), 25_000)
    const own = 'cilium/state/services/v1/home/default/rebel-base'
    const copies = (...names: string[]) => names.map(name => `cilium/cache/services/v1/east/default/${name}`)
    await eventually(async () => assert.deepEqual(await stored(near), [...copies('rebel-base'), own]), 25_000)
    t.same(await stored(far), ['cilium/state/services/v1/east/default/rebel-base'], 'nothing of home is in it')
    t.same(home.status().problems, [])
    t.same(warned, [['publish.same-etcd-id', 'east']], 'logged once')

    // A third etcd with the same id takes the place of the first: nothing of that one stays.
    const peer = new Peer(await moved.client())
    await peer.put(peer.service('default/other'))
    await peer.announce()
    await peer.complete('nodes', 'identities', 'ip')
    await clientFile(moved.url)
    await eventually(async () => assert.deepEqual(await stored(near), [...copies('other'), own]), 25_000)
    t.same(home.runtime().service('default', 'rebel-base')?.backends, [])
    t.match(home.status().problems, [{ code: 'SERVICE_REDUCED', where: 'default/rebel-base' }])
    t.equal(home.status().problems.length, 1)

    // The etcd that it would be copied to, by another name of the same server.
    await clientFile(near.url.replace('127.0.0.1', 'localhost'))
    await eventually(() => {
      const error = home.status().publisher?.copies.find(({ cluster }) => cluster === 'east')?.error
      assert.match(error ?? '', /already in the etcd that it would be copied to/)
    }, 25_000)
  },
)

t.test('addresses that a record may not name are never dialled', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const west = { name: 'west', id: 2, source: { manifests: './west' } }
  const east = { name: 'east', id: 7, source: { etcd: { endpoints: [etcd.url] } } }
  const world = await createWorld(t, { clusters: ['west'], config: { clusters: [west, east] } })
  const pod = world.ip(11)
  const never = ['169.254.169.254', '0.0.0.0', '224.0.0.1', '255.255.255.255', 'fe80::1', '::', '::ffff:169.254.169.1']
  const peer = new Peer(await etcd.client(), 'east', 7)
  const port = { main: { Protocol: 'TCP', Port: 8000 } }
  await peer.put(
    peer.service('default/rebel-base', {
      backends: Object.fromEntries([...never, pod, '10.99.0.1'].map(ip => [ip, port])),
    }),
  )
  await peer.announce()
  await world.declare('west', { clusterIP: world.ip(1), pods: [] })
  await world.start()
  const backends = () =>
    world
      .runtime()
      .service('default', 'rebel-base')
      ?.backends.map(({ address }) => address)
  const refused = () => world.status().problems.filter(({ code }) => code === 'ADDRESS_REFUSED').length
  await eventually(() => assert.deepEqual(backends(), ['10.99.0.1']))
  t.equal(refused(), never.length + 1)

  await world.write({ clusters: [west, { ...east, allow: { loopback: true } }] })
  await world.runtime().reload(await world.load())
  await eventually(() => assert.deepEqual(backends(), ['10.99.0.1', pod]))
  t.equal(refused(), never.length, 'loopback is allowed after a reload')
})

t.test('two clusters with one id: the first keeps it, the other is refused', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const client = await etcd.client()
  const world = await createWorld(t, {
    clusters: ['west'],
    config: {
      clusters: [
        { name: 'west', id: 2, source: { manifests: './west' } },
        { name: 'east', id: 7, source: { etcd: { endpoints: [etcd.url] } }, allow: { loopback: true } },
      ],
      clustermesh: { folder: './peers' },
    },
  })
  for (const [name, id] of [
    ['east', 7],
    ['twin', 7],
    ['double', 2],
    ['other', 9],
  ] as const) {
    const peer = new Peer(client, name, id)
    await peer.put(peer.service('default/rebel-base'))
    await peer.announce()
    await mkdir(join(world.folder, 'peers'), { recursive: true })
    await writeFile(join(world.folder, 'peers', name), `endpoints: ["${etcd.url}"]\n`)
  }
  await writeFile(join(world.folder, 'peers', 'west'), `endpoints: ["${etcd.url}"]\n`)
  await world.declare('west', { clusterIP: world.ip(1), pods: [] })
  await world.start()
  const links = () =>
    world.status().clusters.map(({ name, id, link }) => [name, id, link.state, link.error ?? ''] as const)
  await eventually(() => {
    const [, east, double, other, twin] = links()
    assert.deepEqual(east, ['east', 7, 'live', ''])
    assert.deepEqual(other, ['other', 9, 'live', ''])
    assert.match(double?.[3] ?? '', /double has id 2, which is the id of west too; give one of them another id/)
    assert.match(twin?.[3] ?? '', /twin has id 7, which is the id of east too/)
  }, 15_000)
  t.equal(links().length, 5, 'the files of the local cluster, and of one in the configuration, are ignored')
})

t.test('two clusters that read each other do not wait for each other to start', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const servers = { endpoints: [etcd.url] }
  const worlds = await Promise.all(
    ['north', 'south'].map((own, i) => {
      const other = i === 0 ? 'south' : 'north'
      return createWorld(t, {
        clusters: [own],
        config: {
          clusters: [
            { name: own, id: i + 1, source: { manifests: `./${own}` } },
            { name: other, id: 2 - i, source: { etcd: servers }, allow: { loopback: true } },
          ],
          publish: servers,
        },
      })
    }),
  )
  const started = performance.now()
  await Promise.all(worlds.map(world => world.start()))
  t.ok(performance.now() - started < 20_000, 'the start runs into no timeout')
  for (const world of worlds) t.equal(world.status().clusters[1]?.link.state, 'live')
})
