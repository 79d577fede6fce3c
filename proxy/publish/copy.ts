import type { Resource } from '../clients/clustermesh.ts'
import { MeshError, type Problem } from '../model/error.ts'
import { durationText } from '../model/text/duration.ts'
import { tame } from '../model/text/spelling.ts'
import { Volume } from './cluster-keys.ts'
import { maxValueBytes } from './export.ts'

/** A record by its key behind the prefix of its resource. */
export type Copied = readonly [suffix: string, value: Uint8Array]

/** What a cluster goes through while it is copied. */
export type CopyState = 'syncing' | 'live' | 'lost' | 'drained' | 'leaving'

/** What is given up when a cluster stays away; nodes, identities and addresses stay (Cilium 2.6). */
const perishable: readonly Resource[] = ['services', 'endpointslices', 'serviceexports']

const maxProblems = 20

/** Another cluster, byte for byte, for the readers of this cluster's store: what KVStoreMesh does (Cilium 2.6). */
export class Copy {
  readonly volume: Volume
  #changed: () => void
  #id: number | undefined
  #state: CopyState = 'syncing'
  #error: MeshError | undefined
  #tooLarge = new Map<string, number>()

  /** `changed` is told when there may be something to write. */
  constructor(cluster: string, changed: () => void) {
    this.volume = new Volume(cluster, 'copy')
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

  /** How the cluster describes itself, before anything else of it. Another id makes it another cluster. */
  described(id: number, config: Uint8Array): void {
    if (this.#id !== undefined && this.#id !== id) this.volume.clear()
    this.#id = id
    this.volume.describe(cachedConfig(config))
    this.#changed()
  }

  /** All there is of a resource. */
  listed(resource: Resource, records: readonly Copied[]): void {
    const ledger = this.volume.ledger(resource)
    const prefix = this.volume.prefix(resource)
    const gone = new Set(ledger.keys())
    for (const [suffix, value] of records) {
      gone.delete(prefix + suffix)
      this.#want(resource, suffix, value)
    }
    for (const key of gone) this.#unwant(resource, key)
    ledger.complete()
    this.#changed()
  }

  changed(resource: Resource, suffix: string, value: Uint8Array | undefined): void {
    if (value) this.#want(resource, suffix, value)
    else this.#unwant(resource, this.volume.prefix(resource) + suffix)
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

  /** Nobody has heard of it for too long. */
  drain(afterMs: number): void {
    this.#state = 'drained'
    this.#error = new MeshError('PUBLISH', `silent for ${durationText(afterMs)}: its services are given up`, {
      cause: this.#error,
    })
    for (const resource of perishable) this.volume.ledger(resource).drain()
    this.#changed()
  }

  /** It is configured again, before or after all of it has gone. */
  join(): void {
    if (this.#state === 'leaving') this.#state = 'syncing'
  }

  /** It is not configured any more: whoever reads it may go on for a while, nobody new begins. */
  leave(): void {
    this.#state = 'leaving'
    this.volume.conceal()
    this.#changed()
  }

  clear(): void {
    this.volume.clear()
    this.#changed()
  }

  #want(resource: Resource, suffix: string, value: Uint8Array): void {
    const key = this.volume.prefix(resource) + suffix
    this.#tooLarge.delete(key)
    if (value.length > maxValueBytes) {
      this.#unwant(resource, key)
      this.#tooLarge.set(key, value.length)
    } else {
      // A value is a piece of a whole page, which would stay for the sake of it.
      this.volume.ledger(resource).want(key, Uint8Array.from(value))
    }
  }

  #unwant(resource: Resource, key: string): void {
    this.#tooLarge.delete(key)
    this.volume.ledger(resource).unwant(key)
  }
}

/** The description of a cluster, but for where its records stand and that they have canaries; what else it says is kept. */
export function cachedConfig(value: Uint8Array): Buffer {
  const config = JSON.parse(Buffer.from(value).toString('utf8'))
  const capabilities = { ...config.capabilities, syncedCanaries: true, cached: true }
  return Buffer.from(JSON.stringify({ ...config, capabilities }))
}
