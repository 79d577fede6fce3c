/**
 * Reads one cluster over one connection, in Cilium's order: the heartbeat shows that the store is maintained, the
 * cluster-config says how it is written, and the canary says that it is complete. Only then does an absent key count.
 */
import { MeshError, messageOf } from '../../model/error.ts'
import { durationText } from '../../model/text/duration.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { Budget } from '../budget.ts'
import {
  canaryKey,
  canaryPrefix,
  clusterConfigKey,
  heartbeatEveryMs,
  heartbeatKey,
  prefixOf,
  type Resource,
} from '../clustermesh.ts'
import { EtcdError, type EtcdReader, statusCode } from './client.ts'
import { type ClusterConfig, decodeClusterConfig } from './cluster-config.ts'
import { Mirror, type MirrorEvents, type MirrorListener } from './mirror.ts'
import type { Entry } from './rpc.ts'

/** One resource, and the listener for its keys. */
export interface Subscription {
  readonly resource: Resource
  readonly listener: MirrorListener
  /** Skipped where the user has no permission to read it. */
  readonly optional?: boolean
  /** Whether it is read now; it always is if this is absent. See {@link Session.look}. */
  readonly wanted?: () => boolean
}

/** A resource that is read only while it is wanted, and whose canary has been seen. */
interface OnDemand {
  readonly wanted: () => boolean
  readonly read: () => Mirror
  mirror: Mirror | undefined
}

/** How a cluster describes itself in a store, and which store it is. */
export interface ClusterDescription {
  readonly config: ClusterConfig
  /** The raw value of the cluster-config. */
  readonly value: Uint8Array
  readonly store: StoreIdentity
}

/**
 * Two etcds that were started with the defaults have the same cluster id and member ids, so the id alone proves nothing. The
 * heartbeat is one key for a whole store: its lease and create revision are the same only in the same store.
 */
export interface StoreIdentity {
  readonly clusterId: string
  /** Undefined while there is no heartbeat. */
  readonly heartbeat: string | undefined
}

/** The last heartbeat of a store. A store whose heartbeat stopped is read again only after a new one. */
export interface Heartbeat extends StoreIdentity {
  /** When it was last renewed; 0 while there is none. */
  readonly revision: number
}

export function storeIdentity(clusterId: string, heartbeat: Entry | undefined): StoreIdentity {
  return { clusterId, heartbeat: heartbeat && `${heartbeat.lease.toString(16)}@${heartbeat.createRevision}` }
}

export interface SessionParts {
  readonly cluster: string
  /**
   * Says what to read; throws when the cluster must not be read. The first subscription is the one that makes it synced. Called
   * again when the cluster announces that it writes other resources than before: everything is listed again.
   */
  readonly open: (description: ClusterDescription) => readonly [Subscription, ...Subscription[]]
  /** The last heartbeat of a session that ended because no other followed. */
  readonly stale: Heartbeat | undefined
  /** Called before each complete list of the first subscription is delivered. */
  readonly synced: (keys: number) => void
  /** The session continues, but something that it needs is missing. */
  readonly waiting: (error: MeshError) => void
  /** The session has ended. Called once, and nothing is called after it. */
  readonly ended: (error: MeshError, stale: Heartbeat | undefined) => void
  readonly clock: Clock
  readonly budget: Budget
}

/** Two heartbeats may be missed (Cilium 2.7). */
export const heartbeatTimeoutMs = 2 * heartbeatEveryMs
/** How long to wait for the first list before reporting what is missing. */
const patienceMs = 30_000

export class Session {
  #client: EtcdReader
  #parts: SessionParts
  /** Of the heartbeat and the cluster-config. */
  #mirrors: Mirror[] = []
  /** Of the canaries and the resources. */
  #resources: Mirror[] = []
  #onDemand: OnDemand[] = []
  #heartbeat: Heartbeat
  #configText: string | undefined
  #config: ClusterConfig | undefined
  #isHeartbeatListed = false
  #isConfigWatched = false
  #isListing = false
  #isSynced = false
  #isOverdue = false
  #isOver = false
  #stopHeartbeat: () => void
  #stopPatience: () => void

  constructor(client: EtcdReader, parts: SessionParts) {
    this.#client = client
    this.#parts = parts
    this.#heartbeat = this.#heartbeatOf(undefined)
    this.#stopHeartbeat = this.#expectHeartbeat()
    this.#stopPatience = this.#expectList()
    client.onEnd(error => this.#end(error))
    const listener: MirrorListener = {
      listed: ([entry]) => this.#heartbeatListed(entry),
      changed: events => {
        const beat = events.findLast(({ kept }) => kept)
        if (beat) this.#nextHeartbeat(beat.entry)
      },
    }
    this.#mirrors.push(this.#mirror(heartbeatKey, listener))
  }

  /** Begins or stops to read the resources that are wanted at times. */
  look(): void {
    for (const resource of this.#onDemand) {
      const wanted = resource.wanted()
      if (wanted) resource.mirror ??= resource.read()
      else {
        resource.mirror?.close()
        resource.mirror = undefined
      }
    }
  }

  /** Ends the session without calling `ended`. */
  close(): void {
    this.#isOver = true
    this.#stopHeartbeat()
    this.#stopPatience()
    for (const mirror of [...this.#mirrors, ...this.#resources]) mirror.close()
    this.#closeOnDemand()
    this.#client.close()
  }

  /** Listed first, and again after a compaction: then a heartbeat with another revision is a new one. */
  #heartbeatListed(entry: Entry | undefined): void {
    if (this.#isHeartbeatListed) {
      if (entry && entry.modRevision !== this.#heartbeat.revision) this.#nextHeartbeat(entry)
      return
    }
    this.#isHeartbeatListed = true
    this.#heartbeat = this.#heartbeatOf(entry)
    const { stale } = this.#parts
    if (!stale || !isSame(stale, this.#heartbeat)) this.#watchConfig()
  }

  #nextHeartbeat(entry: Entry): void {
    this.#heartbeat = this.#heartbeatOf(entry)
    this.#stopHeartbeat()
    this.#stopHeartbeat = this.#expectHeartbeat()
    this.#watchConfig()
  }

  #heartbeatOf(entry: Entry | undefined): Heartbeat {
    return { ...storeIdentity(this.#client.clusterId, entry), revision: entry?.modRevision ?? 0 }
  }

  #expectHeartbeat(): () => void {
    return this.#parts.clock.after(heartbeatTimeoutMs, () => {
      const why = `${heartbeatKey} has not been renewed for ${durationText(heartbeatTimeoutMs)}: nobody maintains the store`
      this.#end(this.#error(why), this.#heartbeat)
    })
  }

  #expectList(): () => void {
    return this.#parts.clock.after(patienceMs, () => {
      this.#isOverdue = true
      this.#reportMissing()
    })
  }

  #watchConfig(): void {
    if (this.#isConfigWatched) return
    this.#isConfigWatched = true
    const read = (entry: Entry | undefined): void => entry && this.#readConfig(entry.value)
    const key = clusterConfigKey(this.#parts.cluster)
    const listener: MirrorListener = {
      listed: ([entry]) => read(entry),
      // A deletion is ignored: the owner writes the key again.
      changed: events => read(events.findLast(({ kept }) => kept)?.entry),
    }
    this.#mirrors.push(this.#mirror(key, listener))
  }

  #readConfig(value: Uint8Array): void {
    const text = Buffer.from(value).toString('latin1')
    if (this.#configText === text) return
    try {
      const config = decodeClusterConfig(value)
      const before = this.#config
      if (before && (before.id !== config.id || before.cached !== config.cached))
        return this.#end(this.#error('the cluster-config has changed; everything is read again'))
      this.#configText = text
      this.#config = config
      if (before) this.#readAgain()
      this.#awaitCanaries({ config, value, store: this.#heartbeat })
      this.#reportMissing()
    } catch (error) {
      this.#end(this.#error(`${clusterConfigKey(this.#parts.cluster)}: ${messageOf(error)}`))
    }
  }

  /** The cluster writes other resources than before. What has been read stays until the new ones are complete. */
  #readAgain(): void {
    for (const mirror of this.#resources.splice(0)) mirror.close()
    this.#closeOnDemand()
    this.#isListing = false
    this.#isSynced = false
    this.#isOverdue = false
    this.#stopPatience()
    this.#stopPatience = this.#expectList()
  }

  #closeOnDemand(): void {
    for (const { mirror } of this.#onDemand.splice(0)) mirror?.close()
  }

  /** Starts to read each resource once its canary is there. */
  #awaitCanaries(description: ClusterDescription): void {
    const { cluster } = this.#parts
    const { syncedCanaries, cached } = description.config
    const [main, ...others] = this.#parts.open(description)
    const canaries = new Map<string, () => void>()
    const expect = (resource: Resource, start: () => void): void => {
      canaries.set(canaryKey(resource, cluster, cached), start)
    }
    const mirrorOf = (resource: Resource, listener: MirrorListener, events: Partial<MirrorEvents> = {}): Mirror =>
      this.#mirror(prefixOf(resource, cluster, cached), listener, events)
    expect(main.resource, () => {
      this.#isListing = true
      this.#resources.push(mirrorOf(main.resource, main.listener, { synced: keys => this.#synced(keys) }))
    })
    for (const { resource, listener, optional, wanted } of others) {
      const failed = optional ? (error: MeshError) => this.#endUnlessDenied(error, listener) : undefined
      const read = () => mirrorOf(resource, listener, failed && { failed })
      expect(resource, () => {
        if (!wanted) return void this.#resources.push(read())
        this.#onDemand.push({ wanted, read, mirror: wanted() ? read() : undefined })
      })
    }
    const seen = (key: string): void => {
      const start = canaries.get(key)
      if (canaries.delete(key)) start?.()
    }
    if (!syncedCanaries) {
      for (const key of canaries.keys()) seen(key)
      return
    }
    // The whole prefix, since a reader's permissions are for the prefix.
    const listener: MirrorListener = {
      listed: entries => {
        for (const { key } of entries) seen(key)
      },
      changed: events => {
        for (const { kept, entry } of events) if (kept) seen(entry.key)
      },
    }
    this.#resources.push(this.#mirror(canaryPrefix(cluster), listener))
  }

  #synced(keys: number): void {
    this.#isSynced = true
    this.#stopPatience()
    this.#parts.synced(keys)
  }

  /** Says which step the session waits for, once it has waited too long. */
  #reportMissing(): void {
    if (!this.#isOverdue || this.#isSynced) return
    const { cluster, waiting } = this.#parts
    const key = clusterConfigKey(cluster)
    if (this.#isListing) waiting(this.#error('the first list is not complete yet'))
    else if (this.#configText !== undefined) {
      waiting(
        this.#error(`the canary under ${canaryPrefix(cluster)} is missing: the cluster has not written everything yet`),
      )
    } else if (this.#isConfigWatched) {
      waiting(this.#error(`${key} is missing: the cluster has another name, or nobody publishes it`))
    }
  }

  #mirror(range: string, listener: MirrorListener, events: Partial<MirrorEvents> = {}): Mirror {
    const ends = { failed: (error: MeshError) => this.#end(error), ...events }
    return new Mirror(this.#client, range, listener, ends, this.#parts.budget)
  }

  #endUnlessDenied(error: MeshError, listener: MirrorListener): void {
    if (error instanceof EtcdError && error.status === statusCode.denied) listener.skipped?.()
    else this.#end(error)
  }

  #error(why: string): MeshError {
    return new MeshError('SOURCE_READ', `${this.#client.server.url}: ${why}`)
  }

  #end(error: MeshError, stale?: Heartbeat): void {
    if (this.#isOver) return
    this.close()
    this.#parts.ended(error, stale)
  }
}

function isSame(one: Heartbeat, other: Heartbeat): boolean {
  return one.clusterId === other.clusterId && one.heartbeat === other.heartbeat && one.revision === other.revision
}
