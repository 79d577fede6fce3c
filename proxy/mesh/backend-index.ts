/** Which services hold a backend, by the backend's key: where a changed verdict has to go. */
import type { GlobalService, ServiceKey } from '../model/service.ts'

export class BackendIndex {
  #services = new Map<string, readonly ServiceKey[]>()

  servicesOf(backendKey: string): readonly ServiceKey[] {
    return this.#services.get(backendKey) ?? []
  }

  /** A service was added (no `before`), replaced or removed (no `after`). */
  replace(key: ServiceKey, before: GlobalService | undefined, after: GlobalService | undefined): void {
    const kept = new Set(after?.backends.map(backend => backend.key))
    for (const backend of before?.backends ?? []) {
      if (kept.has(backend.key)) continue
      const left = this.servicesOf(backend.key).filter(other => other !== key)
      if (left.length > 0) this.#services.set(backend.key, left)
      else this.#services.delete(backend.key)
    }
    for (const backendKey of kept) {
      const known = this.servicesOf(backendKey)
      if (!known.includes(key)) this.#services.set(backendKey, [...known, key])
    }
  }
}
