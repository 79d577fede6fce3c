/** Two Starlanes that know of each other through one etcd alone, as clusters of a Cilium ClusterMesh would. */
import assert from 'node:assert/strict'
import t from 'tap'
import { noEtcd, startEtcd } from '../support/etcd/etcd.ts'
import { eventually } from '../support/eventually.ts'
import { createWorld, startPod, tally } from '../support/world.ts'

t.test('what one cluster publishes, another serves from; unsharing takes it back', { skip: noEtcd }, async t => {
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
        { name: 'east', id: 1, source: { etcd: publish } },
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
