/**
 * The Multi-Cluster Services API (KEP-1645) in the mesh's own terms. A ServiceExport makes the Service of its name global,
 * unless the Service's own annotation says otherwise. A ServiceImport stands in for a Service that the cluster does not
 * have: it brings the addresses that clients dial, and the backends come from the clusters that export it.
 */
import type { Faults } from './faults.ts'
import type { ExportObject, ImportObject, ObjectRef, ServiceObject } from './objects.ts'
import { readAddress } from './read-address.ts'
import { fit, serviceImport } from './shapes.ts'

/** Put on a Service that a ServiceExport stands beside, so that whoever writes the status of imports can tell. */
const exportedKey = 'starlane.dev/exported'

const globalKeys = ['service.cilium.io/global', 'io.cilium/global-service']
/** Set by Cilium's operator: a Service of that name stands for the import and takes part in the mesh by itself. */
const derivedKey = 'multicluster.kubernetes.io/derived-service'
const defaultAffinitySeconds = 10_800

export function isExported(annotations: Readonly<Record<string, string>>): boolean {
  return annotations[exportedKey] === 'true'
}

/** A Service beside which a ServiceExport stands or not; whatever the Service itself claims about that is not true. */
export function withExport(spec: ServiceObject['spec'], exported: boolean): ServiceObject['spec'] {
  if (!exported && !Object.hasOwn(spec.annotations, exportedKey)) return spec
  const { [exportedKey]: _, ...own } = spec.annotations
  if (!exported) return { ...spec, annotations: own }
  const isSaid = globalKeys.some(key => Object.hasOwn(own, key))
  return {
    ...spec,
    annotations: { ...own, [exportedKey]: 'true', ...(!isSaid && { 'service.cilium.io/global': 'true' }) },
  }
}

export function decodeServiceExport(_value: object, ref: ObjectRef): ExportObject {
  return { ...ref, kind: 'ServiceExport' }
}

/** Undefined also for one that a derived Service stands for, and for one that Starlane itself has written. */
export function decodeServiceImport(value: object, ref: ObjectRef, faults: Faults): ImportObject | undefined {
  const fitted = fit(serviceImport, value, faults)
  if (!fitted) return undefined
  const { metadata, spec } = fitted
  if (Object.hasOwn(metadata.annotations, derivedKey)) return undefined
  if (metadata.labels['app.kubernetes.io/managed-by'] === 'starlane.dev') return undefined
  const headless = spec.type === 'Headless'
  const addresses = spec.ips.map((text, i) => readAddress(text, ['spec', 'ips', i], faults))
  return {
    ...ref,
    kind: 'ServiceImport',
    spec: {
      type: 'ClusterIP',
      imported: true,
      headless,
      clusterIPs: headless ? [] : addresses.filter(address => address !== undefined),
      ports: spec.ports.map(({ appProtocol, ...port }) => (appProtocol ? { ...port, appProtocol } : port)),
      annotations: { 'service.cilium.io/global': 'true', 'service.cilium.io/shared': 'false' },
      labels: {},
      publishNotReadyAddresses: false,
      ...(spec.sessionAffinity === 'ClientIP' && {
        sessionAffinity: {
          timeoutMs: 1000 * (spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? defaultAffinitySeconds),
        },
      }),
      internalTrafficPolicy: 'Cluster',
    },
  }
}
