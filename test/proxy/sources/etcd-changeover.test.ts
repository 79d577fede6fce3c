/** A cluster that changes from service records to EndpointSlices or back: no backend is gone in between, over real etcd. */
import t, { type Test } from 'tap'
import { silentLog } from '../../../proxy/model/log.ts'
import type { ClusterService } from '../../../proxy/model/service.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { type CopyTarget, createEtcdCopy } from '../../../proxy/sources/etcd/etcd-copy.ts'
import { createEtcdSource } from '../../../proxy/sources/etcd/etcd-source.ts'
import { RecordingSink, until } from '../../conformance/source.ts'
import { sliceEndpoint } from '../../support/etcd/cilium.ts'
import { noEtcd, startEtcd } from '../../support/etcd/etcd.ts'
import { Peer } from '../../support/etcd/peer.ts'

const suffixes = ['shop/cart', 'shop/basket', 'shop/till']
const addresses = ['10.11.3.21', '10.11.4.9']

/** What a cluster announces. */
const modes = {
  records: {},
  both: { endpointSlicesExportMode: 'services-and-endpointslices' },
  slices: { endpointSlicesExportMode: 'endpointslices-only' },
} as const

/** Records every delivery after which a backend is missing, and every reset, drop and loss. */
class GapSink extends RecordingSink {
  readonly gaps: string[] = []
  isWatching = false

  override put(service: ClusterService): void {
    super.put(service)
    const missing = addresses.filter(address => !service.endpoints.some(each => each.address === address && each.ready))
    if (missing.length > 0) this.#note(`${service.name} without ${missing}`)
  }

  override drop(namespace: string, name: string): void {
    super.drop(namespace, name)
    this.#note(`drop ${namespace}/${name}`)
  }

  override reset(...given: Parameters<RecordingSink['reset']>): void {
    super.reset(...given)
    this.#note('reset')
  }

  override lost(...given: Parameters<RecordingSink['lost']>): void {
    super.lost(...given)
    this.#note(`lost: ${given[0].message}`)
  }

  #note(gap: string): void {
    if (this.isWatching) this.gaps.push(gap)
  }
}

/** The two forms in which a cluster writes its services. */
function formsOf(peer: Peer) {
  const record = { resource: 'services', key: (suffix: string) => peer.key('services', suffix) } as const
  const slice = {
    resource: 'endpointslices',
    key: (suffix: string) => peer.key('endpointslices', `${suffix}-a`),
  } as const
  return {
    records: { ...record, entry: (suffix: string) => peer.service(suffix) },
    slices: {
      ...slice,
      entry: (suffix: string) =>
        peer.slice(`${suffix}-a`, {
          endpoints: addresses.map(address => sliceEndpoint(address)),
          labels: new Map([['kubernetes.io/service-name', suffix.slice('shop/'.length)]]),
        }),
    },
  }
}
type Form = ReturnType<typeof formsOf>[keyof ReturnType<typeof formsOf>]

interface Change {
  readonly peer: Peer
  readonly from: Form
  readonly to: Form
  /** What the cluster announces afterwards. */
  readonly mode: Parameters<Peer['configure']>[0]
}

/** Writers: each ends with only the new form in etcd, or with the old one left to expire. */
const writers: Readonly<Record<string, (change: Change) => Promise<void>>> = {
  'announces both, writes and deletes key by key': async ({ peer, from, to, mode }) => {
    await peer.configure(modes.both)
    await peer.complete(to.resource)
    for (const suffix of suffixes) {
      await peer.put(to.entry(suffix))
      await peer.drop(from.key(suffix))
    }
    await peer.configure(mode)
  },
  'announces both, deletes and writes key by key': async ({ peer, from, to, mode }) => {
    await peer.configure(modes.both)
    await peer.complete(to.resource)
    for (const suffix of suffixes) {
      await peer.drop(from.key(suffix))
      await peer.put(to.entry(suffix))
    }
    await peer.configure(mode)
  },
  'announces both, writes everything, then deletes': async ({ peer, from, to, mode }) => {
    await peer.configure(modes.both)
    await peer.put(...suffixes.map(to.entry))
    await peer.complete(to.resource)
    await peer.drop(...suffixes.map(from.key))
    await peer.configure(mode)
  },
  'announces the new form, deletes key by key, then writes': async ({ peer, from, to, mode }) => {
    await peer.configure(mode)
    for (const suffix of suffixes) await peer.drop(from.key(suffix))
    for (const suffix of suffixes) await peer.put(to.entry(suffix))
    await peer.complete(to.resource)
  },
  'announces the new form, writes, and lets the old keys expire': async ({ peer, to, mode }) => {
    await peer.configure(mode)
    for (const suffix of suffixes) await peer.put(to.entry(suffix))
    await peer.complete(to.resource)
  },
}

t.test('a change of the form is no change of the backends', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const client = await etcd.client()
  let clusters = 0

  const watch = async (t: Test, peer: Peer, prefer: 'services' | 'slices') => {
    const sink = new GapSink()
    const options = { cluster: peer.name, id: peer.id, prefer, ...etcd.servers }
    const source = createEtcdSource(options, { clock: systemClock, random: Math.random, log: silentLog })
    source.start(sink)
    t.teardown(() => source.close())
    await until(() => suffixes.every(suffix => sink.services.has(suffix)), 'the cluster is read')
    sink.isWatching = true
    return sink
  }

  for (const prefer of ['services', 'slices'] as const) {
    for (const target of ['slices', 'records'] as const) {
      for (const [writer, change] of Object.entries(writers)) {
        t.test(`to ${target}: the cluster ${writer} (prefer: ${prefer})`, async t => {
          const peer = new Peer(client, `c${++clusters}`, clusters)
          const { [target]: to, [target === 'slices' ? 'records' : 'slices']: from } = formsOf(peer)
          await peer.put(...suffixes.map(from.entry))
          await peer.beat()
          await peer.configure(target === 'slices' ? modes.records : modes.slices)
          await peer.complete(from.resource)
          const sink = await watch(t, peer, prefer)
          await change({ peer, from, to, mode: modes[target] })
          // Only records have the addresses of the service.
          const isOver = () =>
            suffixes.every(name => (sink.services.get(name)?.clusterIPs.length === 0) === (target === 'slices'))
          await until(isOver, () => `the new form is used (${sink.gaps})`)
          sink.isWatching = false
          await peer.put(to.entry('shop/late'))
          await until(() => sink.services.has('shop/late'), 'and followed')
          await peer.drop(...suffixes.map(to.key))
          await until(
            () => sink.services.size === 1,
            () => `what is deleted is gone (${[...sink.services.keys()]})`,
          )
          t.same(sink.gaps, [])
          t.same(sink.violations, [])
        })
      }
    }
  }
})

t.test('in a cluster that writes both, a service may have either', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const peer = new Peer(await etcd.client())
  const { records, slices } = formsOf(peer)
  await peer.put(records.entry('shop/cart'), slices.entry('shop/basket'), records.entry('shop/till'))
  await peer.put(slices.entry('shop/till'))
  await peer.announce(modes.both)
  for (const prefer of ['services', 'slices'] as const) {
    const sink = new GapSink()
    const options = { cluster: peer.name, id: peer.id, prefer, ...etcd.servers }
    const source = createEtcdSource(options, { clock: systemClock, random: Math.random, log: silentLog })
    source.start(sink)
    t.teardown(() => source.close())
    const seen = () => suffixes.map(suffix => sink.services.get(suffix)?.endpoints.length)
    await until(
      () => seen().every(count => count === 2),
      () => `all of them are read (${seen()})`,
    )
    const [cart, basket, till] = suffixes.map(suffix => sink.services.get(suffix))
    t.same([cart?.clusterIPs, basket?.clusterIPs, till?.clusterIPs], [['10.96.14.7'], [], ['10.96.14.7']])
    // The record has two ports for an endpoint, the slice one.
    t.equal(till?.endpoints[0]?.ports.length, prefer === 'services' ? 2 : 1)
  }
})

t.test('a copy keeps the old form until the new one is complete', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const peer = new Peer(await etcd.client())
  const { records, slices } = formsOf(peer)
  const copied = new Map<string, number>()
  const target: CopyTarget = {
    described: () => {},
    listed: (resource, entries) => copied.set(resource, entries.length),
    changed: () => {},
    live: () => {},
    lost: error => t.fail(error.message),
  }
  await peer.put(...suffixes.map(records.entry))
  await peer.announce(modes.records)
  const copy = createEtcdCopy({ cluster: peer.name, ...etcd.servers }, target, {
    clock: systemClock,
    random: Math.random,
    log: silentLog,
  })
  copy.start()
  t.teardown(() => copy.close())
  await until(() => copied.get('services') === 3, 'the records are copied')
  t.notOk(copied.has('endpointslices'))
  await peer.put(...suffixes.map(slices.entry))
  await peer.configure(modes.slices)
  await until(() => copied.get('endpointslices') === 3, 'the slices are copied')
  t.equal(copied.get('services'), 0, 'and the records removed')
})
