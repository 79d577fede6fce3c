/**
 * Feeds mutated packets to the DNS code: queries to the responder, replies to the code that reads upstreams.
 *
 *   npm run fuzz:dns [-- --seconds 60 --seed 1 --keep]
 *
 * Starts from test/proxy/dns/corpus, one packet per line in hex. Runs for the given time and exits with 0 when every packet
 * was handled within the rules below, else with 1 and the packet in hex. `--keep` adds packets to the corpus that were handled
 * in a way not seen before; add packets that caused a failure as well, so that they are tested from then on.
 */
import { appendFileSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import dnsPacket from 'dns-packet'
import { joinTarget } from '../proxy/dns/chase.ts'
import { normalize } from '../proxy/dns/forward/normalize.ts'
import { encode } from '../proxy/dns/message/encode.ts'
import { print } from '../proxy/dns/message/print.ts'
import { type Query, readQuery } from '../proxy/dns/message/query.ts'
import { isReplyTo } from '../proxy/dns/message/question.ts'
import { stamp } from '../proxy/dns/message/reply.ts'
import { nameAt, questionEnd, spans } from '../proxy/dns/message/scan.ts'
import { typeName } from '../proxy/dns/message/wire.ts'
import { createDnsResponder } from '../proxy/dns/responder.ts'
import { Mesh } from '../proxy/mesh/mesh.ts'
import { type Cidr, parseCidr } from '../proxy/model/address.ts'
import { silentLog } from '../proxy/model/log.ts'
import type { ClusterService } from '../proxy/model/service.ts'
import { systemClock } from '../proxy/model/time/clock.ts'
import { commandLine } from './command-line.ts'

const { values } = commandLine(import.meta.url, {
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    keep: { type: 'boolean', default: false },
  },
})

/** A packet that takes longer twice in a row is a failure; the first time may be due to garbage collection. */
const slowMs = 50
/** An upstream's message is as large as TCP allows. */
const mostBytes = 65_535

interface Target {
  readonly name: string
  readonly file: string
  /** Throws when a rule is broken, else returns a short description of how the packet was handled. */
  handle(packet: Buffer): string
}

const corpus = (name: string) => fileURLToPath(new URL(`../test/proxy/dns/corpus/${name}.hex`, import.meta.url))
const targets: Target[] = [
  { name: 'queries', file: corpus('queries'), handle: queryHandler() },
  { name: 'replies', file: corpus('replies'), handle: handleReply },
]
const random = mulberry(Number(values.seed))
const until = performance.now() + Number(values.seconds) * 1000
const packets = { queries: 0, replies: 0 } as Record<string, number>

const pools = targets.map(target => ({ target, pool: load(target), seen: new Set<string>() }))
for (const { target, pool, seen } of pools) for (const packet of pool) seen.add(attempt(target, packet))
while (performance.now() < until) {
  for (const { target, pool, seen } of pools) {
    const packet = mutated(pool)
    const way = attempt(target, packet)
    if (seen.has(way)) continue
    seen.add(way)
    pool.push(packet)
    if (values.keep && packet.length < 300) appendFileSync(target.file, `${packet.toString('hex')} # ${way}\n`)
  }
}
const counts = pools.map(({ target, seen }) => `${packets[target.name]} ${target.name} (${seen.size} ways)`)
console.log(`nothing found with seed ${values.seed} in ${counts.join(', ')}`)
process.exit(0)

function attempt(target: Target, packet: Buffer): string {
  packets[target.name] = (packets[target.name] ?? 0) + 1
  try {
    const before = process.cpuUsage()
    const way = target.handle(packet)
    if (cpuMs(before) < slowMs) return way
    const again = process.cpuUsage()
    target.handle(packet)
    if (cpuMs(again) > slowMs) throw new Error(`takes ${Math.round(cpuMs(again))} ms`)
    return way
  } catch (error) {
    console.log(`${target.name}: ${(error as Error).stack}\nseed ${values.seed}, packet ${packet.toString('hex')}`)
    process.exit(1)
  }
}

/** CPU time of this process, so that load on the machine does not count. */
function cpuMs(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since)
  return (user + system) / 1000
}

function queryHandler(): Target['handle'] {
  const clusters = [{ name: 'cluster-1', id: 1, local: true }]
  const mesh = new Mesh({
    clusters,
    staleAfterMs: 0,
    services: 'all',
    health: () => 'unknown',
    clock: systemClock,
    log: silentLog,
  })
  mesh.sink('cluster-1').reset({ services: declarations(), namespaces: [{ name: 'default', global: true }] })
  mesh.flush()
  const dns = createDnsResponder({
    directory: mesh.directory,
    visibility: { admit: () => undefined, visible: (_client, service) => service.backends },
    options: {
      listen: { address: '127.0.0.1', port: 0 },
      pods: 'insecure',
      networks: [parseCidr('10.0.0.0/8') as Cidr],
    },
    clock: systemClock,
    random: Math.random,
    log: { ...silentLog, error: (event, fields) => fail(`${event}: ${JSON.stringify(fields)}`) },
  })
  return packet => {
    const reply = dns.respond(packet, { address: '127.0.0.1', port: 4000 }, 'udp')
    const other = dns.respond(packet, { address: '::1', port: 4000 }, 'tcp')
    if (reply === undefined) return other === undefined ? 'silence' : fail('is answered over TCP only')
    if (!(reply instanceof Buffer) || !(other instanceof Buffer))
      return fail('is answered later, with no upstream to ask')
    if (reply.length > 1232) fail(`gets ${reply.length} bytes over UDP`)
    wellFormed(other)
    if (reply.readUInt16BE(0) !== packet.readUInt16BE(0)) fail('gets another id')
    if (((reply[2] ?? 0) & 0x80) === 0) fail('gets no reply but a query')
    const end = wellFormed(reply)
    if (end > 12 && !reply.subarray(12, end).equals(packet.subarray(12, end))) fail('gets another question')
    dnsPacket.decode(reply)
    return `rcode ${(reply[3] ?? 0) & 15}, type ${end > 12 ? typeBand(reply.readUInt16BE(end - 4)) : 'none'}, sections ${[7, 9, 11].map(at => Math.min(2, reply[at] ?? 0)).join('')}`
  }
}

function typeBand(type: number): string {
  const name = typeName(type)
  return name.startsWith('TYPE') ? (type >= 128 && type < 256 ? 'meta' : 'unknown') : name
}

function handleReply(packet: Buffer): string {
  const query = queryFor(packet)
  isReplyTo(query?.bytes ?? packet, packet)
  const found = normalize(packet, { maxSeconds: 3600, maxNegativeSeconds: 300 })
  if (!found) return 'malformed'
  const { reply, ttlSeconds } = found
  if (ttlSeconds < 0 || ttlSeconds > 3600) fail(`is kept for ${ttlSeconds} s`)
  if (!query) return 'no query of ours asks that'
  wellFormed(stamp(reply, query, mostBytes, 0))
  for (const limit of [512, 1232, mostBytes]) {
    const stamped = stamp(reply, query, limit, 3, 7)
    if (stamped.length > limit) fail(`takes ${stamped.length} of ${limit} bytes`)
    // Names that point into a TTL change as it counts down; only the structure is checked.
    complete(stamped)
  }
  print(reply.bytes, reply.questionEnd)
  const alias = { zone: 'z', rcode: 0, answers: [], authority: [], additional: [] }
  const chased = joinTarget(alias, { reply, ageSeconds: 1, from: 'upstream', detail: '' })
  wellFormed(encode(query.bytes.subarray(12, query.end), { authoritative: true, rcode: 0 }, chased))
  const rotatable = reply.rotatable ? 'rotatable' : 'fixed'
  return `rcode ${reply.rcode}, ${ttlSeconds > 0 ? 'kept' : 'not kept'}, ${rotatable}, ${Math.min(9, reply.ttlAt.length)} records`
}

/** The query that a packet would be the reply to. */
function queryFor(packet: Buffer): Query | undefined {
  const end = questionEnd(packet)
  if (end === undefined) return undefined
  const bytes = Buffer.from(packet.subarray(0, end))
  bytes.set([1, 0, 0, 1, 0, 0, 0, 0, 0, 0], 2)
  const query = readQuery(bytes)
  return query && !('rcode' in query) ? query : undefined
}

/** {@link complete}, with readable owners. Returns the end of the question. */
function wellFormed(message: Buffer): number {
  const { end, records } = complete(message)
  for (const record of records) {
    if (nameAt(message, record.start) === undefined) fail('makes a reply with a broken name')
  }
  return end
}

/** Checks that the counts are right and no bytes are left over. */
function complete(message: Buffer) {
  const end = message.readUInt16BE(4) === 0 ? 12 : (questionEnd(message) ?? fail('makes a reply with half a question'))
  const records = spans(message, end) ?? fail('makes a reply that cannot be read')
  if ((records.at(-1)?.end ?? end) !== message.length) fail('makes a reply with bytes left over')
  return { end, records }
}

function fail(why: string): never {
  throw new Error(why)
}

function load(target: Target): Buffer[] {
  const lines = readFileSync(target.file, 'utf8').split('\n')
  return lines.flatMap(line => {
    const hex = line.replace(/#.*/, '').trim()
    return hex === '' ? [] : [Buffer.from(hex, 'hex')]
  })
}

/** Bits flipped, numbers made extreme, pieces cut, doubled and taken from other packets. */
function mutated(pool: readonly Buffer[]): Buffer {
  let packet: Buffer = Buffer.from(any(pool))
  for (let changes = 1 + below(6); changes > 0; changes--) packet = mutate(packet, pool)
  return packet.subarray(0, mostBytes)
}

function mutate(packet: Buffer, pool: readonly Buffer[]): Buffer {
  const at = below(packet.length + 1)
  const to = at + below(packet.length + 1 - at)
  switch (below(7)) {
    case 0:
      if (at < packet.length) packet[at] = (packet[at] ?? 0) ^ (1 << below(8))
      return packet
    case 1:
      if (at < packet.length) packet[at] = any([0, 1, 12, 41, 63, 64, 127, 128, 192, 193, 255])
      return packet
    case 2:
      if (at + 1 < packet.length)
        packet.writeUInt16BE(any([0, 1, 0xc00c, 0xc000 | at, 0xffff, 0x7fff, packet.length]), at)
      return packet
    case 3:
      return packet.subarray(0, at)
    case 4:
      return Buffer.concat([packet.subarray(0, to), packet.subarray(at)])
    case 5:
      return Buffer.concat([packet.subarray(0, at), packet.subarray(to)])
    default: {
      const other = any(pool)
      return Buffer.concat([packet.subarray(0, at), other.subarray(below(other.length + 1))])
    }
  }
}

function any<T>(list: readonly T[]): T {
  return list[below(list.length)] as T
}

function below(limit: number): number {
  return Math.floor(random() * limit)
}

/** A random generator with a seed (mulberry32), so that a run can be repeated. */
function mulberry(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A virtual-IP service, a headless one with more endpoints than fit in a datagram, and an alias. */
function declarations(): ClusterService[] {
  const base = declaration()
  const [pod] = base.endpoints
  const endpoints = Array.from({ length: 100 }, (_, i) => ({ ...pod, address: `10.1.1.${i}`, hostname: `web-${i}` }))
  const alias = { name: 'alias', type: 'ExternalName', externalName: 'web.default.svc.cluster.local' } as const
  return [
    base,
    { ...base, name: 'web', headless: true, clusterIPs: [], endpoints },
    { ...base, ...alias, clusterIPs: [], ports: [], endpoints: [] },
  ]
}

function declaration() {
  return {
    cluster: 'cluster-1',
    namespace: 'default',
    name: 'rebel-base',
    type: 'ClusterIP',
    headless: false,
    clusterIPs: ['10.96.0.10', 'fd00:96::a'],
    ports: [{ name: 'http', protocol: 'TCP', port: 80 }],
    annotations: { 'service.cilium.io/global': 'true' },
    labels: {},
    publishNotReadyAddresses: false,
    internalTrafficPolicy: 'Cluster',
    endpoints: [
      {
        address: '10.1.0.1',
        ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
        ready: true,
        serving: true,
        terminating: false,
        hostname: 'luke',
      },
    ],
  } as const
}
