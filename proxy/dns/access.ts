/**
 * Which clients are answered, and which of them are limited. Where other machines can reach the responder it answers private
 * networks and those of the clusters only: an open resolver is used to flood others with replies.
 */
import { LRUCache } from 'lru-cache'
import { type Cidr, isLoopback } from '../model/address.ts'
import { growing } from '../model/limits/growing.ts'
import type { AccessOptions } from './options.ts'

export interface ClientAccess {
  readonly allowed: boolean
  /** Whether its replies are limited: not those of trusted clients, nor those of this machine, which has the probes. */
  readonly limited: boolean
  /** A forwarder that asks for many clients: no limit per client applies to it. */
  readonly trusted: boolean
}

/** Clients remembered, so that a query costs one lookup. */
const remembered = 10_000

export class Access {
  readonly #options: AccessOptions
  readonly #clients = new LRUCache<string, ClientAccess>(growing(remembered))

  constructor(options: AccessOptions) {
    this.#options = options
  }

  /** Takes a canonical address. */
  of(address: string): ClientAccess {
    const known = this.#clients.get(address)
    if (known) return known
    const { allow, trusted } = this.#options
    const within = (ranges: readonly Cidr[]) => ranges.some(range => range.contains(address))
    const isTrusted = within(trusted)
    const isOwn = isLoopback(address)
    const access = {
      allowed: allow === undefined || isOwn || isTrusted || within(allow),
      limited: !isOwn && !isTrusted,
      trusted: isTrusted,
    }
    this.#clients.set(address, access)
    return access
  }
}
