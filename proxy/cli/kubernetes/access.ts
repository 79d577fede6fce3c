/** How one cluster reads another: an account of its own there, a token bound to it, and a kubeconfig with that token. */
import { parse, stringify } from 'yaml'
import { MeshError } from '../../model/error.ts'
import { namespace } from './installed.ts'
import type { Cluster, Manifest } from './kubectl.ts'

/** Labels of what `starlane mesh connect` makes for a peer. */
const managed = { 'app.kubernetes.io/managed-by': 'starlane-mesh' }

/** The ServiceAccount of a peer, and the ClusterRoleBinding, have the same name. */
export function accountOf(peer: string): string {
  return `starlane-peer-${peer}`
}

/** What a cluster has for a peer that may read it. The ClusterRole is the one of deploy/base. */
export function accessObjects(peer: string): Manifest[] {
  const name = accountOf(peer)
  const labels = { ...managed, 'starlane.dev/peer': peer }
  const group = 'rbac.authorization.k8s.io'
  return [
    {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name, namespace, labels },
      automountServiceAccountToken: false,
    },
    {
      apiVersion: `${group}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name, labels },
      roleRef: { apiGroup: group, kind: 'ClusterRole', name: 'starlane-read' },
      subjects: [{ kind: 'ServiceAccount', name, namespace }],
    },
    // So that the peer can renew its own token, and no other.
    ...roleFor(name, { kind: 'ServiceAccount', name, namespace }, labels, {
      apiGroups: [''],
      resources: ['serviceaccounts/token'],
      resourceNames: [name],
      verbs: ['create'],
    }),
  ]
}

/** What a cluster has for its own Starlane that reads others: the right to keep renewed tokens. */
export function renewalObjects(): Manifest[] {
  const subject = { kind: 'ServiceAccount', name: 'starlane', namespace }
  return roleFor('starlane-tokens', subject, managed, {
    apiGroups: [''],
    resources: ['secrets'],
    resourceNames: [secretName],
    verbs: ['get', 'update'],
  })
}

function roleFor(name: string, subject: object, labels: object, rule: object): Manifest[] {
  const group = 'rbac.authorization.k8s.io'
  const metadata = { name, namespace, labels }
  return [
    { apiVersion: `${group}/v1`, kind: 'Role', metadata, rules: [rule] },
    {
      ...{ apiVersion: `${group}/v1`, kind: 'RoleBinding', metadata },
      roleRef: { apiGroup: group, kind: 'Role', name },
      subjects: [subject],
    },
  ]
}

/** A token of the TokenRequest API. The server may give it a shorter life than asked for. */
export async function requestToken(cluster: Cluster, peer: string, seconds: number): Promise<string> {
  const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${accountOf(peer)}/token`
  const request = {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: { expirationSeconds: seconds },
  }
  const answer = JSON.parse(await cluster.run(['create', '--raw', path, '-f', '-'], JSON.stringify(request)))
  return answer.status.token
}

/** The address and certificates of a cluster, as in a kubeconfig. */
export type Server = Readonly<Record<string, unknown>> & { readonly server: string }

/** Of the context, or with another URL for those that are inside the other clusters. */
export async function serverOf(cluster: Cluster, url: string | undefined): Promise<Server> {
  const view = JSON.parse(await cluster.run(['config', 'view', '--raw', '--minify', '--flatten', '-o', 'json']))
  const found = view.clusters?.[0]?.cluster
  if (typeof found?.server !== 'string')
    throw new MeshError('USAGE', `the kubeconfig has no server for the context ${cluster.context}`)
  return url === undefined ? found : { ...found, server: url }
}

/** Whether only this machine reaches it. */
export function isOnThisMachine({ server }: Server): boolean {
  const host = URL.parse(server)?.hostname ?? ''
  return host === 'localhost' || host === '[::1]' || host.startsWith('127.')
}

export function kubeconfigOf(name: string, server: Server, token: string): string {
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': name,
    clusters: [{ name, cluster: server }],
    users: [{ name, user: { token } }],
    contexts: [{ name, context: { cluster: name, user: name } }],
  })
}

/** The token of a kubeconfig that was made here for this server; undefined for any other. */
export function tokenIn(kubeconfig: string, name: string, server: Server): string | undefined {
  const token = anyToken(kubeconfig)
  return token !== undefined && kubeconfigOf(name, server, token) === kubeconfig ? token : undefined
}

export function anyToken(kubeconfig: string): string | undefined {
  try {
    const token = parse(kubeconfig)?.users?.[0]?.user?.token
    return typeof token === 'string' ? token : undefined
  } catch {
    return undefined
  }
}

const secretName = 'starlane-clusters'

/** The Secret with a kubeconfig for each remote cluster, by name. */
export class KubeconfigSecret {
  readonly #cluster: Cluster
  #object: Manifest
  #data: Readonly<Record<string, string>>

  private constructor(cluster: Cluster, object: Manifest) {
    this.#cluster = cluster
    this.#object = object
    this.#data = (object.data as Record<string, string> | undefined) ?? {}
  }

  static async read(cluster: Cluster): Promise<KubeconfigSecret> {
    const metadata = { name: secretName, namespace, labels: managed }
    const none = { apiVersion: 'v1', kind: 'Secret', metadata, type: 'Opaque' }
    return new KubeconfigSecret(cluster, (await cluster.get('secret', secretName, namespace)) ?? none)
  }

  get(name: string): string | undefined {
    const found = this.#data[name]
    return found === undefined ? undefined : Buffer.from(found, 'base64').toString('utf8')
  }

  /** With other content; undefined removes a name. Not written yet. */
  with(changes: Readonly<Record<string, string | undefined>>): {
    readonly object: Manifest
    readonly isChanged: boolean
  } {
    const data: Record<string, string> = { ...this.#data }
    for (const [name, text] of Object.entries(changes)) {
      if (text === undefined) delete data[name]
      else data[name] = Buffer.from(text).toString('base64')
    }
    const isChanged = Object.keys(changes).some(name => data[name] !== this.#data[name])
    return { object: { ...this.#object, data }, isChanged }
  }

  /** Whether anything was written. */
  async change(changes: Readonly<Record<string, string | undefined>>): Promise<boolean> {
    const { object, isChanged } = this.with(changes)
    if (isChanged) await this.#cluster.write(object)
    return isChanged
  }
}
