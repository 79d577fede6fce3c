/**
 * What an answer depends on, so that a cached one is dropped exactly when it no longer holds. A change of a subject is
 * announced by the directory; the rest is checked again at every hit, in the form of a {@link Recheck}.
 */
import type { Backends } from '../../model/backend.ts'
import type { Directory } from '../../model/directory.ts'
import type { Chooser, Client, Refusal } from '../../model/flow.ts'
import type { GlobalService, ServiceKey } from '../../model/service.ts'

/** Which services and backends a client may see; the chain decides. */
export type Visibility = Pick<Chooser, 'admit' | 'visible'>

/** The subject that every change of the directory concerns. */
export const everything = ''

/** The subject of an answer with single endpoints of a virtual-IP service. */
export function endpointsOf(key: ServiceKey): string {
  return `${key} endpoints`
}

export interface Dependencies {
  /** Keys of services, found or not, addresses, {@link endpointsOf} and {@link everything}: a change drops the answer. */
  readonly subjects: Set<string>
  /** Services that the client was admitted to; another client must be admitted too. */
  readonly admitted: Set<GlobalService>
  /** Services hidden from the client, and why; the answer is then for this client alone. */
  readonly hidden: Map<ServiceKey, Refusal>
  /** The visible backends, by service; another client must see the same. */
  readonly shown: Map<GlobalService, Backends>
  /** Likewise the preferred ones, where only these were read. */
  readonly preferred: Map<GlobalService, Backends>
  /** Whether a namespace exists; the directory does not announce changes of it. */
  readonly namespaces: Map<string, boolean>
  /** Whether a pod exists, by `NAMESPACE/ADDRESS`; not announced either. */
  readonly pods: Map<string, PodDependency>
}

export interface PodDependency {
  readonly namespace: string
  readonly address: string
  readonly exists: boolean
}

export function noDependencies(): Dependencies {
  return {
    subjects: new Set(),
    admitted: new Set(),
    hidden: new Map(),
    shown: new Map(),
    preferred: new Map(),
    namespaces: new Map(),
    pods: new Map(),
  }
}

/** The dependencies that must be compared for each client, as arrays. */
export interface Recheck {
  readonly admitted: readonly GlobalService[]
  readonly shown: readonly Shown[]
  readonly namespaces: readonly (readonly [string, boolean])[]
  readonly pods: readonly PodDependency[]
}

type Shown = readonly [service: GlobalService, backends: Backends, preferred: boolean]

export function recheckOf(dependencies: Dependencies): Recheck {
  return {
    admitted: [...dependencies.admitted],
    shown: [
      ...[...dependencies.shown].map(([service, backends]): Shown => [service, backends, false]),
      ...[...dependencies.preferred].map(([service, backends]): Shown => [service, backends, true]),
    ],
    namespaces: [...dependencies.namespaces],
    pods: [...dependencies.pods.values()],
  }
}

/** The same recheck with `after` in the place of `before`. */
export function replaceService(recheck: Recheck, before: GlobalService, after: GlobalService): Recheck {
  const current = (service: GlobalService) => (service === before ? after : service)
  return {
    ...recheck,
    admitted: recheck.admitted.map(current),
    shown: recheck.shown.map(([service, ...rest]): Shown => [current(service), ...rest]),
  }
}

/** Whether a client would get the same answer, given that no subject has changed. */
export function stillHolds(
  { admitted, shown, namespaces, pods }: Recheck,
  client: Client,
  directory: Directory,
  visibility: Visibility,
): boolean {
  return (
    admitted.every(service => !visibility.admit(client, service)) &&
    shown.every(([service, backends, preferred]) => same(visibility.visible(client, service, preferred), backends)) &&
    namespaces.every(([name, exists]) => directory.hasNamespace(name) === exists) &&
    pods.every(({ namespace, address, exists }) => directory.hasPod(namespace, address) === exists)
  )
}

/** Backends are frozen and replaced when they change, so identity is equality. */
function same(a: Backends, b: Backends): boolean {
  return a === b || (a.length === b.length && a.every((backend, i) => backend === b[i]))
}
