/** One client with several readers, closed with the last of them. */
import type { MeshError } from '../../model/error.ts'
import { Turns } from '../../model/time/turn.ts'
import type { EtcdClient, EtcdReader, Page } from './client.ts'
import type { Server } from './server.ts'
import type { WatchListener, WatchRange } from './watches.ts'

export class SharedClient {
  readonly #closing = new AbortController()
  readonly #client: Promise<EtcdClient>
  readonly #over: () => void
  #readers = 0

  /** Connects at once. `over` is called when no further reader may be added; it may be called again. */
  constructor(connect: (signal: AbortSignal) => Promise<EtcdClient>, over: () => void) {
    this.#over = over
    this.#client = connect(this.#closing.signal)
    this.#client.then(client => client.onEnd(over), over)
  }

  /** Rejects when there is no connection, or when the signal aborts. */
  async reader(signal?: AbortSignal): Promise<EtcdReader> {
    this.#readers++
    try {
      const client = await unlessAborted(this.#client, signal)
      // Hundreds may have waited for it.
      await new Turns().begin()
      signal?.throwIfAborted()
      return new Reader(client, () => this.#release())
    } catch (error) {
      this.#release()
      // The last one stays until nothing is left of the connection.
      if (this.#readers === 0) await this.#client.catch(() => {})
      throw error
    }
  }

  #release(): void {
    if (--this.#readers > 0) return
    this.#over()
    this.#closing.abort()
    this.#client.then(
      client => client.close(),
      () => {},
    )
  }
}

class Reader implements EtcdReader {
  readonly #client: EtcdClient
  readonly #release: () => void
  /** What {@link close} takes back. */
  readonly #begun = new Set<() => void>()
  #isClosed = false

  constructor(client: EtcdClient, release: () => void) {
    this.#client = client
    this.#release = release
  }

  get server(): Server {
    return this.#client.server
  }

  get clusterId(): string {
    return this.#client.clusterId
  }

  /** In a turn of its own, since all readers of the connection are told. */
  onEnd(listener: (error: MeshError) => void): () => void {
    const tell = async (error: MeshError): Promise<void> => {
      await new Turns().begin()
      if (!this.#isClosed) listener(error)
    }
    return this.#begin(this.#client.onEnd(error => void tell(error)))
  }

  pages(prefix: string, rangeEnd?: string): AsyncGenerator<Page> {
    return this.#client.pages(prefix, rangeEnd)
  }

  watch(range: WatchRange, listener: WatchListener): () => void {
    return this.#isClosed ? () => {} : this.#begin(this.#client.watch(range, listener))
  }

  /** Nothing is told after it. A list that is being read is read to the end of its page. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    for (const end of this.#begun) end()
    this.#begun.clear()
    this.#release()
  }

  #begin(end: () => void): () => void {
    const once = (): void => {
      if (this.#begun.delete(once)) end()
    }
    this.#begun.add(once)
    return once
  }
}

/** What the promise gives, or the signal's reason if that comes first. */
function unlessAborted<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (!signal) return promise
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason)
    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
