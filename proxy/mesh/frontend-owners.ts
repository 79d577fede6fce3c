/** Which service owns a frontend, when several have the same ClusterIP and port: the first one, the others wait. */
import type { ServiceKey } from '../model/service.ts'

export interface Conflict {
  readonly frontend: string
  readonly owner: ServiceKey
  readonly other: ServiceKey
}

export class FrontendOwners {
  /** For each frontend its owner, then the services that wait for it. */
  #queues = new Map<string, ServiceKey[]>()
  #byService = new Map<ServiceKey, ReadonlySet<string>>()
  #contested = new Set<string>()

  /** Replaces all claims of a service. `freed`: other services that now own a frontend and have to be rebuilt. */
  claim(
    service: ServiceKey,
    frontends: readonly string[],
  ): { granted: ReadonlySet<string>; freed: readonly ServiceKey[] } {
    const known = this.#byService.get(service)
    if (known && this.#hasAlone(known, frontends)) return { granted: known, freed: [] }
    const wanted = new Set(frontends)
    const freed = this.#releaseWhere(service, frontend => !wanted.has(frontend))
    const granted = new Set<string>()
    for (const frontend of wanted) {
      const queue = this.#queues.get(frontend) ?? []
      if (!queue.includes(service)) queue.push(service)
      this.#queues.set(frontend, queue)
      if (queue.length > 1) this.#contested.add(frontend)
      if (queue[0] === service) granted.add(frontend)
    }
    if (wanted.size > 0) this.#byService.set(service, wanted)
    else this.#byService.delete(service)
    return { granted, freed }
  }

  release(service: ServiceKey): readonly ServiceKey[] {
    const freed = this.#releaseWhere(service, () => true)
    this.#byService.delete(service)
    return freed
  }

  conflicts(): Conflict[] {
    return [...this.#contested].flatMap(frontend => {
      const [owner = '', ...waiting] = this.#queues.get(frontend) ?? []
      return waiting.map(other => ({ frontend, owner, other }))
    })
  }

  /** Nothing changes: the list has just these frontends, each once, and nobody else wants one. */
  #hasAlone(known: ReadonlySet<string>, frontends: readonly string[]): boolean {
    if (known.size !== frontends.length) return false
    for (const one of known) if (!frontends.includes(one) || this.#contested.has(one)) return false
    return true
  }

  #releaseWhere(service: ServiceKey, which: (frontend: string) => boolean): ServiceKey[] {
    const freed: ServiceKey[] = []
    for (const frontend of this.#byService.get(service) ?? []) {
      if (!which(frontend)) continue
      const queue = this.#queues.get(frontend) ?? []
      const owned = queue[0] === service
      const left = queue.filter(other => other !== service)
      if (left.length > 0) this.#queues.set(frontend, left)
      else this.#queues.delete(frontend)
      if (left.length < 2) this.#contested.delete(frontend)
      if (owned && left[0] !== undefined) freed.push(left[0])
    }
    return freed
  }
}
