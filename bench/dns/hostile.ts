/** The cost of hostile packets in microseconds of one core, in the responder's function without a socket. */
import { queryMessage, questionFor } from '../../proxy/dns/message/question.ts'
import { createDnsResponder } from '../../proxy/dns/responder.ts'
import { Mesh } from '../../proxy/mesh/mesh.ts'
import { silentLog } from '../../proxy/model/log.ts'
import { systemClock } from '../../proxy/model/time/clock.ts'
import { serviceName } from './names.ts'

const client = { address: '127.0.0.1', port: 4000 }
const runs = 20_000

export function hostileCosts(): [what: string, micros: number][] {
  const clusters = [{ name: 'cluster-1', id: 1, local: true }]
  const mesh = new Mesh({
    clusters,
    staleAfterMs: 0,
    services: 'all',
    health: () => 'unknown',
    clock: systemClock,
    log: silentLog,
  })
  mesh.sink('cluster-1').reset({ services: [], namespaces: [{ name: 'default', global: true }] })
  mesh.flush()
  const dns = createDnsResponder({
    directory: mesh.directory,
    visibility: { admit: () => undefined, visible: (_client, service) => service.backends },
    options: { listen: { address: '127.0.0.1', port: 0 } },
    clock: systemClock,
    random: Math.random,
    log: silentLog,
  })
  return packets().map(([what, packet]) => {
    const measure = () => {
      const begun = performance.now()
      for (let i = 0; i < runs; i++) dns.respond(packet(i), client, 'udp')
      return ((performance.now() - begun) * 1000) / runs
    }
    measure()
    return [what, Math.min(measure(), measure())]
  })
}

function packets(): [string, (turn: number) => Buffer][] {
  const good = queryMessage(questionFor(serviceName(1), 1), 1, true)
  const header = (...counts: number[]) =>
    Buffer.from([0, 1, 1, 0, ...counts.flatMap(count => [count >> 8, count & 255])])
  const always = (packet: Buffer) => () => packet
  const pointers = Buffer.concat(
    Array.from({ length: 2000 }, (_, i) => Buffer.from([0xc0 | ((14 + 2 * i) >> 8), (14 + 2 * i) & 255])),
  )
  let made = 0
  const reply = Buffer.from(good)
  reply[2] = 0x81
  return [
    ['a cached question, for comparison', always(good)],
    ['counts of 65535 and 12 octets', always(header(65535, 65535, 65535, 65535))],
    [
      'counts of 65535 and 4 KiB of zeros',
      always(Buffer.concat([header(65535, 65535, 65535, 65535), Buffer.alloc(4096)])),
    ],
    ['a chain of 2,000 pointers', always(Buffer.concat([header(1, 0, 0, 0), pointers]))],
    ['a name of 255 octets without a root label', always(Buffer.concat([header(1, 0, 0, 0), Buffer.alloc(300, 1)]))],
    ['OPT with 1,000 options', always(manyOptions(good))],
    ['a reply sent as a query', always(reply)],
    [
      'a random name of our zone, different each time',
      turn => queryMessage(questionFor(`x${turn}-${made++}.default.svc.cluster.local`, 1), 1, true),
    ],
  ]
}

function manyOptions(query: Buffer): Buffer {
  const bytes = Buffer.concat([query, Buffer.alloc(4000)])
  bytes.writeUInt16BE(4000, query.length - 2)
  return bytes
}
