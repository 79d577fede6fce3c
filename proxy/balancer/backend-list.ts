/** What balancers share: a cache of what they compute per list of backends, and which of a list may be picked. */
import type { Backend, Backends } from '../model/backend.ts'

/**
 * Caches what a balancer computes for a list of backends, by the identity of the list. Lists are never changed in place, so
 * a value is computed at most once per list. The cache does not keep a list alive, except the last one used.
 */
export class PerListCache<V extends object> {
  #make: (backends: Backends) => V
  #values = new WeakMap<Backends, V>()
  #lastList: Backends | undefined
  #lastValue: V | undefined

  constructor(make: (backends: Backends) => V) {
    this.#make = make
  }

  of(backends: Backends): V {
    if (backends === this.#lastList && this.#lastValue) return this.#lastValue
    const cached = this.#values.get(backends)
    const value = cached ?? this.#make(backends)
    if (!cached) this.#values.set(backends, value)
    this.#lastList = backends
    this.#lastValue = value
    return value
  }
}

/** The backends that may be picked: those with a weight above 0, or all when there are none. */
export function eligible(backends: Backends): Backends {
  if (backends.every(({ weight }) => weight > 0)) return backends
  const weighted = backends.filter(({ weight }) => weight > 0)
  return weighted.length > 0 ? weighted : backends
}

/** Whether all weights are equal. */
export function even(backends: Backends): boolean {
  return backends.every(({ weight }) => weight === backends[0]?.weight)
}

/** The backend at an index known to be in range. */
export function at(backends: Backends, index: number): Backend {
  return backends[index] as Backend
}
