/** Shared by the DNS tests: a responder over a hand-written directory, and dns-packet as an independent codec. */
import dnsPacket from 'dns-packet'
import { watchFiles } from '../../../proxy/clients/file-watch.ts'
import { loadAddon } from '../../../proxy/dataplane/native/addon.ts'
import type { DnsOptions } from '../../../proxy/dns/options.ts'
import { createDnsResponder, type DnsParts, type DnsResponder } from '../../../proxy/dns/responder.ts'
import type { Client } from '../../../proxy/model/flow.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import type { BatchSocketClass } from '../../../proxy/model/sockets/batch-socket.ts'
import { FakeClock } from '../../support/clock.ts'
import type { FakeDirectory } from '../../support/model.ts'

export const laptop: Client = { address: '127.0.0.1', port: 40_000 }

export type Decoded = dnsPacket.DecodedPacket

/** Admits all clients and shows every backend; the same array while the service is the same. */
export const allVisible: DnsParts['visibility'] = {
  admit: () => undefined,
  visible: (_client, service) => service.backends,
}

export function responder(
  directory: FakeDirectory,
  options: Partial<DnsOptions> = {},
  parts: Partial<DnsParts> = {},
): DnsResponder {
  const clock = parts.clock ?? new FakeClock()
  return createDnsResponder({
    directory,
    visibility: allVisible,
    options: { listen: { address: '127.0.0.1', port: 0 }, ...options },
    clock,
    watchFiles: (paths, changed) => watchFiles(() => paths, clock, changed).stop,
    random: () => 0,
    log: silentLog,
    ...parts,
  })
}

/** Both kinds of UDP socket; the same tests run over each where the addon is built. */
export function udpSockets(): { name: string; parts: Partial<DnsParts> }[] {
  const native = batchSockets()
  const dgram = { name: 'node:dgram', parts: {} }
  return native ? [dgram, { name: 'native sockets', parts: { BatchSocket: native } }] : [dgram]
}

export function batchSockets(): BatchSocketClass | undefined {
  try {
    return loadAddon().BatchSocket
  } catch {
    return undefined
  }
}

export interface Asking {
  readonly client?: Client
  readonly transport?: 'udp' | 'tcp'
  readonly edns?: number
  readonly flags?: number
}

/** A query encoded by dns-packet, with the case of `name` kept. */
export function queryBytes(name: string, type: string, asking: Asking = {}): Buffer {
  return dnsPacket.encode({
    type: 'query',
    id: 4711,
    flags: asking.flags ?? dnsPacket.RECURSION_DESIRED,
    questions: [{ type: type as dnsPacket.RecordType, name }],
    ...(asking.edns !== undefined && {
      additionals: [
        {
          type: 'OPT',
          name: '.',
          udpPayloadSize: asking.edns,
          extendedRcode: 0,
          ednsVersion: 0,
          flags: 0,
          flag_do: false,
          options: [],
        },
      ],
    }),
  })
}

/** Asks the responder's function directly, without a socket. */
export async function ask(dns: DnsResponder, name: string, type: string, asking: Asking = {}): Promise<Decoded> {
  const reply = await dns.respond(queryBytes(name, type, asking), asking.client ?? laptop, asking.transport ?? 'udp')
  if (!reply) throw new Error(`no reply to ${name} ${type}`)
  return dnsPacket.decode(reply)
}

/**
 * An answer in one line, for tables: the rcode when it is an error, `NODATA`, or the records sorted, as `A 10.0.0.1`,
 * `SRV 80 target`, `CNAME target`; aliases come first, in their order.
 */
export function told(packet: Decoded): string {
  const { rcode } = packet as unknown as { rcode: string }
  const answers = (packet.answers ?? []).map(dataText)
  const aliases = answers.filter(text => text.startsWith('CNAME'))
  const others = answers.filter(text => !text.startsWith('CNAME')).sort()
  const complete = others.length > 0 || (aliases.length > 0 && packet.questions?.[0]?.type === 'CNAME')
  const denied = !complete ? [rcode === 'NOERROR' ? 'NODATA' : rcode] : []
  return [...aliases, ...others, ...denied].join(', ')
}

function dataText(record: dnsPacket.Answer): string {
  switch (record.type) {
    case 'SRV':
      return `SRV ${record.data.port} ${record.data.target}`
    case 'TXT':
      return `TXT ${[record.data].flat().map(String).join(' ')}`
    case 'SOA':
      return `SOA ${record.data.mname}`
    case 'HINFO':
      return `HINFO ${record.data.cpu}`
    default:
      return `${record.type} ${String((record as { data: unknown }).data)}`
  }
}
