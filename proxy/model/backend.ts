/** One endpoint that flows can go to, and which of a list new flows may use. */

import { endpointText, type Family, type Protocol } from './address.ts'
import { joined } from './text/joined.ts'

export type BackendState = 'active' | 'terminating' | 'maintenance'
/** The verdict of health: `down` by active checks, `ejected` by live traffic. */
export type Health = 'unknown' | 'up' | 'down' | 'ejected'

/** The address and port of one endpoint in one cluster. Frozen; replaced when its state, health or weight changes. */
export interface Backend {
  /** `cluster-2/10.0.0.7:8080/TCP`: who names it, and where it is. Stable over changes; `flow.tried` and messages refer to it. */
  readonly key: string
  /**
   * What packets to it reach: its network, address and port, whoever names it. Verdicts, breakers and bindings of clients belong
   * to it, so clusters that list one address share them.
   */
  readonly destination: string
  readonly cluster: string
  /** The network of its address. Absent: the one that all clusters share which are reached directly. */
  readonly network?: string
  /** The clusters that list the same destination for this service too; it belongs to none of them. */
  readonly alsoIn?: readonly string[]
  /** True unless it is in the local cluster. */
  readonly remote: boolean
  readonly address: string
  readonly family: Family
  readonly port: number
  readonly protocol: Protocol
  /** The names of the service ports that lead here; empty if they have no name, which matches every frontend of the protocol. */
  readonly ports: readonly string[]
  /** From the conditions of the EndpointSlice, as in Cilium. */
  readonly state: BackendState
  /** False only for `terminating` backends that no longer serve: they never get new flows. */
  readonly serving: boolean
  readonly health: Health
  /** Checks have no verdict on it yet, and should have, or have one on others: it may be dead, and new flows prefer others. */
  readonly untested?: true
  /**
   * The share of new flows relative to the others of its list; by default 100, never negative. In the list of a frontend, the
   * backends of one pod share the weight of one.
   */
  readonly weight: number
  /** Its cluster has been lost for longer than `stale.after`: new flows use it only where no other cluster has a ready one. */
  readonly demoted?: true
  readonly hostname?: string
  /** Those of other ready endpoints with this address and port, empty where one has none: DNS has a name for each. */
  readonly otherHostnames?: readonly string[]
  readonly pod?: string
  readonly node?: string
  readonly zone?: string
  readonly region?: string
}

/** Never changed in place: a step that drops nothing returns the very array it was given. */
export type Backends = readonly Backend[]

export function backendKey(cluster: string, address: string, port: number, protocol: Protocol): string {
  return joined(cluster, '/', endpointText(address, port), '/', protocol)
}

/** `10.0.0.7:8080/TCP`, in a network of its own `cluster-3/10.0.0.7:8080/TCP`. */
export function destinationOf(network: string | undefined, address: string, port: number, protocol: Protocol): string {
  const text = endpointText(address, port)
  return network === undefined ? joined(text, '/', protocol) : joined(network, '/', text, '/', protocol)
}

/** As it is in the text: IPv6 without brackets. */
export function addressOfDestination(destination: string): string {
  const end = destination.lastIndexOf('/')
  const endpoint = destination.slice(destination.lastIndexOf('/', end - 1) + 1, end)
  return endpoint.startsWith('[')
    ? endpoint.slice(1, endpoint.lastIndexOf(']'))
    : endpoint.slice(0, endpoint.lastIndexOf(':'))
}

/** The cluster in a backend key, also of a backend that is gone. */
export function clusterOfKey(key: string): string {
  return key.slice(0, key.indexOf('/'))
}

/** What counts as one where pods are counted: the pod, if its endpoint names one, else the backend itself. */
export function podOf({ cluster, pod, key }: Pick<Backend, 'cluster' | 'pod' | 'key'>): string {
  return pod === undefined ? key : `${cluster}/${pod}`
}

/** Healthy in Cilium's sense: active, or terminating but serving, and not known to be bad. */
export function isHealthy(backend: Backend): boolean {
  return backend.serving && backend.state !== 'maintenance' && !isBad(backend)
}

/** Active, healthy and with a share: what {@link select} takes first. */
export function takesFlows(backend: Backend): boolean {
  return backend.state === 'active' && backend.weight > 0 && isHealthy(backend)
}

/** Known to be bad by checks or by live traffic; `unknown` is not bad. */
export function isBad({ health }: Pick<Backend, 'health'>): boolean {
  return health === 'down' || health === 'ejected'
}

/**
 * The usable backends of a list, in Cilium's order: active and healthy; else terminating but serving and healthy; else whatever
 * serves, assuming that the checks are wrong rather than every backend. Of the first,
 * those that are untested come last.
 */
export function select(backends: Backends): Backends {
  return (
    some(backends, b => b.untested === undefined && takesFlows(b)) ??
    some(backends, takesFlows) ??
    some(backends, b => b.state === 'active' && isHealthy(b)) ??
    some(backends, b => b.state === 'terminating' && isHealthy(b)) ??
    some(backends, b => b.state === 'active') ??
    some(backends, b => b.state === 'terminating' && b.serving) ??
    none
  )
}

/** Whether `select` could ever return it, whatever its health: what it is by its conditions alone. */
export function isCandidate({ state, serving }: Backend): boolean {
  return state === 'active' || (state === 'terminating' && serving)
}

const none: Backends = []

function some(backends: Backends, test: (backend: Backend) => boolean): Backends | undefined {
  if (backends.every(test)) return backends.length > 0 ? backends : undefined
  const left = backends.filter(test)
  return left.length > 0 ? left : undefined
}
