import type { Write } from './store.ts'

/** etcd takes 128 operations and 1.5 MiB in one request, unless told otherwise. */
const maxWrites = 100
const maxBytes = 1024 * 1024

/** One request as it fills. */
export class Batch {
  readonly writes: Write[] = []
  #bytes = 0

  /** False when it does not fit any more; the first always does. */
  add(write: Write): boolean {
    this.#bytes += write.key.length + ('value' in write ? write.value.length : 0)
    const fits = this.writes.length === 0 || (this.writes.length < maxWrites && this.#bytes <= maxBytes)
    if (fits) this.writes.push(write)
    return fits
  }
}
