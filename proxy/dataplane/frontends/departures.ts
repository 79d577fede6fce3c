/** Tells when a backend has left the last service that uses it. */
import type { GlobalService } from '../../model/service.ts'

interface Uses {
  /** Services in which the backend is active. */
  active: number
  /** Services that have it in any state. */
  known: number
}

/** Counts in how many services each backend is. */
export class Departures {
  readonly #uses = new Map<string, Uses>()

  /**
   * Takes the services of one change as they were and as they are. Returns the keys of the backends that are no longer
   * active in any service, and of those that are no longer known to any. A terminating backend is therefore returned twice:
   * it may have got flows in between, where no active one was left.
   */
  follow(before: readonly (GlobalService | undefined)[], after: readonly (GlobalService | undefined)[]): string[] {
    for (const service of after) if (service) this.#count(service, 1)
    for (const service of before) if (service) this.#count(service, -1)
    const seen = new Set(before.flatMap(service => service?.backends ?? []))
    const gone = new Set<string>()
    for (const { key, state } of seen) {
      const uses = this.#uses.get(key)
      if (uses?.known === 0) this.#uses.delete(key)
      if (uses?.known === 0 || (uses?.active === 0 && state === 'active')) gone.add(key)
    }
    return [...gone]
  }

  #count({ backends }: GlobalService, by: 1 | -1): void {
    for (const { key, state } of backends) {
      const uses = this.#uses.get(key) ?? { active: 0, known: 0 }
      this.#uses.set(key, uses)
      uses.known += by
      if (state === 'active') uses.active += by
    }
  }
}
