/** Write-back to the local cluster, with two clusters known only by their APIs. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { eventually } from '../support/eventually.ts'
import { writeKubeconfig } from '../support/kube-api/kubeconfig.ts'
import { type KubeApi, startKubeApi } from '../support/kube-api/server.ts'
import { createWorld, manifests, startPod, tally, type WorldService } from '../support/world.ts'

const global = { 'service.cilium.io/global': 'true' }

t.test('failover between two API servers, and remote endpoints written as EndpointSlices', async t => {
  const [one, two] = [await startApi(t), await startApi(t)]
  const world = await createWorld(t, {
    config: {
      clusters: ['one', 'two'].map((context, i) => ({
        name: `cluster-${i + 1}`,
        id: i + 1,
        source: { kubernetes: { kubeconfig: './kubeconfig', context } },
        allow: { loopback: true },
      })),
      writeBack: { endpointSlices: true, events: true, namespace: 'default' },
    },
  })
  writeKubeconfig(join(world.folder, 'kubeconfig'), [
    { name: 'one', server: one.url },
    { name: 'two', server: two.url },
  ])
  const [vip, a, b] = [world.ip(1), world.ip(11), world.ip(21)]
  await startPod(t, a, 'one')
  await startPod(t, b, 'two')
  const annotations = {
    ...global,
    'service.cilium.io/global-sync-endpoint-slices': 'true',
    'service.cilium.io/affinity': 'lokal',
  }
  put(one, { clusterIP: vip, annotations, pods: [{ ip: a }] })
  put(two, { clusterIP: world.ip(2), pods: [{ ip: b }] })
  await world.start()

  t.same(Object.keys(await tally(8, vip)).sort(), ['one', 'two'])
  put(one, { clusterIP: vip, annotations, pods: [] })
  await eventually(async () => assert.deepEqual(await tally(4, vip), { two: 4 }))
  t.pass('scaled to zero here, served from there')

  await eventually(() => {
    const mirrored = one.list('EndpointSlice').flatMap(slice => slice.endpoints?.[0]?.addresses ?? [])
    assert.deepEqual(mirrored, [b])
  })
  t.pass('its endpoints stand in the local API')
  await eventually(() => assert.match(one.list('Event')[0]?.message ?? '', /lokal/), 15_000)
  t.pass('and so does what its annotation should have said')
  t.equal(two.list('EndpointSlice').length, 1, 'nothing is written to another cluster')

  await two.stop()
  await eventually(() => assert.equal(world.status().clusters[1]?.link.state, 'lost'), 15_000)
  t.same(await tally(4, vip), { two: 4 }, 'an unreachable API server removes no backend')
})

async function startApi(t: Test): Promise<KubeApi> {
  const api = await startKubeApi()
  t.teardown(() => api.stop())
  return api
}

function put(api: KubeApi, service: WorldService): void {
  for (const object of manifests(service, 'rebel-base')) api.put(object)
}
