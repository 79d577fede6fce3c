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
import type { Change, ServiceChange } from '../../model/directory.ts'
import { MultiMap } from '../../model/lists/multi-map.ts'
import { namesIn } from '../../model/lists/names-in.ts'
import type { GlobalService, ServiceKey } from '../../model/service.ts'
import type { Clock } from '../../model/time/clock.ts'

export interface DeparturesParts {
  readonly clock: Clock
  /** How long a backend may be unlisted before it has left; 0: not at all. */
  readonly unlistedMs: number
  /** A service that has listeners, as it is now. */
  readonly service: (key: ServiceKey) => GlobalService | undefined
  /** Services that have a backend at an address; also others may be among them. */
  readonly servicesAt: (address: string) => readonly ServiceKey[]
  /** Called with the keys of backends that have left. */
  readonly retire: (backends: readonly string[]) => void
}

/** A backend that a service has got, and no service had. */
interface Arrived {
  readonly service: ServiceKey
  readonly address: string
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
  /** By key, oldest first. */
  readonly #unlisted = new Map<string, Unlisted>()
  /** Their keys by service and by address. */
  readonly #unlistedOf = new MultiMap<string>()
  readonly #unlistedAt = new MultiMap<string>()
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

  /** A service without listeners is none here: it is undefined before or after. */
  follow(change: Change): void {
    const left = new Set<string>()
    for (const one of change) this.#addDropped(one, left)
    if (this.#unlisted.size > 0) {
      for (const { backends } of change) for (const { key } of backends.come) this.#forget(key)
      this.#review(change, left)
    }
    this.#keepUnlisted(change, left)
    if (left.size > 0) this.#parts.retire([...left])
    this.#arm()
  }

  close(): void {
    this.#cancelTimer?.()
    for (const key of [...this.#unlisted.keys()]) this.#forget(key)
  }

  /** Adds the keys of the backends that the service has lost and that are in no service any more. */
  #addDropped({ key: service, backends: { gone, come } }: ServiceChange, left: Set<string>): void {
    const isKept = namesIn(come, ({ key }) => key)
    for (const { key, address } of gone) {
      if (isKept(key)) continue
      if (!this.#others(address, service).some(other => has(this.#parts.service(other), key))) left.add(key)
    }
  }

  /** Backends that a service has got at an address of unlisted ones, and no service had before the change. */
  #arrived(change: Change): Arrived[] {
    const before = new Map(change.map(one => [one.key, one.before]))
    const had = (service: ServiceKey, key: string) =>
      has(before.has(service) ? before.get(service) : this.#parts.service(service), key)
    const isKnown = (service: ServiceKey, { key, address }: Backend) =>
      had(service, key) || this.#others(address, service).some(other => had(other, key))
    return change.flatMap(({ key: service, backends: { come } }) =>
      come
        .filter(backend => this.#unlistedAt.has(backend.address) && !isKnown(service, backend))
        .map(({ address }) => ({ service, address })),
    )
  }

  #others(address: string, service: ServiceKey): readonly ServiceKey[] {
    const all = this.#parts.servicesAt(address)
    return all.length === 1 && all[0] === service ? none : all.filter(other => other !== service)
  }

  /** Adds to `left` the unlisted backends whose list has gone or whose address another service has now. */
  #review(change: Change, left: Set<string>): void {
    for (const { key: service, after } of change) {
      for (const key of this.#unlistedOf.get(service)) {
        if (!isReadyOnly(after, this.#unlisted.get(key)?.cluster)) this.#leave(key, left)
      }
    }
    for (const { service, address } of this.#arrived(change)) {
      for (const key of this.#unlistedAt.get(address)) {
        if (!this.#unlisted.get(key)?.services.includes(service)) this.#leave(key, left)
      }
    }
  }

  /** Moves from `left` to the unlisted ones the TCP backends that every list may have omitted for not being ready. */
  #keepUnlisted(change: Change, left: Set<string>): void {
    if (left.size === 0 || this.#unlistedMs === 0) return
    const omitting = change.filter(({ after }) => after?.members.some(({ readyOnly }) => readyOnly))
    if (omitting.length === 0) return
    const lists = new Map<string, ServiceChange[]>()
    const backends = new Map<string, Backend>()
    for (const states of change) {
      for (const backend of states.backends.gone) {
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
      this.#remember(key, { cluster, address, services: named.map(({ key }) => key), since })
    }
    for (const key of this.#unlisted.keys()) {
      if (this.#unlisted.size <= maxUnlisted) break
      this.#leave(key, left)
    }
  }

  #leave(key: string, left: Set<string>): void {
    this.#forget(key)
    left.add(key)
  }

  #remember(key: string, unlisted: Unlisted): void {
    this.#unlisted.set(key, unlisted)
    this.#unlistedAt.add(unlisted.address, key)
    for (const service of unlisted.services) this.#unlistedOf.add(service, key)
  }

  #forget(key: string): void {
    const unlisted = this.#unlisted.get(key)
    if (!unlisted) return
    this.#unlisted.delete(key)
    this.#unlistedAt.delete(unlisted.address, key)
    for (const service of unlisted.services) this.#unlistedOf.delete(service, key)
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

const none: readonly never[] = []

function has(service: GlobalService | undefined, backend: string): boolean {
  return service?.backends.some(({ key }) => key === backend) ?? false
}

function isReadyOnly(service: GlobalService | undefined, cluster: string | undefined): boolean {
  return service?.members.some(member => member.cluster === cluster && member.readyOnly) ?? false
}
