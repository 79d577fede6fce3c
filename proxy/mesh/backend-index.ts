/** Which services have a destination among their backends: where a changed verdict has to go. */
import type { GlobalService, ServiceKey } from '../model/service.ts'

export class BackendIndex {
  #services = new Map<string, readonly ServiceKey[]>()

  servicesOf(destination: string): readonly ServiceKey[] {
    return this.#services.get(destination) ?? []
  }

  /** A service was added (no `before`), replaced or removed (no `after`). */
  replace(key: ServiceKey, before: GlobalService | undefined, after: GlobalService | undefined): void {
    const kept = new Set(after?.backends.map(({ destination }) => destination))
    for (const { destination } of before?.backends ?? []) {
      if (kept.has(destination)) continue
      const left = this.servicesOf(destination).filter(other => other !== key)
      if (left.length > 0) this.#services.set(destination, left)
      else this.#services.delete(destination)
    }
    for (const destination of kept) {
      const known = this.servicesOf(destination)
      if (!known.includes(key)) this.#services.set(destination, [...known, key])
    }
  }
}
