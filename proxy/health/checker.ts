/** Active health checks: one per distinct address and port, however many backends and services share it. */
import type { Log } from '../model/log.ts'
import type { Clock, Random } from '../model/time/clock.ts'
import { CheckScheduler } from './check-scheduler.ts'
import type { Thresholds } from './options.ts'
import { type CheckResult, type Probe, passed } from './probe.ts'
import { applyCheck, unchecked } from './rise-fall.ts'
import { never, type Target, type WatchedBackend } from './watched-backend.ts'

export interface CheckerParts {
  readonly options: Thresholds
  /** Live traffic within the interval replaces a check. */
  readonly traffic: boolean
  readonly maxInFlight: number
  readonly probe: Probe
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** The checker with other options that this one replaces: its counts go on. */
  readonly before?: Checker | undefined
  /** Called after `target.checks` was updated. */
  readonly onChecked: (target: Target, result: CheckResult) => void
}

// Local faults (EMFILE and the like) hit many checks at once: log one line a minute.
const localFaultLogMs = 60_000

export class Checker {
  readonly #parts: Omit<CheckerParts, 'before'>
  readonly #scheduler: CheckScheduler
  readonly #counts: Record<CheckResult['outcome'] | 'traffic', number>
  #localFaultLoggedAt = Number.NEGATIVE_INFINITY
  #closed = false

  /** What it replaces is not kept, since that would keep all those before it. */
  constructor({ before, ...parts }: CheckerParts) {
    const { options, maxInFlight, clock, random, log } = parts
    const { intervalMs, relax } = options
    this.#parts = parts
    this.#counts = { passed: 0, failed: 0, local: 0, traffic: 0, ...before?.stats().checks }
    this.#scheduler = new CheckScheduler({
      intervalMs,
      relax,
      maxInFlight,
      clock,
      random,
      check: target => this.#check(target),
      onBehind: () => log.warn('health.behind', { targets: this.#scheduler.stats().targets, intervalMs, maxInFlight }),
    })
  }

  stats(): {
    checks: Readonly<Record<CheckResult['outcome'] | 'traffic', number>>
    targets: number
    inFlight: number
    lateMs: number
  } {
    return { checks: { ...this.#counts }, ...this.#scheduler.stats() }
  }

  /** A backend that returns keeps the state of its earlier checks until new ones change it. */
  joined(watched: WatchedBackend): void {
    if (watched.backend.protocol !== 'TCP') return
    const target: Target = {
      watched,
      checks: watched.target?.checks ?? unchecked,
      checkedAt: never,
      passes: 0,
      heardAt: watched.target?.heardAt ?? never,
      unanswered: 0,
      lane: undefined,
      due: 0,
      heapIndex: 0,
    }
    watched.target = target
    this.#scheduler.add(target)
  }

  left({ target }: WatchedBackend): void {
    if (target) this.#scheduler.remove(target)
  }

  /** Whoever checks its address has found this, and it stands at once. */
  told({ target }: WatchedBackend, result: CheckResult): void {
    if (!target || result.outcome === 'local') return
    const health = result.outcome === 'passed' ? 'up' : 'down'
    if (target.checks.health === health) return
    target.checks = { health, against: 0 }
    target.passes = health === 'up' ? 1 : 0
    this.#parts.onChecked(target, result)
  }

  /** Live traffic has connected to the backend, or has got bytes from it. */
  heard({ target }: WatchedBackend): void {
    if (target) target.heardAt = Math.round(this.#parts.clock.now())
  }

  /** A dial of live traffic has failed: until the next check has passed, nothing else counts. */
  doubted({ target }: WatchedBackend): void {
    if (!target) return
    target.passes = 0
    this.#scheduler.hasten(target)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#parts.probe.destroy()
    await this.#scheduler.close()
  }

  async #check(target: Target): Promise<boolean> {
    if (this.#isProven(target)) {
      this.#counts.traffic++
      target.passes++
      this.#parts.onChecked(target, passed)
      return false
    }
    const { network, address, port } = target.watched.backend
    const result = await this.#parts.probe.check({ network, address, port, sendProxy: wantsProxyHeader(target) })
    if (this.#closed) return false
    this.#counts[result.outcome]++
    if (result.outcome === 'local') {
      this.#logLocalFault(result.why)
      return false
    }
    target.checks = applyCheck(target.checks, result.outcome === 'passed', this.#parts.options)
    target.passes = isUp(target) ? target.passes + 1 : 0
    target.unanswered = result.outcome === 'failed' && result.unanswered ? target.unanswered + 1 : 0
    if (target.lane) this.#parts.onChecked(target, result)
    return result.outcome === 'failed'
  }

  /** It is up, nothing has contradicted that since its last check, and live traffic has shown it within the interval. */
  #isProven(target: Target): boolean {
    const { traffic, options, clock } = this.#parts
    return traffic && target.passes > 0 && clock.now() - target.heardAt <= options.intervalMs
  }

  #logLocalFault(why: string): void {
    const now = this.#parts.clock.now()
    if (now - this.#localFaultLoggedAt < localFaultLogMs) return
    this.#localFaultLoggedAt = now
    this.#parts.log.warn('health.local-fault', { why })
  }
}

/** Services may share a destination; a backend that expects the header for one of them expects it of every connection. */
function wantsProxyHeader({ watched: { pools } }: Target): boolean {
  for (const { sendProxy } of pools) if (sendProxy) return true
  return false
}

function isUp({ checks: { health, against } }: Target): boolean {
  return health === 'up' && against === 0
}
