/** Follows one cluster in its etcd across connections: reconnects after a loss, to another server or with new files. */
import { MeshError, messageOf } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import { Backoff } from '../../model/time/backoff.ts'
import type { Clock, Random } from '../../model/time/clock.ts'
import { heartbeatKey } from '../clustermesh.ts'
import { watchFiles } from '../file-watch.ts'
import { readClientFile } from './client-file.ts'
import { connectEtcd } from './connect.ts'
import type { EtcdServers } from './server.ts'
import { type ClusterDescription, type Heartbeat, Session, type Subscription } from './session.ts'

/** Servers and PEM files, or the path of Cilium's client file. The files are watched. */
export type EtcdLocation = EtcdServers | { readonly config: string }

export interface FollowerParts {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

export interface FollowerListener {
  /** Says what to read; throws when the cluster must not be read. See {@link Session}. */
  open(description: ClusterDescription): readonly [Subscription, ...Subscription[]]
  /** It cannot be read. Called when the reason changes; the loss ends when the first subscription is listed. */
  lost(error: MeshError): void
}

export class Follower {
  #cluster: string
  #location: EtcdLocation
  #parts: FollowerParts
  #listener: FollowerListener
  #closing = new AbortController()
  #session: Session | undefined
  #servers: EtcdServers | undefined
  #connecting: Promise<void> = Promise.resolve()
  #stale: Heartbeat | undefined
  /** Why it is lost, as last reported. */
  #loss: string | undefined
  #backoff: Backoff
  #stopRetry: () => void = () => {}
  #stopFileWatch: () => void = () => {}

  constructor(cluster: string, location: EtcdLocation, parts: FollowerParts, listener: FollowerListener) {
    this.#cluster = cluster
    this.#location = location
    this.#servers = 'config' in location ? undefined : location
    this.#parts = parts
    this.#listener = listener
    this.#backoff = new Backoff(parts.random)
  }

  start(): void {
    const { clock } = this.#parts
    if (this.#files().length > 0) {
      this.#stopFileWatch = watchFiles(
        () => this.#files(),
        clock,
        () => this.#reconfigure(),
      )
    }
    this.#connect()
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#stopFileWatch()
    this.#stopRetry()
    this.#session?.close()
    await this.#connecting
  }

  /** The client file, and the certificates that it named when it was last read. */
  #files(): string[] {
    const { config } = { config: undefined, ...this.#location }
    const { ca, cert, key } = this.#servers ?? {}
    return [config, ca, cert, key].filter(path => path !== undefined)
  }

  #connect(): void {
    this.#connecting = this.#attempt().catch((error: unknown) => {
      this.#ended(error instanceof MeshError ? error : new MeshError('SOURCE_READ', messageOf(error)), undefined)
    })
  }

  async #attempt(): Promise<void> {
    const servers = 'config' in this.#location ? await readClientFile(this.#location.config) : this.#location
    this.#servers = servers
    const { signal } = this.#closing
    const client = await connectEtcd(servers, { ...this.#parts, probe: heartbeatKey, signal })
    if (signal.aborted) return client.close()
    this.#parts.log.debug('etcd.connected', { cluster: this.#cluster, server: client.server.url })
    this.#session = new Session(client, {
      ...this.#parts,
      cluster: this.#cluster,
      stale: this.#stale,
      open: description => this.#listener.open(description),
      synced: keys => this.#synced(keys),
      waiting: error => this.#lost(error),
      ended: (error, stale) => this.#ended(error, stale),
    })
  }

  /** The client file or a certificate has changed: the connection is replaced. */
  #reconfigure(): void {
    this.#parts.log.info('etcd.reconfigured', { cluster: this.#cluster })
    this.#session?.close()
    this.#stopRetry()
    void this.#connecting.then(() => {
      this.#session?.close()
      this.#stopRetry()
      if (!this.#closing.signal.aborted) this.#connect()
    })
  }

  #synced(keys: number): void {
    this.#backoff.succeeded()
    this.#loss = undefined
    this.#stale = undefined
    this.#parts.log.debug('etcd.synced', { cluster: this.#cluster, keys })
  }

  #ended(error: MeshError, stale: Heartbeat | undefined): void {
    if (this.#closing.signal.aborted) return
    this.#session = undefined
    this.#stale = stale ?? this.#stale
    this.#lost(error)
    this.#stopRetry = this.#parts.clock.after(this.#backoff.next(), () => this.#connect())
  }

  #lost(error: MeshError): void {
    if (this.#closing.signal.aborted || this.#loss === error.message) return
    this.#loss = error.message
    this.#listener.lost(error)
  }
}
