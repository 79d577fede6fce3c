/**
 * Decides who may use a service and where a flow goes, and tells plugins and observers about it. Nothing here waits. A flow
 * passes the gates, then each plugin that narrows, in the order of the configuration; `select` keeps the usable backends
 * (plugins see unusable ones too, since affinity counts them); a plugin that picks, or else the balancer, chooses one.
 * Failover runs the chain again, with the failed backend in `flow.tried`; `spread` moves it to another cluster or zone.
 */
import type { Backend, Backends } from '../model/backend.ts'
import type { Change, Directory, ServiceChange } from '../model/directory.ts'
import type { Problem } from '../model/error.ts'
import type {
  Balancer,
  Bytes,
  Choice,
  Chooser,
  Client,
  Flow,
  FlowObserver,
  OpenFlows,
  Refusal,
  Result,
  Totals,
} from '../model/flow.ts'
import { namesIn } from '../model/lists/names-in.ts'
import type { Log } from '../model/log.ts'
import type { Frontend, GlobalService } from '../model/service.ts'
import type { HookFaultCount, PluginCounter } from '../model/stats/plugin.ts'
import type { Json } from '../model/text/json.ts'
import type { Clock } from '../model/time/clock.ts'
import type { BackendNote, Explanation } from '../model/views.ts'
import type { Asker } from '../plugin.ts'
import { Chains, type ServiceChain } from './compile.ts'
import { Faults, LawBroken } from './faults.ts'
import { fresh } from './fresh.ts'
import { type Guarded, guard } from './guard.ts'
import {
  closeInstances,
  type LoadedPlugin,
  type ResolvedPlugin,
  resolved,
  restoreIn,
  savedBy,
  setOptions,
  stateOf,
} from './loading/instance.ts'
import type { NewOptions } from './loading/load.ts'
import { narrowed } from './narrow.ts'
import { anyClient, neutralFlow } from './neutral.ts'
import { noBackend } from './no-backend.ts'
import { OpenFlowCounts } from './open-flows.ts'
import { type Pauses, SlowHooks } from './slow-hooks.ts'
import { spread } from './spread.ts'
import { explain, explainService, type Trace } from './trace.ts'
import { Untried } from './untried.ts'
import { visibleTo } from './visible.ts'

export interface ChainParts {
  readonly plugins: readonly LoadedPlugin[]
  readonly balancer: (openFlows: OpenFlows) => Balancer
  readonly directory: Directory
  readonly clock: Clock
  readonly log: Log
  /** How many attempts a flow may make now (`proxy.dial.attempts`); 3 by default. */
  readonly attempts?: () => number
  /** Called after the plugins, in this order. */
  readonly observers?: readonly Partial<FlowObserver>[]
  /** With it hooks that hold up the process are named. */
  readonly pauses?: Pauses
}

export interface Chain extends Chooser {
  /** What the chain would do with this flow, step by step, without side effects. */
  explain(flow: Flow): Trace
  /** The same for all frontends of a service. */
  explainService(client: Client, service: GlobalService): Explanation
  /** Keys of the backends that any client may be sent to now; for a headless service, those that DNS would answer with. */
  selected(service: GlobalService): ReadonlySet<string>
  /** The names of the plugins that have to see each flow of a service; none where `settled` has an answer. */
  watching(service: GlobalService): readonly string[]
  /** What plugins have to say about a backend of a service, by the name of the plugin. */
  notes(service: GlobalService, backend: Backend): Readonly<Record<string, BackendNote>>
  resolved(): readonly ResolvedPlugin[]
  /** The `state()` of each plugin that has one, by the name of the plugin. */
  state(): Readonly<Record<string, Json>>
  /** What each plugin has for the same plugin in a successor, by the name of the plugin. */
  save(): Readonly<Record<string, Json>>
  restore(saved: Readonly<Record<string, Json>>): void
  counters(): readonly PluginCounter[]
  /** What plugins have found in the objects that they read. */
  findings(): readonly Problem[]
  /** The hooks that failed in the last minutes. */
  faults(): readonly Problem[]
  /** The number of faults of each hook since the start. */
  faultCounts(): readonly HookFaultCount[]
  /**
   * Replaces the plugins, for all flows from now on. Instances in both lists are kept; the others are closed. A new instance
   * may be told the end of a flow whose start it was not told. `inPlace`: kept ones that get other options.
   */
  replace(plugins: readonly LoadedPlugin[], inPlace?: readonly NewOptions[]): Promise<void>
  /** Something outside the services has changed that decisions at change time may depend on: they are made again. */
  forget(): void
  /** Replaces the balancer, for all flows from now on. The counts of open flows are kept. */
  setBalancer(create: ChainParts['balancer']): void
  /** Closes the plugins, and stops watching the directory. */
  close(): Promise<void>
}

export function createChain(parts: ChainParts): Chain {
  return new PluginChain(parts)
}

class PluginChain implements Chain {
  #parts: ChainParts
  #plugins: readonly LoadedPlugin[] = []
  #guarded: readonly Guarded[] = []
  #chains = new Chains([])
  #faults: Faults
  #slow: SlowHooks
  #open = new OpenFlowCounts()
  #untried = new Untried()
  #balancer: Balancer
  #observers: ObserverHooks
  #attempts: () => number
  #unwatch: () => void

  constructor(parts: ChainParts) {
    this.#parts = parts
    this.#observers = hooksOf(parts.observers ?? [])
    this.#attempts = parts.attempts ?? (() => 3)
    this.#faults = new Faults(parts.clock, parts.log)
    this.#slow = new SlowHooks({
      pauses: parts.pauses,
      clock: parts.clock,
      report: (plugin, hook, ms) =>
        this.#faults.report(
          plugin,
          hook,
          new LawBroken(`took ${Math.round(ms)} ms`),
          'the whole process waited for it',
        ),
    })
    this.#balancer = parts.balancer(backend => this.#open.of(backend))
    this.#install(parts.plugins)
    this.#unwatch = parts.directory.onChange(change => this.#changed(change))
  }

  admit(client: Client, service: GlobalService): Refusal | undefined {
    return refusalOf(this.#chains.of(service), client, service, 'name')
  }

  /** Allocates only the answer, unless a step drops backends that it has not dropped from this list before. */
  choose(flow: Flow): Choice {
    const chain = this.#chains.of(flow.service)
    const refusal = refusalOf(chain, flow.client, flow.service, 'flow')
    if (refusal !== undefined) return { refusal }

    let left = this.#untried.of(flow)
    if (left.length === 0) return { refusal: noBackend(flow, left) }

    if (flow.tried.length > 0) left = spread(chain, flow, left, this.#attempts())
    if (flow.frontend.fresh !== undefined) left = fresh(chain, flow, left)
    for (const step of chain.narrowing) {
      left = step.narrow(flow, left)
      if (left.length === 0) return { refusal: step.refusal(left) }
    }
    const usable = chain.usable(flow, left)
    const first = usable[0]
    if (first === undefined) return { refusal: noBackend(flow, left) }

    for (const step of chain.choosing) {
      const choice = step.choose(flow, usable)
      if (choice !== undefined) return choice
    }
    return { backend: usable.length === 1 ? first : this.#balancer.pick(flow, usable) }
  }

  settled(frontend: Frontend, service: GlobalService): Backends | undefined {
    const chain = this.#chains.of(service)
    if (!chain.settled) return undefined
    const flow = neutralFlow(service, frontend)
    return narrowed(chain, flow, fresh(chain, flow, frontend.backends))
  }

  watching(service: GlobalService): readonly string[] {
    return this.#chains.of(service).watching
  }

  visible(client: Client, service: GlobalService, preferred = false): Backends {
    return this.admit(client, service) ? [] : visibleTo(client, service, this.#chains.of(service), preferred)
  }

  selected(service: GlobalService): ReadonlySet<string> {
    const chain = this.#chains.of(service)
    if (this.admit(anyClient, service)) return new Set()
    if (service.local?.headless) return new Set(visibleTo(anyClient, service, chain, true).map(({ key }) => key))
    return new Set(
      service.frontends.flatMap(frontend => {
        const flow = neutralFlow(service, frontend)
        return narrowed(chain, flow, fresh(chain, flow, frontend.backends)).map(({ key }) => key)
      }),
    )
  }

  explain(flow: Flow): Trace {
    return explain(flow, this.#chains.of(flow.service), this.#attempts())
  }

  explainService(client: Client, service: GlobalService): Explanation {
    return explainService(client, service, this.#chains.of(service), this.#attempts())
  }

  notes(service: GlobalService, backend: Backend): Readonly<Record<string, BackendNote>> {
    const notes: Record<string, BackendNote> = {}
    for (const plugin of this.#chains.of(service).concerned) {
      const note = plugin.note(service, backend)
      if (note !== undefined) notes[plugin.name] = note
    }
    return notes
  }

  connecting(flow: Flow, backend: Backend): void {
    this.#open.add(backend)
    for (const plugin of this.#chains.of(flow.service).connecting) plugin.onConnect(flow, backend)
    for (const connecting of this.#observers.connecting) connecting(flow, backend)
  }

  result(flow: Flow, backend: Backend, result: Result): void {
    if (result.outcome !== 'connected') this.#open.remove(backend)
    for (const plugin of this.#chains.of(flow.service).resulting) plugin.onResult(flow, backend, result)
    for (const told of this.#observers.result) told(flow, backend, result)
  }

  carried(flow: Flow, backend: Backend, total: Bytes, more: Bytes): void {
    for (const carried of this.#observers.carried) carried(flow, backend, total, more)
  }

  closed(flow: Flow, backend: Backend, totals: Totals): void {
    this.#open.remove(backend)
    for (const plugin of this.#chains.of(flow.service).closing) plugin.onClose(flow, backend, totals)
    for (const closed of this.#observers.closed) closed(flow, backend, totals)
  }

  refused(flow: Flow, refusal: Refusal): void {
    for (const plugin of this.#chains.of(flow.service).refusing) plugin.onRefused(flow, refusal)
    for (const refused of this.#observers.refused) refused(flow, refusal)
  }

  resolved(): readonly ResolvedPlugin[] {
    return this.#plugins.map(resolved)
  }

  state(): Readonly<Record<string, Json>> {
    const state: Record<string, Json> = {}
    for (const loaded of this.#plugins) {
      const told = stateOf(loaded, this.#faults)
      if (told !== undefined) state[loaded.name] = told
    }
    return state
  }

  save(): Readonly<Record<string, Json>> {
    const saved: Record<string, Json> = {}
    for (const loaded of this.#plugins) {
      const own = savedBy(loaded, this.#faults)
      if (own !== undefined) saved[loaded.name] = own
    }
    return saved
  }

  restore(saved: Readonly<Record<string, Json>>): void {
    for (const loaded of this.#plugins) {
      const own = saved[loaded.name]
      if (own !== undefined) restoreIn(loaded, own, this.#faults)
    }
  }

  counters(): readonly PluginCounter[] {
    return this.#plugins.flatMap(({ counters }) => counters())
  }

  findings(): readonly Problem[] {
    return this.#guarded.flatMap(plugin =>
      plugin.findings().map(({ where, message }): Problem => ({ code: 'PLUGIN_FINDING', where, message })),
    )
  }

  faults(): readonly Problem[] {
    return this.#faults.standing()
  }

  faultCounts(): readonly HookFaultCount[] {
    return this.#faults.counts()
  }

  async replace(plugins: readonly LoadedPlugin[], inPlace: readonly NewOptions[] = []): Promise<void> {
    for (const { loaded, options, given } of inPlace) setOptions(loaded, options, given, this.#faults)
    const leaving = this.#plugins.filter(loaded => !plugins.includes(loaded))
    this.#install(plugins)
    await closeInstances(leaving, this.#faults, this.#parts.clock)
  }

  forget(): void {
    this.#chains = new Chains(this.#guarded)
  }

  setBalancer(create: ChainParts['balancer']): void {
    this.#balancer = create(backend => this.#open.of(backend))
  }

  async close(): Promise<void> {
    this.#unwatch()
    this.#slow.close()
    await this.replace([])
  }

  /** Tells new plugins all services that concern them; the others know them already. */
  #install(plugins: readonly LoadedPlugin[]): void {
    const before = new Map(this.#plugins.map((loaded, i) => [loaded, this.#guarded[i]]))
    this.#plugins = plugins
    this.#guarded = plugins.map(loaded => before.get(loaded) ?? guard(loaded, this.#faults, this.#slow))
    this.#chains = new Chains(this.#guarded)
    const fresh = this.#guarded.filter(({ onService }, i) => onService && !before.has(plugins[i] as LoadedPlugin))
    if (fresh.length === 0) return
    for (const service of this.#parts.directory.services()) {
      const concerned = this.#chains.concernedBy(service)
      for (const plugin of fresh) if (concerned.has(plugin)) plugin.onService?.(service, [])
    }
  }

  #changed(change: Change): void {
    for (const replaced of change) this.#tell(replaced)
  }

  /** For a plugin that the service no longer concerns, all its backends are gone; for the others, those that were removed. */
  #tell({ key, before, after, backends }: ServiceChange): void {
    if (!this.#guarded.some(plugin => plugin.onService)) return
    const was = before && this.#chains.concernedBy(before)
    const is = after && this.#chains.concernedBy(after)
    if (!after) this.#chains.forget(key)
    const told = this.#guarded.filter(plugin => plugin.onService && (was?.has(plugin) || is?.has(plugin)))
    if (told.length === 0) return
    const isKept = namesIn(backends.come, ({ key }) => key)
    const gone = backends.gone.filter(({ key }) => !isKept(key))
    const service = after ?? (before && emptied(before))
    if (!service) return
    for (const plugin of told) plugin.onService?.(service, is?.has(plugin) ? gone : (before?.backends ?? []))
  }
}

type ObserverHooks = { readonly [Hook in keyof FlowObserver]: readonly FlowObserver[Hook][] }

/** Bound, so that a flow costs no look-up of them, and nothing for those that an observer lacks. */
function hooksOf(observers: readonly Partial<FlowObserver>[]): ObserverHooks {
  return {
    connecting: observers.flatMap(each => each.connecting?.bind(each) ?? []),
    result: observers.flatMap(each => each.result?.bind(each) ?? []),
    carried: observers.flatMap(each => each.carried?.bind(each) ?? []),
    closed: observers.flatMap(each => each.closed?.bind(each) ?? []),
    refused: observers.flatMap(each => each.refused?.bind(each) ?? []),
  }
}

function refusalOf({ gates }: ServiceChain, client: Client, service: GlobalService, asker: Asker): Refusal | undefined {
  for (const gate of gates) {
    const refusal = gate.admit(client, service, asker)
    if (refusal !== undefined) return refusal
  }
  return undefined
}

/** A removed service, as `onService` gets it: without members, endpoints or backends. */
function emptied(service: GlobalService): GlobalService {
  const frontends = service.frontends.map(frontend => Object.freeze({ ...frontend, backends: [] }))
  return Object.freeze({ ...service, local: undefined, members: [], frontends, backends: [], parked: [] })
}
