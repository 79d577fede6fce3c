/** The Multi-Cluster Services API as an importing cluster writes it (KEP-1645; Cilium 4.3). */
import type { Json } from '../../model/json.ts'
import type { ClusterService, GlobalService, ServicePort } from '../../model/service.ts'
import { type Manifest, owner, signed } from './manifest.ts'

export const importManager = { key: 'app.kubernetes.io/managed-by', value: owner }

export const apiVersion = 'multicluster.x-k8s.io/v1alpha1'

/** What comes of one name: an import, its status, and the status of this cluster's own export. */
export interface Multicluster {
  readonly manifest: Manifest | undefined
  readonly importStatus: MulticlusterStatus | undefined
  readonly exportStatus: MulticlusterStatus | undefined
}

export type MulticlusterStatus = {
  readonly clusters?: readonly { readonly cluster: string }[]
  readonly conditions: readonly Condition[]
}

type Condition = { readonly type: string; readonly status: string; readonly reason: string; readonly message: string }

export interface ExportContext {
  /** What every cluster declares under the name, local cluster first. */
  readonly declared: readonly ClusterService[]
  /** What clients dial, where there is such a thing. */
  readonly service: GlobalService | undefined
  readonly hasNamespace: boolean
  /** Whether a ServiceExport of that name is in the local cluster, with or without its Service. */
  readonly exportedHere: boolean
  readonly localCluster: string
}

export function multiclusterOf(namespace: string, name: string, context: ExportContext): Multicluster {
  const exporters = context.declared.filter(({ exported, type }) => exported !== undefined && type !== 'ExternalName')
  const { ports, conflicts } = unitePorts(exporters)
  const first = exporters[0]
  const manifest = first && context.hasNamespace ? importOf(namespace, name, first, ports, context.service) : undefined
  return {
    manifest,
    importStatus: manifest && importStatus(exporters, context.service, first?.headless === true),
    exportStatus: context.exportedHere ? exportStatus(context, exporters, conflicts) : undefined,
  }
}

function importOf(
  namespace: string,
  name: string,
  { headless, sessionAffinity }: ClusterService,
  ports: readonly ServicePort[],
  service: GlobalService | undefined,
): Manifest {
  return signed({
    apiVersion,
    kind: 'ServiceImport',
    metadata: { namespace, name, labels: { [importManager.key]: importManager.value } },
    spec: {
      type: headless ? 'Headless' : 'ClusterSetIP',
      ips: headless ? [] : addressesOf(service),
      ports: ports.map(({ name, protocol, port, appProtocol }) => ({
        name,
        protocol,
        port,
        ...(appProtocol !== undefined && { appProtocol }),
      })),
      ...(sessionAffinity && {
        sessionAffinity: 'ClientIP',
        sessionAffinityConfig: { clientIP: { timeoutSeconds: Math.round(sessionAffinity.timeoutMs / 1000) } },
      }),
    },
  })
}

/**
 * All ports of all exporters: the same number and protocol is one port, and the first to name it wins. A name that stands
 * for another number there is left out, and is a conflict.
 */
function unitePorts(exporters: readonly ClusterService[]): { ports: ServicePort[]; conflicts: string[] } {
  const ports: ServicePort[] = []
  const conflicts: string[] = []
  for (const { cluster, ports: own } of exporters) {
    for (const port of own) {
      if (ports.some(known => known.port === port.port && known.protocol === port.protocol)) continue
      const namesake = ports.find(known => known.name === port.name)
      if (!namesake) ports.push(port)
      else conflicts.push(`port "${port.name}" is ${portText(port)} in ${cluster} and ${portText(namesake)} elsewhere`)
    }
  }
  return { ports, conflicts }
}

function importStatus(
  exporters: readonly ClusterService[],
  service: GlobalService | undefined,
  headless: boolean,
): MulticlusterStatus {
  const ready = headless || addressesOf(service).length > 0
  return {
    clusters: exporters.map(({ cluster }) => ({ cluster })),
    conditions: [
      ready
        ? condition('Ready', true, 'Ready', 'clients reach it')
        : condition(
            'Ready',
            false,
            'Pending',
            'it has no address here; create a Service of its name, annotated global',
          ),
    ],
  }
}

function exportStatus(
  context: ExportContext,
  exporters: readonly ClusterService[],
  conflicts: readonly string[],
): MulticlusterStatus {
  const { declared, localCluster } = context
  const own = declared.find(({ cluster }) => cluster === localCluster)
  const types = new Set(exporters.map(({ headless }) => headless))
  const clash = [...conflicts, ...(types.size > 1 ? ['some clusters export it as headless and some do not'] : [])]
  const valid = !own
    ? condition('Valid', false, 'NoService', 'there is no Service of its name')
    : own.type === 'ExternalName'
      ? condition('Valid', false, 'InvalidServiceType', 'an ExternalName Service has nothing to export')
      : condition('Valid', true, 'Valid', 'the Service is exported')
  return {
    conditions: [
      valid,
      clash.length > 0
        ? condition('Conflict', true, types.size > 1 ? 'TypeConflict' : 'PortConflict', clash.join('; '))
        : condition('Conflict', false, 'NoConflicts', 'all clusters agree'),
    ],
  }
}

function condition(type: string, holds: boolean, reason: string, message: string): Condition {
  return { type, status: holds ? 'True' : 'False', reason, message }
}

/** The conditions with the time that the API wants in each. */
export function timed(status: MulticlusterStatus, wallMs: number): Json {
  const lastTransitionTime = new Date(wallMs).toISOString().replace(/\.\d+Z$/, 'Z')
  return { ...status, conditions: status.conditions.map(condition => ({ ...condition, lastTransitionTime })) }
}

function addressesOf(service: GlobalService | undefined): string[] {
  return [...new Set(service?.frontends.map(({ ip }) => ip))]
}

function portText({ port, protocol }: ServicePort): string {
  return `${port}/${protocol}`
}
