import type { Backend, Backends } from '../model/backend.ts'
import type { Flow } from '../model/flow.ts'

/** Takes out what a flow has tried. Finds it by an index of the list, made when a flow of that list first fails. */
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
  /** A copy, since a frozen array is filtered several times slower. */
  readonly all: Backends
}
