/** etcd administration for `starlane mesh`: each call opens a connection of its own and closes it. */

import { heartbeatKey } from '../clients/clustermesh.ts'
import type { EtcdClient } from '../clients/etcd/client.ts'
import { connectEtcd } from '../clients/etcd/connect.ts'
import { admitLocalReader, admitPublisher, admitReader, dismiss, enableRights } from '../clients/etcd/rights.ts'
import type { EtcdServers } from '../clients/etcd/server.ts'
import { type Clock, type Random, systemClock } from '../model/time/clock.ts'

export { type DiagnosisStep, diagnose } from '../clients/etcd/diagnose.ts'
export type { EtcdServers } from '../clients/etcd/server.ts'

export interface MeshRights {
  /** The user of the connection, who gets the root role. */
  readonly admin: string
  readonly cluster: string
  readonly publisher: string
  /** Users that may read the cluster, or the view of one tenant. */
  readonly readers: readonly { readonly user: string; readonly tenant?: string | undefined }[]
  /** The user that may read the cache of other clusters, if there is one; the publisher may then write it. */
  readonly local: string | undefined
}

const parts: { readonly clock: Clock; readonly random: Random } = { clock: systemClock, random: Math.random }

/** Creates the users, roles and rights of one cluster's etcd. Idempotent; existing connections keep working. */
export function grantRights(
  servers: EtcdServers,
  { admin, cluster, publisher, readers, local }: MeshRights,
): Promise<void> {
  return connected(servers, async client => {
    await admitPublisher(client, publisher, cluster, local !== undefined)
    for (const { user, tenant } of readers) await admitReader(client, user, cluster, tenant)
    if (local !== undefined) await admitLocalReader(client, local)
    await enableRights(client, admin)
  })
}

/** Revokes all rights of a user. */
export function withdrawRights(servers: EtcdServers, user: string): Promise<void> {
  return connected(servers, client => dismiss(client, user))
}

async function connected(servers: EtcdServers, work: (client: EtcdClient) => Promise<void>): Promise<void> {
  const client = await connectEtcd(servers, { ...parts, probe: heartbeatKey })
  try {
    await work(client)
  } finally {
    client.close()
  }
}
