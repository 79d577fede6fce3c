/** The configuration of a Starlane that runs in a cluster: in the ConfigMap `starlane` of the namespace `starlane`. */
import { createHash } from 'node:crypto'
import * as v from 'valibot'
import { type Document, isMap, type ParsedNode, parse, parseDocument, type YAMLMap, YAMLSeq } from 'yaml'
import { MeshError, messageOf } from '../../model/error.ts'
import type { Cluster, Manifest } from './kubectl.ts'

export const namespace = 'starlane'
export const configMapName = 'starlane'
const configFile = 'starlane.yaml'
const componentLabel = 'starlane.dev/component'
/** Of Pod templates: another value replaces the Pods, which read the configuration at their start. */
const hashAnnotation = 'starlane.dev/configuration'
const workloadKinds = ['daemonset', 'deployment'] as const

/** What of a configuration says who is in the mesh. The rest may depend on variables of the container, and is not read here. */
const membership = v.object({
  cluster: v.string(),
  clusters: v.array(v.object({ name: v.string(), id: v.number(), source: v.record(v.string(), v.unknown()) })),
  dns: v.optional(v.object({ pods: v.optional(v.string()) })),
  plugins: v.optional(v.array(v.object({ use: v.string() }))),
})

export type Membership = v.InferOutput<typeof membership>

export interface Installed {
  readonly cluster: Cluster
  readonly configMap: Manifest
  readonly text: string
  readonly config: Membership
  /** Of the cluster in the mesh. */
  readonly name: string
  readonly id: number
}

/** What runs in the cluster; undefined where `starlane mesh enable` has not been run. */
export async function readInstalled(cluster: Cluster): Promise<Installed | undefined> {
  const configMap = await cluster.get('configmap', configMapName, namespace)
  const text = configMap && textOf(configMap)
  if (configMap === undefined || text === undefined) return undefined
  return { cluster, configMap, ...readConfig(text, cluster.context) }
}

/** The configuration that `starlane install` gave it, in a ConfigMap with a hash in its name. */
export async function installedText(cluster: Cluster): Promise<string | undefined> {
  for (const workload of await workloads(cluster)) {
    const { volumes = [] } = podSpec(workload)
    const name = volumes.find(volume => volume.name === 'config')?.configMap?.name
    const configMap = name === undefined ? undefined : await cluster.get('configmap', name, namespace)
    const text = configMap && textOf(configMap)
    if (text !== undefined) return text
  }
  return undefined
}

export function readConfig(text: string, context: string): Pick<Installed, 'text' | 'config' | 'name' | 'id'> {
  const where = `${context}: ConfigMap ${namespace}/${configMapName}`
  const { success, output, issues } = v.safeParse(membership, parsed(text, where))
  if (!success) {
    const [first] = issues
    throw new MeshError('CONF_FIELD', `${where}: ${v.getDotPath(first) ?? configFile}: ${first.message}`)
  }
  const local = output.clusters.find(({ name }) => name === output.cluster)
  if (!local) throw new MeshError('CONF_CLUSTER', `${where}: its configuration does not list ${output.cluster}`)
  return { text, config: output, name: local.name, id: local.id }
}

function parsed(text: string, where: string): unknown {
  try {
    return parse(text)
  } catch (error) {
    throw new MeshError('CONF_FILE', `${where}: ${messageOf(error)}`, { cause: error })
  }
}

/** Writes another configuration, and replaces the Pods that read it. */
export async function writeInstalled({ cluster, configMap }: Installed, text: string): Promise<void> {
  await cluster.write({ ...configMap, data: { [configFile]: text } })
  const patch = { spec: { template: { metadata: { annotations: { [hashAnnotation]: hashOf(text) } } } } }
  for (const { kind, metadata } of await workloads(cluster))
    await cluster.run(['-n', namespace, 'patch', kind.toLowerCase(), metadata.name, '-p', JSON.stringify(patch)])
}

/** The workloads of Starlane in its own namespace. */
export async function workloads(cluster: Cluster): Promise<readonly Manifest[]> {
  const found = await Promise.all(workloadKinds.map(kind => cluster.list(kind, namespace, componentLabel)))
  return found.flat()
}

/** Rendered manifests with the ConfigMap under its plain name, so that it can be changed later. */
export function withPlainConfigMap(objects: readonly Manifest[], text: string): Manifest[] {
  const hashed = objects.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name.startsWith('starlane'))
  const renamed: Manifest[] = JSON.parse(
    JSON.stringify(objects).replaceAll(`"${hashed?.metadata.name}"`, `"${configMapName}"`),
  )
  return renamed.map(object => {
    const template = (object.spec as { template?: PodTemplate } | undefined)?.template
    if (!/^(DaemonSet|Deployment)$/.test(object.kind) || !template) return object
    const annotations = { ...template.metadata.annotations, [hashAnnotation]: hashOf(text) }
    const metadata = { ...template.metadata, annotations }
    return { ...object, spec: { ...(object.spec as object), template: { ...template, metadata } } }
  })
}

/** The configuration with this cluster as the local one. Comments stay. */
export function withLocal(text: string, name: string, id: number): string {
  const document = parseDocument(text)
  document.commentBefore = null
  if (isMap(document.contents)) document.contents.commentBefore = null
  const before = document.get('cluster')
  document.set('cluster', name)
  const clusters = clusterList(document)
  const local = entry(clusters, String(before))
  if (!local) throw new MeshError('CONF_CLUSTER', `the configuration does not list ${before}`)
  local.set('name', name)
  local.set('id', id)
  makeRoom(document, id)
  return document.toString({ lineWidth: 0 })
}

/** An id above 255 is one of a mesh of 511. */
function makeRoom(document: Document, id: number): void {
  if (id > 255) document.set('maxConnectedClusters', 511)
}

/** The configuration with one remote cluster more, or with its id and file as they are now. Other options of it stay. */
export function withRemote(text: string, name: string, id: number): string {
  const document = parseDocument(text)
  const clusters = clusterList(document)
  makeRoom(document, id)
  const source = { kubernetes: { kubeconfig: kubeconfigPath(name), renew: 'secret' } }
  const known = entry(clusters, name)
  if (!known) {
    clusters.add(document.createNode({ name, id, source }))
    return document.toString({ lineWidth: 0 })
  }
  const isSame = JSON.stringify(known.toJSON().source) === JSON.stringify(source)
  if (known.get('id') === id && isSame && (id <= 255 || document.get('maxConnectedClusters') === 511)) return text
  known.set('id', id)
  if (!isSame) known.set('source', document.createNode(source))
  return document.toString({ lineWidth: 0 })
}

/** The configuration without these clusters. */
export function withoutRemotes(text: string, names: readonly string[]): string {
  const document = parseDocument(text)
  const clusters = clusterList(document)
  const kept = clusters.items.filter(item => !(isMap(item) && names.includes(String(item.get('name')))))
  if (kept.length === clusters.items.length) return text
  clusters.items = kept
  return document.toString({ lineWidth: 0 })
}

/** Where Starlane finds the kubeconfig of a remote cluster: the Secret `starlane-clusters` is mounted there. */
export function kubeconfigPath(name: string): string {
  return `/etc/starlane-clusters/${name}`
}

/** The remote clusters that are read with a kubeconfig of the Secret. */
export function remotesOf({ config, name }: Pick<Installed, 'config' | 'name'>): string[] {
  return config.clusters
    .filter(({ source }) => JSON.stringify(source.kubernetes)?.includes('/etc/starlane-clusters/'))
    .map(cluster => cluster.name)
    .filter(each => each !== name)
}

interface PodTemplate {
  readonly metadata: { readonly annotations?: Readonly<Record<string, string>> }
  readonly spec: { readonly volumes?: readonly { readonly name: string; readonly configMap?: { name: string } }[] }
}

function podSpec(workload: Manifest): PodTemplate['spec'] {
  return (workload.spec as { template: PodTemplate }).template.spec
}

function textOf(configMap: Manifest): string | undefined {
  return (configMap.data as Record<string, string> | undefined)?.[configFile]
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16)
}

function clusterList(document: Document.Parsed<ParsedNode>): YAMLSeq {
  const clusters = document.get('clusters')
  if (clusters instanceof YAMLSeq) return clusters
  throw new MeshError('CONF_CLUSTER', 'the configuration has no list `clusters`')
}

function entry(clusters: YAMLSeq, name: string): YAMLMap | undefined {
  return clusters.items.find((item): item is YAMLMap => isMap(item) && item.get('name') === name)
}
