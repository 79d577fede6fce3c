import type { ServiceKey } from '../model/service.ts'

export interface Conflict {
  readonly frontend: string
  readonly owner: ServiceKey
  readonly other: ServiceKey
}

/** Who owns which frontend. First come, first served; whoever waits is named when the owner lets go. */
export class Claims {
  /** Per frontend the owner, then those who wait. */
  #queues = new Map<string, ServiceKey[]>()
  #byService = new Map<ServiceKey, ReadonlySet<string>>()
  #contested = new Set<string>()

  /** Replaces all claims of a service. `freed` are other services that should claim again, since something fell to them. */
  claim(
    service: ServiceKey,
    frontends: readonly string[],
  ): { granted: ReadonlySet<string>; freed: readonly ServiceKey[] } {
    const wanted = new Set(frontends)
    const freed = this.#letGo(service, frontend => !wanted.has(frontend))
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
    const freed = this.#letGo(service, () => true)
    this.#byService.delete(service)
    return freed
  }

  conflicts(): Conflict[] {
    return [...this.#contested].flatMap(frontend => {
      const [owner = '', ...waiting] = this.#queues.get(frontend) ?? []
      return waiting.map(other => ({ frontend, owner, other }))
    })
  }

  #letGo(service: ServiceKey, which: (frontend: string) => boolean): ServiceKey[] {
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
