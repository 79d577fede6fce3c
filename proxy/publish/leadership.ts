/**
 * Leader election over one etcd connection, and the work of the leader. Several publishers of a cluster may run: one holds the
 * lock, the others wait. Every write is conditional on the lock, so a leader that lost it without noticing writes nothing.
 *
 * The lease of the data is much longer than that of the lock. The next leader, which may be the same process after a restart,
 * takes over the lease with all keys under it and writes only what differs: readers notice nothing.
 */

import {
  clusterConfigKey,
  clustersIn,
  heartbeatEveryMs,
  heartbeatKey,
  lockKey,
  resources,
} from '../clients/clustermesh.ts'
import type { EtcdStore, Write } from '../clients/etcd/client.ts'
import type { Entry } from '../clients/etcd/rpc.ts'
import { messageOf } from '../model/error.ts'
import type { Clock } from '../model/time/clock.ts'
import { Batch } from './batch.ts'
import type { ClusterKeys } from './cluster-keys.ts'

export interface LeadershipParts {
  /** The cluster that is published. */
  readonly cluster: string
  /** All clusters to write, in the order of priority: the store's own cluster first. */
  readonly clusters: () => readonly ClusterKeys[]
  /** `found` is called once with the clusters that have a canary under `prefix`. */
  readonly discovery: { readonly prefix: string; readonly found: (clusters: readonly string[]) => void }
  /** Identifies this publisher; the same on every connection, so that it recognizes its own lock. */
  readonly holder: string
  readonly leaseMs: number
  readonly lockMs: number
  /** Shortest time between two writes. */
  readonly paceMs: number
  readonly clock: Clock
  readonly became: (state: 'standby' | 'publishing') => void
}

/** How often a standby checks the lock. */
const lockPollMs = 5000
/** How long a publisher that stops waits for the release of its lock. */
const resignMs = 2000
/** How often the stored keys are compared with the desired ones (Cilium 2.3). */
const compareMs = 5 * 60_000

export class Leadership {
  #store: EtcdStore
  #parts: LeadershipParts
  #lock: { readonly createRevision: number; readonly lease: bigint } = { createRevision: 0, lease: 0n }
  #lease = 0n
  #stops: (() => void)[] = []
  #wake: () => void = () => {}
  #error: Error | undefined
  /** The connection stays open until the lock has been released. */
  #isResigning = false

  constructor(store: EtcdStore, parts: LeadershipParts) {
    this.#store = store
    this.#parts = parts
    store.onEnd(error => this.#fail(error))
  }

  /** Never resolves; rejects with what ended it. */
  async run(): Promise<never> {
    try {
      await this.#takeLock()
      this.#lease = await this.#findLease()
      for (const keys of this.#parts.clusters()) keys.invalidate()
      await this.#write([this.#heartbeat()])
      await this.#discover()
      this.#check()
      this.#startTimers()
      this.#parts.became('publishing')
      for (;;) await this.#step()
    } finally {
      for (const stop of this.#stops) stop()
      if (!this.#isResigning) this.#store.close()
    }
  }

  /** Call when there is something to write. */
  wake(): void {
    this.#wake()
  }

  /**
   * Releases the lock, so that a standby takes over at once. The data stays until its lease expires. If etcd does not answer,
   * the lock expires by itself.
   */
  async resign(): Promise<void> {
    this.#isResigning = true
    this.#fail(new Error('closed'))
    if (this.#lock.lease !== 0n) await this.#release(this.#lock.lease)
    this.#store.close()
  }

  /** Ends the connection and keeps the lock, for the next connection of this publisher. */
  disconnect(): void {
    this.#store.close()
  }

  #release(lease: bigint): Promise<void> {
    return new Promise(resolve => {
      const stop = this.#parts.clock.after(resignMs, resolve)
      const done = (): void => {
        stop()
        resolve()
      }
      this.#store.revoke(lease).then(done, done)
    })
  }

  async #takeLock(): Promise<void> {
    const { cluster, holder } = this.#parts
    const key = lockKey(cluster)
    const value = Buffer.from(holder)
    for (;;) {
      this.#check()
      const held = await this.#store.get(key)
      this.#check()
      if (held && Buffer.from(held.value).equals(value) && (await this.#store.keepAlive(held.lease))) {
        this.#lock = held
        return
      }
      if (held) {
        this.#parts.became('standby')
        // Changes wake a leader; a standby has nothing to write.
        await this.#rest(lockPollMs)
        continue
      }
      const lease = await this.#store.grant(this.#parts.lockMs)
      const isMine = await this.#store.write([{ key, value }], lease, { key, createRevision: 0 })
      if (!isMine) await this.#store.revoke(lease)
    }
  }

  /** The lease of the stored cluster-config, if it is still alive: all other keys are under it too. Else a new one. */
  async #findLease(): Promise<bigint> {
    const config = await this.#store.get(clusterConfigKey(this.#parts.cluster))
    if (config && config.lease !== 0n && (await this.#store.keepAlive(config.lease))) return config.lease
    return this.#store.grant(this.#parts.leaseMs)
  }

  #startTimers(): void {
    const { clock, leaseMs, lockMs } = this.#parts
    const every = (ms: number, task: () => Promise<void>): void => {
      const run = (): void => void task().catch((error: unknown) => this.#fail(error as Error))
      this.#stops.push(clock.every(ms, run))
    }
    every(lockMs / 3, () => this.#keep(this.#lock.lease, 'the lock'))
    every(leaseMs / 3, () => this.#keep(this.#lease, 'the lease of the data'))
    every(heartbeatEveryMs, () => this.#writeAll(this.#periodicWrites()))
    // Copies are large and are compared only when the connection or the leader changes.
    every(compareMs, async () => {
      for (const keys of this.#parts.clusters()) if (keys.kind !== 'copy') keys.isCompared = false
      this.#wake()
    })
  }

  async #keep(lease: bigint, what: string): Promise<void> {
    if (!(await this.#store.keepAlive(lease))) throw new Error(`${what} has expired`)
  }

  /** The heartbeat and all cluster-configs, since readers need those. */
  #periodicWrites(): Write[] {
    return [this.#heartbeat(), ...this.#parts.clusters().flatMap(each => each.configWrites())]
  }

  #heartbeat(): Write {
    return { key: heartbeatKey, value: this.#now() }
  }

  async #discover(): Promise<void> {
    const { prefix, found } = this.#parts.discovery
    const canaries: string[] = []
    try {
      for await (const { entries } of this.#store.pages(prefix)) canaries.push(...entries.map(({ key }) => key))
    } catch (error) {
      // Without the right to read there, this user has never written there either.
      if (!messageOf(error).includes('permission denied')) throw error
    }
    found(clustersIn(canaries))
  }

  async #compare(keys: ClusterKeys): Promise<void> {
    for (const resource of resources) {
      const found: Entry[] = []
      for await (const { entries } of this.#store.pages(keys.prefix(resource))) found.push(...entries)
      keys.setStored(resource, found, this.#lease)
    }
    keys.isCompared = true
  }

  async #step(): Promise<void> {
    this.#check()
    const { clusters, paceMs } = this.#parts
    const unknown = clusters().find(({ isCompared }) => !isCompared)
    if (unknown) return this.#compare(unknown)
    const batch = new Batch()
    const touched = clusters().filter(keys => {
      const before = batch.writes.length
      keys.fill(batch, this.#now())
      return batch.writes.length > before
    })
    if (touched.length === 0) return this.#pause()
    await this.#write(batch.writes)
    for (const keys of touched) keys.written(batch.writes)
    await this.#rest(paceMs)
  }

  #now(): Buffer {
    return Buffer.from(new Date(this.#parts.clock.wall()).toISOString())
  }

  async #writeAll(writes: readonly Write[]): Promise<void> {
    const batch = new Batch()
    const rest = writes.filter(write => !batch.add(write))
    await this.#write(batch.writes)
    if (rest.length > 0) await this.#writeAll(rest)
  }

  async #write(writes: readonly Write[]): Promise<void> {
    const condition = { key: lockKey(this.#parts.cluster), createRevision: this.#lock.createRevision }
    const isMine = await this.#store.write(writes, this.#lease, condition)
    if (!isMine) throw new Error('another publisher has taken over')
  }

  /** Waits the whole time; only an error ends it early. */
  async #rest(ms: number): Promise<void> {
    const end = this.#parts.clock.now() + ms
    for (let left = ms; left > 0 && !this.#error; left = end - this.#parts.clock.now()) await this.#pause(left)
  }

  /** Waits until `wake`, or at most `ms`. */
  async #pause(ms?: number): Promise<void> {
    const woken = new Promise<void>(resolve => {
      this.#wake = resolve
    })
    const stop = ms === undefined ? undefined : this.#parts.clock.after(ms, this.#wake)
    await woken
    stop?.()
  }

  #fail(error: Error): void {
    this.#error ??= error
    this.#wake()
  }

  #check(): void {
    if (this.#error) throw this.#error
  }
}
