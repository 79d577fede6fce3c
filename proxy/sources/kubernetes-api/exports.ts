import * as v from 'valibot'
import { canonicalAddress } from '../../model/address.ts'
import { type ServiceKey, type ServicePort, serviceKey } from '../../model/service.ts'
import type { ServiceObject } from '../kubernetes/objects.ts'
import { isRecord, type RawObject } from './wire.ts'

/** Where the services of one cluster go, once the Multi-Cluster Services objects beside them are taken into account. */
export interface ServiceTable {
  put(service: ServiceObject): void
  remove(ref: Pick<ServiceObject, 'kind' | 'namespace' | 'name'>): void
}

/** Put on a Service that a ServiceExport stands beside, so that whoever writes the status of imports can tell. */
const exportedKey = 'starlane.dev/exported'

const globalKeys = ['service.cilium.io/global', 'io.cilium/global-service']
/** Set by Cilium's operator: a Service of that name stands for the import and takes part in the mesh by itself. */
const derivedKey = 'multicluster.kubernetes.io/derived-service'

/**
 * The MCS API (KEP-1645) in the mesh's own terms. A ServiceExport makes the Service of its name global, unless the
 * Service's own annotation says otherwise. A ServiceImport stands in for a Service that the cluster does not have: it
 * brings the addresses that clients dial, and the backends come from the clusters that export it.
 */
export class Exports {
  readonly #table: ServiceTable
  readonly #services = new Map<ServiceKey, ServiceObject>()
  readonly #imports = new Map<ServiceKey, ServiceObject>()
  readonly #exported = new Set<ServiceKey>()

  constructor(table: ServiceTable) {
    this.#table = table
  }

  putService(service: ServiceObject): void {
    this.#services.set(serviceKey(service.namespace, service.name), service)
    this.#settle(service.namespace, service.name)
  }

  dropService(namespace: string, name: string): void {
    this.#services.delete(serviceKey(namespace, name))
    this.#settle(namespace, name)
  }

  putExport({ metadata: { namespace = '', name } }: RawObject): void {
    this.#exported.add(serviceKey(namespace, name))
    this.#settle(namespace, name)
  }

  dropExport(namespace: string, name: string): void {
    this.#exported.delete(serviceKey(namespace, name))
    this.#settle(namespace, name)
  }

  putImport(object: RawObject): void {
    const { namespace = '', name } = object.metadata
    const imported = decodeImport(object)
    if (imported) this.#imports.set(serviceKey(namespace, name), imported)
    else this.#imports.delete(serviceKey(namespace, name))
    this.#settle(namespace, name)
  }

  dropImport(namespace: string, name: string): void {
    this.#imports.delete(serviceKey(namespace, name))
    this.#settle(namespace, name)
  }

  #settle(namespace: string, name: string): void {
    const key = serviceKey(namespace, name)
    const service = this.#services.get(key)
    if (service) return this.#table.put(this.#exported.has(key) ? exported(service) : notExported(service))
    const imported = this.#imports.get(key)
    if (imported) this.#table.put(imported)
    else this.#table.remove({ kind: 'Service', namespace, name })
  }
}

export function isExported(annotations: Readonly<Record<string, string>>): boolean {
  return annotations[exportedKey] === 'true'
}

function exported(service: ServiceObject): ServiceObject {
  const own = service.spec.annotations
  const isSaid = globalKeys.some(key => Object.hasOwn(own, key))
  const annotations = { ...own, [exportedKey]: 'true', ...(!isSaid && { 'service.cilium.io/global': 'true' }) }
  return { ...service, spec: { ...service.spec, annotations } }
}

/** Whatever a Service itself claims about this is not true. */
function notExported(service: ServiceObject): ServiceObject {
  if (!Object.hasOwn(service.spec.annotations, exportedKey)) return service
  const { [exportedKey]: _, ...annotations } = service.spec.annotations
  return { ...service, spec: { ...service.spec, annotations } }
}

const text = v.nullish(v.string(), '')
const port = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535))
const shape = v.object({
  spec: v.object({
    type: v.nullish(v.picklist(['ClusterSetIP', 'Headless']), 'ClusterSetIP'),
    ips: v.nullish(v.array(v.string()), []),
    ports: v.nullish(
      v.array(
        v.object({
          name: text,
          protocol: v.nullish(v.picklist(['TCP', 'UDP', 'SCTP']), 'TCP'),
          port,
          appProtocol: text,
        }),
      ),
      [],
    ),
    sessionAffinity: text,
    sessionAffinityConfig: v.nullish(
      v.object({ clientIP: v.nullish(v.object({ timeoutSeconds: v.nullish(v.number()) })) }),
    ),
  }),
})

/** Undefined for one that a derived Service stands for, that Starlane itself has written, or that makes no sense. */
function decodeImport(object: RawObject): ServiceObject | undefined {
  const { namespace = '', name, annotations, labels } = object.metadata
  if (isRecord(annotations) && Object.hasOwn(annotations, derivedKey)) return undefined
  if (isRecord(labels) && labels['app.kubernetes.io/managed-by'] === 'starlane.dev') return undefined
  const parsed = v.safeParse(shape, object)
  if (!parsed.success) return undefined
  const { type, ips, ports, sessionAffinity, sessionAffinityConfig } = parsed.output.spec
  const headless = type === 'Headless'
  const timeoutSeconds = sessionAffinityConfig?.clientIP?.timeoutSeconds ?? 10_800
  return {
    kind: 'Service',
    namespace,
    name,
    spec: {
      type: 'ClusterIP',
      headless,
      clusterIPs: headless ? [] : ips.map(canonicalAddress).filter(ip => ip !== undefined),
      ports: ports.map(({ appProtocol, ...rest }): ServicePort => (appProtocol ? { ...rest, appProtocol } : rest)),
      annotations: { 'service.cilium.io/global': 'true', 'service.cilium.io/shared': 'false' },
      labels: {},
      publishNotReadyAddresses: false,
      ...(sessionAffinity === 'ClientIP' && { sessionAffinity: { timeoutMs: 1000 * timeoutSeconds } }),
      internalTrafficPolicy: 'Cluster',
    },
  }
}
