/** Connects a socket to a backend. */
import { type OnReadOpts, Socket } from 'node:net'
import type { Backend } from '../../model/backend.ts'
import { meetsItself, refusedByItself } from './self.ts'

/** How a dial ended: with a socket, which is the receiver's from then on, or with an error. */
export type Dialled = (error: Error | undefined, socket: Socket | undefined) => void

/**
 * Calls `done` exactly once, and never before it returns. The function returned gives the dial up, without a call of `done`;
 * it does nothing once the dial has ended.
 */
export function dial(backend: Backend, onread: OnReadOpts, done: Dialled): () => void {
  let settled = false
  const socket = new Socket({ allowHalfOpen: true, onread })
  socket.setNoDelay(true)
  socket.on('error', failed)
  socket.once('connect', () => {
    if (meetsItself(socket.localPort, socket.localAddress, backend)) return failed(refusedByItself(backend))
    settled = true
    socket.off('error', failed)
    done(undefined, socket)
  })
  try {
    socket.connect({ host: backend.address, port: backend.port, autoSelectFamily: false })
  } catch (error) {
    socket.destroy(error as Error) // an impossible address or port
  }
  return giveUp

  function failed(error: Error): void {
    if (settled) return
    giveUp()
    done(error, undefined)
  }

  function giveUp(): void {
    if (settled) return
    settled = true
    // A destroyed socket may still emit an error; without a handler that would end the process.
    socket.off('error', failed)
    socket.on('error', () => {})
    socket.destroy()
  }
}
