/** Large values of etcd: taken apart, decoded in turns, and in order with what comes meanwhile. So are many changes at once. */
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import type { Entry } from '../../../proxy/clients/etcd/rpc.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { ClusterRecords } from '../../../proxy/sources/etcd/cluster-records.ts'
import { decodeService } from '../../../proxy/sources/etcd/decode-service.ts'
import { tables, takeApart } from '../../../proxy/sources/etcd/large-record.ts'
import { RecordReader } from '../../../proxy/sources/etcd/record-reader.ts'
import { ServiceAssembler } from '../../../proxy/sources/service-assembler.ts'
import { RecordingSink, SlowSink } from '../../conformance/source.ts'
import { serviceValue } from '../../support/etcd/cilium.ts'
import { finished } from '../../support/etcd/decoded.ts'

const east = { cluster: 'east', clusterId: 7 }
const prefix = 'cilium/state/services/v1/east/'
const address = (i: number) => `10.${20 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`
const backends = (count: number, port = 8080) =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [address(i), { http: { Protocol: 'TCP', Port: port } }]))

/** The record as JSON.parse has it, but for long lists. */
function whole(value: Buffer): Record<string, unknown> {
  const large = finished(takeApart(value))
  const record = { ...(large.rest as Record<string, unknown>) }
  for (const name of large.cuts.keys()) record[name] = Object.assign({}, ...tables(large, name))
  return record
}

t.test('a large record is what JSON.parse makes of it', async t => {
  const text = fc.string({ unit: 'binary', maxLength: 20 })
  const entry = fc.oneof(text, fc.integer(), fc.constant(null), fc.dictionary(text, text, { maxKeys: 3 }))
  const record = fc.dictionary(text, fc.oneof(entry, fc.dictionary(text, entry, { maxKeys: 12 })), { maxKeys: 5 })
  /** Repeats the entries of each mapping under other names until it is long. */
  const long = (value: unknown): unknown => {
    const isTable = typeof value === 'object' && value !== null && Object.keys(value).length > 3
    if (!isTable) return value
    const entries = Object.entries(value)
    return Object.fromEntries(
      Array.from({ length: 150 }, (_, i) => entries.map(([k, v]) => [`${k}"\\{${i}`, v])).flat(),
    )
  }
  fc.assert(
    fc.property(record, fc.constantFrom(undefined, 1, '\t'), (small, space) => {
      const value = Buffer.from(
        JSON.stringify(Object.fromEntries(Object.entries(small).map(([k, v]) => [k, long(v)])), null, space),
      )
      return isDeepStrictEqual(whole(value), JSON.parse(value.toString()))
    }),
    { numRuns: 10 },
  )
  t.match(
    whole(Buffer.from(`{"a":${JSON.stringify(backends(1000))},"a":{"b":1}}`)),
    { a: { b: 1 } },
    'the last one counts',
  )
})

t.test('what is not JSON is refused, wherever the fault is', async t => {
  const good = serviceValue({ backends: backends(1000) }).toString('latin1')
  const middle = good.indexOf('"10.20.1.200"')
  const faults: (readonly [at: number, remove: number, insert: string])[] = [
    ...[',', '}', ']', '{', '"', ':'].map(text => [middle, 0, text] as const),
    ...[0, 1, good.length - 1].map(at => [at, 1, ''] as const),
    [good.indexOf('}}},"', middle) + 2, 0, ','],
    [middle, good.length, ''],
  ]
  for (const [at, remove, insert] of faults) {
    const bad = Buffer.from(good.slice(0, at) + insert + good.slice(at + remove), 'latin1')
    t.throws(() => JSON.parse(bad.toString()))
    t.throws(() => finished(decodeService('shop/cart', bad, east)), { code: 'SOURCE_OBJECT' }, `${insert} at ${at}`)
  }
  const port = { http: { Protocol: 'TCP', Port: 65536 } }
  const last = serviceValue({ backends: { ...backends(1000), '10.9.9.9': port } })
  t.throws(() => finished(decodeService('shop/cart', last, east)), {
    code: 'SOURCE_OBJECT',
    message: /^backends.*Port/,
  })
  const wide = serviceValue({
    backends: { '10.0.0.1': Object.fromEntries(Array.from({ length: 40_000 }, (_, i) => [i, port.http])) },
  })
  t.throws(() => finished(decodeService('shop/cart', wide, east)), { message: /has more than 30000 fields/ })
})

t.test('a service with 10,000 backends pauses, and keeps the objects of those that stay', async t => {
  const steps = decodeService('shop/cart', serviceValue({ backends: backends(10_000) }), east)
  let pauses = 0
  let step = steps.next()
  for (; !step.done; step = steps.next()) pauses++
  t.ok(pauses > 30, `pauses ${pauses} times`)
  const endpointsOf = (objects: typeof step.value) =>
    objects?.flatMap(each => ('endpoints' in each ? each.endpoints : [])) ?? []
  const before = endpointsOf(step.value)
  t.equal(before.length, 10_000)
  t.match(before[9999], { address: address(9999), ports: [{ name: 'http', protocol: 'TCP', port: 8080 }], ready: true })

  const changed = { ...backends(10_001), [address(5)]: { http: { Protocol: 'TCP', Port: 81 } } }
  const after = endpointsOf(finished(decodeService('shop/cart', serviceValue({ backends: changed }), east, before)))
  t.equal(after.length, 10_001)
  t.same(
    after.flatMap((endpoint, i) => (endpoint === before[i] ? [] : i)),
    [5, 10_000],
  )
})

t.test('large values among others keep their order', async t => {
  const assembler = new ServiceAssembler('east')
  const sink = new RecordingSink()
  assembler.reset(sink)
  const nothing = () => {}
  const reader = new RecordReader({
    ...{ prefix, kinds: ['Service', 'Endpoints'] as const, assembler, clock: systemClock, mayMove: () => false },
    ...{ started: nothing, listed: nothing, skipped: nothing, changed: nothing },
    decode: (suffix, value, before) => decodeService(suffix, value, east, before),
  })
  const entry = (name: string, count: number, port = 8080) =>
    ({
      key: `${prefix}shop/${name}`,
      value: serviceValue({ name, backends: backends(count, port) }),
    }) as unknown as Entry
  const put = (...given: Parameters<typeof entry>) => ({ kept: true, entry: entry(...given) })
  const portOf = (name: string) => {
    assembler.flush(sink)
    return sink.services.get(`shop/${name}`)?.endpoints[0]?.ports[0]?.port
  }

  reader.changed([put('small', 1, 1), put('large', 500, 1), put('small', 1, 2), put('large', 500, 2)])
  t.equal(portOf('small'), 1, 'what comes before a large one is there')
  await reader.rest
  t.equal(portOf('small'), 2)
  t.equal(portOf('large'), 2)
  t.equal(reader.rest, undefined)

  reader.changed([put('large', 500, 3), put('small', 1, 3)])
  const late = reader.rest
  // Another connection, and its list is newer than what is being decoded.
  reader.started()
  const list = [entry('small', 1, 4), entry('large', 500, 4)]
  reader.arrived(list)
  await Promise.all([late, reader.rest])
  reader.listed(list)
  t.equal(portOf('small'), 4)
  t.equal(portOf('large'), 4)

  reader.changed([put('large', 500, 5), { kept: false, entry: entry('large', 1) }])
  await reader.rest
  t.equal(portOf('large'), undefined, 'put, and deleted')

  reader.changed([put('large', 500, 6), put('small', 1, 6)])
  const closed = reader.rest
  reader.close()
  await closed
  t.equal(portOf('large'), undefined)
  t.equal(portOf('small'), 4)
})

t.test('many services that change at once are delivered in several rounds of the event loop', async t => {
  const sink = new SlowSink()
  const records = new ClusterRecords({ owner: east, cached: false, prefer: 'services', sink, clock: systemClock })
  t.teardown(() => records.close())
  const config = { id: 7, syncedCanaries: false, cached: false, maxConnectedClusters: 255, gateways: [] } as const
  const [{ listener }, ...others] = records.subscribe({ ...config, serviceExports: undefined, slicesMode: '' })
  const names = Array.from({ length: 40 }, (_, i) => `shop/s${i}`)
  const entries = (port: number): Entry[] =>
    names.map(suffix => {
      const [namespace, name] = suffix.split('/')
      const value = serviceValue({ namespace, name, backends: backends(2, port) })
      return { key: `${prefix}${suffix}`, value, createRevision: 1, modRevision: 1, lease: 0n }
    })
  for (const one of [{ listener }, ...others]) one.listener.started?.()
  listener.listed(entries(8080))
  for (const one of others) one.listener.listed([])
  t.equal(sink.services.size, 40)

  sink.takes = 2
  listener.changed(entries(9090).map(entry => ({ kept: true, entry })))
  const rounds = await sink.roundsOf(40)
  t.ok(sink.services.get('shop/s39')?.endpoints.every(({ ports }) => ports[0]?.port === 9090))
  t.ok(rounds >= 5, `80 ms of work in ${rounds} rounds`)
})
