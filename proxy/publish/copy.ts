/** A copy of another cluster, byte for byte, for the readers of this cluster's store: what KVStoreMesh does (Cilium 2.6). */
import type { Resource } from '../clients/clustermesh.ts'
import { MeshError, type Problem } from '../model/error.ts'
import { durationText } from '../model/text/duration.ts'
import { tame } from '../model/text/spelling.ts'
import { ClusterKeys } from './cluster-keys.ts'
import { maxValueBytes } from './export.ts'

/** A record; the suffix is its key after the prefix of its resource. */
export type CopiedRecord = readonly [suffix: string, value: Uint8Array]

/** `drained`: lost for too long, its services are removed. `leaving`: not configured any more. */
export type CopyState = 'syncing' | 'live' | 'lost' | 'drained' | 'leaving'

/** The resources removed when a cluster stays lost; nodes, identities and addresses stay (Cilium 2.6). */
const removedWhenDrained: readonly Resource[] = ['services', 'endpointslices', 'serviceexports']

const maxProblems = 20

export class Copy {
  readonly keys: ClusterKeys
  #changed: () => void
  #id: number | undefined
  #state: CopyState = 'syncing'
  #error: MeshError | undefined
  #tooLarge = new Map<string, number>()

  /** `changed` is called when there may be something to write. */
  constructor(cluster: string, changed: () => void) {
    this.keys = new ClusterKeys(cluster, 'copy')
    this.#changed = changed
  }

  get state(): CopyState {
    return this.#state
  }

  get error(): MeshError | undefined {
    return this.#error
  }

  get problems(): Problem[] {
    return [...this.#tooLarge].slice(0, maxProblems).map(([key, length]) => ({
      code: 'PUBLISH',
      where: tame(key),
      message: `has ${length} bytes and etcd takes 1.5 MiB; it is not copied`,
    }))
  }

  /** The cluster-config, which comes before all records. Another id makes it another cluster. */
  described(id: number, config: Uint8Array): void {
    if (this.#id !== undefined && this.#id !== id) this.keys.clear()
    this.#id = id
    this.keys.setConfig(cachedConfig(config))
    this.#changed()
  }

  /** The full list of a resource. */
  listed(resource: Resource, records: readonly CopiedRecord[]): void {
    const desired = this.keys.desired(resource)
    const prefix = this.keys.prefix(resource)
    const gone = new Set(desired.keys())
    for (const [suffix, value] of records) {
      gone.delete(prefix + suffix)
      this.#set(resource, suffix, value)
    }
    for (const key of gone) this.#delete(resource, key)
    desired.complete()
    this.#changed()
  }

  changed(resource: Resource, suffix: string, value: Uint8Array | undefined): void {
    if (value) this.#set(resource, suffix, value)
    else this.#delete(resource, this.keys.prefix(resource) + suffix)
    this.#changed()
  }

  live(): void {
    this.#state = 'live'
    this.#error = undefined
  }

  lost(error: MeshError): void {
    if (this.#state !== 'drained') this.#state = 'lost'
    this.#error = error
  }

  /** It has been lost for too long. */
  drain(afterMs: number): void {
    this.#state = 'drained'
    this.#error = new MeshError('PUBLISH', `lost for ${durationText(afterMs)}: its services are removed`, {
      cause: this.#error,
    })
    for (const resource of removedWhenDrained) this.keys.desired(resource).drain()
    this.#changed()
  }

  /** It is configured again, while or after it was removed. */
  join(): void {
    if (this.#state === 'leaving') this.#state = 'syncing'
  }

  /** It is not configured any more: its readers may continue for a while, new ones do not start. */
  leave(): void {
    this.#state = 'leaving'
    this.keys.withdrawConfig()
    this.#changed()
  }

  clear(): void {
    this.keys.clear()
    this.#changed()
  }

  #set(resource: Resource, suffix: string, value: Uint8Array): void {
    const key = this.keys.prefix(resource) + suffix
    this.#tooLarge.delete(key)
    if (value.length > maxValueBytes) {
      this.#delete(resource, key)
      this.#tooLarge.set(key, value.length)
    } else {
      // Copied, since the value is a slice of a whole page that would be kept in memory.
      this.keys.desired(resource).set(key, Uint8Array.from(value))
    }
  }

  #delete(resource: Resource, key: string): void {
    this.#tooLarge.delete(key)
    this.keys.desired(resource).delete(key)
  }
}

/** The cluster-config for a copy: the records are in the cache layout and have canaries; everything else is kept. */
export function cachedConfig(value: Uint8Array): Buffer {
  const config = JSON.parse(Buffer.from(value).toString('utf8'))
  const capabilities = { ...config.capabilities, syncedCanaries: true, cached: true }
  return Buffer.from(JSON.stringify({ ...config, capabilities }))
}
