import type { Backend, Backends } from '../model/backend.ts'

/**
 * What a balancer works out for a list of backends, remembered by the identity of the list and forgotten with it. Lists are
 * never changed in place, so a plan is made at most once per list and change.
 */
export class Plans<P extends object> {
  #make: (backends: Backends) => P
  #plans = new WeakMap<Backends, P>()
  #last: Backends | undefined
  #lastPlan: P | undefined

  constructor(make: (backends: Backends) => P) {
    this.#make = make
  }

  of(backends: Backends): P {
    if (backends === this.#last && this.#lastPlan) return this.#lastPlan
    const known = this.#plans.get(backends)
    const plan = known ?? this.#make(backends)
    if (!known) this.#plans.set(backends, plan)
    this.#last = backends
    this.#lastPlan = plan
    return plan
  }
}

/** Those that may be picked: weight 0 takes a backend out, unless that would leave none. */
export function eligible(backends: Backends): Backends {
  if (backends.every(({ weight }) => weight > 0)) return backends
  const weighted = backends.filter(({ weight }) => weight > 0)
  return weighted.length > 0 ? weighted : backends
}

/** Whether all weigh the same, so that weights need not be looked at. */
export function even(backends: Backends): boolean {
  return backends.every(({ weight }) => weight === backends[0]?.weight)
}

/** The backend at an index that is known to be in the list. */
export function at(backends: Backends, index: number): Backend {
  return backends[index] as Backend
}
