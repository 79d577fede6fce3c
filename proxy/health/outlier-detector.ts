/**
 * Passive health checking (Envoy's outlier detection): consecutive failures of live traffic eject a backend. It returns
 * when the ejection time is over, or earlier when active checks pass (`successful_active_health_check_uneject_host`). Failed dials
 * of all clients count alike; connections that it resets before its first byte, or leaves without one, count by distinct clients.
 */

import { podOf } from '../model/backend.ts'
import type { Flow, Totals } from '../model/flow.ts'
import { EarlyResets, isEarlyReset, RecentClients } from '../model/flows/early-resets.ts'
import type { Clock, Random } from '../model/time/clock.ts'
import type { PassiveOptions } from './options.ts'
import { Silences } from './silences.ts'
import type { OutlierState, Pool, WatchedBackend } from './watched-backend.ts'

type Included = Extract<OutlierState, { state: 'in' }>

interface EjectionCause {
  readonly accuser?: string | undefined
  readonly silences?: Silences
}

export interface OutlierDetectorParts {
  readonly options: PassiveOptions
  /** Consecutive passed checks that end an ejection early. */
  readonly rise: number
  readonly clock: Clock
  readonly random: Random
  /** An ejection ended: its time is over, it answers after all, or only one client had caused it and there is another one now. */
  readonly onUneject: (watched: WatchedBackend) => void
}

export class OutlierDetector {
  readonly #parts: OutlierDetectorParts
  #options: PassiveOptions
  #rise: number
  /** The ejected backends that are in a pool now; the value cancels the timer of the return. */
  readonly #returns = new Map<WatchedBackend, () => void>()
  #clients: RecentClients
  #ejections = 0
  #heldBack = 0
  #closed = false

  constructor(parts: OutlierDetectorParts) {
    this.#parts = parts
    this.#options = parts.options
    this.#rise = parts.rise
    this.#clients = recentClients(parts.options, parts.clock)
  }

  /** Other options from now on. Ejections last as long as they were meant to, unless ejection is off now: then they end. */
  configure(options: PassiveOptions, rise: number, known: Iterable<WatchedBackend>): void {
    const { consecutive } = this.#options
    this.#options = options
    this.#rise = rise
    if (options.consecutive === consecutive) return
    this.#clients = recentClients(options, this.#parts.clock)
    for (const watched of known) {
      const { outlier } = watched
      if (outlier?.state === 'in') {
        const limit = options.consecutive
        watched.outlier = { ...outlier, resets: new EarlyResets(limit), silences: new Silences(limit) }
      }
    }
    if (options.consecutive > 0) return
    for (const watched of [...this.#returns.keys()]) {
      this.#uneject(watched)
      this.#parts.onUneject(watched)
    }
  }

  stats(): { ejected: number; ejections: number; heldBack: number } {
    return { ejected: this.#returns.size, ejections: this.#ejections, heldBack: this.#heldBack }
  }

  isEjected({ outlier }: WatchedBackend): boolean {
    return outlier?.state === 'ejected' && this.#parts.clock.now() < outlier.until
  }

  /** A flow of this client begins. */
  seen(client: string): void {
    if (this.#closed || !this.#clients.add(client) || this.#clients.size < 2) return
    for (const watched of [...this.#returns.keys()]) {
      if (watched.outlier?.state !== 'ejected' || watched.outlier.accuser === undefined) continue
      this.#uneject(watched)
      this.#parts.onUneject(watched)
    }
  }

  /** A flow connected to the backend. */
  reached({ outlier }: WatchedBackend): void {
    if (outlier?.state === 'in') outlier.failures = 0
  }

  /** A dial failed and the backend is to blame. True when this ejected it. */
  failed(watched: WatchedBackend): boolean {
    const { consecutive } = this.#options
    if (consecutive === 0 || this.#closed) return false
    const outlier = this.#outlierOf(watched)
    if (outlier.state === 'ejected' || ++outlier.failures < consecutive) return false
    // Reset also when maxPercent prevents the ejection, so that pools are scanned once per `consecutive` failures.
    outlier.failures = 0
    return this.#ejectWithRoom(watched, outlier, {})
  }

  /** A connected flow ended. The reason, when this ejected the backend. */
  ended(watched: WatchedBackend, flow: Flow, totals: Totals): string | undefined {
    const { consecutive } = this.#options
    if (consecutive === 0 || this.#closed) return undefined
    if (totals.received > 0) this.#answered(watched, flow, totals)
    if (!isEarlyReset(totals)) return undefined
    const outlier = this.#outlierOf(watched)
    if (outlier.state === 'ejected' || !outlier.resets.add(flow.client.address, this.#clients)) return undefined
    const { text, onlyClient } = outlier.resets
    outlier.resets.clear()
    return this.#ejectWithRoom(watched, outlier, { accuser: onlyClient }) ? text : undefined
  }

  /** The client of a connected flow has asked and waits for the first byte. The reason, when this ejected the backend. */
  mute(watched: WatchedBackend, { id, client }: Flow): string | undefined {
    if (this.#options.consecutive === 0 || this.#closed) return undefined
    const outlier = this.#outlierOf(watched)
    const now = this.#parts.clock.now()
    if (outlier.state === 'ejected') {
      outlier.silences?.wait(id, now)
      return undefined
    }
    const { silences } = outlier
    silences.wait(id, now)
    if (!silences.add(client.address, this.#clients)) return undefined
    const { text, onlyClient } = silences
    if (this.#ejectWithRoom(watched, outlier, { accuser: onlyClient, silences })) return text
    silences.clear()
    return undefined
  }

  /** An active check of the backend's address ended; `answered`: it has got bytes, not only a connection. */
  checked(watched: WatchedBackend, passed: boolean, answered: boolean): void {
    const { outlier } = watched
    if (outlier?.state !== 'ejected' || (outlier.silences && !answered)) return
    outlier.passes = passed ? outlier.passes + 1 : 0
    if (outlier.passes >= this.#rise) this.#uneject(watched)
  }

  /** It was ejected in another process, and is for so long still. */
  restore(watched: WatchedBackend, ms: number, silent: boolean): void {
    const { consecutive, maxEjectMs, ejectMs } = this.#options
    if (consecutive === 0 || this.#closed || watched.outlier?.state === 'ejected') return
    const until = this.#parts.clock.now() + Math.min(ms, Math.max(maxEjectMs, ejectMs))
    const silences = silent ? new Silences(consecutive) : undefined
    watched.outlier = { state: 'ejected', passes: 0, accuser: undefined, silences, ejections: 1, until }
    this.#scheduleReturn(watched, until)
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

  #outlierOf(watched: WatchedBackend): OutlierState {
    watched.outlier ??= this.#in(0)
    return watched.outlier
  }

  #in(ejections: number): OutlierState {
    const { consecutive } = this.#options
    const since = this.#parts.clock.now()
    const [resets, silences] = [new EarlyResets(consecutive), new Silences(consecutive)]
    return { state: 'in', failures: 0, resets, silences, ejections, since }
  }

  /** This flow has got bytes. */
  #answered(watched: WatchedBackend, { id }: Flow, { ms }: Totals): void {
    const { outlier } = watched
    if (!outlier) return
    if (outlier.state === 'in') outlier.resets.clear()
    if (!outlier.silences?.isContradicted(id, this.#parts.clock.now() - ms)) return
    outlier.silences.clear()
    if (outlier.state === 'in') return
    this.#uneject(watched)
    this.#parts.onUneject(watched)
  }

  #ejectWithRoom(watched: WatchedBackend, outlier: Included, cause: EjectionCause): boolean {
    if (!watched.pools.every(pool => this.#hasRoom(pool, watched))) {
      this.#heldBack++
      return false
    }
    this.#eject(watched, this.#nextEjections(outlier), cause)
    return true
  }

  /** As in Envoy, at least one pod of a pool may be ejected, whatever the percentage. Another address of an ejected pod always may. */
  #hasRoom({ watched }: Pool, asked: WatchedBackend): boolean {
    const pods = new Set<string>()
    const out = new Set<string>()
    for (const one of watched) {
      const pod = podOf(one.backend)
      pods.add(pod)
      if (this.isEjected(one)) out.add(pod)
    }
    return (
      out.has(podOf(asked.backend)) || out.size < Math.max(1, Math.floor((pods.size * this.#options.maxPercent) / 100))
    )
  }

  /** The multiplier falls by one for each `ejectMs` without an ejection, and is capped where it reaches `maxEjectMs`. */
  #nextEjections({ ejections, since }: { readonly ejections: number; readonly since: number }): number {
    const { ejectMs, maxEjectMs } = this.#options
    const decayed = ejections - Math.floor((this.#parts.clock.now() - since) / ejectMs)
    return Math.min(Math.max(0, decayed) + 1, Math.max(1, Math.ceil(maxEjectMs / ejectMs)))
  }

  #eject(watched: WatchedBackend, ejections: number, { accuser, silences }: EjectionCause): void {
    const { clock, random } = this.#parts
    const options = this.#options
    const ms =
      Math.min(options.ejectMs * ejections, Math.max(options.ejectMs, options.maxEjectMs)) * (0.9 + 0.2 * random())
    const until = clock.now() + ms
    watched.outlier = { state: 'ejected', passes: 0, accuser, silences, ejections, until }
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
    watched.outlier = this.#in(watched.outlier?.ejections ?? 0)
  }
}

/** As many as an ejection by early resets may need. */
function recentClients({ consecutive }: PassiveOptions, clock: Clock): RecentClients {
  return new RecentClients(Math.max(2, consecutive), clock)
}
