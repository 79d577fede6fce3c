/** What the commands of `starlane mesh` do with an etcd; each opens a connection of its own and ends it. */

import { heartbeatKey } from '../clients/clustermesh.ts'
import type { EtcdClient } from '../clients/etcd/client.ts'
import { connectEtcd } from '../clients/etcd/connect.ts'
import { admitLocalReader, admitPublisher, admitReader, dismiss, enableRights } from '../clients/etcd/rights.ts'
import type { EtcdServers } from '../clients/etcd/server.ts'
import { type Clock, type Random, systemClock } from '../model/time/clock.ts'

export { diagnose, type Finding } from '../clients/etcd/diagnose.ts'
export type { EtcdServers } from '../clients/etcd/server.ts'

export interface MeshRights {
  /** The user of the connection, who may everything afterwards too. */
  readonly admin: string
  readonly cluster: string
  readonly publisher: string
  /** Users that may read the cluster, or what one tenant may have of it. */
  readonly readers: readonly { readonly user: string; readonly tenant?: string | undefined }[]
  /** The user that may read the cache; where there is one, the publisher may write it. */
  readonly local: string | undefined
}

const parts: { readonly clock: Clock; readonly random: Random } = { clock: systemClock, random: Math.random }

/** Users, roles and rights of one cluster's etcd; may be done again at any time, and cuts off nobody. */
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

/** A user that may nothing any more. */
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
