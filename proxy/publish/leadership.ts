/**
 * One connection's time as the publisher of a cluster. Several publishers may run: one holds the lock, the others wait for it,
 * and every write is bound to the lock, so that one who has lost it without noticing changes nothing any more.
 *
 * The lease of the data outlives the publisher by far. Whoever comes next, the same one after a restart or another one, takes
 * the lease over with everything under it, and writes only what is different: readers notice nothing.
 */

import {
  clusterConfigKey,
  clustersIn,
  heartbeatEveryMs,
  heartbeatKey,
  lockKey,
  resources,
} from '../clients/clustermesh.ts'
import { messageOf } from '../model/error.ts'
import type { Clock } from '../model/time/clock.ts'
import { Batch } from './batch.ts'
import type { Volume } from './cluster-keys.ts'
import type { Store, Stored, Write } from './store.ts'

export interface TenureParts {
  /** Whose publisher this is. */
  readonly cluster: string
  /** What is to stand in the store: its own cluster first, which nothing else is to hold up. */
  readonly volumes: () => readonly Volume[]
  /** Told once of the clusters with a canary under `prefix`. */
  readonly discovery: { readonly prefix: string; readonly found: (clusters: readonly string[]) => void }
  /** Tells this publisher from the others; kept over connections, so that it knows its own lock again. */
  readonly holder: string
  readonly leaseMs: number
  readonly lockMs: number
  /** The shortest time from one write to the next. */
  readonly paceMs: number
  readonly clock: Clock
  readonly became: (state: 'standby' | 'publishing') => void
}

/** How often those who wait look whether the lock is free. */
const lookEveryMs = 5000
/** How often all that stands in the store is held against what should (Cilium 2.3). */
const compareEveryMs = 5 * 60_000

export class Tenure {
  #store: Store
  #parts: TenureParts
  #lock: { readonly createRevision: number; readonly lease: bigint } = { createRevision: 0, lease: 0n }
  #lease = 0n
  #stops: (() => void)[] = []
  #wake: () => void = () => {}
  #error: Error | undefined

  constructor(store: Store, parts: TenureParts) {
    this.#store = store
    this.#parts = parts
    store.onEnd(error => this.#fail(error))
  }

  /** Never resolves; rejects with what ended it. */
  async run(): Promise<never> {
    try {
      await this.#takeLock()
      this.#lease = await this.#findLease()
      for (const volume of this.#parts.volumes()) volume.forgetStore()
      await this.#write([this.#heartbeat()])
      await this.#discover()
      this.#keepUp()
      this.#parts.became('publishing')
      for (;;) await this.#step()
    } finally {
      for (const stop of this.#stops) stop()
      this.#store.close()
    }
  }

  /** There is something to write. */
  wake(): void {
    this.#wake()
  }

  /** Lets the next publisher in at once. The data stays, for it to take over, until its lease runs out. */
  async resign(): Promise<void> {
    try {
      if (this.#lock.lease !== 0n) await this.#store.revoke(this.#lock.lease)
    } catch {
      // The lock then runs out by itself.
    }
    this.#fail(new Error('closed'))
    this.#store.close()
  }

  async #takeLock(): Promise<void> {
    const { cluster, holder } = this.#parts
    const key = lockKey(cluster)
    const value = Buffer.from(holder)
    for (;;) {
      this.#check()
      const held = await this.#store.get(key)
      if (held && Buffer.from(held.value).equals(value) && (await this.#store.keepAlive(held.lease))) {
        this.#lock = held
        return
      }
      if (held) {
        this.#parts.became('standby')
        await this.#pause(lookEveryMs)
        continue
      }
      const lease = await this.#store.grant(this.#parts.lockMs)
      const isMine = await this.#store.write([{ key, value }], lease, { key, createRevision: 0 })
      if (!isMine) await this.#store.revoke(lease)
    }
  }

  /** The one that the cluster-config is under, if it still lives: everything else is under it too. */
  async #findLease(): Promise<bigint> {
    const config = await this.#store.get(clusterConfigKey(this.#parts.cluster))
    if (config && config.lease !== 0n && (await this.#store.keepAlive(config.lease))) return config.lease
    return this.#store.grant(this.#parts.leaseMs)
  }

  #keepUp(): void {
    const { clock, leaseMs, lockMs } = this.#parts
    const every = (ms: number, task: () => Promise<void>): void => {
      const run = (): void => void task().catch((error: unknown) => this.#fail(error as Error))
      this.#stops.push(clock.every(ms, run))
    }
    every(lockMs / 3, () => this.#keep(this.#lock.lease, 'the lock'))
    every(leaseMs / 3, () => this.#keep(this.#lease, 'the lease of the data'))
    every(heartbeatEveryMs, () => this.#writeAll(this.#signsOfLife()))
    // Copies are many and large; what is wrong with one is found when the connection or the writer changes.
    every(compareEveryMs, async () => {
      for (const volume of this.#parts.volumes()) if (volume.kind !== 'copy') volume.isCompared = false
      this.#wake()
    })
  }

  async #keep(lease: bigint, what: string): Promise<void> {
    if (!(await this.#store.keepAlive(lease))) throw new Error(`${what} has run out`)
  }

  /** How clusters describe themselves is written each time, since a reader is lost without it. */
  #signsOfLife(): Write[] {
    return [this.#heartbeat(), ...this.#parts.volumes().flatMap(each => each.description())]
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
      // Who may not look there has never written there.
      if (!messageOf(error).includes('permission denied')) throw error
    }
    found(clustersIn(canaries))
  }

  async #compare(volume: Volume): Promise<void> {
    for (const resource of resources) {
      const found: Stored[] = []
      for await (const { entries } of this.#store.pages(volume.prefix(resource))) found.push(...entries)
      volume.found(resource, found, this.#lease)
    }
    volume.isCompared = true
  }

  async #step(): Promise<void> {
    this.#check()
    const { volumes, paceMs } = this.#parts
    const unknown = volumes().find(({ isCompared }) => !isCompared)
    if (unknown) return this.#compare(unknown)
    const batch = new Batch()
    const touched = volumes().filter(volume => {
      const before = batch.writes.length
      volume.fill(batch, this.#now())
      return batch.writes.length > before
    })
    if (touched.length === 0) return this.#pause()
    await this.#write(batch.writes)
    for (const volume of touched) volume.settle(batch.writes)
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

  /** Nothing shortens it but the end. */
  async #rest(ms: number): Promise<void> {
    const end = this.#parts.clock.now() + ms
    for (let left = ms; left > 0 && !this.#error; left = end - this.#parts.clock.now()) await this.#pause(left)
  }

  /** Until it is woken, or for a time. */
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
