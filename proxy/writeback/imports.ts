/** ServiceImports, derived Services and statuses of the Multi-Cluster Services API (KEP-1645; Cilium 4.3). */

import { derivedServiceAnnotation, derivedServiceName } from '../model/multicluster.ts'
import type { ClusterService, Clusterset, GlobalService } from '../model/service.ts'
import type { Json } from '../model/text/json.ts'
import { type Manifest, managedBy, withDigest } from './manifest.ts'

export const importManager = { key: 'app.kubernetes.io/managed-by', value: managedBy }
/** Marks derived Services written by Starlane, which may delete them. */
export const derivedLabel = `${managedBy}/derived`
/** Kubernetes' label of headless Services: shows how a derived one was created. */
const headlessLabel = 'service.kubernetes.io/headless'

/** The version of the manifests here; they are the same in v1beta1. */
const apiVersion = 'multicluster.x-k8s.io/v1alpha1'

/** The objects and statuses to write for one service name. */
export interface MulticlusterObjects {
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
  /** The service of that name in the directory, if there is one. */
  readonly service: GlobalService | undefined
  /** Its derived Service in the directory. */
  readonly derived: GlobalService | undefined
  readonly derives: boolean
  readonly hasNamespace: boolean
  /** Whether the namespace may export (`clustermesh.cilium.io/global`). */
  readonly mayExport: boolean
  /** Whether the local cluster has a ServiceExport of that name, with or without a Service. */
  readonly exportedHere: boolean
  readonly localCluster: string
  /** The ServiceImport in the local cluster that owns the derived Service; undefined while there is none. */
  readonly parent: { readonly apiVersion: string; readonly uid: string } | undefined
}

export function multiclusterOf(namespace: string, name: string, context: MulticlusterContext): MulticlusterObjects {
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
  return withDigest({
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

/** A Service without a selector: its endpoints are the EndpointSlices that Starlane writes. */
function derivedOf(
  namespace: string,
  name: string,
  clusterset: Clusterset,
  { apiVersion, uid }: NonNullable<MulticlusterContext['parent']>,
): Manifest {
  const { headless, families, internalTrafficPolicy, trafficDistribution } = clusterset
  return withDigest({
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

/** Whether a Service has to become headless, or stop being so: the API cannot update that, so it has to be replaced. */
export function changesHeadless(
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
      ready ? condition('Ready', true, 'Ready', 'clients can reach it') : condition('Ready', false, 'Pending', missing),
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
    return condition('Valid', false, 'NamespaceNotGlobal', 'clustermesh.cilium.io/global excludes the namespace')
  return condition('Valid', true, 'Valid', 'the Service can be exported')
}

function readiness(takesPart: boolean): Condition {
  return takesPart
    ? condition('Ready', true, 'Exported', 'the other clusters may read it')
    : condition('Ready', false, 'Failed', 'an annotation of the Service makes it not global or not shared')
}

/** The API's limit for the message of a condition. */
const maxMessage = 32_768

function condition(type: string, holds: boolean, reason: string, message: string): Condition {
  return { type, status: holds ? 'True' : 'False', reason, message: message.slice(0, maxMessage) }
}

/** Adds `lastTransitionTime` to each condition: kept while its status is the same, else now. */
export function withTransitionTimes(status: MulticlusterStatus, known: unknown, wallMs: number): Json {
  const now = new Date(wallMs).toISOString().replace(/\.\d+Z$/, 'Z')
  const before = conditionsOf(known)
  const conditions = status.conditions.map(condition => {
    const same = before.find(({ type, status }) => type === condition.type && status === condition.status)
    const since = same?.lastTransitionTime
    return { ...condition, lastTransitionTime: typeof since === 'string' ? since : now }
  })
  return { ...status, conditions }
}

/** Whether the existing status is the same, apart from times. */
export function sameStatus(known: unknown, { clusters, conditions }: MulticlusterStatus): boolean {
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
