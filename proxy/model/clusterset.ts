/**
 * Merges the exports of a service by several clusters (KEP-1645, "Constraints and Conflict Resolution"). The ports are the
 * union of all; everything else is taken from the first export. Differences are reported as conflicts. KEP-1645 lets the oldest
 * decide; here a date, which each cluster writes itself, decides only among clusters that the configuration does not order.
 */
import { isDeepStrictEqual } from 'node:util'
import { type Family, familyOf } from './address.ts'
import type { ClusterService, Clusterset, ExportConflict, ServiceExport, ServicePort } from './service.ts'

export interface Exporter extends ClusterService {
  readonly exported: ServiceExport
}

/** An ExternalName Service cannot be exported. */
export function isExporter(service: ClusterService): service is Exporter {
  return service.exported !== undefined && service.type !== 'ExternalName'
}

/** The place of a cluster in the order that decides, the local one first; equal for clusters without an order. */
export type RankOf = (cluster: string) => number

/** Undefined without exporters. `exporters` are in the order of the configuration. */
export function agree(exporters: readonly Exporter[], rankOf: RankOf = () => 0): Clusterset | undefined {
  const inOrder = exporters.toSorted((a, b) => rankOf(a.cluster) - rankOf(b.cluster) || older(a, b))
  const [first] = inOrder
  if (!first) return undefined
  const ports = unitePorts(inOrder)
  const families = commonFamilies(inOrder)
  const { headless, sessionAffinity, internalTrafficPolicy, trafficDistribution, exported } = first
  return Object.freeze({
    clusters: exporters.map(({ cluster }) => cluster),
    headless,
    ports: ports.united,
    families,
    ...(sessionAffinity && { sessionAffinity }),
    internalTrafficPolicy,
    ...(trafficDistribution !== undefined && { trafficDistribution }),
    annotations: exported.annotations,
    labels: exported.labels,
    conflicts: [
      ...portConflict(ports.conflicts),
      ...singular.flatMap(property => singularConflict(property, inOrder, rankOf)),
      ...familyConflict(families, inOrder),
    ],
  })
}

/** Compares by creation time; unknown times come last, and the name of the cluster breaks ties. */
function older(a: Exporter, b: Exporter): number {
  const [created, other] = [a, b].map(({ exported }) => exported.createdAt ?? Number.POSITIVE_INFINITY)
  if (created !== other) return Number(created) < Number(other) ? -1 : 1
  return a.cluster < b.cluster ? -1 : 1
}

/** In a Service the names of ports are unique, and so are pairs of number and protocol: the first port keeps them. */
function unitePorts(inOrder: readonly Exporter[]): { united: ServicePort[]; conflicts: string[] } {
  const united: (ServicePort & { readonly from: string })[] = []
  const conflicts: string[] = []
  for (const { cluster, ports } of inOrder) {
    for (const port of ports) {
      const taken = united.find(known => known.name === port.name) ?? united.find(known => sameNumber(known, port))
      if (!taken) united.push({ ...port, from: cluster })
      else if (taken.name !== port.name || !sameNumber(taken, port)) {
        conflicts.push(`${portText(taken)} is as in ${taken.from}, so ${portText(port)} of ${cluster} is left out`)
      }
    }
  }
  for (const port of united) {
    const without = inOrder.filter(({ ports }) => !ports.some(own => own.name === port.name || sameNumber(own, port)))
    if (without.length > 0) conflicts.push(`${clustersText(without)} without ${portText(port)}`)
  }
  return { united: united.map(({ from: _, ...port }) => port), conflicts }
}

function portConflict(conflicts: readonly string[]): ExportConflict[] {
  return conflicts.length > 0 ? [{ reason: 'PortConflict', message: `ports: ${conflicts.join('; ')}` }] : []
}

function sameNumber(a: ServicePort, b: ServicePort): boolean {
  return a.port === b.port && a.protocol === b.protocol
}

/** A property that has one value for the whole clusterset. */
interface Singular {
  readonly reason: string
  readonly name: string
  /** Undefined if the property does not apply to this export. */
  value(exporter: Exporter): unknown
  text?(value: unknown): string
}

const singular: readonly Singular[] = [
  { reason: 'TypeConflict', name: 'type', value: ({ headless }) => (headless ? 'Headless' : 'ClusterSetIP') },
  {
    reason: 'SessionAffinityConflict',
    name: 'sessionAffinity',
    value: ({ sessionAffinity }) => (sessionAffinity ? 'ClientIP' : 'None'),
  },
  {
    reason: 'SessionAffinityConfigConflict',
    name: 'sessionAffinityConfig',
    value: ({ sessionAffinity }) => sessionAffinity && `${sessionAffinity.timeoutMs / 1000} s`,
  },
  { reason: 'AnnotationsConflict', name: 'exportedAnnotations', value: ({ exported }) => exported.annotations },
  { reason: 'LabelsConflict', name: 'exportedLabels', value: ({ exported }) => exported.labels },
  {
    reason: 'InternalTrafficPolicyConflict',
    name: 'internalTrafficPolicy',
    value: service => service.internalTrafficPolicy,
  },
  {
    reason: 'TrafficDistributionConflict',
    name: 'trafficDistribution',
    value: service => service.trafficDistribution ?? 'none',
  },
]

function singularConflict(
  { reason, name, value }: Singular,
  inOrder: readonly Exporter[],
  rankOf: RankOf,
): ExportConflict[] {
  const concerned = inOrder.filter(exporter => value(exporter) !== undefined)
  const [winner] = concerned
  const losers = winner ? concerned.filter(other => !isDeepStrictEqual(value(other), value(winner))) : []
  if (!winner || losers.length === 0) return []
  const others = losers.map(loser => `${loser.cluster} has ${valueText(value(loser))}`).join(', ')
  return [
    { reason, message: `${name}: ${valueText(value(winner))} as in ${whyText(winner, inOrder, rankOf)}; ${others}` },
  ]
}

function valueText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function whyText({ cluster, exported }: Exporter, inOrder: readonly Exporter[], rankOf: RankOf): string {
  const equals = inOrder.filter(other => other.cluster !== cluster && rankOf(other.cluster) === rankOf(cluster))
  if (equals.length === 0 && inOrder.length > 1) return `${cluster}, the first in the order of the clusters`
  const isOldest = equals.every(other => (exported.createdAt ?? 0) < (other.exported.createdAt ?? 1))
  return isOldest && exported.createdAt !== undefined
    ? `${cluster}, whose export is the oldest`
    : `${cluster}, the first by name of those whose exports are of one age`
}

/** The intersection of the families, skipping exports that would make it empty. */
function commonFamilies(inOrder: readonly Exporter[]): Family[] {
  let common: Family[] | undefined
  for (const exporter of inOrder) {
    const own = familiesOf(exporter)
    if (own.length === 0) continue
    const both: Family[] | undefined = common?.filter(family => own.includes(family))
    if (!both) common = own
    else if (both.length > 0) common = both
  }
  return common ?? []
}

function familyConflict(common: readonly Family[], inOrder: readonly Exporter[]): ExportConflict[] {
  const others = inOrder.filter(exporter => {
    const own = familiesOf(exporter)
    return own.length > 0 && (own.length !== common.length || own.some(family => !common.includes(family)))
  })
  if (others.length === 0) return []
  const text = (families: readonly Family[]) => families.map(family => `IPv${family}`).join(' and ')
  const wants = others.map(other => `${other.cluster} has ${text(familiesOf(other))}`).join(', ')
  return [{ reason: 'IPFamilyConflict', message: `ipFamilies: ${text(common)} is what most have in common; ${wants}` }]
}

/** The families that a service is assigned; empty if nothing says so. */
export function familiesOf({ families, clusterIPs }: ClusterService): Family[] {
  return [...new Set(families ?? clusterIPs.map(familyOf))]
}

function portText({ name, port, protocol }: ServicePort): string {
  return name === '' ? `${port}/${protocol}` : `"${name}" ${port}/${protocol}`
}

function clustersText(exporters: readonly Exporter[]): string {
  const names = exporters.map(({ cluster }) => cluster).join(', ')
  return exporters.length === 1 ? `${names} is` : `${names} are`
}
