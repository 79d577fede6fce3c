/**
 * The sockets of one gRPC channel. A channel that is closed while it connects keeps its socket for up to 20 s, and gRPC gives
 * no access to it; Node announces every new socket, and the asynchronous context says whose it is.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { subscribe } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'

const context = new AsyncLocalStorage<ChannelSockets>()

subscribe('net.client.socket', message => context.getStore()?.add((message as { readonly socket: Socket }).socket))

export class ChannelSockets {
  readonly #open = new Set<Socket>()
  #isSealed = false

  /** Runs what makes the channel and its connection. */
  collect<T>(connect: () => T): T {
    return context.run(this, connect)
  }

  add(socket: Socket): void {
    if (this.#isSealed) return
    this.#open.add(socket)
    socket.once('close', () => this.#open.delete(socket))
  }

  /** The connection is made. What is opened from its callbacks later belongs to others. */
  seal(): void {
    this.#isSealed = true
  }

  destroy(): void {
    this.#isSealed = true
    for (const socket of this.#open) socket.destroy()
  }
}
