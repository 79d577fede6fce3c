/**
 * Users and roles of an etcd that carries a mesh, with no more rights than each needs. A user is the name in a client
 * certificate. Cilium lets every reader see all of `cilium/state/`; here a reader sees the cluster it is told of, or only the
 * view of it that one tenant has (`publish.tenants`), key by key.
 */

import { viewName, viewsOf } from '../../model/cluster.ts'
import { canaryPrefix, clusterConfigKey, heartbeatKey, lockKey, prefixOf, resources } from '../clustermesh.ts'
import { type EtcdClient, EtcdError } from './client.ts'
import type { Shape, Values } from './protobuf.ts'
import { auth, type Method, rangeEndOf } from './rpc.ts'

/** One key, or with `rangeEnd` all from the one up to the other. */
interface Right {
  readonly key: string
  readonly rangeEnd: string
  readonly write: boolean
}

/** May read this cluster, or of it only what a tenant may, and nothing else of the store. */
export async function admitReader(client: EtcdClient, user: string, cluster: string, tenant?: string): Promise<void> {
  const seen = tenant === undefined ? clusterRights(cluster, false) : viewRights(viewName(cluster, tenant))
  await admit(client, user, [under(heartbeatKey), ...seen])
}

/** May read what the cache holds of all clusters: the agents of this one (Cilium 2.8, `local-`). */
export async function admitLocalReader(client: EtcdClient, user: string): Promise<void> {
  await admit(client, user, [under(heartbeatKey), ...cacheRights(false)])
}

/** May publish one cluster and the views of it, and read nothing of the others; with `cache` it may also copy them. */
export async function admitPublisher(client: EtcdClient, user: string, cluster: string, cache: boolean): Promise<void> {
  const own = [under(heartbeatKey, true), one(lockKey(cluster), true), ...clusterRights(cluster, true)]
  await admit(client, user, [...own, ...(cache ? cacheRights(true) : viewsRights(cluster))])
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

/** The user and the role of its name are gone. etcd asks for rights when a watch begins: one that has begun goes on. */
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

/** All views of a cluster, by what their names begin with. */
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

/** The role gets what it lacks and loses what it must not have; whoever is connected notices nothing of what stays. */
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

/** As etcd numbers kinds of permission. */
const readOnly = 0
const readWrite = 2

function textOf({ key, rangeEnd, write }: Right): string {
  return JSON.stringify([key, rangeEnd, write])
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
