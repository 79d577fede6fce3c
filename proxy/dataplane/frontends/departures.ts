import type { GlobalService } from '../../model/service.ts'

interface Uses {
  /** Services in which the backend is active. */
  active: number
  /** Services that know it, in whatever state. */
  known: number
}

/** Counts in how many services each backend is, to tell when it has left the last one. */
export class Departures {
  readonly #uses = new Map<string, Uses>()

  /**
   * Takes over what the services of one batch were and are. Returns the keys of the backends that are no longer active in
   * any service, and of those that are no longer known to any: a terminating one is retired twice, since it may have been
   * given flows in between for want of a better one.
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
