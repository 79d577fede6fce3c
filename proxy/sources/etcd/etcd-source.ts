import { prefixOf } from '../../clients/clustermesh.ts'
import { type EtcdPlace, Follower, type FollowerParts } from '../../clients/etcd/follower.ts'
import type { Described, Reading } from '../../clients/etcd/session.ts'
import { MeshError } from '../../model/error.ts'
import type { Facts, Sink, Source } from '../source.ts'
import { Composition } from './composition.ts'

export type EtcdSourceOptions = EtcdPlace & {
  /** The name of the cluster to read, as it calls itself. */
  readonly cluster: string
  /** Its number; another one that it says of itself is refused. Left out, any is taken. */
  readonly id?: number | undefined
  /**
   * Which records are read where a cluster writes both. `services` as Cilium 1.20 does; `slices` tell endpoints that
   * terminate from those that are ready.
   */
  readonly prefer?: 'services' | 'slices'
  /** Throws when the number that the cluster says of itself must not be taken: another cluster has it. */
  readonly admit?: (id: number) => void
}

/**
 * One cluster of a Cilium ClusterMesh, read from its etcd or from a KVStoreMesh cache (Cilium 2.7). What it last said stays
 * until a complete new picture is there.
 */
export function createEtcdSource(options: EtcdSourceOptions, parts: FollowerParts): Source {
  return new EtcdSource(options, parts)
}

class EtcdSource implements Source {
  #options: EtcdSourceOptions
  #follower: Follower
  #sink: Sink | undefined
  #composed: { readonly kind: string; readonly composition: Composition } | undefined
  #id: number | undefined

  constructor(options: EtcdSourceOptions, parts: FollowerParts) {
    this.#options = options
    this.#follower = new Follower(options.cluster, options, parts, {
      open: described => this.#open(described),
      lost: error => this.#sink?.lost(error),
    })
  }

  start(sink: Sink): void {
    this.#sink = sink
    this.#follower.start()
  }

  close(): Promise<void> {
    return this.#follower.close()
  }

  facts(): Facts {
    return { ...(this.#id === undefined ? {} : { id: this.#id }), ...this.#composed?.composition.extent }
  }

  #open({ config }: Described): readonly [Reading, ...Reading[]] {
    const { cluster, id = config.id, prefer = 'services', admit } = this.#options
    if (config.id !== id) {
      throw new MeshError(
        'SOURCE_READ',
        `${cluster} says its id is ${config.id}, configured is ${id}; give it the same`,
      )
    }
    admit?.(config.id)
    this.#id = config.id
    const { slicesMode, cached } = config
    const slices = slicesMode === 'endpointslices-only' || (slicesMode !== '' && prefer === 'slices')
    // What was read from elsewhere, or under another id, is no help in reading this.
    const kind = `${prefixOf(slices ? 'endpointslices' : 'services', cluster, cached)} ${config.id} ${config.serviceExports}`
    if (this.#composed?.kind !== kind) {
      const owner = { cluster, clusterId: config.id }
      const composition = new Composition({ owner, config, slices, sink: this.#sink as Sink })
      this.#composed = { kind, composition }
    }
    return this.#composed.composition.readings
  }
}
