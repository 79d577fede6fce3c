/**
 * DNS over UDP on a wildcard address, with node:dgram. A reply has to leave from the address that was asked, or clients
 * ignore it, and node:dgram neither tells that address nor sets it: so each address of this machine has a socket of its own.
 * Addresses that come and go are followed. The addon's batch socket does the same with one socket.
 */
import { networkInterfaces } from 'node:os'
import { familyOf, type SocketAddress } from '../../model/address.ts'
import { Inherited, type PassedSocket, type PassingCalls } from '../../model/sockets/passing.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { Respond } from '../transport.ts'
import { type DatagramListener, UdpListener, udpName } from './udp.ts'

/** How often the addresses of the machine are read. */
const followMs = 2000
const none = new Inherited()

export class UdpWildcardListener implements DatagramListener {
  readonly #respond: Respond
  readonly #clock: Clock
  readonly #sockets = new Map<string, UdpListener>()
  #bound: SocketAddress = { address: '', port: 0 }
  #sendErrors = 0
  #following = Promise.resolve()
  #inherited = none
  #stop: (() => void) | undefined

  constructor(respond: Respond, clock: Clock) {
    this.#respond = respond
    this.#clock = clock
  }

  /** Rejects where the wildcard itself cannot be bound: some program has the port, or it needs a capability. */
  async bind(local: SocketAddress, inherited: Inherited): Promise<SocketAddress> {
    this.#inherited = inherited
    if (
      local.port !== 0 &&
      [...ownAddresses(local.address)].some(address => inherited.has(udpName, { ...local, address }))
    ) {
      this.#bound = local
    } else {
      const wildcard = new UdpListener(local.address, this.#respond)
      this.#bound = await wildcard.bind(local, none)
      await wildcard.close()
    }
    await this.#follow()
    this.#stop = this.#clock.every(followMs, () => {
      this.#following = this.#following.then(() => this.#follow())
    })
    return this.#bound
  }

  pass(calls: PassingCalls): PassedSocket[] {
    this.#stop?.()
    return [...this.#sockets.values()].flatMap(socket => socket.pass(calls))
  }

  get sendErrors(): number {
    return [...this.#sockets.values()].reduce((sum, socket) => sum + socket.sendErrors, this.#sendErrors)
  }

  async close(): Promise<void> {
    this.#stop?.()
    await this.#following
    await Promise.all([...this.#sockets.values()].map(socket => socket.close()))
    this.#sockets.clear()
  }

  async #follow(): Promise<void> {
    const wanted = ownAddresses(this.#bound.address)
    for (const [address, socket] of this.#sockets) {
      if (wanted.has(address)) continue
      this.#sockets.delete(address)
      this.#sendErrors += socket.sendErrors
      void socket.close()
    }
    const fresh = [...wanted].filter(address => !this.#sockets.has(address))
    await Promise.all(
      fresh.map(async address => {
        const socket = new UdpListener(address, this.#respond)
        try {
          await socket.bind({ address, port: this.#bound.port }, this.#inherited)
          this.#sockets.set(address, socket)
        } catch {
          // Not usable yet (an IPv6 address is checked for duplicates first), or just gone: tried again the next time.
          await socket.close()
        }
      }),
    )
  }
}

/** The addresses of this machine that a wildcard stands for: `::` for both families. Link-local ones with their zone. */
function ownAddresses(wildcard: string): Set<string> {
  const all = Object.entries(networkInterfaces()).flatMap(([name, addresses]) =>
    (addresses ?? []).map(({ address, scopeid }) => (scopeid ? `${address}%${name}` : address)),
  )
  return new Set(all.filter(address => familyOf(wildcard) === 6 || familyOf(address) === 4))
}

export function isWildcard(address: string): boolean {
  return address === '0.0.0.0' || address === '::'
}
