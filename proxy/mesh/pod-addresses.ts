/** The addresses of the local cluster's Pods, by namespace. Pods on the host network share one. */
import type { Pod } from '../model/service.ts'

export class PodAddresses {
  readonly #addresses = new Map<string, readonly string[]>()
  /** How many Pods of the namespace have the address, by `namespace/address`. */
  readonly #counts = new Map<string, number>()

  reset(pods: readonly Pod[]): void {
    this.#addresses.clear()
    this.#counts.clear()
    for (const pod of pods) this.put(pod)
  }

  put(pod: Pod): void {
    this.drop(pod.namespace, pod.name)
    this.#addresses.set(join(pod.namespace, pod.name), pod.addresses)
    for (const address of pod.addresses) this.#count(join(pod.namespace, address), 1)
  }

  drop(namespace: string, name: string): void {
    const key = join(namespace, name)
    for (const address of this.#addresses.get(key) ?? []) this.#count(join(namespace, address), -1)
    this.#addresses.delete(key)
  }

  has(namespace: string, address: string): boolean {
    return this.#counts.has(join(namespace, address))
  }

  #count(key: string, more: number): void {
    const count = (this.#counts.get(key) ?? 0) + more
    if (count > 0) this.#counts.set(key, count)
    else this.#counts.delete(key)
  }
}

function join(namespace: string, rest: string): string {
  return `${namespace}/${rest}`
}
