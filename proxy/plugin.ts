/**
 * The public plugin API. A plugin admits clients, narrows or picks backends, and watches flows; it never touches bytes.
 * The laws are in plugins/README.md, and `test/conformance/plugin.ts` checks them for any plugin.
 */
import type { Fields, Options } from './config/fields.ts'
import type { Backend, Backends } from './model/backend.ts'
import type { Cluster } from './model/cluster.ts'
import type { Client, Flow, Refusal, Result, Totals } from './model/flow.ts'
import type { Location } from './model/location.ts'
import type { Log } from './model/log.ts'
import type { GlobalService } from './model/service.ts'
import type { Json } from './model/text/json.ts'
import type { Clock, Random } from './model/time/clock.ts'
import type { BackendNote } from './model/views.ts'
import type { Workloads } from './model/workloads/workloads.ts'

export {
  bad,
  boolean,
  cidr,
  duration,
  type Field,
  type Fields,
  field,
  integer,
  list,
  type Options,
  oneOf,
  optional,
  percent,
  record,
  shown,
  text,
} from './config/fields.ts'
export { type Cidr, canonicalAddress, familyOf, type Protocol, parseCidr } from './model/address.ts'
export { type Backend, type Backends, isBad, isHealthy, podOf } from './model/backend.ts'
export type { Cluster } from './model/cluster.ts'
export { blames, type Client, type Flow, type Refusal, type Result, type Totals } from './model/flow.ts'
export { EarlyResets, isEarlyReset, RecentClients } from './model/flows/early-resets.ts'
export type { Location } from './model/location.ts'
export type { Log } from './model/log.ts'
export { type Frontend, type GlobalService, portMatches, type ServiceKey, type Settings } from './model/service.ts'
export { flagOf } from './model/text/flag.ts'
export { hashOf } from './model/text/hash.ts'
export type { Json } from './model/text/json.ts'
export { parseServicePattern, type ServicePattern } from './model/text/service-pattern.ts'
export type { Clock, Random } from './model/time/clock.ts'
export type { PeerIdentity } from './model/tunnel/identity.ts'
export type { BackendNote } from './model/views.ts'
export type { Identity, Labels, NamedPort, Occupant } from './model/workloads/identity.ts'
export type { NameAnswer } from './model/workloads/name-answers.ts'
export { type PolicyKind, type PolicyObject, policyText } from './model/workloads/policy-object.ts'
export type { WorkloadChange, Workloads } from './model/workloads/workloads.ts'

/** What a plugin has found in the objects that it reads, for `starlane status` and `starlane validate`. */
export interface Finding {
  /** The place: `policies.yaml:12`, `cluster-1 NetworkPolicy shop/cart`. */
  readonly where: string
  /** What was found, and what to do about it, in one sentence. */
  readonly message: string
}

/** Who asks: a flow that is to be carried, or DNS about a name. */
export type Asker = 'flow' | 'name'

/**
 * All hooks are optional, synchronous and called in the order of the configuration. The deciding hooks (`admit`, `candidates`,
 * `pick`) may be called at any time and any number of times, so they must have no side effects; a plugin learns by watching.
 */
export interface Plugin {
  /** Gate: may this client use this service at all? DNS asks too, as `name`. The first refusal wins. */
  admit?(client: Client, service: GlobalService, asker: Asker): Refusal | undefined
  /** Narrow: gets the list that the previous plugin left and returns a subset. An empty list refuses the flow under the plugin's name. */
  candidates?(flow: Flow, backends: Backends): Backends
  /** Choose: the first plugin that returns one of `backends` wins; if none does, the balancer picks. */
  pick?(flow: Flow, backends: Backends): Backend | undefined

  /** Watch: an attempt begins. */
  onConnect?(flow: Flow, backend: Backend): void
  /** Watch: the attempt ended, with any outcome; exactly once per `onConnect`. */
  onResult?(flow: Flow, backend: Backend, result: Result): void
  /** Watch: the flow ended; once per attempt that connected. */
  onClose?(flow: Flow, backend: Backend, totals: Totals): void
  /** Watch: the flow got no backend, or no further one. `refusal.code` is `host.name` if this plugin has refused it. */
  onRefused?(flow: Flow, refusal: Refusal): void
  /** Change time: the service is new or was replaced. `gone` are its removed backends; a removed service has no backends left. */
  onService?(service: GlobalService, gone: Backends): void

  /** Why `candidates` excludes this backend now; only for `starlane explain`. */
  why?(flow: Flow, backend: Backend): string | undefined
  /** What the plugin has to say about one backend now, for `starlane services NAMESPACE/NAME` and its JSON. No side effects. */
  note?(service: GlobalService, backend: Backend): BackendNote | undefined
  /** What the plugin has found in the objects that it reads. The list is bounded, and cheap to return. */
  findings?(): readonly Finding[]
  /** The state of the plugin, for `starlane status`. */
  state?(): Json
  /** What a successor process should know from the start, as `restore` of the same plugin takes it. */
  save?(): Json
  /** What the same plugin has saved in a predecessor, perhaps of another version: takes what it understands. Before the first flow. */
  restore?(saved: Json): void
  /** With `optionsInPlace`: the options have been changed. */
  onOptions?(): void
  close?(): void | Promise<void>
}

export interface PluginModule<F extends Fields = Fields> {
  readonly name: string
  /** The options: their types, defaults, checks and documentation. */
  readonly options: F
  /** What happens when a deciding hook fails: `refuse` (for a law) refuses the flow, `skip` (for a wish) continues without the hook. */
  readonly onError: 'refuse' | 'skip'
  /**
   * When `candidates` decides. `change`: the answer depends only on the service, the backends and `flow.tried`, so it is
   * computed once per change and memoized. `flow` (the default): it also depends on the client or on time.
   */
  readonly decides?: 'change' | 'flow'
  /**
   * A reload with other options keeps the instance and its state: the new values are set in the object that `create` got, where the
   * plugin reads them at each use. Without it, a reload with other options makes a new instance.
   */
  readonly optionsInPlace?: boolean
  /** Called once per change of a service, so that a flow pays only for the plugins that apply to it. By default all services. */
  appliesTo?(service: GlobalService, options: Options<F>): boolean
  create(options: Options<F>, host: Host): Plugin
}

/** Everything that a plugin may use from outside. */
export interface Host {
  /** The name of this instance: the code of its refusals. */
  readonly name: string
  /** The local cluster. */
  readonly cluster: Cluster
  /** All clusters of the mesh. A reload of the configuration replaces the list, while instances are kept. */
  readonly clusters: readonly Cluster[]
  /**
   * Where Starlane runs, as far as it is known: node, zone and region. When it changes, decisions at change time are made
   * again.
   */
  readonly location: Location
  /**
   * Whether this instance decides recorded flows again, for `starlane rehearse`, and no other: what would be refused is refused, also
   * where the options say that it is only counted.
   */
  readonly rehearses: boolean
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** A bounded table: the least recently used entry is evicted; with `idleMs`, also an entry not used for that long. */
  table<V extends {}>(name: string, limit: { readonly max: number; readonly idleMs?: number }): Table<V>
  /**
   * A Prometheus counter: `starlane_plugin_<plugin>_<name>_total`. With labels there is one for each set of values, up to 1000 of a
   * plugin; beyond these all count under the value `other`.
   */
  counter(name: string, help: string, labels?: Readonly<Record<string, string>>): Counter
  /**
   * Pods by address with their labels, and the policy objects of all clusters. The sources read them only where a plugin has
   * called this in `create`, since there may be very many.
   */
  workloads(): Workloads
}

export interface Table<V extends {}> {
  get(key: string): V | undefined
  set(key: string, value: V): void
  delete(key: string): void
  entries(): IterableIterator<[string, V]>
  readonly size: number
}

export interface Counter {
  add(count?: number): void
  readonly value: number
}

/** Gives the module its types. The default export of a plugin file is the result. */
export function definePlugin<F extends Fields>(module: PluginModule<F>): PluginModule<F> {
  return module
}

/** A law: drops every backend that fails the test, even the last one. Returns the same array if nothing is dropped. */
export function keep(backends: Backends, test: (backend: Backend) => boolean): Backends {
  return backends.every(test) ? backends : backends.filter(test)
}

/** A wish: like {@link keep}, but returns all backends if none passes. */
export function prefer(backends: Backends, test: (backend: Backend) => boolean): Backends {
  const left = keep(backends, test)
  return left.length > 0 ? left : backends
}
