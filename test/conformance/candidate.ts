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

/** The laws as plugins/README.md prints them. */
export const laws = {
  module: 'A module says what it is: a name, a table of options, `onError`, and a `create()` that returns hooks.',
  atOnce: 'Hooks answer at once. A promise is no answer.',
  noThrow: 'Hooks do not throw, whatever service, client or outcome they meet.',
  part: '`candidates` returns a part of the list it got, and that very list when it drops nothing. Lists are never changed.',
  member: '`pick` names one of the list, or nobody.',
  refusal: '`admit` says nothing, or why not.',
  asking: 'Asking changes nothing: the same question at the same moment has the same answer, and leaves no trace.',
  change: 'What decides at change time goes by the service and what was tried; not by client, time or past flows.',
  own: 'Instances share nothing: what one lives through, another does not know.',
  state: '`state()` is plain JSON, and stays small however many clients come.',
  close: 'After `close()` no timer is left, and closing twice does no harm.',
} as const

export type Law = keyof typeof laws

export interface Breach {
  readonly law: Law
  readonly what: string
}

/** Each breach once, however often it is met. */
export class Breaches {
  readonly list: Breach[] = []

  note(law: Law, what: string): void {
    if (!this.list.some(known => known.law === law && known.what === what)) this.list.push({ law, what })
  }
}

const maxStateLength = 500_000

/** One instance under exam. Its answers are checked as they come; what is unlawful is noted, and goes on as if never said. */
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
      if (typeof answer !== 'boolean') this.#breaches.note('module', 'appliesTo says neither true nor false')
      return answer === true
    } catch (error) {
      this.#breaches.note('noThrow', `appliesTo threw "${messageOf(error)}"`)
      return false
    }
  }

  admit(client: Client, service: GlobalService): string {
    const answer = this.#call('admit', client, service)
    if (answer === undefined) return 'admitted'
    const { why } = Object(answer) as { why?: unknown }
    if (typeof why === 'string' && why !== '') return why
    this.#breaches.note('refusal', 'admit refuses without saying why')
    return 'admitted'
  }

  candidates(flow: Flow, backends: Backends): Backends {
    if (!this.#plugin.candidates) return backends
    const answer = this.#call('candidates', flow, backends)
    if (!Array.isArray(answer)) {
      this.#breaches.note('part', 'candidates returns no list')
      return backends
    }
    const strangers =
      new Set<unknown>(answer).size < answer.length || answer.some(one => !backends.includes(one as Backend))
    if (strangers) this.#breaches.note('part', 'candidates returns what it was not given, or something twice')
    else if (answer.length === backends.length && answer !== backends) {
      this.#breaches.note('part', 'candidates drops nothing and returns another list')
    }
    return strangers ? backends : (Object.freeze(answer) as Backends)
  }

  pick(flow: Flow, backends: Backends): Backend | undefined {
    const answer = this.#call('pick', flow, backends)
    if (answer === undefined || backends.includes(answer as Backend)) return answer as Backend | undefined
    this.#breaches.note('member', 'pick names somebody who is not in the list')
    return undefined
  }

  tell(hook: 'onConnect' | 'onResult' | 'onClose' | 'onService', ...what: unknown[]): void {
    this.#call(hook, ...what)
  }

  /** As text, for comparing. */
  state(): string {
    const state = this.#call('state')
    if (state === undefined) return ''
    try {
      const text = JSON.stringify(state) ?? ''
      if (!isDeepStrictEqual(JSON.parse(text), state))
        this.#breaches.note('state', 'state() has more in it than JSON can say')
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
