/** Hostile packets: answered as the RFCs say or dropped, at a low cost, without an effect on later queries. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import dnsPacket from 'dns-packet'
import fc from 'fast-check'
import t from 'tap'
import { FakeDirectory, globalService } from '../../../support/model.ts'
import { ask, laptop, queryBytes, responder, told } from '../dns.ts'

const service = 'rebel-base.default.svc.cluster.local'
const dns = responder(new FakeDirectory(globalService()))
const good = queryBytes(service, 'A')
const goodEdns = queryBytes(service, 'A', { edns: 1232 })

function header(...counts: [number, number, number, number]): Buffer {
  const bytes = Buffer.alloc(12)
  bytes.writeUInt16BE(4711, 0)
  bytes[2] = 1
  for (const [i, count] of counts.entries()) bytes.writeUInt16BE(count, 4 + 2 * i)
  return bytes
}

function patched(bytes: Buffer, at: number, ...values: number[]): Buffer {
  const copy = Buffer.from(bytes)
  for (const [i, value] of values.entries()) copy[at + i] = value
  return copy
}

const aIn = Buffer.from([0, 1, 0, 1])
function asking(name: Buffer): Buffer {
  return Buffer.concat([header(1, 0, 0, 0), name, aIn])
}

function labels(...lengths: number[]): Buffer {
  return Buffer.concat([...lengths.map(n => Buffer.concat([Buffer.from([n]), Buffer.alloc(n, 'a')])), Buffer.from([0])])
}

function withAdditional(count: number, ...records: Buffer[]): Buffer {
  return Buffer.concat([header(1, 0, 0, count), good.subarray(12), ...records])
}

function opt(
  given: { name?: number[]; size?: number; version?: number; data?: number[]; length?: number } = {},
): Buffer {
  const { name = [0], size = 1232, version = 0, data = [], length = data.length } = given
  return Buffer.from([...name, 0, 41, size >> 8, size & 255, 0, version, 0, 0, length >> 8, length & 255, ...data])
}

/** `drop`, or the rcode of the reply. */
function verdict(message: Buffer): string {
  const reply = dns.respond(message, laptop, 'udp')
  if (!reply) return 'drop'
  if (!(reply instanceof Buffer)) return 'later'
  const low = (reply[3] ?? 0) & 15
  const packet = dnsPacket.decode(reply) as dnsPacket.DecodedPacket & { rcode: string }
  const extended = packet.additionals?.find(a => a.type === 'OPT') as { extendedRcode?: number } | undefined
  const code = ((extended?.extendedRcode ?? 0) << 4) | low
  return code === 16 ? 'BADVERS' : packet.rcode
}

t.test('hostile packets', async t => {
  const pointer = (to: number) => Buffer.from([0xc0 | (to >> 8), to & 255])
  const cases: [what: string, message: Buffer, verdict: string][] = [
    ['nothing', Buffer.alloc(0), 'drop'],
    ['eleven octets', Buffer.alloc(11), 'drop'],
    ['a header without question', header(0, 0, 0, 0), 'FORMERR'],
    ['counts of 65535 without data', header(65535, 65535, 65535, 65535), 'FORMERR'],
    ['one question claimed, none there', header(1, 0, 0, 0), 'FORMERR'],
    ['a reply sent as a query', patched(good, 2, 0x81), 'drop'],
    ['a reply with records', dns.respond(good, laptop, 'udp') as Buffer, 'drop'],
    ['two questions', patched(Buffer.concat([good, good.subarray(12)]), 4, 0, 2), 'FORMERR'],
    ['an answer in a query', patched(good, 6, 0, 1), 'FORMERR'],
    ['an authority record in a query', patched(good, 8, 0, 1), 'FORMERR'],
    ['three additional records', patched(good, 10, 0, 3), 'FORMERR'],
    ['a question cut in the name', good.subarray(0, 20), 'FORMERR'],
    ['a question cut in the type', good.subarray(0, -3), 'FORMERR'],
    ['a question cut in the class', good.subarray(0, -1), 'FORMERR'],
    ['a pointer to itself', asking(pointer(12)), 'FORMERR'],
    ['a loop of two pointers', asking(Buffer.concat([pointer(14), pointer(12)])), 'FORMERR'],
    ['a pointer forward', asking(pointer(18)), 'FORMERR'],
    ['a pointer past the end', asking(pointer(16383)), 'FORMERR'],
    ['a pointer into the header', asking(pointer(4)), 'FORMERR'],
    [
      'a chain of 500 pointers',
      asking(Buffer.concat(Array.from({ length: 500 }, (_, i) => pointer(14 + 2 * i)))),
      'FORMERR',
    ],
    ['label type 01', asking(Buffer.from([0x41, 97, 0])), 'FORMERR'],
    ['label type 10', asking(Buffer.from([0x81, 97, 0])), 'FORMERR'],
    ['a name of 256 octets', asking(labels(63, 63, 63, 62)), 'FORMERR'],
    ['a name of 255 octets', asking(labels(63, 63, 63, 61)), 'REFUSED'],
    ['the root', asking(Buffer.from([0])), 'REFUSED'],
    ['opcode 1 (inverse query)', patched(good, 2, 0x09), 'NOTIMP'],
    ['opcode 2 (status)', patched(good, 2, 0x11), 'NOTIMP'],
    ['opcode 4 (notify)', patched(good, 2, 0x21), 'NOTIMP'],
    ['opcode 5 (update)', patched(good, 2, 0x29), 'NOTIMP'],
    ['opcode 15', patched(good, 2, 0x79), 'NOTIMP'],
    ['class CH', patched(good, good.length - 1, 3), 'REFUSED'],
    ['class ANY', patched(good, good.length - 1, 255), 'REFUSED'],
    ['class NONE', patched(good, good.length - 1, 254), 'REFUSED'],
    ['the Z bit', patched(good, 3, 0x40), 'NOERROR'],
    ['AA, TC, RA and an rcode in a query', patched(good, 2, 0x07, 0x8f), 'NOERROR'],
    ['AXFR', queryBytes('cluster.local', 'AXFR'), 'REFUSED'],
    ['IXFR', queryBytes('cluster.local', 'IXFR'), 'REFUSED'],
    ['type 0', patched(good, good.length - 3, 0), 'REFUSED'],
    ['EDNS version 1', withAdditional(1, opt({ version: 1 })), 'BADVERS'],
    ['EDNS version 255', withAdditional(1, opt({ version: 255 })), 'BADVERS'],
    ['two OPT records', withAdditional(2, opt(), opt()), 'FORMERR'],
    ['OPT below a name', withAdditional(1, opt({ name: [1, 97, 0] })), 'FORMERR'],
    ['OPT whose length runs over the end', withAdditional(1, opt({ length: 100 })), 'FORMERR'],
    ['an option that runs over OPT', withAdditional(1, opt({ data: [0, 10, 0, 8, 1, 2] })), 'FORMERR'],
    ['half an option', withAdditional(1, opt({ data: [0, 10, 0] })), 'FORMERR'],
    ['a cookie and padding', withAdditional(1, opt({ data: [0, 10, 0, 2, 1, 2, 0, 12, 0, 1, 0] })), 'NOERROR'],
    ['a TSIG-like record', withAdditional(1, Buffer.from([1, 107, 0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 1, 7])), 'NOERROR'],
    ['an additional record cut', withAdditional(1, Buffer.from([0, 0, 41])), 'FORMERR'],
    ['trailing octets', Buffer.concat([good, Buffer.alloc(100, 0xff)]), 'NOERROR'],
    [
      'a dot inside a label',
      asking(Buffer.from('\x12rebel-base.default\x03svc\x07cluster\x05local\x00', 'latin1')),
      'NXDOMAIN',
    ],
    [
      'a short name with a dot inside its label',
      asking(Buffer.from('\x12rebel-base.default\x00', 'latin1')),
      'REFUSED',
    ],
    ['a NUL inside a label', asking(Buffer.from('\x02a\x00\x03svc\x07cluster\x05local\x00', 'latin1')), 'NXDOMAIN'],
    [
      'octets beyond ASCII',
      asking(Buffer.from('\x01\xff\x07default\x03svc\x07cluster\x05local\x00', 'latin1')),
      'NXDOMAIN',
    ],
    [
      'a slash inside a label',
      asking(Buffer.from('\x12default/rebel-base\x03svc\x07cluster\x05local\x00', 'latin1')),
      'NXDOMAIN',
    ],
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\nHost: cluster.local\r\n\r\n'), 'NOTIMP'],
  ]
  for (const [what, message, expected] of cases) t.equal(verdict(message), expected, what)
  t.equal(told(await ask(dns, service, 'A')), 'A 127.96.0.10', 'and the next client is served')
})

t.test('an error carries the id and the question', async t => {
  const reply = dns.respond(patched(good, 2, 0x29, 0x70), laptop, 'udp') as Buffer
  t.equal(reply.readUInt16BE(0), 4711)
  t.equal(reply[2], 0xa9, 'QR, the opcode and RD')
  t.equal(reply[3], 4, 'no Z, AD or CD')
  t.equal(reply.length, 12)
})

t.test('EDNS in the reply only when it was in the query, and never with the options of the client', async t => {
  const options = withAdditional(1, opt({ data: [0, 10, 0, 2, 1, 2] }))
  for (const [message, additionals] of [
    [good, 0],
    [goodEdns, 1],
    [options, 1],
  ] as const) {
    const packet = dnsPacket.decode(dns.respond(message, laptop, 'udp') as Buffer)
    t.equal(packet.additionals?.length, additionals)
    for (const record of packet.additionals ?? []) t.match(record, { type: 'OPT', udpPayloadSize: 1232, options: [] })
  }
  const dnssec = patched(goodEdns, goodEdns.length - 4, 0x80)
  t.match(dnsPacket.decode(dns.respond(dnssec, laptop, 'udp') as Buffer).additionals, [{ flag_do: true }])
})

t.test('for any bytes the reply is none, or well formed and within its size', async t => {
  const bases = [good, goodEdns, queryBytes('x.cluster.local', 'SRV', { edns: 4096 }), withAdditional(2, opt(), opt())]
  const mutated = fc
    .tuple(fc.constantFrom(...bases), fc.array(fc.tuple(fc.nat(120), fc.nat(255)), { maxLength: 8 }), fc.nat(140))
    .map(([base, changes, length]) => {
      const bytes = Buffer.concat([base, Buffer.alloc(40)])
      for (const [at, value] of changes) bytes[at % bytes.length] = value
      return bytes.subarray(0, Math.max(0, Math.min(bytes.length, length)))
    })
  const anything = fc.oneof(
    mutated,
    fc.uint8Array({ maxLength: 300 }).map(bytes => Buffer.from(bytes)),
  )
  fc.assert(
    fc.property(anything, message => {
      const reply = dns.respond(message, laptop, 'udp')
      if (reply === undefined) return true
      if (!(reply instanceof Buffer) || reply.length > 1232) return false
      const packet = dnsPacket.decode(reply)
      return (
        reply.readUInt16BE(0) === message.readUInt16BE(0) && packet.flag_qr && reply.length === dnsPacket.decode.bytes
      )
    }),
    { numRuns: 3000 },
  )
  t.pass('3000 packets')
})

t.test('the fuzzer finds nothing in its corpus, nor in a short run', async t => {
  const script = fileURLToPath(new URL('../../../../scripts/fuzz-dns.ts', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, [script, '--seconds=1', '--seed=1'])
  t.match(stdout, /nothing found/)
})
