/** The objects of one cluster that are not part of a service: Pods, policies, and etcd's addresses and identities. */
import { isDeepStrictEqual } from 'node:util'
import type { Pod } from '../model/service.ts'
import type { Sink, Snapshot } from '../model/sink.ts'
import type { AddressRecord, NumberedIdentity, Workload } from '../model/workloads/identity.ts'
import { isAboutPods, isPolicyKind, type PolicyObject } from '../model/workloads/policy-object.ts'
import { type ClusterObject, type LooseObject, type ObjectRef, refText } from './objects.ts'
import { SharedValues } from './shared-values.ts'

export class LooseObjects {
  readonly #cluster: string
  readonly #pods = new Tracked<Pod>()
  readonly #policies = new Tracked<PolicyObject>()
  readonly #addresses = new Tracked<AddressRecord>()
  readonly #identities = new Tracked<NumberedIdentity>()
  readonly #workloads = new SharedValues<Workload>()
  /** Policies wait until the Pods that they are about are there. */
  holdsPolicies = false

  constructor(cluster: string) {
    this.#cluster = cluster
  }

  /** Whether there is a policy about Pods, delivered or not. */
  get hasPolicies(): boolean {
    return this.#policies.values().some(({ kind }) => isAboutPods(kind))
  }

  put(object: LooseObject, origin: string | undefined): void {
    const key = refText(object)
    if (object.kind === 'Pod') this.#setPod(key, object.pod)
    else if (object.kind === 'Address') this.#addresses.set(key, object.record)
    else if (object.kind === 'Identity') this.#identities.set(key, object.identity)
    else this.#policies.set(key, { ...object.policy, cluster: this.#cluster, origin })
  }

  remove(ref: ObjectRef): void {
    const key = refText(ref)
    if (ref.kind === 'Pod') this.#setPod(key, undefined)
    else if (ref.kind === 'Address') this.#addresses.set(key, undefined)
    else if (ref.kind === 'Identity') this.#identities.set(key, undefined)
    else this.#policies.set(key, undefined)
  }

  /** Delivers what has changed since the last time; identities before the addresses that have them, policies at last. */
  settle(sink: Partial<Sink>): void {
    this.#identities.settle(
      identity => sink.putIdentity?.(identity),
      identity => sink.dropIdentity?.(identity),
    )
    this.#addresses.settle(
      record => sink.putAddress?.(record),
      record => sink.dropAddress?.(record),
    )
    this.#pods.settle(
      pod => sink.putPod?.(pod),
      ({ namespace, name }) => sink.dropPod?.(namespace, name),
    )
    if (this.holdsPolicies) return
    this.#policies.settle(
      policy => sink.putPolicy?.(policy),
      policy => sink.dropPolicy?.(policy),
    )
  }

  /** Everything; what has changed counts as delivered. */
  snapshot(): Required<Pick<Snapshot, 'pods' | 'policies' | 'addresses' | 'identities'>> {
    this.settle({})
    return {
      pods: this.#pods.values(),
      // Those that are held come once they are settled.
      policies: this.holdsPolicies ? [] : this.#policies.values(),
      addresses: this.#addresses.values(),
      identities: this.#identities.values(),
    }
  }

  #setPod(key: string, pod: Pod | undefined): void {
    const before = this.#pods.get(key)
    const shared = pod?.workload && this.#workloads.take(workloadText(pod.workload), pod.workload)
    this.#pods.set(key, pod && shared ? { ...pod, workload: shared } : pod)
    if (before?.workload) this.#workloads.release(before.workload)
  }
}

/** Whether it is kept here. */
export function isLoose(object: ClusterObject): object is LooseObject
export function isLoose(ref: ObjectRef): boolean
export function isLoose({ kind }: ObjectRef): boolean {
  return kind === 'Pod' || kind === 'Address' || kind === 'Identity' || isPolicyKind(kind)
}

function workloadText({ namespace, labels, account, ports }: Workload): string {
  const sorted = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify([namespace, sorted, account, ports])
}

/** Values by key, and which of them have changed. */
class Tracked<T> {
  readonly #values = new Map<string, T>()
  /** With the value as delivered. There may be too many to keep a copy of each. */
  readonly #touched = new Map<string, T | undefined>()

  get size(): number {
    return this.#values.size
  }

  get(key: string): T | undefined {
    return this.#values.get(key)
  }

  set(key: string, value: T | undefined): void {
    const before = this.#values.get(key)
    if (before === undefined && value === undefined) return
    if (!this.#touched.has(key)) this.#touched.set(key, before)
    if (value === undefined) this.#values.delete(key)
    else this.#values.set(key, value)
  }

  settle(put: (value: T) => void, drop: (value: T) => void): void {
    for (const [key, before] of this.#touched) {
      const after = this.#values.get(key)
      if (after !== undefined && !isDeepStrictEqual(before, after)) put(after)
      else if (before !== undefined && after === undefined) drop(before)
    }
    this.#touched.clear()
  }

  values(): T[] {
    return [...this.#values.values()]
  }
}
