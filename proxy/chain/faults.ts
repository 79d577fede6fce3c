/** Faults of plugin hooks: counted, logged, and shown as problems. */
import { messageOf, type Problem } from '../model/error.ts'
import type { Log } from '../model/log.ts'
import type { HookFaultCount } from '../model/stats/plugin.ts'
import { tame } from '../model/text/spelling.ts'
import type { Clock } from '../model/time/clock.ts'

/** How long a hook is reported as a problem after its last fault. */
const reportMs = 300_000
const logEveryMs = 60_000

/** A hook returned something that the plugin API does not allow; the message says what. */
export class LawBroken extends Error {}

/** Throws if a hook returned a promise. Its rejection is caught, so that it cannot end the process. */
export function refusePromise(answer: unknown): void {
  if (typeof answer !== 'object' || answer === null || typeof (answer as PromiseLike<unknown>).then !== 'function')
    return
  Promise.resolve(answer).catch(() => {})
  throw new LawBroken('returned a promise; hooks are synchronous')
}

/** The faults of one hook of one plugin. */
interface HookFaults {
  readonly plugin: string
  readonly hook: string
  readonly meaning: string
  what: string
  count: number
  lastAt: number
  loggedAt: number
}

/** Every fault is counted; each hook is logged at most once a minute, and is a problem until it has not failed for 5 minutes. */
export class Faults {
  #clock: Clock
  #log: Log
  /** Bounded by the number of plugins times hooks. */
  #entries = new Map<string, HookFaults>()

  constructor(clock: Clock, log: Log) {
    this.#clock = clock
    this.#log = log
  }

  /** `meaning` says what the fault means for flows, for the message of the problem. */
  report(plugin: string, hook: string, thrown: unknown, meaning: string): void {
    const now = this.#clock.now()
    const key = `${plugin} ${hook}`
    const known = this.#entries.get(key)
    const entry = known ?? {
      plugin,
      hook,
      meaning,
      what: '',
      count: 0,
      lastAt: now,
      loggedAt: Number.NEGATIVE_INFINITY,
    }
    if (!known) this.#entries.set(key, entry)
    entry.what = thrown instanceof LawBroken ? thrown.message : `threw "${tame(messageOf(thrown))}"`
    entry.count++
    entry.lastAt = now
    if (now - entry.loggedAt < logEveryMs) return
    entry.loggedAt = now
    this.#log.error('plugin.fault', { plugin, hook, what: entry.what, count: entry.count, error: thrown })
  }

  /** The number of faults of each hook since the start, for metrics. */
  counts(): HookFaultCount[] {
    return [...this.#entries.values()].map(({ plugin, hook, count }) => ({ plugin, hook, count }))
  }

  standing(): Problem[] {
    const now = this.#clock.now()
    return [...this.#entries.values()]
      .filter(({ lastAt }) => now - lastAt < reportMs)
      .map(({ plugin, hook, what, count, meaning }) => ({
        code: 'PLUGIN_FAULT',
        where: `plugin ${plugin}, ${hook}`,
        message: `${what} (${count === 1 ? 'once' : `${count} times`} so far); ${meaning}`,
      }))
  }
}
