/** Which services have backends at an address: where a changed verdict has to go, and what others ask of an address. */
import type { ServiceChange } from '../model/directory.ts'
import { MultiMap } from '../model/lists/multi-map.ts'
import { namesIn } from '../model/lists/names-in.ts'
import { addressOf } from '../model/lists/touched.ts'
import type { ServiceKey } from '../model/service.ts'

export class BackendIndex {
  readonly #services = new MultiMap<ServiceKey>()

  servicesAt(address: string): readonly ServiceKey[] {
    return this.#services.get(address)
  }

  has(address: string, key: ServiceKey): boolean {
    return this.#services.includes(address, key)
  }

  replace({ key, after, backends: { gone, come } }: ServiceChange): void {
    for (const { address } of come) this.#services.add(address, key)
    const isLeft = namesIn(after?.backends ?? nobody, addressOf, gone.length)
    for (const { address } of gone) if (!isLeft(address)) this.#services.delete(address, key)
  }
}

const nobody: readonly never[] = []
