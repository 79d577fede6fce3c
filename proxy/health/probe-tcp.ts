/** TCP check: a completed handshake passes. */
import type { Socket } from 'node:net'
import { ownProxyHeader } from '../model/sockets/proxy-header.ts'
import type { Clock } from '../model/time/clock.ts'
import { Connections } from './connections.ts'
import { type Probe, passed, resultOfError } from './probe.ts'

/** How long the backend may take to close its side before the socket is destroyed. */
const closeWaitMs = 100

export function tcpProbe({ timeoutMs }: { readonly timeoutMs: number }, clock: Clock): Probe {
  const connections = new Connections(timeoutMs, clock)
  return {
    async check(endpoint) {
      try {
        const socket = await connections.open(endpoint)
        if (endpoint.sendProxy) socket.write(ownProxyHeader)
        await leave(socket, clock)
        return passed
      } catch (error) {
        return resultOfError(error)
      }
    },
    destroy: () => connections.destroy(),
  }
}

// FIN, then discard what the backend may have sent: closing with unread data sends a reset, and many servers log those.
async function leave(socket: Socket, clock: Clock): Promise<void> {
  const cancel = clock.after(closeWaitMs, () => socket.destroy())
  const closed = new Promise(resolve => socket.once('close', resolve))
  socket.resume().end()
  await closed
  cancel()
}
