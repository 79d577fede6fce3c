/** `starlane inject`: puts the sidecar of deploy/overlays/sidecar into workloads of one's own. */
import { readFile } from 'node:fs/promises'
import { text as textOf } from 'node:stream/consumers'
import { Command, Option } from 'commander'
import { type Document, isMap, parse, parseAllDocuments, stringify, type YAMLMap, YAMLSeq } from 'yaml'
import { MeshError } from '../../model/error.ts'
import { packagePath } from '../../model/program/package-files.ts'
import type { Io } from '../terminal/io.ts'
import { readNamedFile } from '../terminal/named-file.ts'
import { defaultImage } from './image.ts'
import type { Manifest } from './kubectl.ts'

interface Options {
  readonly file?: string
  readonly patch?: string
  readonly image: string
  readonly namespace: string
}

export function injectCommand(io: Io, end: (code: number) => void): Command {
  return new Command('inject')
    .summary('put the sidecar into a Deployment of your own')
    .description(
      'Reads manifests, adds the sidecar to each workload and prints all of them. Other objects and comments stay. The Pods keep their ' +
        'ServiceAccount; the container of Starlane has a token of its own. Injecting again changes nothing.',
    )
    .option('-f, --file <file>', 'YAML or JSON with one object or several; - for standard input')
    .addOption(
      new Option('--patch <kind>', 'print a patch for "kubectl patch" of a workload of this kind instead').conflicts(
        'file',
      ),
    )
    .option('--image <image>', 'the image with its tag', defaultImage)
    .option('-n, --namespace <name>', 'of workloads that name none, and of the one to patch', 'default')
    .addHelpText('after', examples)
    .action(async (options: Options) => end(await inject(io, options)))
}

const examples = `
The namespace of the workload needs a ConfigMap "starlane" with the key starlane.yaml, as deploy/overlays/sidecar
has one, and, for remote clusters, a Secret "starlane-clusters" with their kubeconfigs. The ClusterRoleBinding that is
added lets the ServiceAccount read what Starlane reads; the ClusterRole is that of deploy/base.

With --patch the workload's sysctls and DNS settings are replaced, and the sidecar starts after other init containers; the
ClusterRoleBinding is a command of its own, which is printed to standard error.

Examples:
  starlane inject -f deploy.yaml --image REGISTRY/starlane:TAG | kubectl apply -f -
  kubectl get deployment web -o yaml | starlane inject -f - | kubectl apply -f -
  kubectl -n shop patch deployment web -p "$(starlane inject --patch deployment -n shop --image REGISTRY/starlane:TAG)"`

async function inject(io: Io, options: Options): Promise<number> {
  const { file, patch } = options
  if (patch !== undefined) return printPatch(io, patch, options)
  if (file === undefined) throw new MeshError('USAGE', 'give manifests with -f FILE, or --patch KIND')
  return injectFile(io, file, options)
}

/** A strategic merge patch: its lists are merged by name. */
async function printPatch(io: Io, asked: string, { image, namespace }: Options): Promise<number> {
  const kind = Object.keys(templatePaths).find(known => known.toLowerCase() === asked.toLowerCase())
  const path = kind === undefined ? undefined : templatePaths[kind]
  if (!path || kind === 'Pod') {
    const known = Object.keys(templatePaths).filter(each => each !== 'Pod')
    throw new MeshError(
      'USAGE',
      `--patch ${asked} is not one of ${known.join(', ')}; the containers of a Pod cannot change`,
    )
  }
  const { metadata, spec } = (await readSidecar()).spec.template
  const { securityContext, dnsPolicy, volumes } = spec
  const template = {
    metadata: { labels: metadata.labels },
    spec: {
      securityContext: { sysctls: securityContext.sysctls },
      dnsPolicy,
      dnsConfig: dnsConfigIn(spec, namespace),
      initContainers: [containerOf(spec, image)],
      volumes: [...volumes, tokenVolume],
    },
  }
  const whole = path.reduceRight<object>((inner, step) => ({ [step]: inner }), template)
  io.stdout.write(`${JSON.stringify(whole)}\n`)
  const binding = `starlane-sidecar-${namespace}-ACCOUNT --clusterrole=starlane-read --serviceaccount=${namespace}:ACCOUNT`
  io.stderr.write(`Its ServiceAccount may read what Starlane reads by: kubectl create clusterrolebinding ${binding}\n`)
  return 0
}

async function readSidecar(): Promise<Sidecar> {
  return parse(await readFile(packagePath('deploy/overlays/sidecar/sidecar.yaml'), 'utf8'))
}

function dnsConfigIn({ dnsConfig }: Sidecar['spec']['template']['spec'], namespace: string): object {
  return {
    ...dnsConfig,
    searches: dnsConfig.searches.map(each => each.replace(/^starlane\.svc\./, `${namespace}.svc.`)),
  }
}

function containerOf({ initContainers: [container] }: Sidecar['spec']['template']['spec'], image: string): Named {
  return { ...container, image, volumeMounts: [...container.volumeMounts, tokenMount] } as Named
}

async function injectFile(io: Io, file: string, options: Options): Promise<number> {
  const given = parseAllDocuments(file === '-' ? await textOf(process.stdin) : await readNamedFile(file))
  const documents = [...given].filter(({ contents }) => contents !== null)
  for (const { errors } of documents) {
    if (errors[0]) throw new MeshError('USAGE', `${file} is not YAML: ${errors[0].message}`)
  }
  const sidecar = await readSidecar()
  const bindings = new Map<string, Manifest>()
  for (const document of documents) {
    for (const object of objectsIn(document)) {
      const path = templatePaths[String(object.get('kind'))]
      if (!path) continue
      const binding = injectInto(document, object, path, sidecar, options)
      bindings.set(`${binding.kind}/${binding.metadata.name}`, binding)
    }
  }
  if (bindings.size === 0)
    throw new MeshError('USAGE', `${file} has no workload: ${Object.keys(templatePaths).join(', ')}`)
  for (const object of documents.flatMap(objectsIn)) bindings.delete(keyOf(object))
  const texts = documents.map(document => document.toString({ lineWidth: 0, directives: false }))
  const added = [...bindings.values()].map(binding => stringify(binding))
  io.stdout.write([...texts, ...added].join('---\n'))
  return 0
}

/** Where the Pod is in each kind. */
const templatePaths: Readonly<Record<string, readonly string[]>> = {
  Deployment: ['spec', 'template'],
  StatefulSet: ['spec', 'template'],
  DaemonSet: ['spec', 'template'],
  ReplicaSet: ['spec', 'template'],
  Job: ['spec', 'template'],
  CronJob: ['spec', 'jobTemplate', 'spec', 'template'],
  Pod: [],
}

/** The object of a document, or those of a list. */
function objectsIn({ contents }: Document): YAMLMap[] {
  if (!isMap(contents)) return []
  const items = contents.get('items')
  const isList = String(contents.get('kind')).endsWith('List') && items instanceof YAMLSeq
  return isList ? items.items.filter((item): item is YAMLMap => isMap(item)) : [contents as YAMLMap]
}

function keyOf(object: YAMLMap): string {
  return `${object.get('kind')}/${object.getIn(['metadata', 'name'])}`
}

interface Named {
  readonly name: string
}

interface Sidecar {
  readonly spec: {
    readonly template: {
      readonly metadata: { readonly labels: Readonly<Record<string, string>> }
      readonly spec: {
        readonly securityContext: { readonly sysctls: readonly Named[] }
        readonly dnsPolicy: string
        readonly dnsConfig: { readonly searches: readonly string[] }
        readonly initContainers: readonly [Named & { readonly volumeMounts: readonly Named[] }]
        readonly volumes: readonly Named[]
      }
    }
  }
}

/** Changes the Pod template, and returns the right that its ServiceAccount needs. */
function injectInto(
  document: Document,
  object: YAMLMap,
  path: readonly string[],
  sidecar: Sidecar,
  { file, image, namespace: fallback }: Options,
): Manifest {
  const { metadata, spec } = sidecar.spec.template
  const pod = [...path, 'spec']
  if (object.getIn([...pod, 'hostNetwork']) === true) {
    const why = 'its Pods have the network of the node, where two sidecars cannot share ports; use the node agent'
    throw new MeshError('USAGE', `${file}: ${keyOf(object)}: ${why}`)
  }
  const namespace = String(object.getIn(['metadata', 'namespace']) ?? fallback)
  const set = (at: readonly string[], value: unknown) => object.setIn(at, document.createNode(value))
  for (const [label, value] of Object.entries(metadata.labels)) set([...path, 'metadata', 'labels', label], value)
  set([...pod, 'dnsPolicy'], spec.dnsPolicy)
  set([...pod, 'dnsConfig'], dnsConfigIn(spec, namespace))
  const put = (at: readonly string[], items: readonly Named[], isFirst = false) => {
    const kept = ((object.getIn(at) as YAMLSeq | undefined)?.toJSON() ?? []) as Named[]
    const others = kept.filter(({ name }) => !items.some(item => item.name === name))
    set(at, isFirst ? [...items, ...others] : [...others, ...items])
  }
  put([...pod, 'securityContext', 'sysctls'], spec.securityContext.sysctls)
  // First, so that the other init containers have its DNS.
  put([...pod, 'initContainers'], [containerOf(spec, image)], true)
  put([...pod, 'volumes'], [...spec.volumes, tokenVolume])
  return bindingOf(namespace, String(object.getIn([...pod, 'serviceAccountName']) ?? 'default'))
}

/** Where a client in a cluster looks for its token; no other container mounts the volume. */
const tokenMount = {
  name: 'starlane-token',
  mountPath: '/var/run/secrets/kubernetes.io/serviceaccount',
  readOnly: true,
}

/** As Kubernetes makes it for a ServiceAccount; the kubelet renews the token. */
const tokenVolume = {
  name: 'starlane-token',
  projected: {
    sources: [
      { serviceAccountToken: { path: 'token', expirationSeconds: 3600 } },
      { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
      { downwardAPI: { items: [{ path: 'namespace', fieldRef: { fieldPath: 'metadata.namespace' } }] } },
    ],
  },
}

function bindingOf(namespace: string, account: string): Manifest {
  const group = 'rbac.authorization.k8s.io'
  return {
    apiVersion: `${group}/v1`,
    kind: 'ClusterRoleBinding',
    metadata: { name: `starlane-sidecar-${namespace}-${account}` },
    roleRef: { apiGroup: group, kind: 'ClusterRole', name: 'starlane-read' },
    subjects: [{ kind: 'ServiceAccount', name: account, namespace }],
  }
}
