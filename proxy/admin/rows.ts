/** What the web page asks for again and again: the services as rows of its table, and what passes. After the first answer only changes. */
import type { ServiceTraffic, Traffic } from '../model/flows/traffic.ts'
import type { ServiceView } from '../model/views.ts'
import { type Delta, Deltas } from './http/deltas.ts'
import type { Views } from './views.ts'

export interface ServiceRow extends Pick<ServiceView, 'namespace' | 'name' | 'condition' | 'headless' | 'frontends'> {
  /** By cluster: all backends, those that are active and not down or ejected, and those that get new flows. */
  readonly clusters: Readonly<Record<string, readonly [all: number, fit: number, selected: number]>>
  /** Of the backends. */
  readonly addresses: readonly string[]
}

/** The JSON of `/v1/rows`. The keys are `namespace/name`. */
export type Rows = Delta<ServiceRow>

/** The JSON of `/v1/traffic` with `since`: of the services only those that have changed. */
export type TrafficDelta = Omit<Traffic, 'services'> & Delta<ServiceTraffic>

interface Lists {
  readonly services: Deltas<ServiceRow>
  readonly traffic: Deltas<ServiceTraffic>
}

export function rowsSince(views: Views, token: string | null): Rows {
  return listsOf(views).services.since(
    views.services().map(service => [keyOf(service), rowOf(service)] as const),
    token,
  )
}

export function trafficSince(views: Views, token: string): TrafficDelta {
  const { services, ...rest } = views.traffic()
  return {
    ...rest,
    ...listsOf(views).traffic.since(
      services.map(service => [keyOf(service), rounded(service)] as const),
      token,
    ),
  }
}

const lists = new WeakMap<Views, Lists>()

function listsOf(views: Views): Lists {
  const known = lists.get(views) ?? { services: new Deltas<ServiceRow>(), traffic: new Deltas<ServiceTraffic>() }
  lists.set(views, known)
  return known
}

function keyOf({ namespace, name }: { readonly namespace: string; readonly name: string }): string {
  return `${namespace}/${name}`
}

/** To four digits, which is more than a page shows and a third of the bytes. */
function rounded(service: ServiceTraffic): ServiceTraffic {
  return JSON.parse(JSON.stringify(service), (_key, value) =>
    typeof value === 'number' ? Number(value.toPrecision(4)) : value,
  )
}

function rowOf({ namespace, name, condition, headless, frontends, backends }: ServiceView): ServiceRow {
  const clusters: Record<string, [number, number, number]> = {}
  for (const { cluster, state, health, selected } of backends) {
    clusters[cluster] ??= [0, 0, 0]
    const counts = clusters[cluster]
    counts[0]++
    if (state === 'active' && (health === 'up' || health === 'unknown')) counts[1]++
    if (selected) counts[2]++
  }
  const addresses = [...new Set(backends.map(({ address }) => address))]
  return { namespace, name, condition, headless, frontends, clusters, addresses }
}
