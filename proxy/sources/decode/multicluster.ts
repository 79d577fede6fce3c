/**
 * Decodes ServiceExports and ServiceImports (Multi-Cluster Services API, KEP-1645). A ServiceExport makes the Service of its
 * name global, unless the Service's own annotation says otherwise. A ServiceImport stands in for a Service that the cluster
 * does not have: it has the addresses that clients dial, and the backends come from the clusters that export it.
 */
import { derivedServiceAnnotation } from '../../model/multicluster.ts'
import { shown } from '../../model/text/spelling.ts'
import { defaultAffinitySeconds, type ExportObject, type ImportObject, type ObjectRef } from '../objects.ts'
import { readAddress } from './address.ts'
import type { Faults } from './faults.ts'
import { fit, serviceExport, serviceImport } from './shapes.ts'

export function decodeServiceExport(value: object, ref: ObjectRef, faults: Faults): ExportObject | undefined {
  const fitted = fit(serviceExport, value, faults)
  if (!fitted) return undefined
  const { metadata, spec } = fitted
  const createdAt = readTime(metadata.creationTimestamp ?? undefined, faults)
  return {
    ...ref,
    kind: 'ServiceExport',
    exported: {
      ...(createdAt !== undefined && { createdAt }),
      annotations: spec.exportedAnnotations,
      labels: spec.exportedLabels,
    },
  }
}

/** RFC 3339, as the API writes it. */
function readTime(text: string | undefined, faults: Faults): number | undefined {
  if (text === undefined) return undefined
  const time = Date.parse(text)
  if (!Number.isNaN(time)) return time
  faults.refuse(['metadata', 'creationTimestamp'], `${shown(text)} is not a time; leave it to the API server`)
  return undefined
}

/**
 * If there is a derived Service, the address belongs to it. Undefined also for an import that Starlane has written itself,
 * unless it has a derived Service.
 */
export function decodeServiceImport(value: object, ref: ObjectRef, faults: Faults): ImportObject | undefined {
  const fitted = fit(serviceImport, value, faults)
  if (!fitted) return undefined
  const { metadata, spec } = fitted
  const named = metadata.annotations[derivedServiceAnnotation]
  const derived = named === '' || named === metadata.name ? undefined : named
  if (!derived && metadata.labels['app.kubernetes.io/managed-by'] === 'starlane.dev') {
    return void faults.skip('written by Starlane')
  }
  const headless = spec.type === 'Headless'
  const addresses = spec.ips.map((text, i) => readAddress(text, ['spec', 'ips', i], faults))
  return {
    ...ref,
    kind: 'ServiceImport',
    derived,
    spec: {
      type: 'ClusterIP',
      imported: true,
      headless,
      clusterIPs: headless || derived ? [] : addresses.filter(address => address !== undefined),
      ports: spec.ports.map(({ appProtocol, ...port }) => (appProtocol ? { ...port, appProtocol } : port)),
      annotations: { 'service.cilium.io/global': 'true', 'service.cilium.io/shared': 'false' },
      labels: {},
      publishNotReadyAddresses: false,
      ...(spec.sessionAffinity === 'ClientIP' && {
        sessionAffinity: {
          timeoutMs: 1000 * (spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? defaultAffinitySeconds),
        },
      }),
      internalTrafficPolicy: spec.internalTrafficPolicy,
      ...(spec.trafficDistribution && { trafficDistribution: spec.trafficDistribution }),
    },
  }
}
