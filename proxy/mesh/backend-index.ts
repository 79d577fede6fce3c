/** Which services have a destination among their backends: where a changed verdict has to go. */
import { LargeMap } from '../model/lists/large-map.ts'
import { listDelta } from '../model/lists/list-delta.ts'
import type { GlobalService, ServiceKey } from '../model/service.ts'

export class BackendIndex {
  /** Most destinations are in one service, and need no list. */
  #services = new LargeMap<ServiceKey | readonly ServiceKey[]>()

  servicesOf(destination: string): readonly ServiceKey[] {
    const known = this.#services.get(destination)
    return known === undefined ? [] : typeof known === 'string' ? [known] : known
  }

  has(destination: string, key: ServiceKey): boolean {
    const known = this.#services.get(destination)
    return known === key || (typeof known === 'object' && known.includes(key))
  }

  /** A service was added (no `before`), replaced or removed (no `after`). A destination is in a service once. */
  replace(key: ServiceKey, before: GlobalService | undefined, after: GlobalService | undefined): void {
    const { gone, come } = listDelta(before?.backends ?? [], after?.backends ?? [])
    const kept = new Set(come.map(({ destination }) => destination))
    for (const { destination } of gone) {
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
