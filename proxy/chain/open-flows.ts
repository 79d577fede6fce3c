import type { Backend } from '../model/backend.ts'

/** How many flows each backend carries or is being dialled for. Bounded by the flows there are: a count of 0 is forgotten. */
export class OpenFlowCounts {
  #counts = new Map<string, number>()

  add(backend: Backend): void {
    this.#counts.set(backend.key, (this.#counts.get(backend.key) ?? 0) + 1)
  }

  remove(backend: Backend): void {
    const count = this.#counts.get(backend.key) ?? 0
    if (count > 1) this.#counts.set(backend.key, count - 1)
    else this.#counts.delete(backend.key)
  }

  of(backend: Backend): number {
    return this.#counts.get(backend.key) ?? 0
  }
}
