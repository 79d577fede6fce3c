/**
 * Decodes one Kubernetes object, parsed from JSON or YAML, for the service assembler. Pure functions, so that manifests and
 * the Kubernetes API are read by the same rules.
 */
import type { Path } from '../../config/fields.ts'
import { canonicalAddress, parseCidr } from '../../model/address.ts'
import { isWireguardKey, wireguardAnnotation } from '../../model/location.ts'
import { flagOf } from '../../model/text/flag.ts'
import { didYouMean, shown, tame } from '../../model/text/spelling.ts'
import { groupOfPolicy, isPolicyKind } from '../../model/workloads/policy-object.ts'
import {
  type ClusterObject,
  type Kind,
  kinds,
  type NamespaceObject,
  type NetworksObject,
  type NodeObject,
  type ObjectRef,
  refText,
} from '../objects.ts'
import { decodeEndpointSlice, decodeEndpoints } from './endpoints.ts'
import { Faults, type ObjectFault } from './faults.ts'
import { decodeServiceExport, decodeServiceImport } from './multicluster.ts'
import { decodePod } from './pod.ts'
import { decodePolicy } from './policy.ts'
import { decodeService } from './service.ts'
import { ciliumNode, clusterWide, fit, ipamBlock, namespace, namespaced, node } from './shapes.ts'

export interface Decoded {
  /** For messages: `Service default/web`, or the kind when the name cannot be read. */
  readonly subject: string
  /** Undefined for kinds that are not read, and when the name cannot be read. */
  readonly ref?: ObjectRef | undefined
  /** Undefined for other kinds, for copies of other clusters' objects, and for invalid objects. */
  readonly object?: ClusterObject | undefined
  readonly faults: readonly ObjectFault[]
  /** What it is, if it is left out though nothing is wrong with it: `Deployment (apps/v1)`. */
  readonly ignored?: string | undefined
}

type Decoder = (value: object, ref: ObjectRef, faults: Faults) => ClusterObject | undefined

const gateAnnotation = 'clustermesh.cilium.io/global'

const decoders: Readonly<Record<string, Decoder>> = {
  'v1/Service': decodeService,
  'v1/Endpoints': decodeEndpoints,
  'v1/Namespace': decodeNamespace,
  'v1/Node': decodeNode,
  'v1/Pod': decodePod,
  'cilium.io/v2/CiliumNode': decodeCiliumNode,
  'crd.projectcalico.org/v1/IPAMBlock': decodeBlock,
  'discovery.k8s.io/v1/EndpointSlice': decodeEndpointSlice,
  'discovery.k8s.io/v1beta1/EndpointSlice': decodeEndpointSlice,
  'multicluster.x-k8s.io/v1alpha1/ServiceExport': decodeServiceExport,
  'multicluster.x-k8s.io/v1alpha1/ServiceImport': decodeServiceImport,
  'multicluster.x-k8s.io/v1beta1/ServiceExport': decodeServiceExport,
  'multicluster.x-k8s.io/v1beta1/ServiceImport': decodeServiceImport,
  // GKE's own implementation. Its exports are for that one alone.
  'net.gke.io/v1/ServiceImport': decodeServiceImport,
}

const homes: Readonly<Record<(typeof kinds)[number], string>> = {
  Service: 'v1',
  Endpoints: 'v1',
  Namespace: 'v1',
  Node: 'v1',
  Pod: 'v1',
  EndpointSlice: 'discovery.k8s.io/v1',
  ServiceExport: 'multicluster.x-k8s.io/v1alpha1',
  ServiceImport: 'multicluster.x-k8s.io/v1alpha1',
  CiliumNode: 'cilium.io/v2',
  IPAMBlock: 'crd.projectcalico.org/v1',
}

/** `workloads`: policies are read too. Otherwise they are ignored, like all other kinds. */
export function decodeKubernetes(value: unknown, { workloads = false } = {}): Decoded {
  if (!isMapping(value)) return refused('object', [], `${shown(value)} is not a Kubernetes object; ${whatAnObjectHas}`)
  const { apiVersion, kind } = value
  if (membersOf(value)) return refused(String(kind), [], `is inside more than ${maxListDepth} lists; unfold it`)
  if (typeof kind !== 'string')
    return refused(
      'object',
      ['kind'],
      `${kind === undefined ? 'is missing' : `${shown(kind)} is not a kind`}; ${whatAnObjectHas}`,
    )
  if (workloads && isPolicyKind(kind) && groupOf(apiVersion) === groupOfPolicy(kind)) {
    const faults = new Faults()
    const object = decodePolicy({ kind, apiVersion: String(apiVersion) }, value, faults)
    return { subject: object ? refText(object) : kind, ref: object, object, faults: faults.list }
  }
  if (!isOurs(kind)) {
    const meant = misspelt(kind, apiVersion)
    return meant === ''
      ? ignored(kind, apiVersion)
      : refused(kind, ['kind'], `${shown(kind)} is not a kind that is read${meant}`)
  }
  const decode = decoders[`${apiVersion}/${kind}`]
  if (!decode && isForeign(apiVersion)) return ignored(kind, apiVersion)
  if (!decode) {
    const found = apiVersion === undefined ? 'is missing' : `${shown(apiVersion)} has no ${kind}`
    return refused(kind, ['apiVersion'], `${found}; write ${homes[kind]}`)
  }
  const faults = new Faults()
  const ref = identify(kind, value, faults)
  const decoded = ref && decode(value, ref, faults)
  const object = workloads ? decoded : withoutLabels(decoded)
  const { skipped } = faults
  return {
    subject: ref ? refText(ref) : kind,
    ref,
    object: faults.isValid ? object : undefined,
    faults: faults.list,
    ...(skipped !== undefined && { ignored: `${kind} (${skipped})` }),
  }
}

/** Labels of Pods and namespaces are for policies alone. */
function withoutLabels(object: ClusterObject | undefined): ClusterObject | undefined {
  if (object?.kind === 'Namespace') {
    const { labels, ...rest } = object
    return rest
  }
  if (object?.kind !== 'Pod') return object
  const { namespace, name, addresses } = object.pod
  return { ...object, pod: { namespace, name, addresses } }
}

/**
 * The members of a `List` or `ServiceList`; undefined for anything else. The API omits the kind of a typed list's members, so
 * it is filled in.
 */
export function membersOf(value: unknown): unknown[] | undefined {
  if (!isMapping(value) || typeof value.kind !== 'string' || !value.kind.endsWith('List')) return undefined
  const items = value.items ?? []
  if (!Array.isArray(items)) return undefined
  const kind = value.kind.slice(0, -'List'.length)
  if (kind === '') return items
  return items.map(item =>
    isMapping(item) && (item.kind ?? '') === ''
      ? { ...item, apiVersion: item.apiVersion ?? value.apiVersion, kind }
      : item,
  )
}

/** A list may contain lists, as `kubectl apply` reads it, but not deeper than this. */
export const maxListDepth = 10

const whatAnObjectHas = 'give it apiVersion, kind and metadata'

function ignored(kind: string, apiVersion: unknown): Decoded {
  const found = typeof apiVersion === 'string' ? `${kind} (${apiVersion})` : kind
  return { subject: tame(kind), faults: [], ignored: tame(found) }
}

function refused(subject: string, path: Path, message: string): Decoded {
  return { subject: tame(subject), faults: [{ code: 'SOURCE_OBJECT', path, message }] }
}

function isOurs(kind: string): kind is (typeof kinds)[number] {
  return (kinds as readonly string[]).includes(kind)
}

/** The API groups that have our kinds; core is empty. */
const groups = ['', 'discovery.k8s.io', 'multicluster.x-k8s.io']

/** Kinds of the core group that are similar to ours and are not meant. */
const coreKinds: ReadonlySet<string> = new Set(['PodTemplate', 'ServiceAccount', 'Secret', 'Event', 'Binding'])

/** `; did you mean "Service"?` for a kind that is one of ours but for its spelling, in a group of ours; else empty. */
function misspelt(kind: string, apiVersion: unknown): string {
  if (coreKinds.has(kind) || !groups.includes(groupOf(apiVersion) ?? '')) return ''
  return didYouMean(kind, [...kinds, 'List'])
}

/**
 * Whether it is a kind of the same name in a group of others: `serving.knative.dev/v1` has a Service. The group of a
 * CustomResourceDefinition contains a dot; one that is nearly ours is a mistake.
 */
function isForeign(apiVersion: unknown): boolean {
  const group = groupOf(apiVersion) ?? ''
  return group.includes('.') && didYouMean(group, groups.slice(1)) === ''
}

function groupOf(apiVersion: unknown): string | undefined {
  return typeof apiVersion === 'string' && apiVersion.includes('/') ? apiVersion.split('/')[0] : undefined
}

/** Objects of the whole cluster. */
const clusterKinds: ReadonlySet<Kind> = new Set(['Namespace', 'Node', 'CiliumNode', 'IPAMBlock'])

function identify(kind: Kind, value: object, faults: Faults): ObjectRef | undefined {
  if (clusterKinds.has(kind)) {
    const fitted = fit(clusterWide, value, faults)
    return fitted && { kind, namespace: '', name: fitted.metadata.name }
  }
  const fitted = fit(namespaced, value, faults)
  return (
    fitted && {
      kind,
      namespace: fitted.metadata.namespace,
      name: fitted.metadata.name,
    }
  )
}

/** Any value but `true` means false, as for all of Cilium's boolean annotations (1.2). An unknown value is also reported. */
function decodeNamespace(value: object, ref: ObjectRef, faults: Faults): NamespaceObject | undefined {
  const fitted = fit(namespace, value, faults)
  if (!fitted) return undefined
  const gate = fitted.metadata.annotations[gateAnnotation]
  const flag = gate === undefined ? undefined : flagOf(gate)
  if (gate !== undefined && flag === undefined) {
    faults.ignoreAnnotation(
      gateAnnotation,
      `${shown(gate)} is neither "true" nor "false"; it is read as "false": no service of this namespace is global`,
    )
  }
  const global = gate === undefined ? undefined : flag === true
  return { ...ref, kind: 'Namespace', global, labels: fitted.metadata.labels }
}

function decodeNode(value: object, ref: ObjectRef, faults: Faults): NodeObject | undefined {
  const fitted = fit(node, value, faults)
  if (!fitted) return undefined
  const { labels, annotations } = fitted.metadata
  const { podCIDR, podCIDRs } = fitted.spec
  const addresses = fitted.status.addresses.flatMap(({ address }) => canonicalAddress(address) ?? [])
  const announced = podCidrAnnotations.flatMap(key => annotations[key] ?? [])
  const podCidrs = [...new Set([...(podCIDRs.length > 0 ? podCIDRs : [podCIDR ?? '']), ...announced])]
  return {
    ...ref,
    kind: 'Node',
    zone: labels['topology.kubernetes.io/zone'] ?? labels['failure-domain.beta.kubernetes.io/zone'],
    region: labels['topology.kubernetes.io/region'] ?? labels['failure-domain.beta.kubernetes.io/region'],
    addresses,
    podCidrs: networksIn(podCidrs),
    ...keyIn(annotations),
  }
}

/** The key of the underlay, if there is one; what is none is left out, and the underlay says that it is missing. */
function keyIn({ [wireguardAnnotation]: key }: Readonly<Record<string, string>>): { wireguardKey?: string } {
  return key !== undefined && isWireguardKey(key) ? { wireguardKey: key } : {}
}

/** `spec.ipam.podCIDRs`, whatever assigns them; empty where addresses are assigned one by one. */
function decodeCiliumNode(value: object, ref: ObjectRef, faults: Faults): NetworksObject | undefined {
  const fitted = fit(ciliumNode, value, faults)
  if (!fitted) return undefined
  return { ...ref, kind: 'CiliumNode', node: ref.name, podCidrs: networksIn(fitted.spec.ipam.podCIDRs) }
}

/** A block that is affine to a node; one without a node, or that is about to be deleted, is of nobody. */
function decodeBlock(value: object, ref: ObjectRef, faults: Faults): NetworksObject | undefined {
  const fitted = fit(ipamBlock, value, faults)
  const node = /^host:(.+)$/.exec(fitted?.spec.affinity ?? '')?.[1]
  if (!fitted || node === undefined || fitted.spec.deleted) return undefined
  return { ...ref, kind: 'IPAMBlock', node, podCidrs: networksIn([fitted.spec.cidr]) }
}

function networksIn(texts: readonly string[]): string[] {
  return texts.flatMap(text => parseCidr(text)?.text ?? [])
}

/** Where Cilium writes the pod networks of a node with `annotateK8sNode: true`, whatever assigns them. */
const podCidrAnnotations = ['network.cilium.io/ipv4-pod-cidr', 'network.cilium.io/ipv6-pod-cidr']

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
