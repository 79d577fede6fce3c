import { messageOf, type Problem } from '../model/error.ts'
import type { Log } from '../model/log.ts'
import { tame } from '../model/text/spelling.ts'
import type { Clock } from '../model/time/clock.ts'

/** How long after its last fault a hook still counts as faulty. */
const standsMs = 300_000
const logEveryMs = 60_000

/** A hook returned, but not what the plugin API allows; the message says what it did. */
export class LawBroken extends Error {}

/** A promise in the place of an answer is a fault; whatever becomes of it must not end the process. */
export function refusePromise(answer: unknown): void {
  if (typeof answer !== 'object' || answer === null || typeof (answer as PromiseLike<unknown>).then !== 'function')
    return
  Promise.resolve(answer).catch(() => {})
  throw new LawBroken('returned a promise; hooks answer at once')
}

/** What is known of one hook of one plugin that failed. */
interface Entry {
  readonly plugin: string
  readonly hook: string
  readonly meaning: string
  what: string
  count: number
  lastAt: number
  loggedAt: number
}

/** The ledger of hooks that broke a law: counted always, logged once a minute, a problem until they behave for a while. */
export class Faults {
  #clock: Clock
  #log: Log
  /** As many as there are plugins times hooks. */
  #entries = new Map<string, Entry>()

  constructor(clock: Clock, log: Log) {
    this.#clock = clock
    this.#log = log
  }

  /** `meaning` says what the fault means for flows. */
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

  /** Faults of each hook since the start, for metrics. */
  counts(): readonly { readonly plugin: string; readonly hook: string; readonly count: number }[] {
    return [...this.#entries.values()].map(({ plugin, hook, count }) => ({ plugin, hook, count }))
  }

  standing(): Problem[] {
    const now = this.#clock.now()
    return [...this.#entries.values()]
      .filter(({ lastAt }) => now - lastAt < standsMs)
      .map(({ plugin, hook, what, count, meaning }) => ({
        code: 'PLUGIN_FAULT',
        where: `plugin ${plugin}, ${hook}`,
        message: `${what} (${count === 1 ? 'once' : `${count} times`} so far); ${meaning}`,
      }))
  }
}
