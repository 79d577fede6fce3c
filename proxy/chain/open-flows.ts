/** Counts the open flows of each destination, for balancers. */
import type { Backend } from '../model/backend.ts'

/** Flows that are connected or being dialled. Bounded by the number of flows: a count of 0 is removed. */
export class OpenFlowCounts {
  #counts = new Map<string, number>()

  add(backend: Backend): void {
    this.#counts.set(backend.destination, (this.#counts.get(backend.destination) ?? 0) + 1)
  }

  remove(backend: Backend): void {
    const count = this.#counts.get(backend.destination) ?? 0
    if (count > 1) this.#counts.set(backend.destination, count - 1)
    else this.#counts.delete(backend.destination)
  }

  of(backend: Backend): number {
    return this.#counts.get(backend.destination) ?? 0
  }
}
