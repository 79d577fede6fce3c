/** The addresses and ports of the UDP frontends that are open in this engine. */
import { parseEndpoint, type SocketAddress } from '../../model/address.ts'
import type { Client } from '../../model/flow.ts'
import type { Frontend } from '../../model/service.ts'

/**
 * Counted, since a listener may be opened before the one it replaces has closed. Looked up by port first, so that a client costs
 * no string.
 */
export class UdpAddresses {
  readonly #byPort = new Map<number, Map<string, number>>()

  /** Takes the frontend as it is bound. Returns what to call when it closes. */
  add(frontend: Frontend): () => void {
    const addresses = addressesOf(frontend)
    for (const address of addresses) this.#change(address, 1)
    return () => {
      for (const address of addresses) this.#change(address, -1)
    }
  }

  has({ address, port }: Client): boolean {
    return this.#byPort.get(port)?.has(address) ?? false
  }

  #change({ address, port }: SocketAddress, by: number): void {
    const byAddress = this.#byPort.get(port) ?? new Map<string, number>()
    const count = (byAddress.get(address) ?? 0) + by
    if (count > 0) byAddress.set(address, count)
    else byAddress.delete(address)
    if (byAddress.size > 0) this.#byPort.set(port, byAddress)
    else this.#byPort.delete(port)
  }
}

/** Where it is bound, and the address of its key: they differ where clients are redirected or steered to a private port. */
function addressesOf({ ip, port, key }: Frontend): SocketAddress[] {
  const asked = parseEndpoint(key.slice(0, key.lastIndexOf('/')))
  const bound = { address: ip, port }
  return asked && (asked.port !== port || asked.address !== ip) ? [bound, asked] : [bound]
}
