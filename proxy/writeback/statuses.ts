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

export interface StatusesOptions {
  readonly client: KubernetesClient
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly cluster: string
  readonly leads: () => boolean
}

/** Something to be written at a path, once, whatever is there. */
export interface Writing {
  readonly resource: Resource
  readonly namespace: string
  readonly name: string
  /** `/status`, or nothing. */
  readonly subresource: string
  readonly value: Json
  /** What the value says, without the times in it: the same is not written again. */
  readonly said: Json
}

const maxPending = 10_000
const retryMissingMs = 5_000

/** Writes what belongs to objects of others: statuses and events. What was written last is remembered, not read. */
export class Statuses {
  readonly #options: StatusesOptions
  readonly #pending = new Map<string, Writing>()
  readonly #missing = new Map<string, Writing>()
  readonly #written = new Map<string, string>()
  readonly #backoff: Backoff
  #failure: MeshError | undefined
  #wake: () => void = () => {}

  constructor(options: StatusesOptions) {
    this.#options = options
    this.#backoff = new Backoff(options.random)
  }

  /** Undefined also once nothing is left to write, whatever became of the last attempt. */
  get failure(): MeshError | undefined {
    return this.#pending.size > 0 ? this.#failure : undefined
  }

  write(writing: Writing): void {
    const key = keyOf(writing)
    const digest = digestOf(writing.said)
    const pending = this.#pending.get(key)
    // It may be on its way already.
    if (pending && digestOf(pending.said) === digest) return
    if (this.#written.get(key) === digest) {
      this.#pending.delete(key)
      return
    }
    if (this.#pending.size + this.#missing.size >= maxPending && !this.#pending.has(key)) return
    this.#missing.delete(key)
    this.#pending.set(key, writing)
    this.#wake()
  }

  /** It is there already, whoever wrote it. */
  stands({ said, ...place }: Writing): void {
    const key = keyOf(place)
    this.#pending.delete(key)
    this.#missing.delete(key)
    this.#written.set(key, digestOf(said))
  }

  /** Its object is gone, or says nothing any more. */
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
  async #send(writing: Writing, signal: AbortSignal): Promise<number> {
    const key = keyOf(writing)
    const { resource, namespace, name, subresource, value, said } = writing
    try {
      await applyObject(this.#options.client, `${pathOf(resource, namespace, name)}${subresource}`, value, signal)
      this.#written.set(key, digestOf(said))
      this.#failure = undefined
      this.#backoff.succeeded()
      if (this.#pending.get(key) === writing) this.#pending.delete(key)
      return 0
    } catch (error) {
      // To the end of the queue, so that one that cannot be written does not keep the others waiting for ever.
      if (this.#pending.get(key) === writing) {
        this.#pending.delete(key)
        this.#pending.set(key, writing)
      }
      if (error instanceof ApiError && error.status === 404) return this.#setAside(key, writing)
      const { log, cluster } = this.#options
      this.#failure = writeError(error, { ...resource, plural: `${resource.plural}${subresource}` }, '[create, patch]')
      if (!signal.aborted) log.warn('kubernetes.write-failed', { cluster, why: this.#failure.message })
      return this.#backoff.next(error instanceof ApiError ? error.retryAfterMs : undefined)
    }
  }

  /** Its object is not there yet, or not any more: the others need not wait for it. */
  #setAside(key: string, writing: Writing): number {
    if (this.#pending.get(key) !== writing) return 0
    this.#pending.delete(key)
    if (this.#missing.size === 0) this.#options.clock.after(retryMissingMs, () => this.#retryMissing())
    this.#missing.set(key, writing)
    return 0
  }

  #retryMissing(): void {
    for (const [key, writing] of this.#missing) if (!this.#pending.has(key)) this.#pending.set(key, writing)
    this.#missing.clear()
    this.#wake()
  }

  #pause(signal: AbortSignal): Promise<void> {
    const woken = new AbortController()
    this.#wake = () => woken.abort()
    return sleep(this.#options.clock, idleMs, AbortSignal.any([signal, woken.signal]))
  }
}

function keyOf({ resource, namespace, name, subresource }: Omit<Writing, 'value' | 'said'>): string {
  return `${resource.plural}/${namespace}/${name}${subresource}`
}
