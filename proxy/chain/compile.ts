/**
 * Compiles the chain of one service: only the plugins that apply to it, only the hooks they have, and everything that can
 * be computed before the first flow. Done once per change of a service, so that a decision only walks arrays.
 */
import { type Backend, type Backends, select } from '../model/backend.ts'
import type { Choice, Flow, Refusal } from '../model/flow.ts'
import { sharedOut } from '../model/lists/cluster-shares.ts'
import type { GlobalService, ServiceKey } from '../model/service.ts'
import type { Asker } from '../plugin.ts'
import { broken, type Guarded } from './guard.ts'
import { Memo } from './memo.ts'

/** A guarded plugin that has this hook. */
type Having<H extends keyof Guarded> = Guarded & { readonly [K in H]-?: NonNullable<Guarded[K]> }

export interface ServiceChain {
  readonly gates: readonly Gate[]
  readonly narrowing: readonly Narrowing[]
  readonly choosing: readonly Choosing[]
  readonly connecting: readonly Having<'onConnect'>[]
  readonly resulting: readonly Having<'onResult'>[]
  readonly closing: readonly Having<'onClose'>[]
  readonly refusing: readonly Having<'onRefused'>[]
  /** All plugins that apply to the service; they are told its changes. */
  readonly concerned: ReadonlySet<Guarded>
  /** True if no plugin needs to see a flow: the backends of a frontend's flows are fixed until the next change. */
  readonly settled: boolean
  /** The plugins that do, by name. */
  readonly watching: readonly string[]
  /** The usable backends of each port, by narrowed list; see `visibleTo`. */
  readonly visible: Memo
  /** {@link select}, for flows that have tried nothing yet with the shares of clusters among what it gives, and memoized. */
  usable(flow: Flow, left: Backends): Backends
}

/** Compiled chains by the identity of the service object; collected together with it. */
export class Chains {
  #plugins: readonly Guarded[]
  #chains = new WeakMap<GlobalService, ServiceChain>()
  /** The latest state of each service that plugins were told of, and the plugins that apply to it. */
  #told = new Map<ServiceKey, { readonly service: GlobalService; readonly concerned: ReadonlySet<Guarded> }>()
  /** Most services concern the same plugins, and share the set of them. */
  #concerned = new Map<string, ReadonlySet<Guarded>>()

  constructor(plugins: readonly Guarded[]) {
    this.#plugins = plugins
  }

  of(service: GlobalService): ServiceChain {
    const known = this.#chains.get(service)
    if (known) return known
    const chain = compile(service, this.#applying(service))
    this.#chains.set(service, chain)
    return chain
  }

  /** The plugins to tell of it, without a chain: most services that change have no flow before they change again. */
  concernedBy(service: GlobalService): ReadonlySet<Guarded> {
    const concerned = this.#applying(service)
    freezeLists(service)
    this.#told.set(service.key, { service, concerned })
    return concerned
  }

  /** The service is gone. */
  forget(key: ServiceKey): void {
    this.#told.delete(key)
  }

  /** A plugin is asked once per change. */
  #applying(service: GlobalService): ReadonlySet<Guarded> {
    const told = this.#told.get(service.key)
    if (told?.service === service) return told.concerned
    return this.#chains.get(service)?.concerned ?? this.#shared(this.#plugins.filter(plugin => plugin.applies(service)))
  }

  #shared(concerned: readonly Guarded[]): ReadonlySet<Guarded> {
    const places = concerned.map(plugin => this.#plugins.indexOf(plugin)).join()
    const known = this.#concerned.get(places) ?? new Set(concerned)
    this.#concerned.set(places, known)
    return known
  }
}

function compile(service: GlobalService, all: ReadonlySet<Guarded>): ServiceChain {
  freezeLists(service)
  const concerned = [...all]
  const gates = having(concerned, 'admit').map(plugin => new Gate(plugin))
  const narrowing = having(concerned, 'candidates').map(plugin => new Narrowing(plugin))
  const choosing = having(concerned, 'pick').map(plugin => new Choosing(plugin))
  const connecting = having(concerned, 'onConnect')
  const resulting = having(concerned, 'onResult')
  const closing = having(concerned, 'onClose')
  const refusing = having(concerned, 'onRefused')
  const watching = concerned.filter(
    ({ admit, pick, onConnect, onResult, onClose, candidates, decides }) =>
      admit || pick || onConnect || onResult || onClose || (candidates && decides === 'flow'),
  )
  const selected = new Memo()
  const { clusterWeights } = service.settings
  // What narrowing has left out has no part of its cluster's share.
  const chosen = (left: Backends) => (clusterWeights ? sharedOut(select(left), clusterWeights) : select(left))
  return {
    gates,
    narrowing,
    choosing,
    connecting,
    resulting,
    closing,
    refusing,
    concerned: all,
    visible: new Memo(),
    settled: watching.length === 0,
    watching: watching.map(({ name }) => name),
    usable: (flow, left) =>
      flow.tried.length > 0 ? select(left) : (selected.get(left) ?? selected.set(left, Object.freeze(chosen(left)))),
  }
}

/** A plugin that changed the list of a frontend in place would change it for everyone. */
function freezeLists({ frontends }: GlobalService): void {
  for (const { backends } of frontends) Object.freeze(backends)
}

function having<H extends keyof Guarded>(plugins: readonly Guarded[], hook: H): readonly Having<H>[] {
  return plugins.filter((plugin): plugin is Having<H> => plugin[hook] !== undefined)
}

/** Asks one plugin whether a client may use a service. */
export class Gate {
  readonly name: string
  #plugin: Having<'admit'>
  #onFault: Refusal | undefined

  constructor(plugin: Having<'admit'>) {
    this.name = plugin.name
    this.#plugin = plugin
    this.#onFault = plugin.refuses ? faultRefusal(plugin) : undefined
  }

  admit(client: Flow['client'], service: GlobalService, asker: Asker): Refusal | undefined {
    const answer = this.#plugin.admit(client, service, asker)
    return answer === broken ? this.#onFault : answer
  }

  /** Why it refuses a backend, if it can tell. */
  why(flow: Flow, backend: Backend): string | undefined {
    return this.#plugin.why(flow, backend)
  }
}

/** Lets one plugin narrow the list. */
export class Narrowing {
  readonly name: string
  readonly decides: 'change' | 'flow'
  /** Whether it is a law rather than a wish. Only laws decide which endpoints of a headless service a client may see. */
  readonly law: boolean
  #plugin: Having<'candidates'>
  #emptied: Refusal
  #failed: Refusal
  #memo: Memo | undefined

  constructor(plugin: Having<'candidates'>) {
    this.name = plugin.name
    this.decides = plugin.decides
    this.law = plugin.refuses
    this.#plugin = plugin
    this.#memo = plugin.decides === 'change' ? new Memo() : undefined
    const { emptied, failed } = refusalsOf(plugin)
    this.#emptied = emptied
    this.#failed = failed
  }

  narrow(flow: Flow, backends: Backends): Backends {
    // `tried` differs from flow to flow, so only first attempts are memoized.
    const memo = flow.tried.length === 0 ? this.#memo : undefined
    const known = memo?.get(backends)
    if (known !== undefined) return known
    const answer = this.#plugin.candidates(flow, backends, undefined)
    if (answer === broken) return this.law ? failedLaw : backends
    return memo ? memo.set(backends, answer) : answer
  }

  /** The refusal for an empty list from {@link narrow}. */
  refusal(left: Backends): Refusal {
    return left === failedLaw ? this.#failed : this.#emptied
  }

  why(flow: Flow, backend: Backend): string {
    return this.#plugin.why(flow, backend) ?? `excluded by ${this.name}`
  }
}

/** The empty list that stands for a law whose hook failed. */
const failedLaw: Backends = Object.freeze([])

/** Lets one plugin choose. */
export class Choosing {
  readonly name: string
  #plugin: Having<'pick'>
  #onFault: Choice | undefined

  constructor(plugin: Having<'pick'>) {
    this.name = plugin.name
    this.#plugin = plugin
    this.#onFault = plugin.refuses ? { refusal: faultRefusal(plugin) } : undefined
  }

  choose(flow: Flow, backends: Backends): Choice | undefined {
    const backend = this.#plugin.pick(flow, backends, undefined)
    if (backend === broken) return this.#onFault
    return backend && { backend }
  }
}

function faultRefusal(plugin: Guarded): Refusal {
  return refusalsOf(plugin).failed
}

interface Refusals {
  readonly emptied: Refusal
  readonly failed: Refusal
}

/** The same for all services of a plugin. */
const refusals = new WeakMap<Guarded, Refusals>()

function refusalsOf(plugin: Guarded): Refusals {
  const { name: code } = plugin
  const known = refusals.get(plugin) ?? {
    emptied: { code, why: 'leaves no backend for this flow' },
    failed: { code, why: 'its hook failed, and flows may not bypass it' },
  }
  refusals.set(plugin, known)
  return known
}
