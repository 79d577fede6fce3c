/** Service records that are read from their bytes: the same as through JSON.parse and the schema, whatever is in them. */
import fc from 'fast-check'
import t from 'tap'
import { plainService } from '../../../proxy/sources/etcd/plain-service.ts'
import { serviceValue } from '../../support/etcd/cilium.ts'
import { decodeService } from '../../support/etcd/decoded.ts'

const east = { cluster: 'east', clusterId: 7 }
const suffix = 'shop/cart'

/** With a space at its end, which the fast reader leaves to the schema. */
function bySchema(text: string): unknown {
  return outcome(`${text} `)
}

function outcome(text: string): unknown {
  try {
    return decodeService(suffix, Buffer.from(text), east)
  } catch (error) {
    return `refused: ${(error as { code?: string }).code}`
  }
}

const ports = { http: { Protocol: 'TCP', Port: 8080 } }

function record(changes: Readonly<Record<string, unknown>> = {}): string {
  return JSON.stringify({
    cluster: 'east',
    namespace: 'shop',
    name: 'cart',
    frontends: { '10.0.0.1': { http: { Protocol: 'TCP', Port: 80 } } },
    backends: { '10.1.0.1': ports, '10.1.0.2': ports },
    ...('hostnames' in changes && { hostnames: {} }),
    ...('zones' in changes && { zones: {} }),
    labels: { app: 'cart' },
    selector: { app: 'cart' },
    includeExternal: true,
    shared: true,
    clusterID: 7,
    ...changes,
  })
}

t.test('what clusters write is read from its bytes, and is the same', async t => {
  const usual = [
    record(),
    serviceValue().toString(),
    record({ labels: null, selector: {} }),
    record({ frontends: {}, backends: null }),
    record({ backends: { '10.1.0.1': { 80: ports.http, b: ports.http } } }).replace('"80"', '"a"'),
    record({ backends: { '10.1.0.1': { '': ports.http, dns: { Protocol: 'UDP', Port: 53 } }, 'fd00::1': null } }),
    record({ backends: { '10.1.0.1': { a: { Protocol: 'ICMP', Port: 1 }, b: { Protocol: 'TCP', Port: 0 } } } }),
    record({ hostnames: { '10.1.0.2': 'cart-1' }, zones: { '10.1.0.2': { zone: 'z' }, '10.1.0.1': { zone: 'z' } } }),
    record({ zones: { '10.1.0.1': { zone: 'a', forZones: [{ name: 'a' }, { name: 'b' }] }, '10.1.0.2': {} } }),
    record({ zones: { '10.1.0.1': { forZones: null }, '10.1.0.2': { zone: '', forZones: [] } } }),
  ]
  for (const text of usual) {
    t.ok(plainService(suffix, Buffer.from(text), east), text)
    t.same(outcome(text), bySchema(text), text)
    t.type(outcome(text), Array)
  }
})

t.test('what is unusual or wrong is left to the schema', async t => {
  const unusual = [
    record({ cluster: 'west' }),
    record({ clusterID: 8 }),
    record({ name: 'cart2' }),
    record({ shared: false }),
    record({ frontends: { '': {} }, backends: {} }),
    record({ backends: { '::FFFF:10.1.0.1': ports, '10.1.0.1': { b: { Protocol: 'TCP', Port: 81 } } } }),
    record({ backends: { '10.1.0.1': ports } }).replace('"10.1.0.1":', '"10.1.0.1":null,"10.1.0.1":'),
    record({ backends: { '10.1.0.1': { b: ports.http, 1: ports.http } } }),
    record({ backends: { '10.1.0.1': { a: { Protocol: 'TCP', Port: 65536 } } } }),
    record({ backends: { '10.1.0.1': { a: { Port: 80, Protocol: 'TCP' } } } }),
    record({ backends: { '10.1.0.1': { a: { Protocol: 'TCP', Port: 8.5 } } } }),
    record({ backends: { host: ports } }),
    record({ zones: { '10.9.9.9': { zone: 'z' } } }),
    record({ zones: { host: { zone: 'z' } } }),
    record({ labels: { constructor: 'x' } }),
    record({ labels: { x: 'ü' } }),
    record({ labels: { x: '"' } }),
    record().replace('"labels":{', '"labels":{"__proto__":"x","app":"a",'),
    record().replace('80}', '080}'),
    record().replace('80}', '8e1}'),
    record().replace('"shared":true', '"shared": true'),
    record().slice(0, -1),
    `${record()}}`,
    '',
  ]
  for (const text of unusual) {
    t.notOk(plainService(suffix, Buffer.from(text), east), text)
    t.same(outcome(text), bySchema(text), text)
  }
})

const word = fc.constantFrom('http', 'dns', 'a', 'b-1', '', '80', '__proto__', 'constructor', 'ü', 'a"b', 'a\\b', 'z 1')
const address = fc.constantFrom('10.1.0.1', '10.1.0.2', '10.01.0.3', 'fd00::1', 'FD00::1', '::ffff:10.1.0.1', 'x', '')
const port = fc.record({
  Protocol: fc.constantFrom('TCP', 'UDP', 'SCTP', 'ICMP'),
  Port: fc.oneof(fc.constantFrom(0, 80, 65_535, 65_536, -1, 1.5, 1e21), fc.constant(null)),
})
const tableOf = <T>(value: fc.Arbitrary<T>, key: fc.Arbitrary<string> = address) =>
  fc.oneof({ weight: 9, arbitrary: fc.dictionary(key, value, { maxKeys: 4 }) }, fc.constant(null))
const named = tableOf(fc.oneof({ weight: 9, arbitrary: port }, fc.constant({} as never)), word)
const zone = fc.record(
  { zone: word, forZones: fc.oneof(fc.array(fc.record({ name: word }), { maxLength: 2 }), fc.constant(null)) },
  { requiredKeys: [] },
)
const changes = fc.record(
  {
    ...{ frontends: tableOf(named), backends: tableOf(named), hostnames: tableOf(word), zones: tableOf(zone) },
    ...{ labels: tableOf(word, word), selector: tableOf(word, word) },
    ...{ includeExternal: fc.boolean(), shared: fc.boolean(), clusterID: fc.constantFrom(7, 8, 0, null) },
  },
  { requiredKeys: [] },
)

t.test('both agree on any record', async () => {
  fc.assert(
    fc.property(changes, given => {
      const text = record(given)
      t.same(outcome(text), bySchema(text), text)
    }),
    { numRuns: 300 },
  )
})

const bytes = fc.constantFrom(...'{}[],:"\\ 0123456789eE.-+tnfu\t\u0000\u007fü')
const edit = fc.tuple(fc.nat(), fc.nat(12), fc.oneof(bytes, fc.nat(400)))

t.test('both agree on any text', async t => {
  const text = record({
    zones: { '10.1.0.1': { zone: 'z', forZones: [{ name: 'z' }] } },
    hostnames: { '10.1.0.1': 'h' },
  })
  let same = 0
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 2 }), edits => {
      let mutated = text
      for (const [place, length, put] of edits) {
        const at = place % (mutated.length + 1)
        // A character, or a part of the text from elsewhere.
        const piece = typeof put === 'string' ? put : mutated.slice(put, put + length)
        mutated = mutated.slice(0, at) + piece + mutated.slice(at + (place % 3 === 0 ? length : place % 3))
      }
      const [one, other] = [outcome(mutated), bySchema(mutated)]
      if (JSON.stringify(one) !== JSON.stringify(other)) t.same(one, other, mutated)
      same++
    }),
    { numRuns: 3000 },
  )
  t.ok(same >= 3000)
})
