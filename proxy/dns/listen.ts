/** Both sockets at one address and port, or a message that says why not and what would do. */
import { endpointText } from '../model/address.ts'
import type { Clock } from '../model/clock.ts'
import { MeshError, messageOf } from '../model/error.ts'
import type { TcpOptions } from './options.ts'
import { TcpListener } from './tcp.ts'
import { type Endpoint, type Respond, UdpListener } from './udp.ts'

export interface Listening {
  readonly address: Endpoint
  readonly udp: UdpListener
  readonly tcp: TcpListener
  close(): Promise<void>
}

/** With port 0 the port that UDP gets may be taken for TCP: then both are tried again with another. */
const mostTries = 10

export async function listen(
  endpoint: Endpoint,
  options: TcpOptions,
  respond: Respond,
  clock: Clock,
): Promise<Listening> {
  for (let tries = 1; ; tries++) {
    const udp = new UdpListener(endpoint.address, respond)
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
