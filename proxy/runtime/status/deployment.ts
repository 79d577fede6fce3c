/** What is installed of Starlane in a Kubernetes cluster, and whether it runs: read from its API server. */

import { MeshError, messageOf } from '../../model/error.ts'
import { type ConnectedClient, connectToRead } from './read-objects.ts'

/** The label that the overlays of deploy/ give to workloads and Pods. Its value is the kind of component. */
export const componentLabel = 'starlane.dev/component'

export interface ComponentStatus {
  /** `DaemonSet`, `Deployment`; of Pods with a sidecar also what else may make them: `StatefulSet`, `Job`, or `Pod` alone. */
  readonly kind: string
  readonly namespace: string
  readonly name: string
  /** `node-agent`, `gateway`, `sidecar` */
  readonly component: string
  readonly desired: number
  readonly ready: number
  readonly available: number
  /** With their tags; of the containers named starlane. */
  readonly images: readonly string[]
}

export interface DeploymentStatus {
  /** The context of the kubeconfig. */
  readonly context: string
  readonly server: string
  readonly components: readonly ComponentStatus[]
  /** How many Pods run each image. */
  readonly images: Readonly<Record<string, number>>
  /** Nodes, and those with a node agent that is ready. */
  readonly nodes: { readonly total: number; readonly managed: number }
  /** Pods that run and have an address of their own; those with a sidecar, or on a node that is managed. */
  readonly pods: { readonly total: number; readonly managed: number }
  /** What does not run, and why. */
  readonly errors: readonly string[]
  readonly warnings: readonly string[]
}

export interface DeploymentQuery {
  readonly kubeconfig?: string | undefined
  readonly context?: string | undefined
  readonly env: Readonly<Record<string, string | undefined>>
}

/** Rejects with a MeshError if the API server cannot be read. */
export async function readDeployment(query: DeploymentQuery): Promise<DeploymentStatus> {
  const client = await connectToRead(query)
  try {
    return await examine(client)
  } catch (error) {
    if (error instanceof MeshError) throw error
    throw new MeshError('SOURCE_READ', messageOf(error), { cause: error })
  } finally {
    await client.close()
  }
}

async function examine(client: ConnectedClient): Promise<DeploymentStatus> {
  const selector = { labelSelector: componentLabel }
  const [daemonSets, deployments, nodes, pods] = await Promise.all([
    client.list<Workload>('/apis/apps/v1/daemonsets', selector),
    client.list<Workload>('/apis/apps/v1/deployments', selector),
    client.list<Node>('/api/v1/nodes'),
    client.list<Pod>('/api/v1/pods'),
  ])
  const own = pods.filter(pod => labelOf(pod) !== undefined && pod.status?.phase !== 'Succeeded')
  const labelled = [
    ...daemonSets.map(each => componentOf('DaemonSet', each)),
    ...deployments.map(each => componentOf('Deployment', each)),
  ]
  const components = [...labelled, ...injected(own, labelled)]
  const agents = own.filter(pod => labelOf(pod) === 'node-agent' && isReady(pod))
  const managedNodes = new Set(agents.map(({ spec }) => spec.nodeName))
  const others = pods.filter(({ spec, status }) => status?.phase === 'Running' && !spec.hostNetwork)
  const isManaged = (pod: Pod) => managedNodes.has(pod.spec.nodeName) || (labelOf(pod) === 'sidecar' && isReady(pod))
  const images: Record<string, number> = {}
  for (const image of own.flatMap(({ spec }) => imagesOf(spec))) images[image] = (images[image] ?? 0) + 1
  const kinds = Object.keys(images)
  return {
    context: client.name,
    server: client.server,
    components,
    images,
    nodes: { total: nodes.length, managed: nodes.filter(({ metadata: { name } }) => managedNodes.has(name)).length },
    pods: { total: others.length, managed: others.filter(isManaged).length },
    errors: [
      ...(components.length === 0
        ? [`nothing with the label ${componentLabel} is installed; "starlane install" does it`]
        : []),
      ...components.filter(({ ready, desired }) => ready < desired).map(shortage),
      ...own.flatMap(podFaults),
    ],
    warnings: kinds.length > 1 ? [`Pods run different images: ${kinds.sort().join(', ')}`] : [],
  }
}

interface Meta {
  readonly name: string
  readonly namespace?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly ownerReferences?: readonly { readonly kind: string; readonly name: string; readonly controller?: boolean }[]
}

interface PodSpec {
  readonly nodeName?: string
  readonly hostNetwork?: boolean
  readonly containers?: readonly Container[]
  readonly initContainers?: readonly Container[]
}

interface Container {
  readonly name: string
  readonly image?: string
}

interface Workload {
  readonly metadata: Meta
  readonly spec?: { readonly replicas?: number; readonly template?: { readonly spec?: PodSpec } }
  readonly status?: Readonly<Record<string, unknown>>
}

interface Node {
  readonly metadata: Meta
}

interface ContainerStatus {
  readonly name: string
  readonly ready?: boolean
  readonly restartCount?: number
  readonly state?: { readonly waiting?: { readonly reason?: string; readonly message?: string } }
}

interface Pod {
  readonly metadata: Meta
  readonly spec: PodSpec
  readonly status?: {
    readonly phase?: string
    readonly conditions?: readonly { readonly type: string; readonly status: string }[]
    readonly containerStatuses?: readonly ContainerStatus[]
    readonly initContainerStatuses?: readonly ContainerStatus[]
  }
}

function componentOf(kind: 'DaemonSet' | 'Deployment', { metadata, spec, status = {} }: Workload): ComponentStatus {
  const number = (name: string) => (typeof status[name] === 'number' ? status[name] : 0)
  const counts =
    kind === 'DaemonSet'
      ? {
          desired: number('desiredNumberScheduled'),
          ready: number('numberReady'),
          available: number('numberAvailable'),
        }
      : { desired: spec?.replicas ?? 1, ready: number('readyReplicas'), available: number('availableReplicas') }
  return {
    kind,
    namespace: metadata.namespace ?? '',
    name: metadata.name,
    component: metadata.labels?.[componentLabel] ?? '',
    ...counts,
    images: imagesOf(spec?.template?.spec ?? {}),
  }
}

/** Workloads that were given a sidecar: the label is on their Pods alone, which are counted. */
function injected(own: readonly Pod[], labelled: readonly ComponentStatus[]): ComponentStatus[] {
  const sidecars = own.filter(pod => labelOf(pod) === 'sidecar')
  const groups = Map.groupBy(sidecars, pod => JSON.stringify([...ownerOf(pod), pod.metadata.namespace ?? '']))
  return [...groups].flatMap(([key, pods]) => {
    const [kind, name, namespace] = JSON.parse(key) as [string, string, string]
    if (labelled.some(each => each.kind === kind && each.name === name && each.namespace === namespace)) return []
    const ready = pods.filter(isReady).length
    const images = [...new Set(pods.flatMap(({ spec }) => imagesOf(spec)))]
    return [{ kind, namespace, name, component: 'sidecar', desired: pods.length, ready, available: ready, images }]
  })
}

/** Kind and name of what makes the Pod: of a ReplicaSet the Deployment, whose name and a hash it has. */
function ownerOf({ metadata: { name, labels, ownerReferences = [] } }: Pod): [kind: string, name: string] {
  const owner = ownerReferences.find(({ controller }) => controller)
  if (!owner) return ['Pod', name]
  const suffix = `-${labels?.['pod-template-hash']}`
  if (owner.kind !== 'ReplicaSet' || !owner.name.endsWith(suffix)) return [owner.kind, owner.name]
  return ['Deployment', owner.name.slice(0, -suffix.length)]
}

/** A native sidecar is an init container. */
function imagesOf({ containers = [], initContainers = [] }: PodSpec): string[] {
  return [...initContainers, ...containers].flatMap(({ name, image }) => (name === 'starlane' && image ? [image] : []))
}

function labelOf({ metadata }: Pod): string | undefined {
  return metadata.labels?.[componentLabel]
}

function isReady({ status }: Pod): boolean {
  return status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false
}

function shortage({ kind, namespace, name, ready, desired }: ComponentStatus): string {
  return `${kind} ${namespace}/${name}: ${desired - ready} of ${desired} Pods are not ready`
}

/** Why a container of a Pod waits: an image that is missing, a crash. */
function podFaults({ metadata: { namespace, name }, status }: Pod): string[] {
  const containers = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])]
  return containers.flatMap(({ name: container, state, restartCount = 0 }) => {
    const { reason, message } = state?.waiting ?? {}
    if (container !== 'starlane' || reason === undefined || reason === 'PodInitializing') return []
    const times = restartCount > 0 ? ` (${restartCount === 1 ? '1 restart' : `${restartCount} restarts`})` : ''
    return [`Pod ${namespace}/${name}: ${reason}${times}${message ? `: ${message}` : ''}`]
  })
}
