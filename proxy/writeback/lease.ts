/** Leader election by a Kubernetes Lease: of several replicas one writes. */
import { dirname } from 'node:path/posix'
import * as v from 'valibot'
import { ApiError } from '../clients/kubernetes/api-error.ts'
import type { KubernetesClient } from '../clients/kubernetes/client.ts'
import type { Resource } from '../clients/kubernetes/resources.ts'
import type { MeshError } from '../model/error.ts'
import type { Log } from '../model/log.ts'
import type { Clock } from '../model/time/clock.ts'
import { sleep } from '../model/time/sleep.ts'
import { pathOf, writeError } from './owned-objects.ts'

export interface LeaseOptions {
  readonly client: Pick<KubernetesClient, 'json'>
  readonly clock: Clock
  readonly log: Log
  readonly namespace: string
  readonly name: string
  /** Unique to this process among all candidates. */
  readonly identity: string
  readonly changed: (held: boolean) => void
}

const leases: Resource = {
  kind: 'Lease',
  apiVersion: 'coordination.k8s.io/v1',
  group: 'coordination.k8s.io',
  plural: 'leases',
  paths: ['/apis/coordination.k8s.io/v1/leases'],
}

const renewMs = 5_000
const durationMs = 15_000
/** The holder stops writing this long after the last renewal: before others may take the lease. */
const graceMs = 10_000

const leaseShape = v.object({
  metadata: v.object({ resourceVersion: v.string() }),
  spec: v.nullish(
    v.object({
      holderIdentity: v.nullish(v.string(), ''),
      leaseDurationSeconds: v.nullish(v.number(), durationMs / 1000),
    }),
    {},
  ),
})

/**
 * A coordination.k8s.io/v1 Lease, used as client-go's leader election does. It has expired when it has not changed for its
 * duration by our own clock: clocks of different machines are not compared.
 */
export class Lease {
  readonly #options: LeaseOptions
  #lastHeld = false
  #failure: MeshError | undefined
  #renewedAt = Number.NEGATIVE_INFINITY
  #seen: { readonly version: string; readonly at: number } | undefined

  constructor(options: LeaseOptions) {
    this.#options = options
  }

  /** Why the lease could not be read or written; undefined when the last attempt succeeded. */
  get failure(): MeshError | undefined {
    return this.#failure
  }

  /** Computed from the clock, since an attempt to renew may hang. */
  get held(): boolean {
    return this.#options.clock.now() - this.#renewedAt < graceMs
  }

  /** Returns when the signal aborts; the lease then expires by itself. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options
    while (!signal.aborted) {
      this.#failure = await this.#step(signal).then(
        () => undefined,
        error => (isConflict(error) ? undefined : writeError(error, leases, '[get, create, update]')),
      )
      this.#setHeld(this.held && !signal.aborted)
      await sleep(clock, renewMs, signal)
    }
    this.#renewedAt = Number.NEGATIVE_INFINITY
    this.#setHeld(false)
  }

  async #step(signal: AbortSignal): Promise<void> {
    const { client, clock } = this.#options
    const startedAt = clock.now()
    const found = await client.json({ path: this.#path }, signal).catch(absent)
    const lease = found === undefined ? undefined : v.parse(leaseShape, found)
    if (lease && !this.#mayTake(lease.metadata.resourceVersion, lease.spec)) {
      this.#renewedAt = Number.NEGATIVE_INFINITY
      return
    }
    // With the resourceVersion, the second of two concurrent writers gets a conflict.
    await client.json(
      {
        method: lease ? 'PUT' : 'POST',
        path: lease ? this.#path : dirname(this.#path),
        body: { type: 'application/json', value: this.#lease(lease?.metadata.resourceVersion) },
      },
      signal,
    )
    this.#renewedAt = startedAt
  }

  #mayTake(
    version: string,
    { holderIdentity = '', leaseDurationSeconds = 0 }: v.InferOutput<typeof leaseShape>['spec'],
  ): boolean {
    const now = this.#options.clock.now()
    if (this.#seen?.version !== version) this.#seen = { version, at: now }
    if (holderIdentity === '' || holderIdentity === this.#options.identity) return true
    return now - this.#seen.at >= leaseDurationSeconds * 1000
  }

  #lease(resourceVersion: string | undefined) {
    const { namespace, name, identity, clock } = this.#options
    return {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { namespace, name, ...(resourceVersion !== undefined && { resourceVersion }) },
      spec: {
        holderIdentity: identity,
        leaseDurationSeconds: durationMs / 1000,
        renewTime: new Date(clock.wall()).toISOString().replace('Z', '000Z'),
      },
    }
  }

  get #path(): string {
    return pathOf(leases, this.#options.namespace, this.#options.name)
  }

  #setHeld(held: boolean): void {
    if (held === this.#lastHeld) return
    this.#lastHeld = held
    this.#options.log.info(held ? 'writeback.leading' : 'writeback.standby', { lease: this.#options.name })
    this.#options.changed(held)
  }
}

/** Another candidate was faster, which is not an error. */
function isConflict(error: unknown): boolean {
  return error instanceof ApiError && error.status === 409
}

function absent(error: unknown): undefined {
  if (error instanceof ApiError && error.status === 404) return
  throw error
}
