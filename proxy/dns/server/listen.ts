/** Binds UDP and TCP at one address and port; a failure says why, and the remedy. */
import { endpointText, type SocketAddress } from '../../model/address.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import type { BatchSocketClass } from '../../model/sockets/batch-socket.ts'
import type { Inherited, PassedSocket, PassingCalls } from '../../model/sockets/passing.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { IsTrusted, TcpOptions } from '../options.ts'
import type { Respond, RespondInto } from '../transport.ts'
import { TcpListener } from './tcp.ts'
import { type DatagramListener, UdpListener } from './udp.ts'
import { UdpBatchListener } from './udp-batch.ts'
import { isWildcard, UdpWildcardListener } from './udp-wildcard.ts'

export interface Listening {
  readonly address: SocketAddress
  readonly udp: DatagramListener
  readonly tcp: TcpListener
  pass(calls: PassingCalls): PassedSocket[]
  close(): Promise<void>
}

/** With port 0, the port given to UDP may be in use for TCP; then both are bound again. */
const maxTries = 10

export interface ListenParts {
  readonly respond: Respond
  readonly respondInto: RespondInto
  /** Used for UDP instead of node:dgram. */
  readonly BatchSocket: BatchSocketClass | undefined
  readonly isTrusted: IsTrusted
  readonly inherited: Inherited
  readonly clock: Clock
}

export async function listen(local: SocketAddress, options: TcpOptions, parts: ListenParts): Promise<Listening> {
  const { respond, respondInto, BatchSocket, isTrusted, inherited, clock } = parts
  for (let tries = 1; ; tries++) {
    const udp = BatchSocket
      ? new UdpBatchListener(BatchSocket, respondInto)
      : isWildcard(local.address)
        ? new UdpWildcardListener(respond, clock)
        : new UdpListener(local.address, respond)
    const tcp = new TcpListener(respond, options, isTrusted, clock)
    try {
      const address = await udp.bind(local, inherited)
      await tcp.bind(address, inherited)
      const pass = (calls: PassingCalls) => [...udp.pass(calls), ...tcp.pass(calls)]
      const close = async () => void (await Promise.all([udp.close(), tcp.close()]))
      return { address, udp, tcp, pass, close }
    } catch (error) {
      await udp.close()
      const taken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE'
      if (!taken || local.port !== 0 || tries === maxTries) throw listenError(local, error)
    }
  }
}

const remedies: Readonly<Record<string, string>> = {
  EADDRINUSE:
    'another program listens there (systemd-resolved, dnsmasq, another Starlane): stop it or choose another port',
  EACCES: 'ports below 1024 need CAP_NET_BIND_SERVICE: grant it or choose a port above 1023',
  EADDRNOTAVAIL: 'no interface of this machine has that address: add it or choose another one',
}

function listenError({ address, port }: SocketAddress, cause: unknown): MeshError {
  const remedy = remedies[(cause as NodeJS.ErrnoException).code ?? ''] ?? 'choose another dns.listen'
  return new MeshError(
    'LISTEN',
    `DNS cannot listen on ${endpointText(address, port)} (${messageOf(cause)}); ${remedy}`,
    { cause },
  )
}
