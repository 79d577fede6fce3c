/** Active health: one check per distinct address and port, however many backends and services stand behind it. */
import { endpointText } from '../model/address.ts'
import type { Log } from '../model/log.ts'
import type { Clock, Random } from '../model/time/clock.ts'
import { Rounds } from './check-scheduler.ts'
import type { Thresholds } from './options.ts'
import type { Finding, Probe } from './probe.ts'
import { judge, unchecked } from './rise-fall.ts'
import type { Target, Watched } from './watched.ts'

export interface CheckerParts {
  readonly options: Thresholds
  readonly maxInFlight: number
  readonly probe: Probe
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** `target.checks` has just heard it. */
  readonly onChecked: (target: Target, finding: Finding) => void
}

// Faults of this machine come in swarms; a line a minute is enough to be called.
const localFaultLogMs = 60_000

export class Checker {
  readonly #parts: CheckerParts
  readonly #rounds: Rounds
  readonly #targets = new Map<string, Target>()
  readonly #done = { passed: 0, failed: 0, local: 0 }
  #localFaultSaidAt = Number.NEGATIVE_INFINITY
  #closed = false

  constructor(parts: CheckerParts) {
    const { options, maxInFlight, clock, random, log } = parts
    const { intervalMs } = options
    this.#parts = parts
    this.#rounds = new Rounds({
      intervalMs,
      maxInFlight,
      clock,
      random,
      check: target => this.#check(target),
      onBehind: () => log.warn('health.behind', { targets: this.#targets.size, intervalMs, maxInFlight }),
    })
  }

  stats(): { checks: Readonly<Record<Finding['outcome'], number>>; targets: number; inFlight: number; lateMs: number } {
    return { checks: { ...this.#done }, ...this.#rounds.stats() }
  }

  /** What earlier checks said of it holds until new ones say otherwise. */
  joined(watched: Watched): void {
    if (watched.protocol !== 'TCP') return
    const { address, port } = watched
    const key = endpointText(address, port)
    let target = this.#targets.get(key)
    if (!target) {
      target = { address, port, watched: new Set(), checks: watched.target?.checks ?? unchecked, due: 0, slot: 0 }
      this.#targets.set(key, target)
      this.#rounds.add(target)
    }
    target.watched.add(watched)
    watched.target = target
  }

  left(watched: Watched): void {
    const { target } = watched
    if (!target?.watched.delete(watched) || target.watched.size > 0) return
    this.#targets.delete(endpointText(target.address, target.port))
    this.#rounds.remove(target)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#parts.probe.destroy()
    await this.#rounds.close()
  }

  async #check(target: Target): Promise<boolean> {
    const finding = await this.#parts.probe.check(target)
    if (this.#closed) return false
    this.#done[finding.outcome]++
    if (finding.outcome === 'local') {
      this.#sayLocalFault(finding.why)
      return false
    }
    target.checks = judge(target.checks, finding.outcome === 'passed', this.#parts.options)
    this.#parts.onChecked(target, finding)
    return finding.outcome === 'failed'
  }

  #sayLocalFault(why: string): void {
    const now = this.#parts.clock.now()
    if (now - this.#localFaultSaidAt < localFaultLogMs) return
    this.#localFaultSaidAt = now
    this.#parts.log.warn('health.local-fault', { why })
  }
}
