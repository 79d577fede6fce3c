/** Decodes Services of the core API (v1). */
import { familyOf } from '../../model/address.ts'
import type { ServicePort } from '../../model/service.ts'
import { shown } from '../../model/text/spelling.ts'
import { defaultAffinitySeconds, type ObjectRef, type ServiceObject } from '../objects.ts'
import { readAddress } from './address.ts'
import type { Faults } from './faults.ts'
import { gatewaysOf } from './gateways.ts'
import { fit, isDnsName, service } from './shapes.ts'

/** kubectl keeps a copy of the whole object here, up to 256 KiB that the mesh does not need. */
const bulkyAnnotation = 'kubectl.kubernetes.io/last-applied-configuration'

/** A Service of v1. Values that the Kubernetes API refuses are refused here too where they would break the mesh. */
export function decodeService(value: object, ref: ObjectRef, faults: Faults): ServiceObject | undefined {
  const fitted = fit(service, value, faults)
  if (!fitted) return undefined
  const { metadata, spec, status } = fitted
  const isAlias = spec.type === 'ExternalName'
  const headless = !isAlias && (spec.clusterIPs[0] ?? spec.clusterIP) === 'None'
  if (!isAlias && !headless && spec.ports.length === 0)
    faults.refuse(['spec', 'ports'], 'is empty; give at least one port')
  checkPorts(spec.ports, faults)
  const { [bulkyAnnotation]: _, ...annotations } = metadata.annotations
  const { type, ports } = spec
  const ingress = status.loadBalancer.ingress
  const gateways = gatewaysOf(
    { type, ports, ingress, labels: metadata.labels, annotations: metadata.annotations },
    faults,
  )
  return {
    ...ref,
    kind: 'Service',
    ...(gateways.length > 0 && { gateways }),
    spec: {
      type: spec.type,
      headless,
      ...(isAlias && {
        externalName: readExternalName(spec.externalName ?? '', faults),
      }),
      clusterIPs: isAlias || headless ? [] : readClusterIPs(spec.clusterIP, spec.clusterIPs, faults),
      ...(spec.ipFamilies.length > 0 &&
        !isAlias && { families: spec.ipFamilies.map(name => (name === 'IPv6' ? 6 : 4)) }),
      ports: spec.ports.map(({ appProtocol, ...port }) => (appProtocol ? { ...port, appProtocol } : port)),
      annotations,
      labels: metadata.labels,
      publishNotReadyAddresses: spec.publishNotReadyAddresses,
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

/** Clients find a port by name, and dial it by number and protocol: both must be unique. */
function checkPorts(ports: readonly Pick<ServicePort, 'name' | 'port' | 'protocol'>[], faults: Faults): void {
  const names = new Map<string, number>()
  const numbers = new Map<string, number>()
  for (const [i, { name, port, protocol }] of ports.entries()) {
    const path = ['spec', 'ports', i]
    const number = `${port}/${protocol}`
    if (name === '' && ports.length > 1)
      faults.refuse([...path, 'name'], 'is missing; a Service of several ports needs a name for each')
    else if (names.has(name))
      faults.refuse(
        [...path, 'name'],
        `${shown(name)} is also the name of ports[${names.get(name)}]; names must be unique`,
      )
    if (numbers.has(number))
      faults.refuse([...path, 'port'], `${number} is also in ports[${numbers.get(number)}]; remove one`)
    names.set(name, i)
    numbers.set(number, i)
  }
}

function readExternalName(text: string, faults: Faults): string {
  const name = text.replace(/\.$/, '')
  if (!isDnsName(name))
    faults.refuse(['spec', 'externalName'], `${shown(text)} is not a DNS name; an ExternalName Service needs one`)
  return name
}

/** `clusterIPs` if given, else `clusterIP`. Neither is valid too: the mesh may assign a virtual address. */
function readClusterIPs(clusterIP: string, clusterIPs: readonly string[], faults: Faults): string[] {
  const [first] = clusterIPs
  if (first !== undefined && clusterIP !== '' && first !== clusterIP) {
    faults.refuse(
      ['spec', 'clusterIPs', 0],
      `${shown(first)} is not spec.clusterIP ${shown(clusterIP)}; make them equal`,
    )
  }
  const single = first === undefined && clusterIP !== ''
  const declared = single ? [clusterIP] : clusterIPs
  const families = new Set<number>()
  return declared.flatMap((text, i) => {
    const path = single ? ['spec', 'clusterIP'] : ['spec', 'clusterIPs', i]
    const address = readAddress(text, path, faults)
    if (address === undefined) return []
    const family = familyOf(address)
    if (families.has(family))
      faults.refuse(path, `${shown(text)} is a second IPv${family} address; a Service has at most one of each family`)
    families.add(family)
    return [address]
  })
}
