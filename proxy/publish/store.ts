/** What the publisher asks of an etcd connection; the client of the etcd source is one. */

export interface Stored {
  readonly key: string
  readonly value: Uint8Array
  readonly createRevision: number
  readonly lease: bigint
}

/** Puts a key under the lease of its writer, or deletes it. */
export type Write = { readonly key: string; readonly value: Uint8Array } | { readonly key: string; readonly gone: true }

export interface Store {
  /** Tells this etcd from any other. */
  readonly clusterId: string
  get(key: string): Promise<Stored | undefined>
  pages(prefix: string): AsyncIterable<{ readonly entries: readonly Stored[] }>
  /** All or nothing. False when the key of the condition has another create revision; 0 is that of an absent key. */
  write(
    writes: readonly Write[],
    lease: bigint,
    condition?: { readonly key: string; readonly createRevision: number },
  ): Promise<boolean>
  grant(ttlMs: number): Promise<bigint>
  /** Whether the lease still lives, and does so for another of its times to live. */
  keepAlive(lease: bigint): Promise<boolean>
  revoke(lease: bigint): Promise<void>
  /** Told once when the connection has ended; another must be opened then. */
  onEnd(listener: (error: Error) => void): void
  close(): void
}
