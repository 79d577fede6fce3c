/**
 * Tells when backends have left, so that their flows drain. A backend that is listed has not left, in whatever state: not ready,
 * terminating or with weight 0, it keeps its flows.
 *
 * A list without conditions (`readyOnly`) also omits backends that are only not ready. One that such a list no longer names is
 * *unlisted*: its TCP connections go on until the rest of the list goes too, another service has its address, or its time is
 * over. One that health had found dead before has left at once. Nothing checks an unlisted backend: if it dies, its
 * connections end by themselves, at the latest by keepalive.
 */
import { type Backend, isBad } from '../../model/backend.ts'
import type { GlobalService, ServiceKey } from '../../model/service.ts'
import type { Clock } from '../../model/time/clock.ts'

export interface DeparturesParts {
  readonly clock: Clock
  /** How long a backend may be unlisted before it has left; 0: not at all. */
  readonly unlistedMs: number
  /** Called with the keys of backends that have left. */
  readonly retire: (backends: readonly string[]) => void
}

/** The state of one service before and after a change; undefined where it has no listeners. */
export interface ServiceStates {
  readonly key: ServiceKey
  readonly before: GlobalService | undefined
  readonly after: GlobalService | undefined
}

interface Unlisted {
  readonly cluster: string
  readonly address: string
  /** The services whose lists named it last. */
  readonly services: readonly ServiceKey[]
  readonly since: number
}

/** Above it, the oldest have left. */
const maxUnlisted = 10_000

export class Departures {
  readonly #parts: DeparturesParts
  #unlistedMs: number
  /** In how many services each backend is, by key. */
  readonly #uses = new Map<string, number>()
  /** By key, oldest first. */
  readonly #unlisted = new Map<string, Unlisted>()
  #cancelTimer: (() => void) | undefined

  constructor(parts: DeparturesParts) {
    this.#parts = parts
    this.#unlistedMs = parts.unlistedMs
  }

  /** Another limit from now on, also for the backends that are unlisted already. */
  setUnlisted(ms: number): void {
    if (ms === this.#unlistedMs) return
    this.#unlistedMs = ms
    this.#expire()
  }

  follow(change: readonly ServiceStates[]): void {
    const arrived = change.flatMap(({ key, after }) => (after ? this.#listed(key, after) : []))
    const left = new Set<string>()
    for (const { before } of change) for (const key of this.#dropped(before)) left.add(key)
    if (this.#unlisted.size > 0) this.#review(change, arrived, left)
    this.#keepUnlisted(change, left)
    if (left.size > 0) this.#parts.retire([...left])
    this.#arm()
  }

  close(): void {
    this.#cancelTimer?.()
    this.#unlisted.clear()
  }

  /** Counts the service's backends. Returns those that were in no service before. */
  #listed(service: ServiceKey, { backends }: GlobalService): { service: ServiceKey; address: string }[] {
    return backends.flatMap(({ key, address }) => {
      const uses = this.#uses.get(key) ?? 0
      this.#uses.set(key, uses + 1)
      this.#unlisted.delete(key)
      return uses === 0 ? { service, address } : []
    })
  }

  /** Returns the keys of the backends that are in no service any more. */
  #dropped(service: GlobalService | undefined): string[] {
    return (service?.backends ?? []).flatMap(({ key }) => {
      const uses = (this.#uses.get(key) ?? 1) - 1
      if (uses > 0) this.#uses.set(key, uses)
      else this.#uses.delete(key)
      return uses > 0 ? [] : key
    })
  }

  /** Adds to `left` the unlisted backends whose list has gone or whose address another service has now. */
  #review(
    change: readonly ServiceStates[],
    arrived: readonly { service: ServiceKey; address: string }[],
    left: Set<string>,
  ): void {
    const after = new Map(change.map(({ key, after }) => [key, after]))
    const takers = Map.groupBy(arrived, ({ address }) => address)
    for (const [key, { cluster, address, services }] of this.#unlisted) {
      const listGone = services.some(service => after.has(service) && !isReadyOnly(after.get(service), cluster))
      const taken = takers.get(address)?.some(({ service }) => !services.includes(service))
      if (listGone || taken) this.#leave(key, left)
    }
  }

  /** Moves from `left` to the unlisted ones the TCP backends that every list may have omitted for not being ready. */
  #keepUnlisted(change: readonly ServiceStates[], left: Set<string>): void {
    if (left.size === 0 || this.#unlistedMs === 0) return
    const omitting = change.filter(({ after }) => after?.members.some(({ readyOnly }) => readyOnly))
    if (omitting.length === 0) return
    const lists = new Map<string, ServiceStates[]>()
    const backends = new Map<string, Backend>()
    for (const states of change) {
      for (const backend of states.before?.backends ?? []) {
        if (!left.has(backend.key) || backend.protocol !== 'TCP' || isBad(backend)) continue
        backends.set(backend.key, backend)
        lists.set(backend.key, [...(lists.get(backend.key) ?? []), states])
      }
    }
    const since = this.#parts.clock.now()
    for (const [key, { cluster, address }] of backends) {
      const named = lists.get(key) ?? []
      if (!named.every(({ after }) => isReadyOnly(after, cluster))) continue
      left.delete(key)
      this.#unlisted.set(key, { cluster, address, services: named.map(({ key }) => key), since })
    }
    for (const key of this.#unlisted.keys()) {
      if (this.#unlisted.size <= maxUnlisted) break
      this.#leave(key, left)
    }
  }

  #leave(key: string, left: Set<string>): void {
    this.#unlisted.delete(key)
    left.add(key)
  }

  /** One timer, for the oldest. */
  #arm(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    const [oldest] = this.#unlisted.values()
    if (!oldest) return
    const { clock } = this.#parts
    this.#cancelTimer = clock.after(Math.max(0, oldest.since + this.#unlistedMs - clock.now()), () => this.#expire())
  }

  #expire(): void {
    const left = new Set<string>()
    const now = this.#parts.clock.now()
    for (const [key, { since }] of this.#unlisted) {
      if (since + this.#unlistedMs > now) break
      this.#leave(key, left)
    }
    if (left.size > 0) this.#parts.retire([...left])
    this.#arm()
  }
}

function isReadyOnly(service: GlobalService | undefined, cluster: string): boolean {
  return service?.members.some(member => member.cluster === cluster && member.readyOnly) ?? false
}
