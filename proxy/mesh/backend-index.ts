/** Which services have backends at an address: where a changed verdict has to go, and what others ask of an address. */
import type { ServiceChange } from '../model/directory.ts'
import { LargeMap } from '../model/lists/large-map.ts'
import { namesIn } from '../model/lists/names-in.ts'
import { addressOf } from '../model/lists/touched.ts'
import type { ServiceKey } from '../model/service.ts'

export class BackendIndex {
  /** Most addresses are in one service, and need no list. */
  readonly #services = new LargeMap<ServiceKey | readonly ServiceKey[]>()

  servicesAt(address: string): readonly ServiceKey[] {
    const known = this.#services.get(address)
    return known === undefined ? nobody : typeof known === 'string' ? [known] : known
  }

  has(address: string, key: ServiceKey): boolean {
    const known = this.#services.get(address)
    return known === key || (typeof known === 'object' && known.includes(key))
  }

  replace({ key, after, backends: { gone, come } }: ServiceChange): void {
    for (const { address } of come) this.#add(address, key)
    const isLeft = namesIn(after?.backends ?? nobody, addressOf, gone.length)
    for (const { address } of gone) if (!isLeft(address)) this.#remove(address, key)
  }

  #add(address: string, key: ServiceKey): void {
    const known = this.#services.get(address)
    if (known === undefined) this.#services.set(address, key)
    else if (!this.has(address, key)) this.#services.set(address, [...this.servicesAt(address), key])
  }

  #remove(address: string, key: ServiceKey): void {
    const known = this.#services.get(address)
    if (known === key) return void this.#services.delete(address)
    if (typeof known !== 'object') return
    const [first, ...others] = known.filter(other => other !== key)
    if (first === undefined) this.#services.delete(address)
    else this.#services.set(address, others.length === 0 ? first : [first, ...others])
  }
}

const nobody: readonly never[] = []
