/** The records that have changed since a reader last looked. Kept only while somebody follows. */

/** Between two looks; what comes beyond is lost to those who follow, and counted. */
const maxTouched = 16_384

export class Touched {
  #followers = 0
  #records: number[] = []
  #lost = 0

  get followed(): boolean {
    return this.#followers > 0
  }

  follow(): void {
    this.#followers++
  }

  unfollow(): void {
    this.#followers--
    if (this.#followers === 0) this.take()
  }

  add(record: number): void {
    if (this.#records.length < maxTouched) this.#records.push(record)
    else this.#lost++
  }

  /** Each record once, in the order of its last change; and how many were lost. */
  take(): { readonly records: readonly number[]; readonly lost: number } {
    const taken = { records: this.#records, lost: this.#lost }
    this.#records = []
    this.#lost = 0
    if (taken.records.length === 0) return taken
    const once = new Set<number>()
    for (const record of taken.records) {
      once.delete(record)
      once.add(record)
    }
    return { records: [...once], lost: taken.lost }
  }
}
