/**
 * Users and roles with least privilege for the etcd of a mesh. A user is the common name of a client certificate. In Cilium
 * every reader may read all of `cilium/state/`; here a reader may read one cluster, or one tenant's view of it
 * (`publish.tenants`).
 */

import { viewName, viewsOf } from '../../model/cluster.ts'
import { canaryPrefix, clusterConfigKey, heartbeatKey, lockKey, prefixOf, resources } from '../clustermesh.ts'
import { type EtcdClient, EtcdError } from './client.ts'
import type { Shape, Values } from './protobuf.ts'
import { auth, type Method, rangeEndOf } from './rpc.ts'

/** One key, or with `rangeEnd` the keys from `key` up to `rangeEnd`. */
interface Right {
  readonly key: string
  readonly rangeEnd: string
  readonly write: boolean
}

/** Grants a user read access to one cluster, or to one tenant's view of it, and to nothing else. */
export async function admitReader(client: EtcdClient, user: string, cluster: string, tenant?: string): Promise<void> {
  const seen = tenant === undefined ? clusterRights(cluster, false) : viewRights(viewName(cluster, tenant))
  await admit(client, user, [under(heartbeatKey), ...seen])
}

/** Grants the agents of the local cluster read access to the cached copies of all clusters (Cilium 2.8, `local-`). */
export async function admitLocalReader(client: EtcdClient, user: string): Promise<void> {
  await admit(client, user, [under(heartbeatKey), ...cacheRights(false)])
}

/** Grants a user write access to one cluster and its views; with `cache`, also to the copies of the others. */
export async function admitPublisher(client: EtcdClient, user: string, cluster: string, cache: boolean): Promise<void> {
  const own = [under(heartbeatKey, true), one(lockKey(cluster), true), ...clusterRights(cluster, true)]
  await admit(client, user, [...own, ...(cache ? cacheRights(true) : viewsRights(cluster))])
}

/** Enables authentication by client certificate. etcd requires a user `root` with all permissions. */
export async function enableRights(client: EtcdClient, root: string): Promise<void> {
  for (const user of new Set(['root', root])) {
    await once(client, auth.userAdd, { name: user, options: { noPassword: true } })
    await once(client, auth.roleAdd, { name: 'root' })
    await once(client, auth.grantRole, { user, role: 'root' })
  }
  await client.call(auth.enable, {})
}

/** Deletes a user and its role. etcd checks permissions when a watch starts: a running watch continues. */
export async function dismiss(client: EtcdClient, user: string): Promise<void> {
  await once(client, auth.userDelete, { name: user })
  await once(client, auth.roleDelete, { role: user })
}

function clusterRights(cluster: string, write: boolean): Right[] {
  return [
    one(clusterConfigKey(cluster), write),
    under(canaryPrefix(cluster), write),
    ...resources.map(resource => under(prefixOf(resource, cluster), write)),
  ]
}

function viewRights(view: string): Right[] {
  return [
    one(clusterConfigKey(view)),
    under(canaryPrefix(view)),
    ...resources.map(resource => under(`cilium/cache/${resource}/v1/${view}/`)),
  ]
}

/** All views of a cluster, by the prefix of their names. */
function viewsRights(cluster: string): Right[] {
  const begin = viewsOf(cluster)
  const prefixes = ['cilium/cluster-config/', 'cilium/synced/', ...resources.map(each => `cilium/cache/${each}/v1/`)]
  return prefixes.map(prefix => under(prefix + begin, true))
}

function cacheRights(write: boolean): Right[] {
  return ['cilium/cluster-config/', 'cilium/synced/', 'cilium/cache/'].map(prefix => under(prefix, write))
}

function one(key: string, write = false): Right {
  return { key, rangeEnd: '', write }
}

function under(prefix: string, write = false): Right {
  return { key: prefix, rangeEnd: rangeEndOf(prefix), write }
}

/** Adds missing permissions and revokes others. Permissions that stay are not touched, so connections are not disturbed. */
async function admit(client: EtcdClient, user: string, rights: readonly Right[]): Promise<void> {
  await once(client, auth.roleAdd, { name: user })
  const { permissions } = await client.call(auth.roleGet, { role: user })
  const wanted = new Map(rights.map(right => [textOf(right), right]))
  for (const { type, key, rangeEnd } of permissions) {
    const known = textOf({ key, rangeEnd, write: type === readWrite })
    if (wanted.delete(known)) continue
    await client.call(auth.revokePermission, { role: user, key, rangeEnd })
  }
  for (const { key, rangeEnd, write } of wanted.values()) {
    await client.call(auth.grantPermission, {
      name: user,
      permission: { type: write ? readWrite : readOnly, key, rangeEnd },
    })
  }
  await once(client, auth.userAdd, { name: user, options: { noPassword: true } })
  await once(client, auth.grantRole, { user, role: user })
}

/** etcd's permission types. */
const readOnly = 0
const readWrite = 2

function textOf({ key, rangeEnd, write }: Right): string {
  return JSON.stringify([key, rangeEnd, write])
}

/** Ignores the error when the user, role or permission already exists, or is already gone. */
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
