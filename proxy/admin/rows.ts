/** What the web page asks for again and again: the services as rows of its table, and what passes. After the first answer only changes. */
import type { ServiceTraffic, Traffic } from '../model/flows/traffic.ts'
import { inTurns } from '../model/time/turn.ts'
import type { ServiceView } from '../model/views.ts'
import { type Answer, jsonList } from './answer.ts'
import { type Delta, Deltas, type DeltaText } from './http/deltas.ts'
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
  readonly services: Deltas
  readonly traffic: Deltas
}

/** Answers with {@link Rows}. */
export async function rowsSince(views: Views, token: string | null): Promise<Answer> {
  return deltaAnswer({}, await listsOf(views).services.since(() => serviceRows(views), token))
}

/** Answers with {@link TrafficDelta}. */
export async function trafficSince(views: Views, token: string): Promise<Answer> {
  const { services, ...rest } = views.traffic()
  return deltaAnswer(rest, await listsOf(views).traffic.since(() => trafficRows(services), token))
}

function deltaAnswer(more: object, { rows, ...rest }: DeltaText): Promise<Answer> {
  const head = JSON.stringify({ ...more, ...rest })
  return jsonList(inTurns(rows), [`${head.slice(0, -1)},"rows":[`, ']}'])
}

async function* serviceRows(views: Views): AsyncGenerator<readonly [string, ServiceRow]> {
  for await (const service of views.services()) yield [keyOf(service), rowOf(service)]
}

async function* trafficRows(services: readonly ServiceTraffic[]): AsyncGenerator<readonly [string, ServiceTraffic]> {
  for await (const service of inTurns(services)) yield [keyOf(service), rounded(service)]
}

const lists = new WeakMap<Views, Lists>()

function listsOf(views: Views): Lists {
  const known = lists.get(views) ?? { services: new Deltas(), traffic: new Deltas() }
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
