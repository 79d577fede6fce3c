/**
 * Schemas for the parts of Kubernetes objects that are read; everything else is ignored. As in the Kubernetes API, null means
 * absent wherever a field is optional.
 */
import * as v from 'valibot'
import { shown } from '../../model/text/spelling.ts'
import type { Faults } from './faults.ts'

/** No list of the API has more: a slice has 1000 endpoints. */
const maxListed = 10_000

const text = v.string(not('a text; put it in quotes'))
const flag = v.boolean(not('true or false'))
/** Checked before the members are. */
const short = v.pipe(
  v.custom<unknown[]>(Array.isArray, not('a list')),
  v.check(
    all => all.length <= maxListed,
    ({ input }) => `has ${input.length} members, more than ${maxListed}`,
  ),
)
const texts = list(text)
const object = v.custom<object>(
  value => typeof value === 'object' && value !== null && !Array.isArray(value),
  not('a mapping'),
)
const textMap = v.nullish(v.pipe(object, v.record(v.string(), v.nullish(text, ''))), {})

/** A DNS label (RFC 1123): names of services, namespaces and ports become parts of DNS names. */
const label = v.pipe(
  text,
  v.check(isLabel, not('a name of at most 63 characters out of a-z, 0-9 and "-", with a letter or digit at both ends')),
)
const objectName = v.pipe(
  text,
  v.check(
    isSubdomain,
    not('a name of at most 253 characters out of a-z, 0-9, "-" and ".", with a letter or digit at both ends'),
  ),
)
const portName = v.nullish(
  v.pipe(
    text,
    v.check(name => name === '' || isLabel(name), not('a port name: at most 63 characters out of a-z, 0-9 and "-"')),
  ),
  '',
)
const protocol = withDefault(v.picklist(['TCP', 'UDP', 'SCTP'], not('TCP, UDP or SCTP, in capitals')), 'TCP')
const portNumber = wholeNumber(1, 65_535)

export const namespaced = v.object({
  metadata: mapping({
    name: objectName,
    namespace: withDefault(label, 'default'),
  }),
})
export const clusterWide = v.object({
  metadata: mapping({ name: objectName }),
})

const servicePorts = list(
  mapping({
    name: portName,
    protocol,
    port: portNumber,
    appProtocol: v.nullish(text),
  }),
)
const affinity = {
  sessionAffinity: withDefault(v.picklist(['None', 'ClientIP'], not('None or ClientIP')), 'None'),
  sessionAffinityConfig: v.nullish(
    mapping({
      clientIP: v.nullish(mapping({ timeoutSeconds: v.nullish(wholeNumber(1, 86_400)) })),
    }),
  ),
}

const trafficPolicy = v.nullish(v.picklist(['Cluster', 'Local'], not('Cluster or Local')), 'Cluster')

export const service = v.object({
  metadata: mapping({ name: label, annotations: textMap, labels: textMap }),
  spec: v.nullish(
    mapping({
      type: withDefault(
        v.picklist(
          ['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'],
          not('ClusterIP, NodePort, LoadBalancer or ExternalName'),
        ),
        'ClusterIP',
      ),
      externalName: v.nullish(text),
      clusterIP: v.nullish(text, ''),
      clusterIPs: texts,
      ipFamilies: list(v.picklist(['IPv4', 'IPv6'], not('IPv4 or IPv6'))),
      ports: servicePorts,
      publishNotReadyAddresses: v.nullish(flag, false),
      ...affinity,
      internalTrafficPolicy: trafficPolicy,
      trafficDistribution: v.nullish(text),
    }),
    {},
  ),
  status: v.nullish(
    mapping({
      loadBalancer: v.nullish(
        mapping({
          ingress: list(mapping({ ip: v.nullish(text), hostname: v.nullish(text) })),
        }),
        {},
      ),
    }),
    {},
  ),
})

export const serviceExport = v.object({
  metadata: mapping({ name: label, creationTimestamp: v.nullish(text) }),
  spec: v.nullish(mapping({ exportedAnnotations: textMap, exportedLabels: textMap }), {}),
})

export const serviceImport = v.object({
  metadata: mapping({ name: label, annotations: textMap, labels: textMap }),
  spec: mapping({
    type: v.nullish(v.picklist(['ClusterSetIP', 'Headless'], not('ClusterSetIP or Headless')), 'ClusterSetIP'),
    ips: texts,
    ports: servicePorts,
    ...affinity,
    internalTrafficPolicy: trafficPolicy,
    trafficDistribution: v.nullish(text),
  }),
})

const endpointName = v.nullish(
  v.pipe(
    text,
    v.check(
      name => name === '' || isLabel(name),
      not('a name of at most 63 characters out of a-z, 0-9 and "-", with a letter or digit at both ends'),
    ),
  ),
)

const podReference = v.nullish(mapping({ kind: v.nullish(text), name: v.nullish(text) }))

export const endpointSlice = v.object({
  metadata: mapping({ annotations: textMap, labels: textMap }),
  addressType: v.picklist(['IPv4', 'IPv6', 'FQDN'], not('IPv4, IPv6 or FQDN')),
  endpoints: list(
    mapping({
      addresses: v.pipe(short, v.array(text)),
      conditions: v.nullish(
        mapping({
          ready: v.nullish(flag),
          serving: v.nullish(flag),
          terminating: v.nullish(flag),
        }),
        {},
      ),
      hostname: endpointName,
      nodeName: v.nullish(text),
      targetRef: podReference,
      zone: v.nullish(text),
      hints: v.nullish(mapping({ forZones: list(mapping({ name: text })) })),
      topology: v.nullish(textMap),
      deprecatedTopology: v.nullish(textMap),
    }),
  ),
  // A port of null means "all ports", which cannot be dialled.
  ports: list(mapping({ name: portName, protocol, port: v.nullish(portNumber) })),
})

const endpointAddresses = list(
  mapping({
    ip: text,
    hostname: endpointName,
    nodeName: v.nullish(text),
    targetRef: podReference,
  }),
)

export const endpoints = v.object({
  subsets: list(
    mapping({
      addresses: endpointAddresses,
      notReadyAddresses: endpointAddresses,
      ports: list(mapping({ name: portName, protocol, port: portNumber })),
    }),
  ),
})

export const namespace = v.object({
  metadata: mapping({ name: label, annotations: textMap, labels: textMap }),
})

/** Only the metadata where the API server is asked for no more. */
export const node = v.object({
  metadata: mapping({ annotations: textMap, labels: textMap }),
  spec: v.nullish(mapping({ podCIDR: v.nullish(text), podCIDRs: texts }), {}),
  status: v.nullish(mapping({ addresses: list(mapping({ address: text })) }), {}),
})

/** Cilium's own record of a node (cilium.io/v2). */
export const ciliumNode = v.object({
  spec: v.nullish(mapping({ ipam: v.nullish(mapping({ podCIDRs: texts }), {}) }), {}),
})

/** A block of addresses of Calico's IPAM (crd.projectcalico.org/v1): `affinity` is `host:NODE`. */
export const ipamBlock = v.object({
  spec: mapping({ cidr: text, affinity: v.nullish(text), deleted: v.nullish(flag, false) }),
})

/** `podIPs` has one address for each family (API reference, PodStatus); older objects have only `podIP`. */
const podIps = v.nullish(v.pipe(short, v.array(mapping({ ip: text })), v.maxLength(2, not('one or two'))), [])

const containers = list(
  mapping({
    restartPolicy: v.nullish(text, ''),
    ports: list(mapping({ name: v.nullish(text, ''), containerPort: portNumber, protocol })),
  }),
)

export const pod = v.object({
  metadata: mapping({ labels: textMap }),
  spec: v.nullish(
    mapping({
      serviceAccountName: v.nullish(text, ''),
      hostNetwork: v.nullish(flag, false),
      containers,
      initContainers: containers,
    }),
    {},
  ),
  status: v.nullish(
    mapping({
      phase: v.nullish(text, ''),
      podIP: v.nullish(text, ''),
      podIPs: podIps,
      hostIP: v.nullish(text, ''),
    }),
    {},
  ),
})

/** Only metadata; what a policy means is for a plugin to say. */
export const policy = {
  namespaced: v.object({
    metadata: mapping({ name: objectName, namespace: withDefault(label, 'default'), annotations: textMap }),
  }),
  clusterWide: v.object({ metadata: mapping({ name: objectName, annotations: textMap, labels: textMap }) }),
}

export type Shape = v.GenericSchema

/** With more values than this, the first reason is enough: there may be as many reasons as values. */
const maxExplained = 2000

/**
 * The value as the schema returns it. If it does not match: undefined, and the object is refused with every reason; a large one with the
 * first.
 */
export function fit<S extends Shape>(shape: S, value: unknown, faults: Faults): v.InferOutput<S> | undefined {
  const first = v.safeParse(shape, value, { abortEarly: true })
  if (first.success) return first.output
  const result = countValues(value, maxExplained) > 0 ? v.safeParse(shape, value) : first
  if (result.success) return result.output
  for (const { path = [], input, message } of result.issues) {
    faults.refuse(
      path.map(({ key }) => (typeof key === 'number' ? key : String(key))),
      input === undefined ? 'is missing' : message,
    )
  }
  return undefined
}

/** What is left of `most` after counting the values in it; not above zero if they are more. */
function countValues(value: unknown, most: number): number {
  if (typeof value !== 'object' || value === null) return most - 1
  let left = most
  for (const key in value) {
    left = countValues((value as Record<string, unknown>)[key], left - 1)
    if (left <= 0) break
  }
  return left
}

/** A valid DNS name: labels of at most 63 characters, 253 in total. */
export function isDnsName(text: string): boolean {
  return text.length <= 253 && text.split('.').every(isLabel)
}

function list<S extends Shape>(item: S) {
  return v.nullish(v.pipe(short, v.array(item)), [])
}

/** As the Kubernetes API defaults a field that is a plain text: absent, null and empty are the same. */
function withDefault<S extends v.GenericSchema<unknown, string>>(schema: S, fallback: v.InferOutput<S>) {
  const given = v.pipe(
    v.unknown(),
    v.transform(value => (value === '' ? fallback : value)),
    schema,
  )
  return v.nullish(given, fallback)
}

function mapping<E extends v.ObjectEntries>(entries: E) {
  return v.pipe(object, v.object(entries))
}

function wholeNumber(min: number, max: number) {
  const message = not(`a whole number from ${min} to ${max}`)
  return v.pipe(v.number(message), v.integer(message), v.minValue(min, message), v.maxValue(max, message))
}

function not(expected: string): (issue: v.BaseIssue<unknown>) => string {
  return ({ input }) => `${shown(input)} is not ${expected}`
}

function isLabel(text: string): boolean {
  return text.length <= 63 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(text)
}

function isSubdomain(text: string): boolean {
  return text.length <= 253 && /^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$/.test(text)
}
