/** A UDP socket that hands over what has come, and takes the answers, a batch at a time; see `native/src/batch.h`. */
export interface BatchSocket {
  /** Of one batch: who has asked, what, and what is answered. Read and written in the call of `onBatch` alone. */
  readonly memory: ArrayBuffer
  /** 0, or an errno. `ip` is canonical; port 0 lets the kernel choose. The process stays alive until `close`. */
  bind(ip: string, port: number, receiveBytes: number): number
  /** The one it is bound to. */
  port(): number
  /** An answer that comes later than its batch, to a peer copied from the memory. */
  send(answer: Buffer, peer: Buffer): void
  /** Answers that could not be sent. */
  lost(): number
  /** No more batches come. */
  deafen(): void
  /** Once all that was answered is sent the address is free, and `onClosed` is called. */
  close(onClosed: () => void): void
}

/** `onBatch` gets the number of datagrams, at least 1, and may not throw. */
export type BatchSockets = new (onBatch: (count: number) => void) => BatchSocket
