/** Which services have a destination among their backends: where a changed verdict has to go. */
import type { Backends } from '../model/backend.ts'
import type { GlobalService, ServiceKey } from '../model/service.ts'

export class BackendIndex {
  /** Most destinations are in one service, and need no list. */
  #services = new Map<string, ServiceKey | readonly ServiceKey[]>()

  servicesOf(destination: string): readonly ServiceKey[] {
    const known = this.#services.get(destination)
    return known === undefined ? [] : typeof known === 'string' ? [known] : known
  }

  /** A service was added (no `before`), replaced or removed (no `after`). */
  replace(key: ServiceKey, before: GlobalService | undefined, after: GlobalService | undefined): void {
    if (before && after && sameDestinations(before.backends, after.backends)) return
    const kept = new Set(after?.backends.map(({ destination }) => destination))
    for (const { destination } of before?.backends ?? []) {
      if (!kept.has(destination)) this.#set(destination, without(this.servicesOf(destination), key))
    }
    for (const destination of kept) {
      const known = this.servicesOf(destination)
      if (!known.includes(key)) this.#set(destination, [...known, key])
    }
  }

  #set(destination: string, services: readonly ServiceKey[]): void {
    const [first] = services
    if (first === undefined) this.#services.delete(destination)
    else this.#services.set(destination, services.length === 1 ? first : services)
  }
}

function without(services: readonly ServiceKey[], key: ServiceKey): readonly ServiceKey[] {
  return services.filter(other => other !== key)
}

function sameDestinations(before: Backends, after: Backends): boolean {
  return before.length === after.length && before.every((one, i) => one.destination === after[i]?.destination)
}
