/**
 * Gives every frontend a port of one address: that of its Service where it is free, else one of a range. For machines that have no
 * addresses besides 127.0.0.1.
 */
import type { Protocol } from '../model/address.ts'
import type { Problem } from '../model/error.ts'
import type { ServiceKey, ServicePort } from '../model/service.ts'
import { hashOf } from '../model/text/hash.ts'

export interface PortPlace {
  readonly address: string
  readonly ports: { readonly min: number; readonly max: number }
}

/** Ports below it need privileges on most systems. */
const firstFree = 1024
/** What services that only other clusters have may take of the range. The rest is for local ones. */
const remoteShare = 0.75

export class PortAllocator {
  readonly place: PortPlace
  /** By protocol and port, who has it. */
  #taken = new Map<string, string>()
  #byService = new Map<ServiceKey, Map<string, { readonly slot: string; readonly isRemote: boolean }>>()
  #remote = 0
  #refused = new Set<ServiceKey>()

  constructor(place: PortPlace) {
    this.place = place
  }

  /**
   * The ports of a service, in the order of `declared`; undefined where none is left. The same as before for those it had. `isRemote`:
   * only other clusters have it. `isBackend`: something that flows go to has this port of the address, so it cannot be listened on.
   */
  allocate(
    key: ServiceKey,
    declared: readonly ServicePort[],
    { isRemote, isBackend }: { readonly isRemote: boolean; readonly isBackend: (port: number) => boolean },
  ): (number | undefined)[] {
    const before = this.#byService.get(key) ?? new Map()
    const wanted = declared.map(portName)
    for (const [name, { slot, isRemote: wasRemote }] of before) {
      if (wanted.includes(name) && !isBackend(portOf(slot)) && wasRemote === isRemote) continue
      before.delete(name)
      this.#free(slot, wasRemote)
    }
    const ports = declared.map((port, i) => {
      const name = wanted[i] ?? ''
      const held = before.get(name)
      if (held) return portOf(held.slot)
      const slot = this.#choose(key, port, isRemote, isBackend)
      if (slot === undefined) return undefined
      this.#taken.set(slot, key)
      if (isRemote) this.#remote++
      before.set(name, { slot, isRemote })
      return portOf(slot)
    })
    this.#byService.set(key, before)
    if (ports.includes(undefined)) this.#refused.add(key)
    else this.#refused.delete(key)
    return ports
  }

  /** Gives its ports back. Returns a service that waits for one. */
  release(key: ServiceKey): ServiceKey | undefined {
    this.#refused.delete(key)
    const held = this.#byService.get(key)
    if (!held) return undefined
    for (const { slot, isRemote } of held.values()) this.#free(slot, isRemote)
    this.#byService.delete(key)
    return held.size > 0 ? this.#refused.values().next().value : undefined
  }

  problems(): Problem[] {
    const { address, ports } = this.place
    const remedy = 'configure a larger range in proxy.vips.ports'
    return [...this.#refused].map(key => ({
      ...{ code: 'VIP_RANGE' as const, where: key },
      message: `no port of ${address} is left in ${ports.min}-${ports.max}; ${remedy}`,
    }))
  }

  #free(slot: string, isRemote: boolean): void {
    this.#taken.delete(slot)
    if (isRemote) this.#remote--
  }

  #choose(
    key: ServiceKey,
    { name, port, protocol }: ServicePort,
    isRemote: boolean,
    isBackend: (port: number) => boolean,
  ): string | undefined {
    const { min, max } = this.place.ports
    const isFree = (port: number) => !this.#taken.has(slotOf(protocol, port)) && !isBackend(port)
    // Ports that programs expect are for the local cluster's services.
    if (!isRemote && port >= firstFree && isFree(port)) return slotOf(protocol, port)
    const size = max - min + 1
    if (isRemote && this.#remote >= Math.floor(size * remoteShare)) return undefined
    // A hash of the name, so that most services have the same port again after a restart.
    const first = hashOf(`${key} ${name} ${protocol} ${port}`) % size
    for (let tries = 0; tries < size; tries++) {
      const candidate = min + ((first + tries) % size)
      if (isFree(candidate)) return slotOf(protocol, candidate)
    }
    return undefined
  }
}

function portName({ name, port, protocol }: ServicePort): string {
  return `${name} ${protocol} ${port}`
}

function slotOf(protocol: Protocol, port: number): string {
  return `${protocol} ${port}`
}

function portOf(slot: string): number {
  return Number(slot.split(' ')[1])
}
