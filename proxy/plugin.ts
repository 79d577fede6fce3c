/**
 * The public plugin API. A plugin narrows or picks backends, admits clients, and watches flows; it never touches bytes.
 * The laws are in plugins/README.md, and `test/conformance/plugin.ts` examines any plugin by them.
 */
import type { Fields, Options } from './config/fields.ts'
import type { Backend, Backends } from './model/backend.ts'
import type { Cluster } from './model/cluster.ts'
import type { Client, Flow, Refusal, Result, Totals } from './model/flow.ts'
import type { Log } from './model/log.ts'
import type { GlobalService } from './model/service.ts'
import type { Json } from './model/text/json.ts'
import type { Clock, Random } from './model/time/clock.ts'

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
export { type Cidr, canonicalAddress, parseCidr } from './model/address.ts'
export { type Backend, type Backends, isBad, isHealthy } from './model/backend.ts'
export type { Cluster } from './model/cluster.ts'
export { blames, type Client, type Flow, type Refusal, type Result, type Totals } from './model/flow.ts'
export type { Log } from './model/log.ts'
export { type Frontend, type GlobalService, portMatches, type Settings } from './model/service.ts'
export { hashOf } from './model/text/hash.ts'
export type { Json } from './model/text/json.ts'
export { parseServicePattern, type ServicePattern } from './model/text/service-pattern.ts'
export type { Clock, Random } from './model/time/clock.ts'

/**
 * All hooks are optional, synchronous and called in the order of the configuration. The deciding ones may be asked at any
 * time and any number of times, so an answer changes nothing; what a plugin remembers, it learns by watching.
 */
export interface Plugin {
  /** Gate: may this client use this service at all? DNS asks it too. The first refusal wins. */
  admit?(client: Client, service: GlobalService): Refusal | undefined
  /** Narrow: gets what the plugin before left, returns a subset. Leaving nothing refuses the flow in the plugin's name. */
  candidates?(flow: Flow, backends: Backends): Backends
  /** Choose: the first plugin to name one of `backends` wins; when none does, the balancer picks. */
  pick?(flow: Flow, backends: Backends): Backend | undefined

  /** Watch: an attempt begins. */
  onConnect?(flow: Flow, backend: Backend): void
  /** Watch: the attempt ended, in whatever way; exactly once per `onConnect`. */
  onResult?(flow: Flow, backend: Backend, result: Result): void
  /** Watch: the flow ended; once per attempt that connected. */
  onClose?(flow: Flow, backend: Backend, totals: Totals): void
  /** Change time: the service is new or was replaced; `gone` are the backends to forget. A removed service comes with none left. */
  onService?(service: GlobalService, gone: Backends): void

  /** Why `candidates` leaves this backend out now, for `starlane explain`; nothing else asks. */
  why?(flow: Flow, backend: Backend): string | undefined
  /** What the plugin remembers, for status. */
  state?(): Json
  close?(): void | Promise<void>
}

export interface PluginModule<F extends Fields = Fields> {
  readonly name: string
  /** One table gives defaults, checks, types and the reference page. */
  readonly options: F
  /** When a deciding hook throws: a guard says `refuse` and the flow ends, a wish says `skip` and it goes on without. */
  readonly onError: 'refuse' | 'skip'
  /**
   * When `candidates` decides. `change`: by service, backends and `flow.tried` alone, so that the answer is worked out once
   * per change and remembered. `flow` (the default): also by the client or the moment.
   */
  readonly decides?: 'change' | 'flow'
  /** Asked once per service change, so that a flow pays only for the plugins that concern it. Absent: all services. */
  appliesTo?(service: GlobalService, options: Options<F>): boolean
  create(options: Options<F>, host: Host): Plugin
}

/** All that a plugin may reach outside itself. */
export interface Host {
  /** The local cluster. */
  readonly cluster: Cluster
  /** All of the mesh as they are now: a reload of the configuration gives another list, and plugins live on. */
  readonly clusters: readonly Cluster[]
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** A bounded memory. The oldest unused entry makes room; `idleMs` forgets an entry not touched for so long. */
  table<V extends {}>(name: string, limit: { readonly max: number; readonly idleMs?: number }): Table<V>
  /** A counter of the metrics page: `starlane_plugin_<plugin>_<name>_total`. */
  counter(name: string, help: string): Counter
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

/** Gives the module its types. A plugin file's default export is the result. */
export function definePlugin<F extends Fields>(module: PluginModule<F>): PluginModule<F> {
  return module
}

/** A law: what fails the test is out, even to the last one. Nothing dropped means the same array. */
export function keep(backends: Backends, test: (backend: Backend) => boolean): Backends {
  return backends.every(test) ? backends : backends.filter(test)
}

/** A wish: like {@link keep}, but gives all back when nothing passes. */
export function prefer(backends: Backends, test: (backend: Backend) => boolean): Backends {
  const left = keep(backends, test)
  return left.length > 0 ? left : backends
}
