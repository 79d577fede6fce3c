/** Removes the backends that a flow has already tried. */
import type { Backend, Backends } from '../model/backend.ts'
import type { Flow } from '../model/flow.ts'

/** Uses an index of the frontend's list, which is built when a flow of that list first fails. */
export class Untried {
  #indexes = new WeakMap<Backends, Index>()

  of({ frontend: { backends }, tried }: Flow): Backends {
    if (tried.length === 0) return backends
    const { byKey, all } = this.#indexes.get(backends) ?? this.#index(backends)
    const out = tried.map(key => byKey.get(key)).filter(backend => backend !== undefined)
    return all.filter(backend => !out.includes(backend))
  }

  #index(backends: Backends): Index {
    const index = { byKey: new Map(backends.map(backend => [backend.key, backend])), all: [...backends] }
    this.#indexes.set(backends, index)
    return index
  }
}

interface Index {
  readonly byKey: ReadonlyMap<string, Backend>
  /** An unfrozen copy: filtering a frozen array is several times slower. */
  readonly all: Backends
}
