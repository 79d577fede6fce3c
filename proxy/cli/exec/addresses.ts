/** Where services are in a network namespace of a command's own: each at an address of its own, at the ports of its Service. */
import type { Protocol } from '../../model/address.ts'
import { hashOf } from '../../model/text/hash.ts'
import type { ServiceView } from '../../model/views.ts'

/** Of loopback, so that the namespace has it without being told; beside the ranges of the examples for `proxy.vips.cidr`. */
const range = '127.127'
const size = 65_024

/** A frontend as the command sees it, and where it is outside. */
export interface InsideFrontend {
  readonly ip: string
  readonly port: number
  readonly protocol: Protocol
  readonly outside: { readonly ip: string; readonly port: number }
}

/** Addresses stay the same as long as a service is there. */
export class InsideAddresses {
  readonly #byService = new Map<string, string>()
  readonly #taken = new Set<string>()

  /** The services as the command sees them, and their frontends. */
  translate(services: readonly ServiceView[]): { views: ServiceView[]; frontends: InsideFrontend[] } {
    const present = new Set(services.map(keyOf))
    for (const [key, address] of this.#byService) {
      if (present.has(key)) continue
      this.#byService.delete(key)
      this.#taken.delete(address)
    }
    const frontends: InsideFrontend[] = []
    const views = services.map(service => {
      const inside = service.frontends.map(frontend => {
        const { ip, port, declared, protocol } = frontend
        const seen = { ip: declared === undefined ? ip : this.#addressOf(keyOf(service)), port: declared ?? port }
        frontends.push({ ...seen, protocol, outside: { ip, port } })
        return { ...frontend, ...seen }
      })
      return { ...service, frontends: inside }
    })
    return { views, frontends }
  }

  /** A hash of the name, so that it is mostly the same in the next command too. */
  #addressOf(key: string): string {
    const known = this.#byService.get(key)
    if (known !== undefined) return known
    const first = hashOf(key) % size
    for (let tries = 0; tries < size; tries++) {
      const number = (first + tries) % size
      // Neither .0 nor .255 of a third byte.
      const address = `${range}.${Math.floor(number / 254)}.${1 + (number % 254)}`
      if (this.#taken.has(address)) continue
      this.#taken.add(address)
      this.#byService.set(key, address)
      return address
    }
    throw new RangeError(`more than ${size} services`)
  }
}

function keyOf({ namespace, name }: ServiceView): string {
  return `${namespace}/${name}`
}
