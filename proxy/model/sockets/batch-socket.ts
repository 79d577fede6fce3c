/** A UDP socket that receives and sends in batches over shared memory; the layout is in `native/src/batch/batch.h`. */
export interface BatchSocket {
  /** Peers, questions and answers of one batch. Valid only during the call of `onBatch`. */
  readonly memory: ArrayBuffer
  /** 0, or an errno. `ip` is canonical; port 0 lets the kernel choose. The process stays alive until `close`. */
  bind(ip: string, port: number, receiveBytes: number): number
  /** Takes a bound socket of another process: 0, or an errno. */
  adopt(descriptor: number): number
  /** Its descriptor; below 0 before `bind` and after `close`. */
  descriptor(): number
  /** The port it is bound to. */
  port(): number
  /** Sends an answer after its batch has ended, to a peer copied from the memory. */
  send(answer: Buffer, peer: Buffer): void
  /** Answers that could not be sent. */
  lost(): number
  /** `onBatch` is not called again. */
  stopReceiving(): void
  /** Sends what is still queued, closes the socket, then calls `onClosed`. */
  close(onClosed: () => void): void
}

/** The class that the addon exports. `onBatch` gets the number of datagrams, at least 1, and must not throw. */
export type BatchSocketClass = new (onBatch: (count: number) => void) => BatchSocket
