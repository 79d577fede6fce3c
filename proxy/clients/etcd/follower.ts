/** Stays with one cluster in its etcd over the connections that this takes: tries again, elsewhere, later, with new files. */

import { MeshError, messageOf } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import type { Clock, Random } from '../../model/time/clock.ts'
import { heartbeatKey } from '../clustermesh.ts'
import { watchFile } from '../file-watch.ts'
import { readClientFile } from './client-file.ts'
import { connectEtcd } from './connect.ts'
import type { MirrorListener } from './mirror.ts'
import type { EtcdServers } from './server.ts'
import { type Beat, type Described, type Reading, Session } from './session.ts'

/** The servers and PEM files by hand, or Cilium's own client file, which is watched. */
export type EtcdPlace = EtcdServers | { readonly config: string }

export interface FollowerParts {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

export interface FollowerListener {
  /** Throws when the cluster must not be read; see {@link Session}. */
  open(described: Described): readonly [Reading, ...Reading[]]
  /** It cannot be read; told when the reason changes. It is over once the first reading of a session is listed. */
  lost(error: MeshError): void
}

const firstRetryMs = 1000
const longestRetryMs = 30_000

export class Follower {
  #cluster: string
  #place: EtcdPlace
  #parts: FollowerParts
  #listener: FollowerListener
  #closing = new AbortController()
  #session: Session | undefined
  #connecting: Promise<void> = Promise.resolve()
  #stale: Beat | undefined
  #loss: string | undefined
  #failures = 0
  #stopRetry: () => void = () => {}
  #stopFileWatch: () => void = () => {}

  constructor(cluster: string, place: EtcdPlace, parts: FollowerParts, listener: FollowerListener) {
    this.#cluster = cluster
    this.#place = place
    this.#parts = parts
    this.#listener = listener
  }

  start(): void {
    const { clock } = this.#parts
    if ('config' in this.#place) this.#stopFileWatch = watchFile(this.#place.config, clock, () => this.#startOver())
    this.#connect()
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#stopFileWatch()
    this.#stopRetry()
    this.#session?.close()
    await this.#connecting
  }

  #connect(): void {
    const attempt = async (): Promise<void> => {
      try {
        const servers = 'config' in this.#place ? await readClientFile(this.#place.config) : this.#place
        const { signal } = this.#closing
        const client = await connectEtcd(servers, { ...this.#parts, probe: heartbeatKey, signal })
        if (signal.aborted) return client.close()
        this.#parts.log.debug('etcd.connected', { cluster: this.#cluster, server: client.server.url })
        this.#session = new Session(client, {
          ...this.#parts,
          cluster: this.#cluster,
          stale: this.#stale,
          open: described => this.#open(described),
          waits: error => this.#lost(error),
          ended: (error, stale) => this.#ended(error, stale),
        })
      } catch (error) {
        this.#ended(error instanceof MeshError ? error : new MeshError('SOURCE_READ', messageOf(error)), undefined)
      }
    }
    this.#connecting = attempt()
  }

  /** The client file has another text: nothing of the old connection counts any more. */
  #startOver(): void {
    this.#parts.log.info('etcd.reconfigured', { cluster: this.#cluster })
    this.#session?.close()
    this.#stopRetry()
    void this.#connecting.then(() => {
      this.#session?.close()
      this.#stopRetry()
      if (!this.#closing.signal.aborted) this.#connect()
    })
  }

  /** A complete list ends a loss. */
  #open(described: Described): readonly [Reading, ...Reading[]] {
    const [{ resource, listener }, ...others] = this.#listener.open(described)
    const telling: MirrorListener = {
      arrived: entries => listener.arrived?.(entries),
      changed: events => listener.changed(events),
      listed: entries => {
        this.#failures = 0
        this.#loss = undefined
        this.#stale = undefined
        listener.listed(entries)
        this.#parts.log.debug('etcd.synced', { cluster: this.#cluster, keys: entries.length })
      },
    }
    return [{ resource, listener: telling }, ...others]
  }

  #ended(error: MeshError, stale: Beat | undefined): void {
    if (this.#closing.signal.aborted) return
    this.#session = undefined
    this.#stale = stale ?? this.#stale
    this.#lost(error)
    const { clock, random } = this.#parts
    const longest = Math.min(longestRetryMs, firstRetryMs * 2 ** this.#failures++)
    this.#stopRetry = clock.after(longest * (0.5 + random() / 2), () => this.#connect())
  }

  #lost(error: MeshError): void {
    if (this.#closing.signal.aborted || this.#loss === error.message) return
    this.#loss = error.message
    this.#listener.lost(error)
  }
}
