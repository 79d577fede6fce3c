/** A connection to a backend behind a gateway: the stream of a CONNECT that was answered with 200. */
import type { ClientHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import type { CloseReason } from '../../model/flow.ts'
import type { Carriage, TunnelStream } from '../../model/tunnel/tunnels.ts'
import { type End, Joint, socketEnd, tunnelEnd } from '../wire/joint.ts'

export class ConnectedStream implements TunnelStream {
  readonly localAddress: string | undefined
  readonly #stream: ClientHttp2Stream
  readonly #end: End
  /** Whether the tunnel under it is gone. */
  readonly #isLost: () => boolean

  constructor(stream: ClientHttp2Stream, localAddress: string | undefined) {
    const { session } = stream
    this.localAddress = localAddress
    this.#stream = stream
    this.#end = tunnelEnd(stream)
    this.#isLost = () => session?.destroyed ?? true
  }

  write(bytes: Uint8Array): void {
    if (!this.#stream.destroyed) this.#stream.write(bytes)
  }

  carry(client: Socket, done: (reason: CloseReason) => void): Carriage {
    return new StreamCarriage(client, this.#end, this.#isLost, done)
  }

  reset(): void {
    this.#end.reset()
  }
}

class StreamCarriage implements Carriage {
  readonly #client: Socket
  readonly #joint: Joint
  readonly #done: (reason: CloseReason) => void

  constructor(client: Socket, far: End, isLost: () => boolean, done: (reason: CloseReason) => void) {
    this.#client = client
    this.#done = done
    this.#joint = new Joint(socketEnd(client), far, broken =>
      done(
        broken === 'near'
          ? 'client-reset'
          : broken === undefined
            ? 'done'
            : isLost()
              ? 'backend-lost'
              : 'backend-reset',
      ),
    )
  }

  get sent(): number {
    return this.#joint.sent
  }

  get received(): number {
    return this.#joint.received
  }

  get progress(): number {
    return this.#joint.progress
  }

  get halfClosed(): boolean {
    return this.#joint.halfClosed
  }

  /** The tunnel asks its gateway by itself, and the gateway the backend. */
  keepAlive(clientMs: number): void {
    this.#client.setKeepAlive(true, clientMs)
  }

  clientFailed(): void {
    this.#joint.failed('near')
  }

  cut(reason: CloseReason): void {
    if (this.#joint.cut()) this.#done(reason)
  }
}
