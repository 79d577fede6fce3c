/**
 * Users and roles of an etcd that carries a mesh, with no more rights than each needs. A user is the name in a client
 * certificate. Cilium lets every reader see all of `cilium/state/`; here a reader sees the clusters it is told of, key by key.
 */
import { canaryPrefix, clusterConfigKey, heartbeatKey, prefixOf, type Resource } from '../../model/clustermesh.ts'
import type { Shape, Values } from '../../model/protobuf.ts'
import { type EtcdClient, EtcdError } from './client.ts'
import { auth, type Method, rangeEndOf } from './rpc.ts'

/** Everything under a prefix when it ends in a slash, else one key. */
interface Right {
  readonly key: string
  readonly write: boolean
}

const resources: readonly Resource[] = ['nodes', 'identities', 'ip', 'services', 'endpointslices', 'serviceexports']

/** May read these clusters, and nothing else of the store. */
export async function admitReader(client: EtcdClient, user: string, clusters: readonly string[]): Promise<void> {
  await admit(client, user, [{ key: heartbeatKey, write: false }, ...clusters.flatMap(name => rightsTo(name, false))])
}

/** May publish one cluster, and read nothing of the others. */
export async function admitPublisher(client: EtcdClient, user: string, cluster: string): Promise<void> {
  const lock = { key: `cilium/.publisher/${cluster}`, write: true }
  await admit(client, user, [{ key: heartbeatKey, write: true }, lock, ...rightsTo(cluster, true)])
}

/** From now on certificates decide. `root` is the one user who may everything; etcd asks for it. */
export async function enableRights(client: EtcdClient, root: string): Promise<void> {
  for (const user of new Set(['root', root])) {
    await once(client, auth.userAdd, { name: user, options: { noPassword: true } })
    await once(client, auth.roleAdd, { name: 'root' })
    await once(client, auth.grantRole, { user, role: 'root' })
  }
  await client.call(auth.enable, {})
}

/** The user and the role of its name are gone, and with them all connections' rights. */
export async function dismiss(client: EtcdClient, user: string): Promise<void> {
  await once(client, auth.userDelete, { name: user })
  await once(client, auth.roleDelete, { role: user })
}

function rightsTo(cluster: string, write: boolean): Right[] {
  return [
    { key: clusterConfigKey(cluster), write },
    { key: canaryPrefix(cluster), write },
    ...resources.map(resource => ({ key: prefixOf(resource, cluster), write })),
  ]
}

/** The role is made anew, so that rights of before do not stay. */
async function admit(client: EtcdClient, user: string, rights: readonly Right[]): Promise<void> {
  await dismiss(client, user)
  await client.call(auth.roleAdd, { name: user })
  for (const { key, write } of rights) {
    const rangeEnd = key.endsWith('/') ? rangeEndOf(key) : ''
    await client.call(auth.grantPermission, { name: user, permission: { type: write ? 2 : 0, key, rangeEnd } })
  }
  await client.call(auth.userAdd, { name: user, options: { noPassword: true } })
  await client.call(auth.grantRole, { user, role: user })
}

/** What is there already, or gone already, is as good as done. */
async function once<Q extends Shape, A extends Shape>(
  client: EtcdClient,
  method: Method<Q, A>,
  request: Partial<Values<Q>>,
): Promise<void> {
  try {
    await client.call(method, request)
  } catch (error) {
    const isDone = error instanceof EtcdError && /already (exists|granted)|not found|is already/.test(error.message)
    if (!isDone) throw error
  }
}
