/** Which services have a destination among their backends: where a changed verdict has to go. */
import type { ServiceChange } from '../model/directory.ts'
import { LargeMap } from '../model/lists/large-map.ts'
import type { ServiceKey } from '../model/service.ts'

export class BackendIndex {
  /** Most destinations are in one service, and need no list. */
  #services = new LargeMap<ServiceKey | readonly ServiceKey[]>()

  servicesOf(destination: string): readonly ServiceKey[] {
    const known = this.#services.get(destination)
    return known === undefined ? [] : typeof known === 'string' ? [known] : known
  }

  has(destination: string, key: ServiceKey): boolean {
    const known = this.#services.get(destination)
    return known === key || (typeof known === 'object' && known.includes(key))
  }

  /** A destination is in a service once. */
  replace({ key, backends: { gone, come } }: ServiceChange): void {
    for (const { destination } of gone) this.#remove(destination, key)
    for (const { destination } of come) this.#add(destination, key)
  }

  #add(destination: string, key: ServiceKey): void {
    const known = this.#services.get(destination)
    if (known === undefined) this.#services.set(destination, key)
    else if (!this.has(destination, key)) this.#services.set(destination, [...this.servicesOf(destination), key])
  }

  #remove(destination: string, key: ServiceKey): void {
    const known = this.#services.get(destination)
    if (known === key) return void this.#services.delete(destination)
    if (typeof known !== 'object') return
    const [first, ...others] = known.filter(other => other !== key)
    if (first === undefined) this.#services.delete(destination)
    else this.#services.set(destination, others.length === 0 ? first : [first, ...others])
  }
}
