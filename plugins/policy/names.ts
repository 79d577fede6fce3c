/** The names outside of the clusters that policies are about (`toFQDNs`), and the addresses that DNS has answered for them. */
import type { Clock, Json, NameAnswer } from '../../proxy/plugin.ts'

/** A client may dial for a while after the TTL of an answer has ended. */
const leastMs = 60_000
const mostMs = 3_600_000
/** Names that are kept; the one that was answered longest ago makes room. */
const maxNames = 10_000
/** Addresses of one name, as Cilium's `tofqdns-endpoint-max-ip-per-hostname`. */
const maxAddresses = 1000

const character = '[-a-z0-9_]'

/**
 * `matchName` or `matchPattern` as a test on a name. In a pattern `*` stands for any characters of one label, alone for every name, and
 * `**.` at the start for one or more labels (Cilium, pkg/fqdn/matchpattern).
 */
export function nameTest(pattern: string): RegExp {
  const text = pattern.trim().toLowerCase().replace(/\.$/, '')
  if (text === '*') return /^/
  const isDeep = text.startsWith('**.')
  const rest = (isDeep ? text.slice(3) : text).replaceAll('.', '[.]').replace(/\*+/g, `${character}*`)
  return new RegExp(`^${isDeep ? `${character}+([.]${character}+)*[.]` : ''}${rest}$`)
}

export function isNamePattern(text: unknown): text is string {
  return typeof text === 'string' && /^[-a-zA-Z0-9_.*]+$/.test(text.trim())
}

/** By name, the addresses and until when they count, in monotonic milliseconds. */
type Known = Map<string, Map<string, number>>

export class KnownNames {
  readonly #clock: Clock
  readonly #changed: (addresses: ReadonlySet<string>) => void
  readonly #names: Known = new Map()
  readonly #byAddress = new Map<string, Set<string>>()
  #stop: (() => void) | undefined

  /** `changed`: these addresses have other names now. */
  constructor(clock: Clock, changed: (addresses: ReadonlySet<string>) => void) {
    this.#clock = clock
    this.#changed = changed
  }

  get size(): number {
    return this.#names.size
  }

  of(address: string): readonly string[] {
    const names = this.#byAddress.get(address)
    return names ? [...names] : []
  }

  learn({ name, addresses, ttlSeconds }: NameAnswer): void {
    const until = this.#clock.now() + Math.min(Math.max(ttlSeconds * 1000, leastMs), mostMs)
    const fresh = this.#keep(name, addresses, until)
    if (fresh.size > 0) this.#changed(fresh)
    this.#schedule()
  }

  /** Forgets names that no policy is about any more. */
  retain(isWanted: (name: string) => boolean): void {
    for (const name of [...this.#names.keys()]) if (!isWanted(name)) this.#forget(name)
  }

  /** `[name, address, remaining milliseconds]` */
  save(): Json {
    const now = this.#clock.now()
    return [...this.#names].flatMap(([name, addresses]) =>
      [...addresses].map(([address, until]): Json => [name, address, Math.round(until - now)]),
    )
  }

  restore(saved: unknown): void {
    if (!Array.isArray(saved)) return
    const now = this.#clock.now()
    for (const [name, address, ms] of saved.filter(Array.isArray)) {
      if (typeof name === 'string' && typeof address === 'string' && typeof ms === 'number')
        this.#keep(name, [address], now + Math.min(ms, mostMs))
    }
    this.#changed(new Set(this.#byAddress.keys()))
    this.#schedule()
  }

  close(): void {
    this.#stop?.()
    this.#stop = undefined
  }

  /** Returns the addresses that the name did not have before. */
  #keep(name: string, addresses: readonly string[], until: number): Set<string> {
    const known = this.#names.get(name) ?? new Map<string, number>()
    // The order of the map is that of the latest answers.
    this.#names.delete(name)
    this.#names.set(name, known)
    const fresh = new Set<string>()
    for (const address of addresses) {
      const before = known.get(address)
      if (before === undefined && known.size >= maxAddresses) break
      if (before === undefined) fresh.add(address)
      known.set(address, Math.max(until, before ?? 0))
      const names = this.#byAddress.get(address)
      if (names) names.add(name)
      else this.#byAddress.set(address, new Set([name]))
    }
    const [oldest] = this.#names.keys()
    if (this.#names.size > maxNames && oldest !== undefined) this.#changed(this.#forget(oldest))
    return fresh
  }

  #forget(name: string): Set<string> {
    const gone = new Set(this.#names.get(name)?.keys())
    this.#names.delete(name)
    for (const address of gone) this.#unlink(name, address)
    return gone
  }

  #unlink(name: string, address: string): void {
    const names = this.#byAddress.get(address)
    names?.delete(name)
    if (names?.size === 0) this.#byAddress.delete(address)
  }

  #schedule(): void {
    if (this.#stop || this.#names.size === 0) return
    this.#stop = this.#clock.after(leastMs / 4, () => {
      this.#stop = undefined
      this.#expire()
      this.#schedule()
    })
  }

  #expire(): void {
    const now = this.#clock.now()
    const changed = new Set<string>()
    for (const [name, addresses] of this.#names) {
      for (const [address, until] of addresses) {
        if (until > now) continue
        addresses.delete(address)
        this.#unlink(name, address)
        changed.add(address)
      }
      if (addresses.size === 0) this.#names.delete(name)
    }
    if (changed.size > 0) this.#changed(changed)
  }
}
