/** Ends a connection so that its peer sees a reset. */
import type { Socket } from 'node:net'

/** During shutdown(2) libuv refuses a reset and would leak the descriptor; all bytes are sent by then. */
export function resetSocket(socket: Socket): void {
  if (socket.destroyed) return
  if (socket.writableEnded && !socket.writableFinished && socket.writableLength === 0) socket.destroy()
  else socket.resetAndDestroy()
}
