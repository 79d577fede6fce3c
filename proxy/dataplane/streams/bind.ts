/** Sockets of node:net and node:dgram, bound to frontends. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { createServer, type Server } from 'node:net'
import { familyOf } from '../../model/address.ts'
import { MeshError } from '../../model/error.ts'
import type { Frontend } from '../../model/service.ts'
import { descriptorOf, type Passed, type PassingCalls } from '../../model/sockets/passing.ts'
import { backlog, listenError } from '../flow/listening.ts'

/** Bytes of datagrams that wait to be read; the kernel caps it at net.core.rmem_max. */
export const receiveBuffer = 1024 * 1024
/** Bytes that may wait in user space for a UDP socket that does not take them; what comes beyond that is lost. */
export const maxQueuedBytes = 1024 * 1024

/** A listening server without handlers. */
export function bindTcp(frontend: Frontend, passed?: Passed): Promise<Server> {
  const server = createServer({ allowHalfOpen: true, noDelay: true })
  return new Promise((resolve, reject) => {
    server.once('error', error => reject(listenError(frontend, error)))
    const place = passed ? { fd: passed.descriptor } : { host: frontend.ip, port: frontend.port, ipv6Only: true }
    // As an argument of its own: node:net does not take that of a descriptor from the options.
    server.listen({ ...place, exclusive: true }, backlog, () => {
      server.removeAllListeners('error')
      resolve(server)
    })
  })
}

/** A bound socket without handlers. */
export function bindUdp(frontend: Frontend, passed?: Passed): Promise<UdpSocket> {
  const socket = udpSocket(frontend.ip)
  return new Promise((resolve, reject) => {
    socket.once('error', error => {
      socket.close()
      reject(listenError(frontend, error))
    })
    const place = passed ? { fd: passed.descriptor } : { address: frontend.ip, port: frontend.port }
    socket.bind({ ...place, exclusive: true }, () => {
      socket.removeAllListeners('error')
      socket.setRecvBufferSize(receiveBuffer)
      resolve(socket)
    })
  })
}

/** Addresses are always literals; resolving them synchronously saves a turn of the event loop for every datagram sent. */
export function udpSocket(address: string): UdpSocket {
  const family = familyOf(address)
  return createSocket({
    type: family === 4 ? 'udp4' : 'udp6',
    ipv6Only: family === 6,
    lookup: (literal, _options, found) => found(null, literal, family),
  })
}

/** A descriptor of the same socket, for another process. Throws `MeshError` STATE. */
export function duplicateOf(socket: object, calls: PassingCalls | undefined): number {
  const own = descriptorOf(socket)
  const copy = own === undefined ? -1 : (calls?.duplicate(own) ?? -1)
  if (copy >= 0) return copy
  throw new MeshError(
    'STATE',
    calls ? 'the socket cannot be passed on' : 'sockets cannot be passed on without the addon',
  )
}
