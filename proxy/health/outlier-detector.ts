/**
 * Passive health checking (Envoy's outlier detection): consecutive failures of live traffic eject a backend. It returns
 * when the ejection time is over, or earlier when active checks pass (`successful_active_health_check_uneject_host`).
 */
import type { Clock, Random } from '../model/time/clock.ts'
import type { PassiveOptions } from './options.ts'
import type { Pool, WatchedBackend } from './watched-backend.ts'

export interface OutlierDetectorParts {
  readonly options: PassiveOptions
  /** Consecutive passed checks that end an ejection early. */
  readonly rise: number
  readonly clock: Clock
  readonly random: Random
  /** An ejection ended because its time was over. */
  readonly onUneject: (watched: WatchedBackend) => void
}

export class OutlierDetector {
  readonly #parts: OutlierDetectorParts
  /** The ejected backends that are in a pool now; the value cancels the timer of the return. */
  readonly #returns = new Map<WatchedBackend, () => void>()
  #ejections = 0
  #heldBack = 0
  #closed = false

  constructor(parts: OutlierDetectorParts) {
    this.#parts = parts
  }

  stats(): { ejected: number; ejections: number; heldBack: number } {
    return { ejected: this.#returns.size, ejections: this.#ejections, heldBack: this.#heldBack }
  }

  isEjected({ outlier }: WatchedBackend): boolean {
    return outlier?.state === 'ejected' && this.#parts.clock.now() < outlier.until
  }

  /** A flow connected to the backend. */
  reached({ outlier }: WatchedBackend): void {
    if (outlier?.state === 'in') outlier.failures = 0
  }

  /** A dial failed and the backend is to blame. True when this ejected it. */
  failed(watched: WatchedBackend): boolean {
    const { consecutive } = this.#parts.options
    if (consecutive === 0 || this.#closed) return false
    watched.outlier ??= { state: 'in', failures: 0, ejections: 0, since: this.#parts.clock.now() }
    const { outlier } = watched
    if (outlier.state === 'ejected') return false
    outlier.failures++
    if (outlier.failures < consecutive) return false
    // Reset also when maxPercent prevents the ejection, so that pools are scanned once per `consecutive` failures.
    outlier.failures = 0
    if (![...watched.pools].every(pool => this.#hasRoom(pool))) {
      this.#heldBack++
      return false
    }
    this.#eject(watched, this.#nextEjections(outlier))
    return true
  }

  /** An active check of the backend's address ended. */
  checked(watched: WatchedBackend, passed: boolean): void {
    const { outlier } = watched
    if (outlier?.state !== 'ejected') return
    outlier.passes = passed ? outlier.passes + 1 : 0
    if (outlier.passes >= this.#parts.rise) this.#uneject(watched)
  }

  /** The backend is in a pool again: the rest of an ejection still applies. */
  joined(watched: WatchedBackend): void {
    const { outlier } = watched
    if (outlier?.state === 'ejected') this.#scheduleReturn(watched, outlier.until)
  }

  left(watched: WatchedBackend): void {
    this.#returns.get(watched)?.()
    this.#returns.delete(watched)
  }

  /** Results are ignored from now on. */
  close(): void {
    this.#closed = true
    for (const watched of [...this.#returns.keys()]) this.left(watched)
  }

  /** As in Envoy, at least one backend of a pool may be ejected, whatever the percentage. */
  #hasRoom({ watched }: Pool): boolean {
    const most = Math.max(1, Math.floor((watched.length * this.#parts.options.maxPercent) / 100))
    let out = 0
    for (const one of watched) if (this.isEjected(one)) out++
    return out < most
  }

  /** The multiplier falls by one for each `ejectMs` without an ejection, and is capped where it reaches `maxEjectMs`. */
  #nextEjections({ ejections, since }: { readonly ejections: number; readonly since: number }): number {
    const { ejectMs, maxEjectMs } = this.#parts.options
    const decayed = ejections - Math.floor((this.#parts.clock.now() - since) / ejectMs)
    return Math.min(Math.max(0, decayed) + 1, Math.max(1, Math.ceil(maxEjectMs / ejectMs)))
  }

  #eject(watched: WatchedBackend, ejections: number): void {
    const { options, clock, random } = this.#parts
    const ms =
      Math.min(options.ejectMs * ejections, Math.max(options.ejectMs, options.maxEjectMs)) * (0.9 + 0.2 * random())
    const until = clock.now() + ms
    watched.outlier = { state: 'ejected', passes: 0, ejections, until }
    this.#ejections++
    this.#scheduleReturn(watched, until)
  }

  #scheduleReturn(watched: WatchedBackend, until: number): void {
    const { clock, onUneject } = this.#parts
    const back = () => {
      this.#uneject(watched)
      onUneject(watched)
    }
    this.#returns.set(watched, clock.after(Math.max(0, until - clock.now()), back))
  }

  #uneject(watched: WatchedBackend): void {
    this.left(watched)
    watched.outlier = {
      state: 'in',
      failures: 0,
      ejections: watched.outlier?.ejections ?? 0,
      since: this.#parts.clock.now(),
    }
  }
}
