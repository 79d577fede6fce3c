/** One endpoint that flows can go to, and which of a list new flows may use. */
import { endpointText, type Family, type Protocol } from './address.ts'

export type BackendState = 'active' | 'terminating' | 'maintenance'
/** What the checks and the traffic say. `ejected` is the passive verdict, `down` the active one. */
export type Health = 'unknown' | 'up' | 'down' | 'ejected'

/** Address and port of one endpoint in one cluster. Frozen; replaced when its state, health or weight changes. */
export interface Backend {
  /** `cluster-2/10.0.0.7:8080/TCP`: stable over changes, and what plugins, verdicts and `flow.tried` remember. */
  readonly key: string
  readonly cluster: string
  /** Whether it belongs to another cluster than ours. */
  readonly remote: boolean
  readonly address: string
  readonly family: Family
  readonly port: number
  readonly protocol: Protocol
  /** Names of the ports that lead here; empty when none has a name (matches every frontend of the protocol). */
  readonly ports: readonly string[]
  /** From the EndpointSlice conditions (Cilium 1.5). */
  readonly state: BackendState
  /** False only for `terminating` backends that no longer serve: no new flow, whatever else is gone. */
  readonly serving: boolean
  readonly health: Health
  /** Share of new flows relative to the others of its list; 100 where nothing says otherwise, never negative. */
  readonly weight: number
  readonly hostname?: string
  readonly pod?: string
  readonly node?: string
  readonly zone?: string
}

/** Never changed in place: a step that drops nothing returns the very array it was given. */
export type Backends = readonly Backend[]

export function backendKey(cluster: string, address: string, port: number, protocol: Protocol): string {
  return `${cluster}/${endpointText(address, port)}/${protocol}`
}

/** Healthy in Cilium's sense (1.4): active or terminating-and-serving, and no check says otherwise. */
export function isHealthy(backend: Backend): boolean {
  return backend.serving && backend.state !== 'maintenance' && !isBad(backend)
}

/** A check or the traffic itself says no; `unknown` is not bad. */
export function isBad(backend: Backend): boolean {
  return backend.health === 'down' || backend.health === 'ejected'
}

/**
 * The backends that new flows may go to, out of those that are left (Cilium 1.5, final order): active and healthy; else
 * terminating but serving and healthy; else, since the checks are the likelier liars when all is bad, whatever serves.
 */
export function select(backends: Backends): Backends {
  return (
    some(backends, b => b.state === 'active' && b.weight > 0 && isHealthy(b)) ??
    some(backends, b => b.state === 'active' && isHealthy(b)) ??
    some(backends, b => b.state === 'terminating' && isHealthy(b)) ??
    some(backends, b => b.state === 'active') ??
    some(backends, b => b.state === 'terminating' && b.serving) ??
    none
  )
}

const none: Backends = []

function some(backends: Backends, test: (backend: Backend) => boolean): Backends | undefined {
  if (backends.every(test)) return backends.length > 0 ? backends : undefined
  const left = backends.filter(test)
  return left.length > 0 ? left : undefined
}
