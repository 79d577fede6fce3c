/** A TCP check: the handshake is the answer. */
import type { Socket } from 'node:net'
import type { Clock } from '../model/time/clock.ts'
import { Connections } from './connections.ts'
import { findingOf, type Probe, passed } from './probe.ts'

/** How long a backend may take to close its side before we cut. */
const farewellMs = 100

export function tcpProbe({ timeoutMs }: { readonly timeoutMs: number }, clock: Clock): Probe {
  const connections = new Connections(timeoutMs, clock)
  return {
    async check(endpoint) {
      try {
        await leave(await connections.open(endpoint), clock)
        return passed
      } catch (error) {
        return findingOf(error)
      }
    },
    destroy: () => connections.destroy(),
  }
}

// FIN, then read away what the backend may have said first: closing with unread data would send it a reset, and many
// servers log those.
async function leave(socket: Socket, clock: Clock): Promise<void> {
  const callOff = clock.after(farewellMs, () => socket.destroy())
  const closed = new Promise(resolve => socket.once('close', resolve))
  socket.resume().end()
  await closed
  callOff()
}
