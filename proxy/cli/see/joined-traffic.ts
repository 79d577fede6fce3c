/** What passes in several processes together: their answers added up. */
import {
  type ClientTraffic,
  maxServicesOfClient,
  share,
  type Traffic,
  type TrafficRates,
} from '../../model/flows/traffic.ts'

export function joined(all: readonly Traffic[], first: Traffic): Traffic {
  const services = merged(
    all.flatMap(({ services }) => services),
    ({ namespace, name }) => `${namespace}/${name}`,
  ).map(([one, same]) => ({
    ...one,
    ...sumOf(same),
    history: historyOf(same.map(({ history }) => history)),
    clusters: clustersOf(same.flatMap(({ clusters }) => clusters)),
  }))
  const clients = merged(
    all.flatMap(({ clients }) => clients),
    ({ address, namespace, pod }) => `${address} ${namespace}/${pod}`,
  ).map(([one, same]) => clientOf(one, same))
  return { ...first, services, clusters: clustersOf(all.flatMap(({ clusters }) => clusters)), clients }
}

function clustersOf<T extends TrafficRates & { readonly cluster: string }>(rows: readonly T[]): T[] {
  return merged(rows, ({ cluster }) => cluster).map(([one, same]) => ({ ...one, ...sumOf(same) }))
}

function merged<T>(rows: readonly T[], keyOf: (row: T) => string): [T, T[]][] {
  return [...Map.groupBy(rows, keyOf).values()].map(same => [same[0] as T, same])
}

function sum<T>(rows: readonly T[], of: (row: T) => number): number {
  return rows.reduce((total, row) => total + of(row), 0)
}

/** Sums; shares of all attempts and of all flows; of percentiles the worst. */
function sumOf(rows: readonly TrafficRates[]): TrafficRates {
  const perSecond = sum(rows, row => row.perSecond)
  // A process of the version before has no rates of these.
  const failedPerSecond = sum(rows, row => row.failedPerSecond ?? rateOf(row, row.failed))
  const refusedPerSecond = sum(rows, row => row.refusedPerSecond ?? rateOf(row, row.refused))
  const p50s = rows.flatMap(({ dialP50 }) => dialP50 ?? [])
  const p99s = rows.flatMap(({ dialP99 }) => dialP99 ?? [])
  return {
    perSecond,
    open: sum(rows, row => row.open),
    failed: share(failedPerSecond, perSecond),
    refused: share(refusedPerSecond, perSecond),
    failedPerSecond,
    refusedPerSecond,
    ...(p50s.length > 0 ? { dialP50: Math.max(...p50s), dialP99: Math.max(...p99s) } : {}),
    sentPerSecond: sum(rows, row => row.sentPerSecond),
    receivedPerSecond: sum(rows, row => row.receivedPerSecond),
  }
}

function rateOf({ perSecond }: TrafficRates, part: number): number {
  return (perSecond * part) / Math.max(1 - part, 0.001)
}

/** The sums of spans, from the last one back; a process that started later has fewer. */
function historyOf(histories: readonly (readonly number[])[]): number[] {
  const length = Math.max(...histories.map(each => each.length))
  return Array.from({ length }, (_, i) => sum(histories, each => each.at(i - length) ?? 0))
}

/** A client that is served by several processes is one. */
function clientOf(one: ClientTraffic, same: readonly ClientTraffic[]): ClientTraffic {
  const flows = sum(same, each => each.flows ?? 1)
  const part = (of: (each: ClientTraffic) => number) => sum(same, each => of(each) * (each.flows ?? 1)) / flows
  const services = merged(
    same.flatMap(each => each.services),
    ({ service }) => service,
  ).map(([{ service }, uses]) => ({ service, flows: sum(uses, use => use.flows) }))
  return {
    ...one,
    flows,
    perSecond: sum(same, each => each.perSecond),
    open: sum(same, each => each.open),
    failed: part(each => each.failed),
    refused: part(each => each.refused),
    sent: sum(same, each => each.sent),
    received: sum(same, each => each.received),
    services: services.sort((a, b) => b.flows - a.flows).slice(0, maxServicesOfClient),
  }
}
