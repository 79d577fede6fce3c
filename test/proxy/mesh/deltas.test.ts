/** A mesh that has followed changes one by one is the same as one that is told everything at once, whatever the changes and their order. */
import { deepStrictEqual } from 'node:assert'
import fc from 'fast-check'
import t from 'tap'
import { Admission } from '../../../proxy/admission/admission.ts'
import { AddressIndex } from '../../../proxy/dns/zones/address-index.ts'
import { WatchedBackends } from '../../../proxy/health/watched-backends.ts'
import { Mesh } from '../../../proxy/mesh/mesh.ts'
import type { Health } from '../../../proxy/model/backend.ts'
import { MeshError } from '../../../proxy/model/error.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import type { ClusterObject, DeclaredEndpoint, ServiceObject } from '../../../proxy/sources/objects.ts'
import { ServiceAssembler } from '../../../proxy/sources/service-assembler.ts'
import { FakeClock } from '../../support/clock.ts'
import { clusterService } from '../../support/model.ts'

const names = ['cluster-1', 'cluster-2', 'cluster-3']
const services = ['a', 'b']
const http = { name: 'http', protocol: 'TCP', port: 80 } as const
const dns = { name: 'dns', protocol: 'UDP', port: 53 } as const
/** Those of the services too: Starlane does not go to itself. */
const addresses = ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4', 'fd00::1', '10.0.0.5', '10.96.0.1', '10.96.0.2']

type Step =
  | { readonly do: 'put'; readonly cluster: string; readonly object: ClusterObject }
  | { readonly do: 'remove'; readonly cluster: string; readonly object: ClusterObject }
  | { readonly do: 'verdict'; readonly address: string; readonly health: Health }
  | { readonly do: 'lose' | 'find' | 'restart'; readonly cluster: string }
  | { readonly do: 'flush' }

function aService(name: string, spec: Partial<ServiceObject['spec']>): ServiceObject {
  const { cluster: _, namespace: __, name: ___, endpoints: ____, ...plain } = clusterService()
  const ports = [
    { name: 'http', protocol: 'TCP', port: 80 } as const,
    { name: 'dns', protocol: 'UDP', port: 53 } as const,
  ]
  const clusterIPs = spec.headless ? [] : [`10.96.0.${services.indexOf(name) + 1}`]
  return { kind: 'Service', namespace: 'default', name, spec: { ...plain, ports, clusterIPs, ...spec } }
}

const anEndpoint: fc.Arbitrary<DeclaredEndpoint> = fc
  .record({
    address: fc.constantFrom(...addresses),
    ready: fc.boolean(),
    serving: fc.constantFrom(undefined, true, false),
    terminating: fc.constantFrom(false, false, true),
    ports: fc.constantFrom([http], [http, dns], [dns], [{ ...http, name: 'other' }]),
    pod: fc.constantFrom(undefined, undefined, 'p1', 'p2'),
    node: fc.constantFrom(undefined, 'n1'),
    zone: fc.constantFrom(undefined, 'z1'),
    weight: fc.constantFrom(undefined, undefined, 0, 50),
    hostname: fc.constantFrom(undefined, undefined, 'h1'),
  })
  .map(all => Object.fromEntries(Object.entries(all).filter(([k, v]) => k === 'serving' || v !== undefined)) as never)

const annotations = [
  { 'service.cilium.io/global': 'true' },
  { 'service.cilium.io/global': 'true' },
  { 'service.cilium.io/global': 'true', 'service.cilium.io/shared': 'false' },
  { 'service.cilium.io/global': 'true', 'starlane.dev/cluster-weights': 'cluster-1=80,cluster-2=20' },
  {},
]

const object: fc.Arbitrary<ClusterObject> = fc.oneof(
  fc
    .record({
      name: fc.constantFrom(...services),
      annotations: fc.constantFrom(...annotations),
      headless: fc.constantFrom(false, false, false, true),
      internalTrafficPolicy: fc.constantFrom('Cluster' as const, 'Cluster' as const, 'Local' as const),
      publishNotReadyAddresses: fc.boolean(),
    })
    .map(({ name, ...spec }) => aService(name, spec)),
  {
    weight: 4,
    arbitrary: fc
      .record({
        name: fc.constantFrom('s1', 's2'),
        of: fc.constantFrom(...services),
        endpoints: fc.array(anEndpoint, { maxLength: 5 }),
      })
      .map(({ name, of, endpoints }) => ({
        ...({ kind: 'EndpointSlice', namespace: 'default' } as const),
        name: `${of}-${name}`,
        service: `default/${of}`,
        endpoints,
      })),
  },
  fc
    .record({ zone: fc.constantFrom(undefined, 'z1', 'z2') })
    .map(({ zone }) => ({ kind: 'Node', namespace: '', name: 'n1', zone, podCidrs: ['10.0.0.0/30'] }) as const),
)

const cluster = fc.constantFrom(...names)
const put = fc.record({ do: fc.constant('put' as const), cluster, object })
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: put },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('remove' as const), cluster, object }) },
  fc.record({
    do: fc.constant('verdict' as const),
    address: fc.constantFrom(...addresses),
    health: fc.constantFrom('up' as const, 'down' as const, 'ejected' as const, 'unknown' as const),
  }),
  fc.record({ do: fc.constantFrom('lose' as const, 'find' as const, 'restart' as const), cluster }),
  { weight: 5, arbitrary: fc.constant({ do: 'flush' } as const) },
)

/** The whole way of a change, and some of those who follow the directory. `most`: services in a batch. */
function open(most?: number) {
  const verdicts = new Map<string, Health>()
  const clock = new FakeClock()
  const admission = new Admission({ wholeAddresses: false })
  const health = (destination: string): Health =>
    verdicts.get(addresses.find(one => destination.includes(one)) ?? '') ?? 'unknown'
  const mesh = new Mesh({
    clusters: names.map((name, i) => ({ name, id: i + 1, local: i === 0 })),
    staleAfterMs: 0,
    services: 'global',
    node: 'n1',
    health,
    onMerged: change => admission.follow(change),
    clock,
    log: silentLog,
    defer: () => {},
  })
  const index = new AddressIndex(mesh.directory, () => {})
  const watched = new WatchedBackends(clock, ({ settings }) => settings.global)
  mesh.directory.onChange(change => {
    for (const one of change) watched.replace(one)
  })
  for (const [rank, name] of names.entries()) admission.allow(name, { loopback: false, local: rank === 0, rank })
  const sinks = new Map(names.map(name => [name, admission.sink(name, mesh.sink(name))]))
  const assemblers = new Map(names.map(name => [name, new ServiceAssembler(name)]))
  const flush = () => {
    for (const name of names) assemblers.get(name)?.flush(sinks.get(name) as never)
    // Others may be marked by a batch.
    for (let i = 0; i < 2 * services.length; i++) mesh.flush(most)
  }
  const act = (step: Step) => {
    if (step.do === 'flush') return flush()
    if (step.do === 'verdict') {
      verdicts.set(step.address, step.health)
      for (const key of allDestinations(mesh)) if (key.includes(step.address)) mesh.healthChanged(key)
      return
    }
    const { cluster } = step
    if (step.do === 'put') assemblers.get(cluster)?.put(step.object)
    else if (step.do === 'remove') assemblers.get(cluster)?.remove(step.object)
    else if (step.do === 'lose') sinks.get(cluster)?.lost(new MeshError('SOURCE_READ', 'gone'))
    else if (step.do === 'find') sinks.get(cluster)?.live()
    else assemblers.get(cluster)?.reset(sinks.get(cluster) as never)
  }
  const state = () => ({
    services: [...mesh.directory.services()].map(shown).sort((a, b) => (a.key < b.key ? -1 : 1)),
    owners: addresses.map(address =>
      index
        .ownersOf(address)
        .map(owner => JSON.stringify(owner))
        .sort(),
    ),
    watched: [...watched.current()].map(({ key, pools }) => [key, pools.length]).sort(),
    pools: [...watched.current()].flatMap(({ key, pools }) =>
      pools.some(pool => !pool.watched.some(one => one.key === key)) ? [key] : [],
    ),
    refused: admission
      .problems()
      // Of several clusters that own an address, one is named.
      .map(({ where, message }) => `${where} ${message.split(' ')[0]}`)
      .sort(),
  })
  /** Addresses of which the directory does not say which services have a backend there. */
  const misplaced = () =>
    addresses.filter(address => {
      const all = [...mesh.directory.services()]
      const there = all.filter(({ backends }) => backends.some(backend => backend.address === address))
      return (
        there
          .map(({ key }) => key)
          .sort()
          .join() !== [...mesh.directory.servicesAt(address)].sort().join()
      )
    })
  return { act, flush, state, misplaced, close: () => mesh.close() }
}

/** Verdicts on parked backends are not followed. */
function shown({ changedAt, parked, ...service }: ReturnType<Mesh['directory']['service']> & object) {
  return JSON.parse(JSON.stringify({ ...service, parked: parked.map(({ key, state }) => [key, state]) })) as {
    key: string
  }
}

function allDestinations(mesh: Mesh): Set<string> {
  return new Set([...mesh.directory.services()].flatMap(({ backends }) => backends.map(one => one.destination)))
}

t.test('changes in any order, in any batches, lead to what the last state of everything says', async t => {
  const property = fc.property(fc.array(step, { minLength: 5, maxLength: 40 }), fc.gen(), (steps, random) => {
    const followed = open(1)
    followed.flush()
    const last = new Map<string, Step>()
    const verdicts: Step[] = []
    for (const step of steps) {
      followed.act(step)
      if (step.do === 'verdict') verdicts.push(step)
      if (step.do !== 'put' && step.do !== 'remove') continue
      const { kind, name } = step.object
      last.delete(`${step.cluster} ${kind} ${name}`)
      if (step.do === 'put') last.set(`${step.cluster} ${kind} ${name}`, step)
    }
    followed.flush()
    const fresh = open()
    const order = [...last.values()].map(step => [random(fc.nat), step] as const).sort(([a], [b]) => a - b)
    for (const [, step] of order) fresh.act(step)
    for (const step of verdicts) fresh.act(step)
    fresh.flush()
    try {
      deepStrictEqual(followed.state(), fresh.state())
      deepStrictEqual(followed.misplaced(), [])
    } finally {
      followed.close()
      fresh.close()
    }
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: Number(process.env.STARLANE_RUNS ?? 80) }))
})

t.test('one endpoint of a service changes: it is checked and made again, and no other', async t => {
  let checked = 0
  const admission = new Admission({
    wholeAddresses: false,
    isListener: () => {
      checked++
      return false
    },
  })
  const clusters = names.map((name, i) => ({ name, id: i + 1, local: i === 0 }))
  const mesh = new Mesh({
    ...{ clusters, staleAfterMs: 0, services: 'global', log: silentLog, clock: new FakeClock() },
    health: () => 'unknown',
    onMerged: change => admission.follow(change),
    defer: () => {},
  })
  t.teardown(() => mesh.close())
  const slice = (of: string, name: string, all: readonly string[]): ClusterObject => ({
    ...({ kind: 'EndpointSlice', namespace: 'default', name, service: 'default/a' } as const),
    endpoints: all.map(address => ({
      ...{ address, ports: [{ ...http }], ready: true, serving: true, terminating: false, pod: `${of}-${address}` },
      node: 'n1',
    })),
  })
  const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `10.1.0.${from + i}`)
  const assembler = new ServiceAssembler('cluster-1')
  admission.allow('cluster-1', { loopback: false, local: true, rank: 0 })
  const sink = admission.sink('cluster-1', mesh.sink('cluster-1'))
  const deliver = (...objects: ClusterObject[]) => {
    for (const object of objects) assembler.put(object)
    checked = 0
    assembler.flush(sink)
    mesh.flush()
  }
  const annotations = { 'service.cilium.io/global': 'true' }
  const node: ClusterObject = { kind: 'Node', namespace: '', name: 'n1', zone: 'z1' }
  deliver(aService('a', { annotations }), node, slice('x', 's1', range(0, 100)), slice('y', 's2', range(100, 200)))
  const before = mesh.directory.service('default/a')
  t.equal(before?.backends.length, 200)

  deliver(slice('x', 's1', [...range(1, 100), '10.1.0.250']))
  const after = mesh.directory.service('default/a')
  const known = new Set(before?.backends)
  t.same(
    after?.backends.filter(backend => !known.has(backend)).map(({ address, zone }) => [address, zone]),
    [['10.1.0.250', 'z1']],
    'the others are the same objects',
  )
  t.equal(after?.backends.length, 200)
  t.equal(after?.frontends[0]?.backends.length, 200)
  t.equal(checked, 1, 'endpoints that admission has looked at')

  deliver(aService('a', { annotations }))
  t.equal(mesh.directory.service('default/a'), after, 'an equal Service is no change')
})
