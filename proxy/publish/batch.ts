/** Collects writes until one etcd request is full. */
import type { Write } from '../clients/etcd/client.ts'

/** By default etcd accepts 128 operations and 1.5 MiB in one request. */
const maxWrites = 100
const maxBytes = 1024 * 1024

export class Batch {
  readonly writes: Write[] = []
  #bytes = 0

  /** False when the write does not fit; the first one always does. */
  add(write: Write): boolean {
    this.#bytes += write.key.length + ('value' in write ? write.value.length : 0)
    const fits = this.writes.length === 0 || (this.writes.length < maxWrites && this.#bytes <= maxBytes)
    if (fits) this.writes.push(write)
    return fits
  }
}
