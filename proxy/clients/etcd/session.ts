/**
 * One connection's reading of one cluster, in Cilium's order: the heartbeat shows that somebody takes care of the store, the
 * cluster-config says how it is written, the canary that it is complete, and only then absence counts.
 */

import { MeshError, messageOf } from '../../model/error.ts'
import { durationText } from '../../model/text/duration.ts'
import type { Clock } from '../../model/time/clock.ts'
import {
  canaryKey,
  canaryPrefix,
  clusterConfigKey,
  heartbeatEveryMs,
  heartbeatKey,
  prefixOf,
  type Resource,
} from '../clustermesh.ts'
import { type EtcdClient, EtcdError, statusCode } from './client.ts'
import { type ClusterConfig, decodeClusterConfig } from './cluster-config.ts'
import { Mirror, type MirrorListener } from './mirror.ts'
import type { Entry } from './rpc.ts'
import type { WatchEvent } from './watches.ts'

/** Which beat of which store was the last one: a store whose heart stood still must beat anew before it is believed. */
export interface Beat {
  readonly clusterId: string
  readonly revision: number
}

/** One resource and who takes its keys. */
export interface Reading {
  readonly resource: Resource
  readonly listener: MirrorListener
  /** Done without where the user has no right to it. */
  readonly optional?: boolean
}

/** How a cluster describes itself, as it stands in the store, and which store that is. */
export interface Described {
  readonly config: ClusterConfig
  readonly value: Uint8Array
  readonly store: string
}

export interface SessionParts {
  readonly cluster: string
  /**
   * Throws when the cluster must not be read; else says what of it is. The first is what it is read for, the others come as
   * they come.
   */
  readonly open: (described: Described) => readonly [Reading, ...Reading[]]
  /** A beat that is known, and has not been followed by another in time. */
  readonly stale: Beat | undefined
  /** Not over, but something that must be there is missing. */
  readonly waits: (error: MeshError) => void
  /** The session is over; told once, after which nothing is. */
  readonly ended: (error: MeshError, stale: Beat | undefined) => void
  readonly clock: Clock
}

/** Two beats may be missed (Cilium 2.7). */
export const heartbeatTimeoutMs = 2 * heartbeatEveryMs
/** How long the first steps may take before it is said what they wait for. */
const patienceMs = 30_000

export class Session {
  #client: EtcdClient
  #parts: SessionParts
  #mirrors: Mirror[] = []
  #beat: Beat
  #text: string | undefined
  #isAsking = false
  #isReading = false
  #isComplete = false
  #isOverdue = false
  #isOver = false
  #stopHeartbeat: () => void
  #stopPatience: () => void

  constructor(client: EtcdClient, parts: SessionParts) {
    this.#client = client
    this.#parts = parts
    this.#beat = { clusterId: client.clusterId, revision: 0 }
    this.#stopHeartbeat = this.#expectBeat()
    this.#stopPatience = parts.clock.after(patienceMs, () => {
      this.#isOverdue = true
      this.#sayWhatIsMissing()
    })
    client.onEnd(error => this.#end(error))
    this.#follow(heartbeatKey, {
      listed: ([entry]) => this.#findBeat(entry),
      changed: events => this.#hearBeat(events),
    })
  }

  /** Tells nobody. */
  close(): void {
    this.#isOver = true
    this.#stopHeartbeat()
    this.#stopPatience()
    for (const mirror of this.#mirrors) mirror.close()
    this.#client.close()
  }

  #findBeat(entry: Entry | undefined): void {
    const { stale } = this.#parts
    this.#beat = { ...this.#beat, revision: entry?.modRevision ?? 0 }
    const isStale = stale?.clusterId === this.#beat.clusterId && stale.revision === this.#beat.revision
    if (!isStale) this.#askConfig()
  }

  #hearBeat(events: readonly WatchEvent[]): void {
    const beat = events.findLast(({ kept }) => kept)
    if (!beat) return
    this.#beat = { ...this.#beat, revision: beat.entry.modRevision }
    this.#stopHeartbeat()
    this.#stopHeartbeat = this.#expectBeat()
    this.#askConfig()
  }

  #expectBeat(): () => void {
    return this.#parts.clock.after(heartbeatTimeoutMs, () => {
      const why = `nobody has taken care of the store for ${durationText(heartbeatTimeoutMs)}: ${heartbeatKey} is not renewed`
      this.#end(this.#error(why), this.#beat)
    })
  }

  #askConfig(): void {
    if (this.#isAsking) return
    this.#isAsking = true
    const read = (entry: Entry | undefined): void => entry && this.#readConfig(entry.value)
    this.#follow(clusterConfigKey(this.#parts.cluster), {
      listed: ([entry]) => read(entry),
      // A deletion says nothing: its owner writes it again.
      changed: events => read(events.findLast(({ kept }) => kept)?.entry),
    })
  }

  #readConfig(value: Uint8Array): void {
    const text = Buffer.from(value).toString('latin1')
    if (this.#text === text) return
    if (this.#text !== undefined)
      return this.#end(this.#error('the cluster describes itself anew; everything is read again'))
    try {
      const config = decodeClusterConfig(value)
      this.#text = text
      this.#awaitCanaries({ config, value, store: this.#client.clusterId })
      this.#sayWhatIsMissing()
    } catch (error) {
      this.#end(this.#error(`${clusterConfigKey(this.#parts.cluster)}: ${messageOf(error)}`))
    }
  }

  #awaitCanaries(described: Described): void {
    const { cluster } = this.#parts
    const { syncedCanaries, cached } = described.config
    const [main, ...others] = this.#parts.open(described)
    const canaries = new Map<string, () => void>()
    const expect = (resource: Resource, start: () => void): void => {
      canaries.set(canaryKey(resource, cluster, cached), start)
    }
    expect(main.resource, () => {
      this.#isReading = true
      this.#follow(prefixOf(main.resource, cluster, cached), this.#noting(main.listener))
    })
    for (const { resource, listener, optional } of others) {
      expect(resource, () => this.#follow(prefixOf(resource, cluster, cached), listener, optional))
    }
    const seen = (key: string): void => {
      const start = canaries.get(key)
      if (canaries.delete(key)) start?.()
    }
    if (!syncedCanaries) {
      for (const key of canaries.keys()) seen(key)
      return
    }
    // The whole prefix, since that is what a reader's rights are given for.
    this.#follow(canaryPrefix(cluster), {
      listed: entries => {
        for (const { key } of entries) seen(key)
      },
      changed: events => {
        for (const { kept, entry } of events) if (kept) seen(entry.key)
      },
    })
  }

  #noting(listener: MirrorListener): MirrorListener {
    return {
      arrived: entries => listener.arrived?.(entries),
      listed: entries => {
        this.#isComplete = true
        this.#stopPatience()
        listener.listed(entries)
      },
      changed: events => listener.changed(events),
    }
  }

  /** Where the reading stands, for whoever has waited too long. */
  #sayWhatIsMissing(): void {
    if (!this.#isOverdue || this.#isComplete) return
    const { cluster } = this.#parts
    const key = clusterConfigKey(cluster)
    if (this.#isReading) this.#parts.waits(this.#error('the first listing is not complete yet'))
    else if (this.#text !== undefined)
      this.#parts.waits(this.#error(`${canaryPrefix(cluster)} does not say yet that all is written`))
    else if (this.#isAsking) {
      this.#parts.waits(this.#error(`${key} is missing: the cluster has another name, or nobody publishes it`))
    }
  }

  #follow(range: string, listener: MirrorListener, optional = false): void {
    const fail = (error: MeshError): void => {
      if (!(optional && error instanceof EtcdError && error.status === statusCode.denied)) this.#end(error)
    }
    this.#mirrors.push(new Mirror(this.#client, range, listener, fail))
  }

  #error(why: string): MeshError {
    return new MeshError('SOURCE_READ', `${this.#client.server.url}: ${why}`)
  }

  #end(error: MeshError, stale?: Beat): void {
    if (this.#isOver) return
    this.close()
    this.#parts.ended(error, stale)
  }
}
