import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { createServer, type Server } from 'node:net'
import { endpointText, familyOf } from '../../model/address.ts'
import { MeshError } from '../../model/error.ts'
import type { Frontend } from '../../model/service.ts'
import { codeOf } from './dial.ts'

/** Connections that wait to be accepted; the kernel caps it at net.core.somaxconn. */
export const backlog = 4096
/** Datagrams that wait to be read; the kernel caps it at net.core.rmem_max. */
const receiveBuffer = 1024 * 1024

/** A listening server, and nothing attached to it. */
export function bindTcp(frontend: Frontend): Promise<Server> {
  const server = createServer({ allowHalfOpen: true, noDelay: true })
  return new Promise((resolve, reject) => {
    server.once('error', error => reject(listenError(frontend, error)))
    server.listen({ host: frontend.ip, port: frontend.port, backlog, ipv6Only: true, exclusive: true }, () => {
      server.removeAllListeners('error')
      resolve(server)
    })
  })
}

/** A bound socket, and nothing attached to it. */
export function bindUdp(frontend: Frontend): Promise<UdpSocket> {
  const socket = udpSocket(frontend.ip)
  return new Promise((resolve, reject) => {
    socket.once('error', error => {
      socket.close()
      reject(listenError(frontend, error))
    })
    socket.bind({ address: frontend.ip, port: frontend.port, exclusive: true }, () => {
      socket.removeAllListeners('error')
      socket.setRecvBufferSize(receiveBuffer)
      resolve(socket)
    })
  })
}

/** Addresses are always literals: looking them up at once spares a turn of the event loop for every datagram sent. */
export function udpSocket(address: string): UdpSocket {
  const family = familyOf(address)
  return createSocket({
    type: family === 4 ? 'udp4' : 'udp6',
    ipv6Only: family === 6,
    lookup: (literal, _options, found) => found(null, literal, family),
  })
}

/** What to tell of an error of bind(2) or listen(2). */
export function listenError(frontend: Frontend, error: Error): MeshError {
  const where = `${endpointText(frontend.ip, frontend.port)}/${frontend.protocol} of service ${frontend.service}`
  const [what, remedy] = explain(frontend, codeOf(error)) ?? [error.message, 'see the cause']
  return new MeshError('LISTEN', `cannot listen on ${where}: ${what}; ${remedy}`, { cause: error })
}

function explain({ port, protocol }: Frontend, code: string): readonly [what: string, remedy: string] | undefined {
  switch (code) {
    case 'EADDRINUSE': {
      const list = protocol === 'UDP' ? 'ss -lunp' : 'ss -ltnp'
      const others = 'another process has the port, on this address or on all addresses (0.0.0.0, ::)'
      return [others, `find it with \`${list} sport = :${port}\` and stop it or give it another address`]
    }
    case 'EACCES':
    case 'EPERM':
      return [
        `ports below net.ipv4.ip_unprivileged_port_start are reserved and ${port} is one of them`,
        `give CAP_NET_BIND_SERVICE, or set \`sysctl net.ipv4.ip_unprivileged_port_start=${port}\`, or use a higher port`,
      ]
    case 'EADDRNOTAVAIL':
      return [
        'the ClusterIP is not an address of this machine',
        'set proxy.anyip: true to make it one (needs CAP_NET_ADMIN), or proxy.vips.cidr for loopback addresses instead',
      ]
    case 'EMFILE':
    case 'ENFILE':
      return ['no file descriptor is left', 'raise the limit: `ulimit -n`, or LimitNOFILE of the systemd unit']
    case 'EAFNOSUPPORT':
      return ['this machine has no IPv6', 'enable it (net.ipv6.conf.all.disable_ipv6=0) or use IPv4 ClusterIPs']
    default:
      return undefined
  }
}
