/** A resolver on real sockets whose replies a test scripts. */
import { createSocket, type Socket } from 'node:dgram'
import { type AddressInfo, createServer, type Server } from 'node:net'
import dnsPacket from 'dns-packet'
import type { Test } from 'tap'

export interface Heard {
  /** In lower case. */
  readonly name: string
  /** In the case in which it was asked. */
  readonly spelled: string
  readonly type: string
  readonly transport: 'udp' | 'tcp'
  readonly id: number
  readonly edns: boolean
  /** AD. */
  readonly authentic: boolean
  readonly port: number
}

export interface Said {
  readonly rcode?: number
  readonly answers?: dnsPacket.Answer[]
  readonly authorities?: dnsPacket.Answer[]
  readonly flags?: number
  /** The name of the question, instead of the one in the query. */
  readonly question?: string
  /** Without OPT even if the query has it. */
  readonly plain?: boolean
  /** The whole message, instead of the fields above. */
  readonly raw?: Buffer
}

/** The reply to a question; undefined for none, several are sent one after the other. */
export type Script = (heard: Heard) => Said | Said[] | undefined | Promise<Said | Said[] | undefined>

export interface FakeUpstream {
  readonly address: string
  readonly port: number
  /** `127.0.0.1:4711`, for the options. */
  readonly text: string
  readonly heard: Heard[]
  script: Script
  hearsProbes: boolean
}

export async function fakeUpstream(t: Test, script: Script, { tcp: hasTcp = true } = {}): Promise<FakeUpstream> {
  const heard: Heard[] = []
  const upstream = { address: '127.0.0.1', port: 0, text: '', heard, script, hearsProbes: false }
  const reply = async (message: Buffer, transport: 'udp' | 'tcp', port: number): Promise<Buffer[]> => {
    const query = dnsPacket.decode(message)
    const question = query.questions?.[0]
    const entry: Heard = {
      name: question?.name.toLowerCase() ?? '',
      spelled: question?.name ?? '',
      type: question?.type ?? '',
      transport,
      id: query.id ?? 0,
      edns: (query.additionals?.length ?? 0) > 0,
      authentic: query.flag_ad,
      port,
    }
    // Starlane's loop probes are not counted.
    if (entry.type === 'HINFO' && !upstream.hearsProbes) return [encode(query, { rcode: 3 })]
    heard.push(entry)
    const said = await upstream.script(entry)
    return [said ?? []].flat().map(one => one.raw ?? encode(query, one))
  }

  const tcp = createServer(socket => {
    socket.on('error', () => {})
    socket.on('data', async bytes => {
      for (const message of await reply(bytes.subarray(2), 'tcp', socket.remotePort ?? 0)) {
        socket.write(Buffer.concat([Buffer.from([message.length >> 8, message.length & 255]), message]))
      }
    })
  })
  const udp = await bindBoth(tcp)
  if (!hasTcp) tcp.close()
  t.teardown(() => {
    tcp.close()
    udp.close()
  })
  udp.on('message', async (message, from) => {
    for (const bytes of await reply(message, 'udp', from.port)) udp.send(bytes, from.port, from.address)
  })
  const { port } = udp.address()
  return Object.assign(upstream, { port, text: `127.0.0.1:${port}` })
}

/** Binds both to one port; tries again when the port given to TCP is in use for UDP. */
async function bindBoth(tcp: Server): Promise<Socket> {
  for (let tries = 0; ; tries++) {
    await new Promise<void>((resolve, reject) => tcp.once('error', reject).listen(0, '127.0.0.1', resolve))
    const { port } = tcp.address() as AddressInfo
    const udp = createSocket('udp4')
    try {
      await new Promise<void>((resolve, reject) => udp.once('error', reject).bind(port, '127.0.0.1', resolve))
      return udp
    } catch (error) {
      udp.close()
      await new Promise(resolve => tcp.close(resolve))
      if (tries === 10) throw error
    }
  }
}

function encode(query: dnsPacket.DecodedPacket, said: Said): Buffer {
  const { rcode = 0, answers = [], authorities = [], flags, question, plain } = said
  const questions = (query.questions ?? []).map(asked =>
    question === undefined ? asked : { ...asked, name: question },
  )
  return dnsPacket.encode({
    type: 'response',
    id: query.id ?? 0,
    flags: (flags ?? dnsPacket.RECURSION_DESIRED | dnsPacket.RECURSION_AVAILABLE) | rcode,
    questions,
    answers,
    authorities,
    additionals:
      query.additionals?.length && !plain
        ? [
            {
              type: 'OPT',
              name: '.',
              udpPayloadSize: 4096,
              extendedRcode: 0,
              ednsVersion: 0,
              flags: 0,
              flag_do: false,
              options: [],
            },
          ]
        : [],
  })
}

export function a(name: string, data: string, ttl = 60): dnsPacket.Answer {
  return { type: 'A', name, data, ttl }
}

export function soa(name: string, ttl: number, minimum: number): dnsPacket.Answer {
  const data = { mname: `ns.${name}`, rname: `root.${name}`, serial: 1, refresh: 1, retry: 1, expire: 1, minimum }
  return { type: 'SOA', name, ttl, data }
}
