/** Both sockets at one address and port, or a message that says why not and what would do. */
import { endpointText } from '../../model/address.ts'
import type { BatchSockets } from '../../model/batch-socket.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { TcpOptions } from '../options.ts'
import { TcpListener } from './tcp.ts'
import { type DatagramListener, type Endpoint, type Respond, UdpListener } from './udp.ts'
import { BatchListener, type RespondInto } from './udp-batch.ts'

export interface Listening {
  readonly address: Endpoint
  readonly udp: DatagramListener
  readonly tcp: TcpListener
  close(): Promise<void>
}

/** With port 0 the port that UDP gets may be taken for TCP: then both are tried again with another. */
const mostTries = 10

export interface ListenParts {
  readonly respond: Respond
  readonly respondInto: RespondInto
  /** Take the place of node:dgram. */
  readonly sockets: BatchSockets | undefined
  readonly clock: Clock
}

export async function listen(endpoint: Endpoint, options: TcpOptions, parts: ListenParts): Promise<Listening> {
  const { respond, respondInto, sockets, clock } = parts
  for (let tries = 1; ; tries++) {
    const udp = sockets ? new BatchListener(sockets, respondInto) : new UdpListener(endpoint.address, respond)
    const tcp = new TcpListener(respond, options, clock)
    try {
      const address = await udp.bind(endpoint)
      await tcp.bind(address)
      const close = async () => void (await Promise.all([udp.close(), tcp.close()]))
      return { address, udp, tcp, close }
    } catch (error) {
      await udp.close()
      const taken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE'
      if (!taken || endpoint.port !== 0 || tries === mostTries) throw listenError(endpoint, error)
    }
  }
}

const remedies: Readonly<Record<string, string>> = {
  EADDRINUSE:
    'another program answers DNS there (systemd-resolved, dnsmasq, another Starlane): stop it or choose another port',
  EACCES: 'ports below 1024 need CAP_NET_BIND_SERVICE: grant it or choose a port above 1023',
  EADDRNOTAVAIL: 'no interface of this machine has that address: add it or choose one that exists',
}

function listenError({ address, port }: Endpoint, cause: unknown): MeshError {
  const remedy = remedies[(cause as NodeJS.ErrnoException).code ?? ''] ?? 'choose another dns.listen'
  return new MeshError(
    'LISTEN',
    `DNS cannot listen on ${endpointText(address, port)} (${messageOf(cause)}); ${remedy}`,
    { cause },
  )
}
