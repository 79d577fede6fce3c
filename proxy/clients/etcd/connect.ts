/** Connects to one of several etcd servers. Readers share the connection to a server. */
import { MeshError, messageOf } from '../../model/error.ts'
import type { Clock, Random } from '../../model/time/clock.ts'
import { EtcdClient, type EtcdReader } from './client.ts'
import { type Access, accessTo, type EtcdServers, identityOf, type Server, serversOf } from './server.ts'
import { SharedClient } from './shared-client.ts'

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
export function connectEtcd(servers: EtcdServers, options: ConnectOptions): Promise<EtcdClient> {
  return firstOf(servers, options, access => EtcdClient.connect(access, options))
}

/**
 * Connections of the readers of a process. Those of one server with the same certificates share one: a KVStoreMesh cache holds
 * all clusters of a mesh, and a connection for each would be 255 for this process, all read in one round of the event loop.
 */
export class SharedConnections {
  readonly #clients = new Map<string, SharedClient>()

  /** As {@link connectEtcd}; all readers give the same probe. */
  read(servers: EtcdServers, options: ConnectOptions): Promise<EtcdReader> {
    return firstOf(servers, options, access => this.#shared(access, options).reader(options.signal))
  }

  #shared(access: Access, { probe, clock }: ConnectOptions): SharedClient {
    const identity = identityOf(access)
    const known = this.#clients.get(identity)
    if (known) return known
    const made: SharedClient = new SharedClient(
      signal => EtcdClient.connect(access, { probe, clock, signal }),
      () => this.#clients.get(identity) === made && this.#clients.delete(identity),
    )
    this.#clients.set(identity, made)
    return made
  }
}

async function firstOf<T>(
  servers: EtcdServers,
  { random, signal, clock }: ConnectOptions,
  connect: (access: Access) => Promise<T>,
): Promise<T> {
  const failures: string[] = []
  for (const server of shuffled(serversOf(servers), random)) {
    if (signal?.aborted) break
    try {
      const access = await accessTo(server, servers, clock.wall())
      signal?.throwIfAborted()
      return await connect(access)
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
