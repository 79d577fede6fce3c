/** Writes statuses and Events, which belong to objects of others. */
import { ApiError } from '../clients/kubernetes/api-error.ts'
import type { KubernetesClient } from '../clients/kubernetes/client.ts'
import type { Resource } from '../clients/kubernetes/resources.ts'
import type { MeshError } from '../model/error.ts'
import type { Log } from '../model/log.ts'
import type { Json } from '../model/text/json.ts'
import { Backoff } from '../model/time/backoff.ts'
import type { Clock, Random } from '../model/time/clock.ts'
import { sleep } from '../model/time/sleep.ts'
import { digestOf } from './manifest.ts'
import { applyObject, idleMs, pathOf, writeError } from './owned-objects.ts'

export interface StatusWriterOptions {
  readonly client: KubernetesClient
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly cluster: string
  readonly leads: () => boolean
}

/** A value to write once at a path, whatever is there. */
export interface PendingWrite {
  readonly resource: Resource
  readonly namespace: string
  readonly name: string
  /** `/status`, or empty. */
  readonly subresource: string
  readonly value: Json
  /** The value without times: if this has not changed, it is not written again. */
  readonly content: Json
}

const maxPending = 10_000
const retryMissingMs = 5_000

/** Keeps a hash of what was written last, and does not read it back. */
export class StatusWriter {
  readonly #options: StatusWriterOptions
  readonly #pending = new Map<string, PendingWrite>()
  readonly #missing = new Map<string, PendingWrite>()
  readonly #written = new Map<string, string>()
  readonly #backoff: Backoff
  #failure: MeshError | undefined
  #wake: () => void = () => {}

  constructor(options: StatusWriterOptions) {
    this.#options = options
    this.#backoff = new Backoff(options.random)
  }

  /** Undefined also when nothing is pending, even if the last attempt failed. */
  get failure(): MeshError | undefined {
    return this.#pending.size > 0 ? this.#failure : undefined
  }

  write(write: PendingWrite): void {
    const key = keyOf(write)
    const digest = digestOf(write.content)
    const pending = this.#pending.get(key)
    // Pending already, perhaps in flight.
    if (pending && digestOf(pending.content) === digest) return
    if (this.#written.get(key) === digest) {
      this.#pending.delete(key)
      return
    }
    if (this.#pending.size + this.#missing.size >= maxPending && !this.#pending.has(key)) return
    this.#missing.delete(key)
    this.#pending.set(key, write)
    this.#wake()
  }

  /** The object has this content already. */
  markWritten({ content, ...place }: PendingWrite): void {
    const key = keyOf(place)
    this.#pending.delete(key)
    this.#missing.delete(key)
    this.#written.set(key, digestOf(content))
  }

  /** The object is gone, or needs no status any more. */
  forget(resource: Resource, namespace: string, name: string, subresource: string): void {
    const key = keyOf({ resource, namespace, name, subresource })
    this.#pending.delete(key)
    this.#missing.delete(key)
    this.#written.delete(key)
  }

  /** Leadership has changed. */
  resume(): void {
    this.#wake()
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, leads } = this.#options
    while (!signal.aborted) {
      const next = leads() ? this.#pending.values().next().value : undefined
      const waitMs = next ? await this.#send(next, signal) : 0
      if (!next) await this.#pause(signal)
      else if (waitMs > 0) await sleep(clock, waitMs, signal)
    }
  }

  /** Returns how long to wait before the next. */
  async #send(write: PendingWrite, signal: AbortSignal): Promise<number> {
    const key = keyOf(write)
    const { resource, namespace, name, subresource, value, content } = write
    try {
      await applyObject(this.#options.client, `${pathOf(resource, namespace, name)}${subresource}`, value, signal)
      this.#written.set(key, digestOf(content))
      this.#failure = undefined
      this.#backoff.succeeded()
      if (this.#pending.get(key) === write) this.#pending.delete(key)
      return 0
    } catch (error) {
      // To the end of the queue, so that one failing write does not block the others.
      if (this.#pending.get(key) === write) {
        this.#pending.delete(key)
        this.#pending.set(key, write)
      }
      if (error instanceof ApiError && error.status === 404) return this.#setAside(key, write)
      const { log, cluster } = this.#options
      this.#failure = writeError(error, { ...resource, plural: `${resource.plural}${subresource}` }, '[create, patch]')
      if (!signal.aborted) log.warn('writeback.failed', { cluster, why: this.#failure.message })
      return this.#backoff.next(error instanceof ApiError ? error.retryAfterMs : undefined)
    }
  }

  /** The object does not exist (yet): retried later, so that the others need not wait. */
  #setAside(key: string, write: PendingWrite): number {
    if (this.#pending.get(key) !== write) return 0
    this.#pending.delete(key)
    if (this.#missing.size === 0) this.#options.clock.after(retryMissingMs, () => this.#retryMissing())
    this.#missing.set(key, write)
    return 0
  }

  #retryMissing(): void {
    for (const [key, write] of this.#missing) if (!this.#pending.has(key)) this.#pending.set(key, write)
    this.#missing.clear()
    this.#wake()
  }

  #pause(signal: AbortSignal): Promise<void> {
    const woken = new AbortController()
    this.#wake = () => woken.abort()
    return sleep(this.#options.clock, idleMs, AbortSignal.any([signal, woken.signal]))
  }
}

function keyOf({ resource, namespace, name, subresource }: Omit<PendingWrite, 'value' | 'content'>): string {
  return `${resource.plural}/${namespace}/${name}${subresource}`
}
