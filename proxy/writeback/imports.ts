/** The Multi-Cluster Services API as an importing cluster writes it (KEP-1645; Cilium 4.3). */

import { derivedServiceAnnotation, derivedServiceName } from '../model/multicluster.ts'
import type { ClusterService, Clusterset, GlobalService } from '../model/service.ts'
import type { Json } from '../model/text/json.ts'
import { type Manifest, owner, signed } from './manifest.ts'

export const importManager = { key: 'app.kubernetes.io/managed-by', value: owner }
/** On the Services that Starlane derives: what has it was written by Starlane, and may be removed. */
export const derivedLabel = `${owner}/derived`
/** Kubernetes' own mark of a headless Service, and so a way to tell what a derived one was made as. */
const headlessLabel = 'service.kubernetes.io/headless'

/** What the manifests here are written in; they are the same in v1beta1. */
const apiVersion = 'multicluster.x-k8s.io/v1alpha1'

/** What comes of one name: an import, its derived Service, and the status of both the import and this cluster's export. */
export interface Multicluster {
  readonly imported: Manifest | undefined
  readonly derived: Manifest | undefined
  readonly importStatus: MulticlusterStatus | undefined
  readonly exportStatus: MulticlusterStatus | undefined
}

export type MulticlusterStatus = {
  readonly clusters?: readonly { readonly cluster: string }[]
  readonly conditions: readonly Condition[]
}

export type Condition = {
  readonly type: string
  readonly status: string
  readonly reason: string
  readonly message: string
}

export interface MulticlusterContext {
  /** What clients dial, where there is such a thing. */
  readonly service: GlobalService | undefined
  /** The same of its derived Service. */
  readonly derived: GlobalService | undefined
  readonly derives: boolean
  readonly hasNamespace: boolean
  /** Whether the namespace may export (`clustermesh.cilium.io/global`). */
  readonly mayExport: boolean
  /** Whether a ServiceExport of that name is in the local cluster, with or without its Service. */
  readonly exportedHere: boolean
  readonly localCluster: string
  /** Of the ServiceImport in the local cluster, which its derived Service belongs to; undefined while there is none. */
  readonly parent: { readonly apiVersion: string; readonly uid: string } | undefined
}

export function multiclusterOf(namespace: string, name: string, context: MulticlusterContext): Multicluster {
  const { service, exportedHere, hasNamespace, derives, parent } = context
  const clusterset = hasNamespace ? service?.clusterset : undefined
  return {
    imported: clusterset && importOf(namespace, name, clusterset, context),
    derived: clusterset && derives && parent ? derivedOf(namespace, name, clusterset, parent) : undefined,
    importStatus: clusterset && importStatus(clusterset, context),
    exportStatus: exportedHere ? exportStatus(context) : undefined,
  }
}

function importOf(namespace: string, name: string, clusterset: Clusterset, context: MulticlusterContext): Manifest {
  const { headless } = clusterset
  return signed({
    apiVersion,
    kind: 'ServiceImport',
    metadata: {
      namespace,
      name,
      labels: { ...clusterset.labels, [importManager.key]: importManager.value },
      annotations: {
        ...clusterset.annotations,
        ...(context.derives && { [derivedServiceAnnotation]: derivedServiceName(namespace, name) }),
      },
    },
    spec: {
      type: headless ? 'Headless' : 'ClusterSetIP',
      ips: headless ? [] : addressesOf(context),
      ports: portsOf(clusterset),
      ...affinityOf(clusterset),
    },
  })
}

/** A Service without a selector: Starlane, or whoever reads the slices that it writes, leads it to the clusters. */
function derivedOf(
  namespace: string,
  name: string,
  clusterset: Clusterset,
  { apiVersion, uid }: NonNullable<MulticlusterContext['parent']>,
): Manifest {
  const { headless, families, internalTrafficPolicy, trafficDistribution } = clusterset
  return signed({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      namespace,
      name: derivedServiceName(namespace, name),
      labels: {
        ...clusterset.labels,
        [importManager.key]: importManager.value,
        [derivedLabel]: 'true',
        ...(headless && { [headlessLabel]: '' }),
      },
      annotations: { ...clusterset.annotations, 'service.cilium.io/global': 'true' },
      ownerReferences: [{ apiVersion, kind: 'ServiceImport', name, uid, controller: true, blockOwnerDeletion: false }],
    },
    spec: {
      type: 'ClusterIP',
      ...(headless && { clusterIP: 'None' }),
      ...(families.length > 0 && {
        ipFamilies: families.map(family => `IPv${family}`),
        ipFamilyPolicy: families.length > 1 ? 'PreferDualStack' : 'SingleStack',
      }),
      ports: portsOf(clusterset),
      ...affinityOf(clusterset),
      internalTrafficPolicy,
      ...(trafficDistribution !== undefined && { trafficDistribution }),
    },
  })
}

/** Whether a Service with an address has to become one without, or the other way round: the API changes neither. */
export function changesForm(
  existing: { readonly labels: Readonly<Record<string, unknown>> },
  { metadata }: Manifest,
): boolean {
  return Object.hasOwn(existing.labels, headlessLabel) !== Object.hasOwn(metadata.labels ?? {}, headlessLabel)
}

function portsOf({ ports }: Clusterset): Json {
  return ports.map(({ name, protocol, port, appProtocol }) => ({
    name,
    protocol,
    port,
    ...(appProtocol !== undefined && { appProtocol }),
  }))
}

function affinityOf({ sessionAffinity }: Clusterset): { readonly [field: string]: Json } {
  if (!sessionAffinity) return {}
  const timeoutSeconds = Math.round(sessionAffinity.timeoutMs / 1000)
  return { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds } } }
}

function importStatus({ clusters, headless }: Clusterset, context: MulticlusterContext): MulticlusterStatus {
  const { derives, derived } = context
  const ready = headless ? !derives || derived?.local !== undefined : addressesOf(context).length > 0
  const missing = derives
    ? 'its derived Service has no address yet'
    : 'it has no address here; export a Service of its name, or configure writeBack.derivedServices or proxy.vips.cidr'
  return {
    clusters: clusters.map(cluster => ({ cluster })),
    conditions: [
      ready ? condition('Ready', true, 'Ready', 'clients reach it') : condition('Ready', false, 'Pending', missing),
    ],
  }
}

function exportStatus(context: MulticlusterContext): MulticlusterStatus {
  const { service, localCluster } = context
  const own = service?.local?.imported ? undefined : service?.local
  const valid = validity(own, context)
  const takesPart = service?.clusterset?.clusters.includes(localCluster) === true
  const conflicts = takesPart ? (service?.clusterset?.conflicts ?? []) : []
  return {
    conditions: [
      valid,
      valid.status === 'True' ? readiness(takesPart) : condition('Ready', false, 'Pending', 'it is not valid'),
      conflicts.length > 0
        ? condition(
            'Conflict',
            true,
            conflicts.map(({ reason }) => reason).join(','),
            conflicts.map(({ message }) => message).join('. '),
          )
        : condition('Conflict', false, 'NoConflicts', 'all clusters agree'),
    ],
  }
}

function validity(own: ClusterService | undefined, { mayExport }: MulticlusterContext): Condition {
  if (!own) return condition('Valid', false, 'NoService', 'there is no Service of its name')
  if (own.type === 'ExternalName')
    return condition('Valid', false, 'InvalidServiceType', 'an ExternalName Service has nothing to export')
  if (!mayExport)
    return condition('Valid', false, 'NamespaceNotGlobal', 'clustermesh.cilium.io/global keeps the namespace to itself')
  return condition('Valid', true, 'Valid', 'the Service can be exported')
}

function readiness(takesPart: boolean): Condition {
  return takesPart
    ? condition('Ready', true, 'Exported', 'the other clusters may read it')
    : condition('Ready', false, 'Failed', 'an annotation of the Service says that it is not global, or not shared')
}

/** What the API takes for a condition's message. */
const maxMessage = 32_768

function condition(type: string, holds: boolean, reason: string, message: string): Condition {
  return { type, status: holds ? 'True' : 'False', reason, message: message.slice(0, maxMessage) }
}

/** The conditions with the time since which each has the status it has, as the API wants it. */
export function timed(status: MulticlusterStatus, known: unknown, wallMs: number): Json {
  const now = new Date(wallMs).toISOString().replace(/\.\d+Z$/, 'Z')
  const before = conditionsOf(known)
  const conditions = status.conditions.map(condition => {
    const same = before.find(({ type, status }) => type === condition.type && status === condition.status)
    const since = same?.lastTransitionTime
    return { ...condition, lastTransitionTime: typeof since === 'string' ? since : now }
  })
  return { ...status, conditions }
}

/** Whether a status that is there already says the same. */
export function says(known: unknown, { clusters, conditions }: MulticlusterStatus): boolean {
  const text = (list: readonly Record<string, unknown>[]) =>
    JSON.stringify(list.map(({ type, status, reason, message }) => [type, status, reason, message]).sort())
  const named = listOf(known, 'clusters').map(({ cluster }) => cluster)
  return (
    text(conditionsOf(known)) === text(conditions) &&
    JSON.stringify(named) === JSON.stringify((clusters ?? []).map(({ cluster }) => cluster))
  )
}

function conditionsOf(known: unknown): Record<string, unknown>[] {
  return listOf(known, 'conditions')
}

function listOf(known: unknown, field: string): Record<string, unknown>[] {
  const list = (known as Record<string, unknown> | undefined)?.[field]
  return Array.isArray(list) ? list : []
}

function addressesOf({ service, derives, derived }: MulticlusterContext): string[] {
  const standing = derives ? derived : service
  return [...new Set(standing?.frontends.map(({ ip }) => ip))]
}
