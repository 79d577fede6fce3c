/** Large resets: passed on in turns of the event loop, with the same result as at once. */
import assert from 'node:assert/strict'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { Admission } from '../../../proxy/admission/admission.ts'
import { Mesh } from '../../../proxy/mesh/mesh.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import type { ClusterService } from '../../../proxy/model/service.ts'
import type { Sink, Snapshot } from '../../../proxy/model/sink.ts'
import { KnownCluster } from '../../../proxy/state/known-cluster.ts'
import { FakeClock } from '../../support/clock.ts'
import { eventually } from '../../support/eventually.ts'
import { clusterService, endpoint } from '../../support/model.ts'

const count = 6000
const services = Array.from({ length: count }, (_, i) => serviceAt(i))

t.test(
  'the event loop turns while a large reset is passed on, and what the source says meanwhile comes after it',
  async t => {
    const { sink, names, said } = receiver()
    const turns = await withSlowSteps(async () => {
      sink.reset({ services, namespaces: [] })
      sink.put(serviceAt(count))
      sink.drop('default', 's3')
      let turns = 0
      while (!said.includes('reset')) {
        await setImmediate()
        turns++
      }
      return turns
    })
    t.ok(turns > 100, `${turns} turns`)
    await eventually(() => assert.ok(!names.has('s3')))
    t.equal(names.size, count)
    t.ok(names.has(`s${count}`))
    t.equal(said.filter(what => what === 'reset').length, 1)
  },
)

t.test('only what differs is passed on the second time', async t => {
  const { sink, names, said, settled } = receiver()
  sink.reset({ services, namespaces: [] })
  await settled(1)
  const before = said.length
  sink.reset({ services: [...services.slice(1), serviceAt(count)], namespaces: [] })
  await settled(2)
  t.same(said.slice(before), ['drop s0', `put s${count}`, 'reset'])
  t.equal(names.size, count)
})

t.test('a second reset waits for the first, and a source that is closed says nothing more', async t => {
  const { known, sink, names, said, settled } = receiver()
  sink.reset({ services, namespaces: [] })
  sink.reset({ services: services.slice(0, 2000), namespaces: [] })
  sink.reset({ services: services.slice(0, 1), namespaces: [] })
  await settled(3)
  t.same([...names], ['s0'])
  sink.reset({ services, namespaces: [] })
  known.close()
  const before = said.length
  for (let i = 0; i < 20; i++) await setImmediate()
  t.equal(said.length, before)
})

t.test('a large service has a turn of its own, and what the source says after it comes after it', async t => {
  const { sink, said } = receiver()
  const endpoints = Array.from({ length: 2000 }, (_, i) => endpoint({ address: `10.9.${i >> 8}.${i & 255}` }))
  const large = { ...clusterService({ name: 'large' }), endpoints }
  sink.put(large)
  sink.put(serviceAt(1))
  sink.put({ ...large, endpoints: endpoints.slice(1) })
  sink.drop('default', 'large')
  t.same(said, [], 'not in the turn in which it was read')
  await eventually(() => assert.equal(said.length, 4))
  t.same(said, ['put large', 'put s1', 'put large', 'drop large'])
  sink.put(serviceAt(2))
  t.equal(said.at(-1), 'put s2', 'others at once')
})

t.test('the mesh has the same services as after one that is passed on at once', async t => {
  const clusters = ['cluster-1', 'cluster-2'].map((name, i) => ({ name, id: i + 1, local: i === 0 }))
  const mesh = new Mesh({
    clusters,
    staleAfterMs: 600_000,
    services: 'global',
    health: () => 'unknown',
    clock: new FakeClock(),
    log: silentLog,
  })
  t.teardown(() => mesh.close())
  const admission = new Admission({ wholeAddresses: false })
  const sinks = clusters.map(({ name, local }) => {
    admission.allow(name, { loopback: false, local })
    return new KnownCluster(
      () => 0,
      () => {},
    ).sink(admission.sink(name, mesh.sink(name)))
  })
  sinks[0]?.reset({ services, namespaces: [] })
  sinks[1]?.reset({ services: [serviceAt(0, 'cluster-2')], namespaces: [] })
  t.equal(mesh.link('cluster-1').state, 'syncing', 'until all of it is known')
  await mesh.synced
  await eventually(() => assert.equal([...mesh.directory.services()].length, count))
  t.equal(mesh.link('cluster-1').state, 'live')
  t.equal(mesh.summary('cluster-1').services, count)
  t.equal(admission.problems().length, 0)
})

/** Each look at the clock finds it a millisecond later, however fast this machine is. */
async function withSlowSteps<T>(run: () => Promise<T>): Promise<T> {
  const { now } = performance
  let ms = now.call(performance)
  performance.now = () => ms++
  try {
    return await run()
  } finally {
    performance.now = now
  }
}

function serviceAt(i: number, cluster = 'cluster-1'): ClusterService {
  return clusterService({ cluster, namespace: 'default', name: `s${i}` })
}

function receiver() {
  const names = new Set<string>()
  const said: string[] = []
  const next: Partial<Sink> = {
    reset: ({ services, isDelivered }: Snapshot) => {
      said.push('reset')
      if (isDelivered) return
      names.clear()
      for (const { name } of services) names.add(name)
    },
    put: ({ name }) => {
      said.push(`put ${name}`)
      names.add(name)
    },
    drop: (_namespace, name) => {
      said.push(`drop ${name}`)
      names.delete(name)
    },
  }
  const known = new KnownCluster(
    () => 0,
    () => {},
  )
  const settled = (resets: number) =>
    eventually(() => assert.equal(said.filter(what => what === 'reset').length, resets))
  return { known, sink: known.sink(next as Sink), names, said, settled }
}
