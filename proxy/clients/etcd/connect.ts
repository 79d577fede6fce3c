/** Connects to one of several etcd servers. */
import { MeshError, messageOf } from '../../model/error.ts'
import type { Clock, Random } from '../../model/time/clock.ts'
import { EtcdClient } from './client.ts'
import { type EtcdServers, type Server, serversOf } from './server.ts'

export interface ConnectOptions {
  /** A key that the user may read. */
  readonly probe: string
  readonly clock: Clock
  readonly random: Random
  readonly signal?: AbortSignal
}

/**
 * Tries the servers in random order, which spreads many readers over the members, and returns the first connection. Rejects
 * with the errors of all servers.
 */
export async function connectEtcd(servers: EtcdServers, options: ConnectOptions): Promise<EtcdClient> {
  const failures: string[] = []
  for (const server of shuffled(serversOf(servers), options.random)) {
    if (options.signal?.aborted) break
    try {
      return await EtcdClient.connect(server, servers, options)
    } catch (error) {
      failures.push(messageOf(error))
    }
  }
  throw new MeshError('SOURCE_READ', failures.join('; ') || 'no etcd server is configured')
}

function shuffled(servers: readonly Server[], random: Random): Server[] {
  return servers
    .map(server => ({ server, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ server }) => server)
}
