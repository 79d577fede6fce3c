/** What the commands of `starlane mesh` do with an etcd; each opens a connection of its own and ends it. */
import { type Clock, type Random, systemClock } from '../model/clock.ts'
import { heartbeatKey } from '../model/clustermesh.ts'
import type { EtcdClient } from '../sources/etcd/client.ts'
import { connectEtcd } from '../sources/etcd/connect.ts'
import { admitPublisher, admitReader, enableRights } from '../sources/etcd/rights.ts'
import type { EtcdServers } from '../sources/etcd/server.ts'

export { diagnose, type Finding } from '../sources/etcd/diagnose.ts'
export type { EtcdServers } from '../sources/etcd/server.ts'

export interface MeshRights {
  /** The user of the connection, who may everything afterwards too. */
  readonly admin: string
  readonly cluster: string
  readonly publisher: string
  /** Users that may read the cluster. */
  readonly readers: readonly string[]
}

const parts: { readonly clock: Clock; readonly random: Random } = { clock: systemClock, random: Math.random }

/** Users, roles and rights of one cluster's etcd; may be done again at any time. */
export async function grantRights(servers: EtcdServers, rights: MeshRights): Promise<void> {
  const client: EtcdClient = await connectEtcd(servers, { ...parts, probe: heartbeatKey })
  try {
    await admitPublisher(client, rights.publisher, rights.cluster)
    for (const reader of rights.readers) await admitReader(client, reader, [rights.cluster])
    await enableRights(client, rights.admin)
  } finally {
    client.close()
  }
}
