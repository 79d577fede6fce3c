import type { Clock, Random } from '../../model/clock.ts'
import { heartbeatKey, prefixOf } from '../../model/clustermesh.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import type { Sink, Source } from '../source.ts'
import { Catalog, readServices, readSlices } from './catalog.ts'
import { readClientFile } from './client-file.ts'
import { connectEtcd } from './connect.ts'
import type { ClusterConfig } from './decode-cilium.ts'
import { watchFile } from './file-watch.ts'
import type { MirrorListener } from './mirror.ts'
import type { EtcdServers } from './server.ts'
import { type Beat, Session } from './session.ts'

/** The servers and PEM files by hand, or Cilium's own client file, which is watched. */
export type EtcdSourceOptions = (EtcdServers | { readonly config: string }) & {
  /** The name of the cluster to read, as it calls itself. */
  readonly cluster: string
  /** Its number; another one that it says of itself is refused. Left out, any is taken. */
  readonly id?: number
  /**
   * Which records are read where a cluster writes both. `services` as Cilium 1.20 does; `slices` tell endpoints that
   * terminate from those that are ready.
   */
  readonly prefer?: 'services' | 'slices'
}

export interface EtcdSourceParts {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

const firstRetryMs = 1000
const longestRetryMs = 30_000

/**
 * One cluster of a Cilium ClusterMesh, read from its etcd or from a KVStoreMesh cache (Cilium 2.7). What it last said stays
 * until a complete new picture is there.
 */
export function createEtcdSource(options: EtcdSourceOptions, parts: EtcdSourceParts): Source {
  return new EtcdSource(options, parts)
}

class EtcdSource implements Source {
  #options: EtcdSourceOptions
  #parts: EtcdSourceParts
  #sink: Sink | undefined
  #closing = new AbortController()
  #session: Session | undefined
  #connecting: Promise<void> = Promise.resolve()
  #catalog: { readonly kind: string; readonly listener: MirrorListener } | undefined
  #stale: Beat | undefined
  #loss: string | undefined
  #failures = 0
  #stopRetry: () => void = () => {}
  #stopFileWatch: () => void = () => {}

  constructor(options: EtcdSourceOptions, parts: EtcdSourceParts) {
    this.#options = options
    this.#parts = parts
  }

  start(sink: Sink): void {
    this.#sink = sink
    const { clock } = this.#parts
    if ('config' in this.#options) this.#stopFileWatch = watchFile(this.#options.config, clock, () => this.#startOver())
    this.#connect()
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#stopFileWatch()
    this.#stopRetry()
    this.#session?.close()
    await this.#connecting
  }

  #connect(): void {
    const attempt = async (): Promise<void> => {
      try {
        const servers = 'config' in this.#options ? await readClientFile(this.#options.config) : this.#options
        const { signal } = this.#closing
        const client = await connectEtcd(servers, { ...this.#parts, probe: heartbeatKey, signal })
        if (signal.aborted) return client.close()
        this.#parts.log.debug('etcd.connected', { cluster: this.#options.cluster, server: client.server.url })
        this.#session = new Session(client, {
          ...this.#parts,
          cluster: this.#options.cluster,
          stale: this.#stale,
          open: config => this.#open(config),
          waits: error => this.#lost(error),
          ended: (error, stale) => this.#ended(error, stale),
        })
      } catch (error) {
        this.#ended(error instanceof MeshError ? error : new MeshError('SOURCE_READ', messageOf(error)), undefined)
      }
    }
    this.#connecting = attempt()
  }

  /** The client file has another text: nothing of the old connection counts any more. */
  #startOver(): void {
    this.#parts.log.info('etcd.reconfigured', { cluster: this.#options.cluster })
    this.#session?.close()
    this.#stopRetry()
    void this.#connecting.then(() => {
      this.#session?.close()
      this.#stopRetry()
      if (!this.#closing.signal.aborted) this.#connect()
    })
  }

  #open(config: ClusterConfig): { resource: 'services' | 'endpointslices'; listener: MirrorListener } {
    const { cluster, id = config.id, prefer = 'services' } = this.#options
    if (config.id !== id) {
      throw new MeshError(
        'SOURCE_READ',
        `${cluster} says its id is ${config.id}, configured is ${id}; give it the same`,
      )
    }
    const { slicesMode, cached } = config
    const slices = slicesMode === 'endpointslices-only' || (slicesMode !== '' && prefer === 'slices')
    const resource = slices ? 'endpointslices' : 'services'
    const prefix = prefixOf(resource, cluster, cached)
    // What was read from elsewhere, or under another id, is no help in reading this.
    const kind = `${prefix} ${config.id}`
    if (this.#catalog?.kind !== kind) this.#catalog = { kind, listener: this.#newCatalog(prefix, slices, config.id) }
    return { resource, listener: this.#telling(this.#catalog.listener) }
  }

  #newCatalog(prefix: string, slices: boolean, clusterId: number): MirrorListener {
    const owner = { cluster: this.#options.cluster, clusterId }
    const sink = this.#sink as Sink
    return slices ? new Catalog(prefix, readSlices(owner), sink) : new Catalog(prefix, readServices(owner), sink)
  }

  /** A complete list ends a loss. */
  #telling(catalog: MirrorListener): MirrorListener {
    return {
      changed: events => catalog.changed(events),
      arrived: entries => catalog.arrived?.(entries),
      listed: entries => {
        this.#failures = 0
        this.#loss = undefined
        this.#stale = undefined
        catalog.listed(entries)
        this.#parts.log.debug('etcd.synced', { cluster: this.#options.cluster, keys: entries.length })
      },
    }
  }

  #ended(error: MeshError, stale: Beat | undefined): void {
    if (this.#closing.signal.aborted) return
    this.#session = undefined
    this.#stale = stale ?? this.#stale
    this.#lost(error)
    const { clock, random } = this.#parts
    const longest = Math.min(longestRetryMs, firstRetryMs * 2 ** this.#failures++)
    this.#stopRetry = clock.after(longest * (0.5 + random() / 2), () => this.#connect())
  }

  #lost(error: MeshError): void {
    if (this.#closing.signal.aborted || this.#loss === error.message) return
    this.#loss = error.message
    this.#sink?.lost(error)
  }
}
