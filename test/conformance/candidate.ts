/** One plugin instance under test, and the laws of the plugin API that it may break. */
import { isDeepStrictEqual } from 'node:util'
import { instantiate } from '../../proxy/chain/loading/instance.ts'
import { parseFields, pathText } from '../../proxy/config/fields.ts'
import type { Backend, Backends } from '../../proxy/model/backend.ts'
import type { Cluster } from '../../proxy/model/cluster.ts'
import { messageOf } from '../../proxy/model/error.ts'
import type { Client, Flow } from '../../proxy/model/flow.ts'
import { silentLog } from '../../proxy/model/log.ts'
import type { GlobalService } from '../../proxy/model/service.ts'
import type { Plugin, PluginModule } from '../../proxy/plugin.ts'
import { FakeClock } from '../support/clock.ts'
import { seeded } from '../support/random.ts'

/** The laws, as plugins/README.md prints them. */
export const laws = {
  module: 'A module declares a name, a table of options, `onError`, and a `create()` that returns hooks.',
  atOnce: 'Hooks are synchronous: they never return a promise.',
  noThrow: 'Hooks do not throw, for any service, client or outcome.',
  part: '`candidates` returns a subset of its list, and the same array if it drops nothing. Lists are never changed in place.',
  member: '`pick` returns a member of its list, or undefined.',
  refusal: '`admit` returns undefined, or a refusal with a reason.',
  asking: 'Deciding hooks have no side effects: the same question at the same time has the same answer.',
  change:
    "With `decides: 'change'` the answer depends on the service and on `tried` alone; not on client, time or past flows.",
  own: 'Instances share nothing: what one instance sees does not change another.',
  note: '`note` returns undefined, or a state in a word with an optional detail, both text. It has no side effects.',
  state: '`state()` is plain JSON, and stays small with any number of clients.',
  close: 'After `close()` no timer is left, and closing twice does no harm.',
} as const

export type Law = keyof typeof laws

export interface Breach {
  readonly law: Law
  readonly what: string
}

/** Records each breach once. */
export class Breaches {
  readonly list: Breach[] = []

  note(law: Law, what: string): void {
    if (!this.list.some(known => known.law === law && known.what === what)) this.list.push({ law, what })
  }
}

const maxStateLength = 500_000

/** Checks each answer of one instance. An answer that breaks a law is recorded and then ignored. */
export class Candidate {
  readonly clock: FakeClock
  #module: PluginModule
  #options: never
  #plugin: Plugin
  #breaches: Breaches

  static enter(
    module: PluginModule,
    options: unknown,
    clusters: readonly Cluster[],
    breaches: Breaches,
  ): Candidate | undefined {
    const clock = new FakeClock()
    const parsed = parseFields(module.options, options, ['options'], ({ path, message }) =>
      breaches.note('module', `${pathText(path)}: ${message}`),
    )
    if (parsed === undefined) return undefined
    try {
      const parts = { clusters: () => clusters, clock, random: seeded(1), log: silentLog }
      const { plugin } = instantiate(module, parsed, parts)
      return new Candidate(module, parsed as never, plugin, clock, breaches)
    } catch (error) {
      breaches.note('module', messageOf(error))
      return undefined
    }
  }

  private constructor(module: PluginModule, options: never, plugin: Plugin, clock: FakeClock, breaches: Breaches) {
    this.#module = module
    this.#options = options
    this.#plugin = plugin
    this.clock = clock
    this.#breaches = breaches
  }

  appliesTo(service: GlobalService): boolean {
    try {
      const answer: unknown = this.#module.appliesTo?.(service, this.#options) ?? true
      if (typeof answer !== 'boolean') this.#breaches.note('module', 'appliesTo returns neither true nor false')
      return answer === true
    } catch (error) {
      this.#breaches.note('noThrow', `appliesTo threw "${messageOf(error)}"`)
      return false
    }
  }

  admit(client: Client, service: GlobalService): string {
    const answer = this.#call('admit', client, service, 'flow')
    if (answer === undefined) return 'admitted'
    const { why } = Object(answer) as { why?: unknown }
    if (typeof why === 'string' && why !== '') return why
    this.#breaches.note('refusal', 'admit refuses without a reason')
    return 'admitted'
  }

  candidates(flow: Flow, backends: Backends): Backends {
    if (!this.#plugin.candidates) return backends
    const answer = this.#call('candidates', flow, backends)
    if (!Array.isArray(answer)) {
      this.#breaches.note('part', 'candidates does not return a list')
      return backends
    }
    const foreign =
      new Set<unknown>(answer).size < answer.length || answer.some(one => !backends.includes(one as Backend))
    if (foreign) this.#breaches.note('part', 'candidates returns a backend that it was not given, or one twice')
    else if (answer.length === backends.length && answer !== backends) {
      this.#breaches.note('part', 'candidates drops nothing but returns another array')
    }
    return foreign ? backends : (Object.freeze(answer) as Backends)
  }

  pick(flow: Flow, backends: Backends): Backend | undefined {
    const answer = this.#call('pick', flow, backends)
    if (answer === undefined || backends.includes(answer as Backend)) return answer as Backend | undefined
    this.#breaches.note('member', 'pick returns a backend that is not in the list')
    return undefined
  }

  /** As text, for comparison. */
  note(service: GlobalService, backend: Backend): string {
    const answer = this.#call('note', service, backend)
    if (answer === undefined) return ''
    const { state, detail } = Object(answer) as { state?: unknown; detail?: unknown }
    const isText = typeof state === 'string' && state !== '' && (detail === undefined || typeof detail === 'string')
    if (!isText) this.#breaches.note('note', 'note returns something else than { state, detail }')
    return JSON.stringify(answer) ?? ''
  }

  tell(hook: 'onConnect' | 'onResult' | 'onClose' | 'onService', ...what: unknown[]): void {
    this.#call(hook, ...what)
  }

  /** As text, for comparison. */
  state(): string {
    const state = this.#call('state')
    if (state === undefined) return ''
    try {
      const text = JSON.stringify(state) ?? ''
      if (!isDeepStrictEqual(JSON.parse(text), state))
        this.#breaches.note('state', 'state() contains values that are not JSON')
      return text
    } catch {
      this.#breaches.note('state', 'state() is not JSON')
      return ''
    }
  }

  checkSize(): void {
    const { length } = this.state()
    if (length > maxStateLength)
      this.#breaches.note('state', `state() has grown to more than ${maxStateLength} characters`)
  }

  async leave(): Promise<void> {
    for (const time of ['', ' the second time']) {
      try {
        await this.#plugin.close?.()
      } catch (error) {
        this.#breaches.note('close', `close threw "${messageOf(error)}"${time}`)
      }
    }
    if (this.clock.waiting > 0) this.#breaches.note('close', 'timers are left after close()')
  }

  #call(hook: keyof Plugin, ...what: unknown[]): unknown {
    try {
      const answer = (this.#plugin[hook] as ((...args: unknown[]) => unknown) | undefined)?.apply(this.#plugin, what)
      if (!(answer instanceof Promise)) return answer
      answer.catch(() => {})
      this.#breaches.note('atOnce', `${hook} returns a promise`)
    } catch (error) {
      this.#breaches.note('noThrow', `${hook} threw "${messageOf(error)}"`)
    }
    return undefined
  }
}
