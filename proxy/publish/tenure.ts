/**
 * One connection's time as the publisher of a cluster. Several publishers may run: one holds the lock, the others wait for it,
 * and every write is bound to the lock, so that one who has lost it without noticing changes nothing any more.
 *
 * The lease of the data outlives the publisher by far. Whoever comes next, the same one after a restart or another one, takes
 * the lease over with everything under it, and writes only what is different: readers notice nothing.
 */
import type { Clock } from '../model/clock.ts'
import {
  canaryKey,
  clusterConfigKey,
  heartbeatEveryMs,
  heartbeatKey,
  prefixOf,
  type Resource,
} from '../model/clustermesh.ts'
import { clusterConfigValue, type Publishing } from './encode-cilium.ts'
import type { Ledger } from './ledger.ts'
import type { Store, Stored, Write } from './store.ts'

export interface TenureParts extends Publishing {
  readonly ledger: Ledger
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

export function lockKey(cluster: string): string {
  return `cilium/.publisher/${cluster}`
}

export class Tenure {
  #store: Store
  #parts: TenureParts
  #lock: { readonly createRevision: number; readonly lease: bigint } = { createRevision: 0, lease: 0n }
  #lease = 0n
  #hasCanaries = false
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
      await this.#write(this.#signsOfLife())
      await this.#compare()
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
    every(heartbeatEveryMs, () => this.#write(this.#signsOfLife()))
    every(compareEveryMs, () => this.#compare())
  }

  async #keep(lease: bigint, what: string): Promise<void> {
    if (!(await this.#store.keepAlive(lease))) throw new Error(`${what} has run out`)
  }

  /** The config is written each time, since a reader is lost without it. */
  #signsOfLife(): Write[] {
    const now = Buffer.from(new Date(this.#parts.clock.wall()).toISOString())
    return [
      { key: heartbeatKey, value: now },
      { key: clusterConfigKey(this.#parts.cluster), value: clusterConfigValue(this.#parts) },
    ]
  }

  async #compare(): Promise<void> {
    const { cluster, ledger } = this.#parts
    const found: Stored[] = []
    for (const resource of ['services', 'endpointslices'] as const) {
      for await (const { entries } of this.#store.pages(prefixOf(resource, cluster))) found.push(...entries)
    }
    ledger.found(found, this.#lease)
    this.#hasCanaries = false
    this.#wake()
  }

  async #step(): Promise<void> {
    this.#check()
    const { ledger, paceMs } = this.#parts
    const writes = ledger.next()
    if (writes.length > 0) {
      await this.#write(writes)
      ledger.settle(writes)
      return this.#rest(paceMs)
    }
    if (ledger.isComplete && !this.#hasCanaries) {
      this.#hasCanaries = true
      return this.#write(this.#canaries())
    }
    await this.#pause()
  }

  /** A peer is not ready before it has seen all of them, so that those of empty prefixes are written too (Cilium 2.9). */
  #canaries(): Write[] {
    const { cluster, clock, slices } = this.#parts
    const resources: Resource[] = [
      'nodes',
      'identities',
      'ip',
      'services',
      ...(slices ? ['endpointslices' as const] : []),
    ]
    const value = Buffer.from(new Date(clock.wall()).toISOString())
    return resources.map(resource => ({ key: canaryKey(resource, cluster), value }))
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
