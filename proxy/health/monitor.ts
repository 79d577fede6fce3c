/**
 * The health of backends, from active checks and from the results of live traffic. Verdicts are kept by destination, so
 * they survive rebuilds of a pool; only changes of a verdict are reported and logged.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Backend, Health } from '../model/backend.ts'
import { type Change, changeOf, type Directory } from '../model/directory.ts'
import { blames, type Flow, type FlowObserver, type Result, type Totals } from '../model/flow.ts'
import type { Log } from '../model/log.ts'
import type { HealthStats } from '../model/stats/health.ts'
import type { Clock, Random } from '../model/time/clock.ts'
import { Checker } from './checker.ts'
import type { HealthOptions, HttpCheck, TcpCheck } from './options.ts'
import { OutlierDetector } from './outlier-detector.ts'
import type { CheckedEndpoint, CheckResult, Probe } from './probe.ts'
import { httpProbe } from './probe-http.ts'
import { tcpProbe } from './probe-tcp.ts'
import type { Target, WatchedBackend } from './watched-backend.ts'
import { WatchedBackends } from './watched-backends.ts'

export interface HealthParts {
  readonly directory: Directory
  readonly options: HealthOptions
  readonly probes?: Probes
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** The verdict on a destination changed. The callback may change the directory before it returns. */
  readonly onVerdict: (destination: string, health: Health) => void
  /** {@link HealthMonitor.isUntested} changed, and the verdict did not. The callback may change the directory. */
  readonly onUntested?: (destination: string) => void
  /** These destinations are down, and nothing has answered the last `fall` checks: the host is dead or cut off. */
  readonly onSilent: (destinations: readonly string[]) => void
}

export interface Probes {
  tcp(options: TcpCheck, clock: Clock): Probe
  http(options: HttpCheck, clock: Clock): Probe
}

/** What is known of one destination. */
export interface KnownHealth {
  readonly destination: string
  readonly checks: 'unknown' | 'up' | 'down'
  /** How long it is ejected for still; 0: it is not. */
  readonly ejectedMs: number
  /** It was ejected since it answers nothing. */
  readonly silent?: boolean
}

const defaultMaxInFlight = 100
/** So many are marked in one go, and the next ones a little later. */
const overdueAtOnce = 2000

export class HealthMonitor implements Pick<FlowObserver, 'connecting' | 'result' | 'closed'> {
  readonly #parts: HealthParts
  readonly #backends: WatchedBackends
  readonly #outliers: OutlierDetector
  /** Undefined when active checks are off. */
  #checker: Checker | undefined
  #options: HealthOptions
  /** The checkers that other options have replaced, until their last check is over. */
  readonly #replaced = new Set<Promise<void>>()
  #unsubscribe: () => void = () => {}
  /** Those that have come without a verdict, in this order: they may have one now, or have left. */
  #waiting: WatchedBackend[] = []
  /** Ends the wait for first checks; undefined while all have had one. */
  #stopWaiting: (() => void) | undefined

  constructor(parts: HealthParts) {
    const { options, clock, random } = parts
    const { passive } = options
    this.#parts = parts
    this.#options = options
    this.#backends = new WatchedBackends(clock, service => options.services === 'all' || service.settings.global)
    this.#checker = this.#makeChecker()
    this.#outliers = new OutlierDetector({
      options: passive,
      rise: riseOf(options),
      clock,
      random,
      onUneject: watched => this.#reassess(watched, () => 'the ejection is over'),
    })
  }

  start(): void {
    const { directory } = this.#parts
    this.#unsubscribe = directory.onChange(change => this.#applyChange(change))
    this.#applyChange([...directory.services()].map(after => changeOf(after.key, undefined, after)))
  }

  /** Other options from now on; only `services` stays. Verdicts are kept until checks by the new options change them. */
  configure(options: HealthOptions): void {
    const before = this.#options
    this.#options = options
    if (!isDeepStrictEqual([before.active, before.maxInFlight], [options.active, options.maxInFlight])) this.#check()
    this.#outliers.configure(options.passive, riseOf(options), this.#backends.known())
  }

  /** Cancels the checks in flight; resolves when none is left. */
  async close(): Promise<void> {
    this.#unsubscribe()
    this.#stopWaiting?.()
    this.#outliers.close()
    await Promise.all([this.#checker?.close(), ...this.#replaced])
  }

  /** Also for a backend that left recently, so that it returns with the verdict it had. */
  verdict(destination: string): Health {
    const watched = this.#backends.recall(destination)
    return watched ? this.#healthOf(watched) : 'unknown'
  }

  /** What was wrong with a backend that is down or ejected, or whose last check failed. */
  lastError(destination: string): string | undefined {
    return this.#backends.get(destination)?.lastError
  }

  /**
   * Whether others are preferred to a destination because no check has found it up or down yet: it came to a service that has
   * others that are up, or checks have not reached it for two intervals, since there are too many.
   */
  isUntested(destination: string): boolean {
    return this.#backends.get(destination)?.untested ?? false
  }

  connecting({ client }: Flow): void {
    this.#outliers.seen(client.address)
  }

  /** A connected flow of live traffic ended. */
  closed(flow: Flow, { destination }: Backend, totals: Totals): void {
    const watched = this.#backends.get(destination)
    const reason = watched && this.#outliers.ended(watched, flow, totals)
    if (watched && reason !== undefined) this.#reassess(watched, () => reason)
  }

  /** The client of a flow has asked, and the backend has sent no byte for too long. */
  mute(flow: Flow, { destination }: Backend): void {
    const watched = this.#backends.get(destination)
    const reason = watched && this.#outliers.mute(watched, flow)
    if (watched && reason !== undefined) this.#reassess(watched, () => reason)
  }

  /** One dial of live traffic ended. */
  result(_flow: Flow, backend: Backend, result: Result): void {
    const watched = this.#backends.get(backend.destination)
    if (!watched) return
    if (result.outcome === 'connected') {
      this.#outliers.reached(watched)
      this.#checker?.heard(watched)
      return
    }
    if (!countsAsFailure(result, backend)) return
    this.#checker?.doubted(watched)
    if (this.#outliers.failed(watched)) {
      const { consecutive } = this.#options.passive
      this.#reassess(watched, () => `${consecutive} attempts in a row failed, the last one: ${result.outcome}`)
    }
  }

  /** Live traffic has got bytes from the backend. Called at most about once a second for each of its flows. */
  heard(destination: string): void {
    const watched = this.#backends.get(destination)
    if (watched) this.#checker?.heard(watched)
  }

  /** Whoever checks the backends of this network, such as the gateways of a cluster, tells anew. */
  told(network: string, verdictOf: (endpoint: CheckedEndpoint) => CheckResult | undefined): void {
    for (const watched of this.#backends.current()) {
      const result = watched.backend.network === network && watched.target ? verdictOf(watched.backend) : undefined
      if (result) this.#checker?.told(watched, result)
    }
  }

  /** What checks and traffic have found, for a successor. Backends of which nothing is known are left out. */
  save(): KnownHealth[] {
    const now = this.#parts.clock.now()
    return [...this.#backends.current()].flatMap(({ key: destination, target, outlier }) => {
      const checks = target?.checks.health ?? 'unknown'
      const ejected = outlier?.state === 'ejected' && outlier.until > now ? outlier.until - now : 0
      if (checks === 'unknown' && ejected === 0) return []
      const silent = ejected > 0 && outlier?.silences ? { silent: true } : {}
      return { destination, checks, ejectedMs: ejected, ...silent }
    })
  }

  /** What a predecessor has found, where nothing has been found here yet. */
  restore(known: readonly KnownHealth[]): void {
    for (const { destination, checks, ejectedMs, silent = false } of known) {
      const watched = this.#backends.get(destination)
      if (!watched) continue
      const { target } = watched
      if (target?.checks.health === 'unknown' && checks !== 'unknown') target.checks = { health: checks, against: 0 }
      if (ejectedMs > 0) this.#outliers.restore(watched, ejectedMs, silent)
      this.#reassess(watched, () => 'found before the restart')
    }
  }

  stats(): HealthStats {
    const idle = { targets: 0, checks: { passed: 0, failed: 0, local: 0, traffic: 0 }, inFlight: 0, lateMs: 0 }
    const { size: backends, down } = this.#backends
    return { backends, down, ...(this.#checker?.stats() ?? idle), ...this.#outliers.stats() }
  }

  /** Checks by the options as they are now, in place of the earlier checker. Without checks there are no verdicts of them. */
  #check(): void {
    const before = this.#checker
    this.#checker = this.#makeChecker(before)
    if (before) {
      const closing = before.close().finally(() => this.#replaced.delete(closing))
      this.#replaced.add(closing)
    }
    if (this.#checker) {
      for (const watched of this.#backends.current()) this.#checker.joined(watched)
      return
    }
    for (const watched of this.#backends.known()) watched.target = undefined
    for (const watched of [...this.#backends.current()]) {
      const wasUntested = watched.untested
      watched.untested = false
      this.#reassess(watched, () => 'checks are off')
      if (wasUntested) this.#parts.onUntested?.(watched.key)
    }
  }

  #makeChecker(before?: Checker): Checker | undefined {
    const { clock, random, log, probes = { tcp: tcpProbe, http: httpProbe } } = this.#parts
    const { active, maxInFlight = defaultMaxInFlight } = this.#options
    if (active.type === 'none') return undefined
    const probe = active.type === 'tcp' ? probes.tcp(active, clock) : probes.http(active, clock)
    const onChecked = (target: Target, result: CheckResult) => this.#checked(target, result)
    const traffic = active.type === 'tcp' && active.traffic
    return new Checker({ options: active, traffic, maxInFlight, probe, clock, random, log, before, onChecked })
  }

  #applyChange(change: Change): void {
    const arrived: WatchedBackend[] = []
    for (const one of change) {
      const { joined, left } = this.#backends.replace(one)
      for (const watched of left) {
        this.#checker?.left(watched)
        this.#outliers.left(watched)
      }
      for (const watched of joined) {
        this.#checker?.joined(watched)
        this.#outliers.joined(watched)
        arrived.push(watched)
      }
    }
    const unchecked = arrived.filter(isUnchecked)
    for (const watched of unchecked) this.#waiting.push(watched)
    if (unchecked.length > 0) this.#awaitFirstChecks()
    const young = unchecked.filter(watched => !watched.untested && joinsOthers(watched))
    for (const watched of young) watched.untested = true
    // Reported last: onVerdict changes the directory, which calls this method again.
    for (const watched of arrived) this.#reassess(watched, () => 'kept from before it left')
    for (const { key } of young) this.#parts.onUntested?.(key)
  }

  #checked(target: Target, result: CheckResult): void {
    const passed = result.outcome === 'passed'
    const { active } = this.#options
    const { watched } = target
    watched.untested &&= isUnchecked(watched)
    this.#outliers.checked(watched, passed, active.type === 'http')
    watched.lastError = result.outcome === 'failed' ? result.why : passed ? undefined : watched.lastError
    this.#reassess(watched, () => (result.outcome === 'passed' ? 'checks pass' : `checks fail: ${result.why}`))
    if (active.type === 'none' || target.unanswered !== active.fall || target.checks.health !== 'down') return
    // The host is silent, so its UDP ports are too, which are not checked.
    const { network, address } = watched.backend
    this.#parts.onSilent([watched.key, ...this.#backends.datagramsAt(network, address)])
  }

  #reassess(watched: WatchedBackend, why: () => string): void {
    const from = watched.shown
    const to = this.#healthOf(watched)
    if (from === to || watched.pools.length === 0) return
    this.#backends.show(watched, to)
    const reason = why()
    if (to === 'ejected') watched.lastError = reason
    this.#logChange(watched, from, to, reason)
    this.#parts.onVerdict(watched.key, to)
  }

  /** Looks once in two intervals, while there are backends without a verdict, for those that have waited as long. */
  #awaitFirstChecks(): void {
    const { active } = this.#options
    if (this.#stopWaiting || active.type === 'none') return
    const { clock } = this.#parts
    const waitMs = 2 * active.intervalMs
    const look = () => {
      this.#stopWaiting = undefined
      const until = Math.floor(clock.now() - waitMs)
      const young = this.#waiting.findIndex(({ since }) => since > until)
      const most = Math.min(young === -1 ? this.#waiting.length : young, overdueAtOnce)
      const overdue = this.#waiting.splice(0, most).filter(this.#isOverdue)
      for (const watched of overdue) watched.untested = true
      if (most === overdueAtOnce) this.#stopWaiting = clock.after(1, look)
      else if (this.#waiting.length > 0) this.#awaitFirstChecks()
      // Reported last: it changes the directory.
      for (const { key } of overdue) this.#parts.onUntested?.(key)
    }
    this.#stopWaiting = clock.after(waitMs, look)
  }

  #isOverdue = (watched: WatchedBackend): boolean =>
    this.#backends.get(watched.key) === watched && isUnchecked(watched) && !watched.untested

  /** Ejected takes precedence over the state of the checks. */
  #healthOf(watched: WatchedBackend): Health {
    return this.#outliers.isEjected(watched) ? 'ejected' : (watched.target?.checks.health ?? 'unknown')
  }

  #logChange({ backend, pools }: WatchedBackend, from: Health, to: Health, why: string): void {
    const { log } = this.#parts
    const services = new Set(pools.map(pool => pool.service)).size
    const fields = { backend: backend.key, services, from, to, why }
    if (to === 'down' || to === 'ejected') log.warn('health.verdict', fields)
    else if (from === 'unknown') log.debug('health.verdict', fields)
    else log.info('health.verdict', fields)
  }
}

/** Checks will say something of it, and have not yet. Of networks behind gateways those know, and may say nothing. */
function isUnchecked({ target, backend }: WatchedBackend): boolean {
  return backend.network === undefined && target?.checks.health === 'unknown'
}

/** Whether a frontend of it has another backend that checks have found up. */
function joinsOthers({ pools }: WatchedBackend): boolean {
  for (const { watched } of pools) if (watched.some(({ target }) => target?.checks.health === 'up')) return true
  return false
}

/** Consecutive passed checks that end an ejection early. */
function riseOf({ active }: HealthOptions): number {
  return active.type === 'none' ? Number.POSITIVE_INFINITY : active.rise
}

/** A UDP timeout does not count: some services, like syslog, never answer. An ICMP refusal does. */
function countsAsFailure(result: Result, backend: Backend): boolean {
  return blames(result) && !(backend.protocol === 'UDP' && result.outcome === 'timeout')
}
