/** Follows one cluster in its etcd across connections: reconnects after a loss, to another server or with new files. */

import { defaultLimits, type Limits } from '../../model/cluster.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import { Backoff } from '../../model/time/backoff.ts'
import type { Clock, Random } from '../../model/time/clock.ts'
import { sleep } from '../../model/time/sleep.ts'
import { Budget, OverLimits, overLimitsMs } from '../budget.ts'
import { heartbeatKey } from '../clustermesh.ts'
import { type FileWatch, watchFiles } from '../file-watch.ts'
import { EtcdError, type EtcdReader, statusCode } from './client.ts'
import { readClientFile } from './client-file.ts'
import { connectEtcd, type SharedConnections } from './connect.ts'
import type { EtcdServers } from './server.ts'
import { type ClusterDescription, type Heartbeat, Session, type Subscription } from './session.ts'

/** Servers and PEM files, or the path of Cilium's client file. The files are watched. */
export type EtcdLocation = EtcdServers | { readonly config: string }

export interface FollowerParts {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** What the cluster may take. */
  readonly limits?: Limits
  /** Where clusters of one server share their connection; absent: it has one of its own. */
  readonly connections?: SharedConnections
}

export interface FollowerListener {
  /** Says what to read; throws when the cluster must not be read. See {@link Session}. */
  open(description: ClusterDescription): readonly [Subscription, ...Subscription[]]
  /** It cannot be read. Called when the reason changes; the loss ends when the first subscription is listed. */
  lost(error: MeshError): void
}

/**
 * One loop owns the connection: connect, read until the session ends, wait, connect again. A changed client file ends the
 * current round, whatever it is doing, so that there is never more than one session.
 */
export class Follower {
  #cluster: string
  #location: EtcdLocation
  #parts: FollowerParts
  #listener: FollowerListener
  #closing = new AbortController()
  #servers: EtcdServers | undefined
  /** Ends the current round of the loop. */
  #round = new AbortController()
  #running: Promise<void> = Promise.resolve()
  #session: Session | undefined
  #stale: Heartbeat | undefined
  /** Why it is lost, as last reported. */
  #loss: string | undefined
  #backoff: Backoff
  /** Its stream had a message that could not be read, which ended it for all who share it. From then on it reads alone. */
  #isAlone = false
  #fileWatch: FileWatch | undefined

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
      this.#fileWatch = watchFiles(
        () => this.#files(),
        clock,
        () => this.#reconfigure(),
      )
    }
    this.#running = this.#run()
  }

  /** What is wanted of the subscriptions may have changed. */
  look(): void {
    this.#session?.look()
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#fileWatch?.stop()
    this.#round.abort()
    await this.#running
  }

  /** The client file, and the certificates that it named when it was last read. */
  #files(): string[] {
    const { config } = { config: undefined, ...this.#location }
    const { ca, cert, key } = this.#servers ?? {}
    return [config, ca, cert, key].filter(path => path !== undefined)
  }

  async #run(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      this.#round = new AbortController()
      const { signal } = this.#round
      const error = await this.#follow(signal).catch(asMeshError)
      if (signal.aborted) continue
      this.#isAlone ||= isUnreadable(error)
      this.#lost(error)
      await sleep(this.#parts.clock, this.#waitAfter(error), signal)
    }
  }

  #waitAfter(error: MeshError): number {
    return error instanceof OverLimits ? overLimitsMs * (1 + this.#parts.random()) : this.#backoff.next()
  }

  /** One session. Resolves with what ended it, or rejects when there is none. */
  async #follow(signal: AbortSignal): Promise<MeshError> {
    const servers = 'config' in this.#location ? await readClientFile(this.#location.config) : this.#location
    this.#servers = servers
    this.#fileWatch?.pathsChanged()
    signal.throwIfAborted()
    const client = await this.#connect(servers, signal)
    if (signal.aborted) {
      client.close()
      throw signal.reason
    }
    this.#parts.log.debug('etcd.connected', { cluster: this.#cluster, server: client.server.url })
    return this.#read(client, signal)
  }

  #connect(servers: EtcdServers, signal: AbortSignal): Promise<EtcdReader> {
    const { clock, random, connections } = this.#parts
    const options = { clock, random, signal, probe: heartbeatKey }
    return connections && !this.#isAlone ? connections.read(servers, options) : connectEtcd(servers, options)
  }

  #read(client: EtcdReader, signal: AbortSignal): Promise<MeshError> {
    return new Promise((resolve, reject) => {
      const session = new Session(client, {
        ...this.#parts,
        cluster: this.#cluster,
        budget: new Budget(this.#parts.limits ?? defaultLimits, this.#parts.clock),
        stale: this.#stale,
        open: description => this.#listener.open(description),
        synced: keys => this.#synced(keys),
        waiting: error => this.#lost(error),
        ended: (error, stale) => {
          this.#session = undefined
          this.#stale = stale ?? this.#stale
          resolve(error)
        },
      })
      this.#session = session
      signal.addEventListener('abort', () => {
        this.#session = undefined
        session.close()
        reject(signal.reason)
      })
    })
  }

  /** The client file or a certificate has changed: the connection is replaced. */
  #reconfigure(): void {
    this.#parts.log.info('etcd.reconfigured', { cluster: this.#cluster })
    this.#isAlone = false
    this.#round.abort()
  }

  #synced(keys: number): void {
    this.#backoff.succeeded()
    this.#loss = undefined
    this.#stale = undefined
    this.#parts.log.debug('etcd.synced', { cluster: this.#cluster, keys })
  }

  #lost(error: MeshError): void {
    if (this.#closing.signal.aborted || this.#loss === error.message) return
    this.#loss = error.message
    this.#listener.lost(error)
  }
}

/** gRPC's word for a message over the limit, or one that is not what was asked for. */
function isUnreadable(error: MeshError): boolean {
  return error instanceof EtcdError && (error.status === statusCode.tooMuch || error.status === statusCode.broken)
}

function asMeshError(thrown: unknown): MeshError {
  return thrown instanceof MeshError ? thrown : new MeshError('SOURCE_READ', messageOf(thrown))
}
