/** Carries what arrives at a socket of another network namespace to an address of this one. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { connect, type Server, type Socket } from 'node:net'
import { pipeline } from 'node:stream'
import type { Clock } from '../../model/time/clock.ts'

export interface Relay {
  close(): void
}

interface To {
  readonly ip: string
  readonly port: number
}

const maxConnections = 4096
const maxSessions = 1024
const sessionIdleMs = 60_000

/** Connections end in each direction as their ends do. One that cannot be carried is reset. */
export function relayTcp(server: Server, { ip, port }: To): Relay {
  const open = new Set<Socket>()
  server.maxConnections = maxConnections
  // A server that came over a channel has none of the options that it was made with.
  Object.assign(server, { allowHalfOpen: true })
  server.on('error', () => {})
  server.on('connection', client => {
    const outside = connect({ host: ip, port, allowHalfOpen: true, noDelay: true })
    client.setNoDelay(true)
    for (const socket of [client, outside]) {
      open.add(socket)
      socket.once('close', () => open.delete(socket))
    }
    // Before the pipeline, which would end the other side as if all had come.
    outside.once('error', () => client.resetAndDestroy())
    client.once('error', () => outside.resetAndDestroy())
    pipeline(client, outside, client, () => {})
  })
  return {
    close: () => {
      server.close()
      for (const socket of open) socket.destroy()
    },
  }
}

/** A socket for each client, so that answers find their way. The one used least recently ends when there are too many. */
export function relayUdp(front: UdpSocket, { ip, port }: To, clock: Clock): Relay {
  const sessions = new Map<string, { readonly back: UdpSocket; usedAt: number }>()
  const end = (key: string) => {
    sessions.get(key)?.back.close()
    sessions.delete(key)
  }
  const start = (key: string, address: string, clientPort: number) => {
    const oldest = sessions.size >= maxSessions ? sessions.keys().next().value : undefined
    if (oldest !== undefined) end(oldest)
    const back = createSocket(ip.includes(':') ? 'udp6' : 'udp4')
    // Nobody listens there now; the client asks again or gives up.
    back.on('error', () => {})
    back.on('message', answer => front.send(answer, clientPort, address))
    const session = { back, usedAt: clock.now() }
    sessions.set(key, session)
    return session
  }
  front.on('error', () => {})
  front.on('message', (datagram, { address, port: clientPort }) => {
    const key = `${address} ${clientPort}`
    const session = sessions.get(key) ?? start(key, address, clientPort)
    session.usedAt = clock.now()
    sessions.delete(key)
    sessions.set(key, session)
    session.back.send(datagram, port, ip)
  })
  const stop = clock.every(sessionIdleMs / 4, () => {
    for (const [key, { usedAt }] of sessions) if (clock.now() - usedAt >= sessionIdleMs) end(key)
  })
  return {
    close: () => {
      stop()
      front.close()
      for (const key of [...sessions.keys()]) end(key)
    },
  }
}
