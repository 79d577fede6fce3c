/**
 * Passive health: failures in a row of live traffic eject a backend for a while (Envoy's outlier detection). It comes
 * back when its time is over, or earlier by the checks (`successful_active_health_check_uneject_host`).
 */
import type { Clock, Random } from '../model/time/clock.ts'
import type { PassiveOptions } from './options.ts'
import type { Pool, Watched } from './watched.ts'

export interface OutlierParts {
  readonly options: PassiveOptions
  /** Checks passed in a row since the ejection that end it. */
  readonly rise: number
  readonly clock: Clock
  readonly random: Random
  /** An ejection came to its end. */
  readonly onReturn: (watched: Watched) => void
}

export class Outliers {
  readonly #parts: OutlierParts
  /** Those that are ejected and present, with what calls off their return. */
  readonly #out = new Map<Watched, () => void>()
  #ejections = 0
  #heldBack = 0
  #closed = false

  constructor(parts: OutlierParts) {
    this.#parts = parts
  }

  stats(): { ejected: number; ejections: number; heldBack: number } {
    return { ejected: this.#out.size, ejections: this.#ejections, heldBack: this.#heldBack }
  }

  isEjected({ standing }: Watched): boolean {
    return standing?.state === 'ejected' && this.#parts.clock.now() < standing.until
  }

  /** A flow reached it. */
  reached({ standing }: Watched): void {
    if (standing?.state === 'in') standing.failures = 0
  }

  /** A flow did not, and it is to blame. True when this ejected it. */
  failed(watched: Watched): boolean {
    const { consecutive } = this.#parts.options
    if (consecutive === 0 || this.#closed) return false
    watched.standing ??= { state: 'in', failures: 0, times: 0, since: this.#parts.clock.now() }
    const { standing } = watched
    if (standing.state === 'ejected') return false
    standing.failures++
    if (standing.failures < consecutive) return false
    // Counted afresh also when the ceiling holds it back: a pool is searched once in so many failures, not at each.
    standing.failures = 0
    if (![...watched.pools].every(pool => this.#hasRoom(pool))) {
      this.#heldBack++
      return false
    }
    this.#eject(watched, this.#nextTimes(standing))
    return true
  }

  /** A check of its address ended. */
  checked(watched: Watched, passed: boolean): void {
    const { standing } = watched
    if (standing?.state !== 'ejected') return
    standing.passes = passed ? standing.passes + 1 : 0
    if (standing.passes >= this.#parts.rise) this.#bringBack(watched)
  }

  /** It is in the pool again: what is left of an ejection goes on. */
  joined(watched: Watched): void {
    const { standing } = watched
    if (standing?.state === 'ejected') this.#wait(watched, standing.until)
  }

  left(watched: Watched): void {
    this.#out.get(watched)?.()
    this.#out.delete(watched)
  }

  /** Deaf to flows from now on. */
  close(): void {
    this.#closed = true
    for (const watched of [...this.#out.keys()]) this.left(watched)
  }

  /** At least one of a pool may be ejected, as with Envoy, however small the share. */
  #hasRoom({ watched }: Pool): boolean {
    const most = Math.max(1, Math.floor((watched.length * this.#parts.options.maxPercent) / 100))
    let out = 0
    for (const one of watched) if (this.isEjected(one)) out++
    return out < most
  }

  /** The multiplier falls by one for each `ejectMs` out of trouble, and rises no further than it has an effect. */
  #nextTimes({ times, since }: { readonly times: number; readonly since: number }): number {
    const { ejectMs, maxEjectMs } = this.#parts.options
    const decayed = times - Math.floor((this.#parts.clock.now() - since) / ejectMs)
    return Math.min(Math.max(0, decayed) + 1, Math.max(1, Math.ceil(maxEjectMs / ejectMs)))
  }

  #eject(watched: Watched, times: number): void {
    const { options, clock, random } = this.#parts
    const ms = Math.min(options.ejectMs * times, Math.max(options.ejectMs, options.maxEjectMs)) * (0.9 + 0.2 * random())
    const until = clock.now() + ms
    watched.standing = { state: 'ejected', passes: 0, times, until }
    this.#ejections++
    this.#wait(watched, until)
  }

  #wait(watched: Watched, until: number): void {
    const { clock, onReturn } = this.#parts
    const back = () => {
      this.#bringBack(watched)
      onReturn(watched)
    }
    this.#out.set(watched, clock.after(Math.max(0, until - clock.now()), back))
  }

  #bringBack(watched: Watched): void {
    this.left(watched)
    watched.standing = { state: 'in', failures: 0, times: watched.standing?.times ?? 0, since: this.#parts.clock.now() }
  }
}
