/** The addresses and ports that Starlane itself listens on: a flow to one of them would come back, again and again. */
import { isDeepStrictEqual } from 'node:util'
import { isLoopback, type Protocol } from '../model/address.ts'
import type { Change } from '../model/directory.ts'
import { MultiMap } from '../model/lists/multi-map.ts'
import { frontendKey } from '../model/service.ts'

/** A socket of Starlane other than those of frontends: the admin server, DNS. */
export interface OwnSocket {
  /** Canonical; `0.0.0.0` and `::` are all addresses of this machine. */
  readonly address: string
  readonly port: number
  readonly protocol: Protocol
}

export type IsListener = (address: string, port: number, protocol: Protocol) => boolean

export class OwnAddresses {
  /** Keys of frontends by their address. */
  readonly #frontends = new MultiMap<string>()
  #sockets = new Set<string>()
  /** Ports with a socket on all addresses, like `53/UDP`. */
  #wildcards = new Set<string>()
  #machine: ReadonlySet<string> = new Set()
  readonly #whole: boolean

  readonly #isListener: IsListener

  /**
   * `whole`: all ports of a frontend's address are taken, since listeners have private ports there. `isListener`: whether one is
   * elsewhere, where the kernel leads clients to it.
   */
  constructor(whole: boolean, isListener: IsListener = () => false) {
    this.#whole = whole
    this.#isListener = isListener
  }

  /** Replaces the other sockets. `machine`: the canonical addresses of the network interfaces. True if that is a change. */
  setSockets(sockets: readonly OwnSocket[], machine: ReadonlySet<string>): boolean {
    const before = [this.#machine, this.#wildcards, this.#sockets]
    const [everywhere, single] = [sockets.filter(isWildcard), sockets.filter(socket => !isWildcard(socket))]
    this.#machine = machine
    this.#wildcards = new Set(everywhere.map(({ port, protocol }) => `${port}/${protocol}`))
    this.#sockets = new Set(single.map(({ address, port, protocol }) => frontendKey(address, port, protocol)))
    return !isDeepStrictEqual(before, [this.#machine, this.#wildcards, this.#sockets])
  }

  /** Follows the frontends of a batch. Returns the addresses of those that have come or gone. */
  follow(change: Change): ReadonlySet<string> {
    const touched = new Set<string>()
    for (const { before, after } of change) {
      for (const { ip, key } of before?.frontends ?? []) {
        if (after?.frontends.some(frontend => frontend.key === key)) continue
        this.#frontends.delete(ip, key)
        touched.add(ip)
      }
    }
    // After all that have gone: a frontend may pass from one service to another in a batch.
    for (const { after } of change) {
      for (const { ip, key } of after?.frontends ?? []) {
        if (this.#frontends.includes(ip, key)) continue
        this.#frontends.add(ip, key)
        touched.add(ip)
      }
    }
    return touched
  }

  /** Whether frontends have it. */
  hasFrontend(address: string): boolean {
    return this.#frontends.has(address)
  }

  has(address: string, port: number, protocol: Protocol): boolean {
    const isFrontend = () => this.#whole || this.#frontends.includes(address, frontendKey(address, port, protocol))
    if (this.#frontends.has(address) && isFrontend()) return true
    if (this.#sockets.size > 0 && this.#sockets.has(frontendKey(address, port, protocol))) return true
    if (this.#isListener(address, port, protocol)) return true
    return this.#isOfMachine(address) && this.#wildcards.has(`${port}/${protocol}`)
  }

  #isOfMachine(address: string): boolean {
    return isLoopback(address) || this.#machine.has(address)
  }
}

function isWildcard({ address }: OwnSocket): boolean {
  return address === '0.0.0.0' || address === '::'
}
