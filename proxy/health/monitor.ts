/**
 * What is known of the backends' health, from two witnesses: checks of our own and the fate of live traffic. Verdicts
 * are kept by backend key, so that they outlive every rebuild of a pool; only a verdict that changes is told and logged.
 */
import type { Backend, Health } from '../model/backend.ts'
import type { Change, Directory } from '../model/directory.ts'
import { blames, type Flow, type FlowObserver, type Result } from '../model/flow.ts'
import type { Log } from '../model/log.ts'
import type { HealthStats } from '../model/stats/health.ts'
import type { Clock, Random } from '../model/time/clock.ts'
import { Checker } from './checker.ts'
import type { HealthOptions, HttpCheck, TcpCheck } from './options.ts'
import { Outliers } from './outlier.ts'
import type { Finding, Probe } from './probe.ts'
import { httpProbe } from './probe-http.ts'
import { tcpProbe } from './probe-tcp.ts'
import type { Target, Watched } from './watched.ts'
import { Roster } from './watched-backends.ts'

export interface HealthParts {
  readonly directory: Directory
  readonly options: HealthOptions
  readonly probes?: Probes
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** The verdict on a backend became another one. It may change the directory before it returns. */
  readonly onVerdict: (backendKey: string, health: Health) => void
}

export interface Probes {
  tcp(options: TcpCheck, clock: Clock): Probe
  http(options: HttpCheck, clock: Clock): Probe
}

const defaultMaxInFlight = 100

export class HealthMonitor implements Pick<FlowObserver, 'result'> {
  readonly #parts: HealthParts
  readonly #roster: Roster
  readonly #outliers: Outliers
  /** Undefined when the configuration asks for no checks. */
  readonly #checker: Checker | undefined
  #unsubscribe: () => void = () => {}

  constructor(parts: HealthParts) {
    const { options, clock, random } = parts
    const { active, passive } = options
    this.#parts = parts
    this.#roster = new Roster(clock, service => options.services === 'all' || service.settings.global)
    this.#checker = this.#makeChecker()
    this.#outliers = new Outliers({
      options: passive,
      rise: active.type === 'none' ? Number.POSITIVE_INFINITY : active.rise,
      clock,
      random,
      onReturn: watched => this.#reassess(watched, () => 'its ejection is over'),
    })
  }

  start(): void {
    const { directory } = this.#parts
    this.#unsubscribe = directory.onChange(change => this.#follow(change))
    this.#follow([...directory.services()].map(after => ({ key: after.key, before: undefined, after })))
  }

  /** Cuts the checks in flight; resolves when none is left. */
  async close(): Promise<void> {
    this.#unsubscribe()
    this.#outliers.close()
    await this.#checker?.close()
  }

  /** Also of a backend that left a short while ago, so that it comes back as what it was. */
  verdict(backendKey: string): Health {
    const watched = this.#roster.recall(backendKey)
    return watched ? this.#healthOf(watched) : 'unknown'
  }

  /** One attempt of live traffic ended. */
  result(_flow: Flow, backend: Backend, result: Result): void {
    const watched = this.#roster.get(backend.key)
    if (!watched) return
    if (result.outcome === 'connected') this.#outliers.reached(watched)
    else if (speaksAgainst(result, backend) && this.#outliers.failed(watched)) {
      const { consecutive } = this.#parts.options.passive
      this.#reassess(watched, () => `${consecutive} attempts in a row failed, the last one: ${result.outcome}`)
    }
  }

  stats(): HealthStats {
    const idle = { targets: 0, checks: { passed: 0, failed: 0, local: 0 }, inFlight: 0, lateMs: 0 }
    const { size: backends, down } = this.#roster
    return { backends, down, ...(this.#checker?.stats() ?? idle), ...this.#outliers.stats() }
  }

  #makeChecker(): Checker | undefined {
    const { options, clock, random, log, probes = { tcp: tcpProbe, http: httpProbe } } = this.#parts
    const { active, maxInFlight = defaultMaxInFlight } = options
    if (active.type === 'none') return undefined
    const probe = active.type === 'tcp' ? probes.tcp(active, clock) : probes.http(active, clock)
    const onChecked = (target: Target, finding: Finding) => this.#hear(target, finding)
    return new Checker({ options: active, maxInFlight, probe, clock, random, log, onChecked })
  }

  #follow(change: Change): void {
    const arrived: Watched[] = []
    for (const { key, after } of change) {
      const { joined, left } = this.#roster.replace(key, after)
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
    // Told last, since the answer to a verdict is a change of the directory, and that leads here again.
    for (const watched of arrived) this.#reassess(watched, () => 'remembered from before it left')
  }

  #hear(target: Target, finding: Finding): void {
    const passed = finding.outcome === 'passed'
    for (const watched of target.watched) {
      this.#outliers.checked(watched, passed)
      this.#reassess(watched, () => (finding.outcome === 'passed' ? 'checks pass' : `checks fail: ${finding.why}`))
    }
  }

  #reassess(watched: Watched, why: () => string): void {
    const from = watched.shown
    const to = this.#healthOf(watched)
    if (from === to || watched.pools.size === 0) return
    watched.shown = to
    this.#logFlip(watched, from, to, why())
    this.#parts.onVerdict(watched.key, to)
  }

  /** Ejected over down over up and unknown. */
  #healthOf(watched: Watched): Health {
    return this.#outliers.isEjected(watched) ? 'ejected' : (watched.target?.checks.health ?? 'unknown')
  }

  #logFlip({ key, pools }: Watched, from: Health, to: Health, why: string): void {
    const { log } = this.#parts
    const services = new Set([...pools].map(pool => pool.service)).size
    const fields = { backend: key, services, from, to, why }
    if (to === 'down' || to === 'ejected') log.warn('health.flip', fields)
    else if (from === 'unknown') log.debug('health.flip', fields)
    else log.info('health.flip', fields)
  }
}

/** Silence is no fault over UDP: syslog and its like never answer. An ICMP refusal is one. */
function speaksAgainst(result: Result, backend: Backend): boolean {
  return blames(result) && !(backend.protocol === 'UDP' && result.outcome === 'timeout')
}
