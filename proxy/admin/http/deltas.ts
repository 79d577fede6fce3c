/**
 * A list of which a client gets only what has changed since its last question. One list serves all clients: what a client has seen is a
 * revision, which it sends with its next question.
 */
import { randomUUID } from 'node:crypto'

export interface Delta<T> {
  readonly revision: string
  /** The rows are all there are; what was known before is void. */
  readonly whole: boolean
  readonly rows: readonly T[]
  /** The keys of rows that are gone. */
  readonly gone: readonly string[]
}

/** The same with rows that are JSON already. */
export type DeltaText = Delta<string>

interface Known {
  /** JSON of the row. */
  readonly text: string
  readonly revision: number
}

/** Of rows that are gone; who has not asked for so long gets all rows anew. */
const maxGone = 1000

export class Deltas {
  /** Revisions of another process mean nothing here. */
  readonly #epoch = randomUUID().slice(0, 8)
  readonly #known = new Map<string, Known>()
  readonly #gone = new Map<string, number>()
  #revision = 0
  /** Changes up to this revision may have been forgotten. */
  #forgotten = 0
  /** While rows come. */
  #updating: Promise<void> | undefined

  /**
   * `now`: all rows by key, which may take their time; who asks meanwhile gets the same. The rows that have changed since a revision; all of
   * them for one that is not known.
   */
  async since(now: () => AsyncIterable<readonly [key: string, row: object]>, token: string | null): Promise<DeltaText> {
    this.#updating ??= this.#update(now()).finally(() => {
      this.#updating = undefined
    })
    await this.#updating
    const [epoch, number] = token?.split('.') ?? []
    const seen = epoch === this.#epoch && /^\d+$/.test(number ?? '') ? Number(number) : -1
    const whole = seen < this.#forgotten
    const rows = [...this.#known.values()].filter(({ revision }) => whole || revision > seen).map(({ text }) => text)
    const gone = whole ? [] : [...this.#gone].filter(([, revision]) => revision > seen).map(([key]) => key)
    return { revision: `${this.#epoch}.${this.#revision}`, whole, rows, gone }
  }

  async #update(now: AsyncIterable<readonly [string, object]>): Promise<void> {
    const revision = this.#revision + 1
    let changed = false
    const left = new Set(this.#known.keys())
    for await (const [key, row] of now) {
      left.delete(key)
      const text = JSON.stringify(row)
      if (this.#known.get(key)?.text === text) continue
      this.#known.set(key, { text, revision })
      this.#gone.delete(key)
      changed = true
    }
    for (const key of left) {
      this.#known.delete(key)
      this.#gone.delete(key)
      this.#gone.set(key, revision)
      changed = true
    }
    for (const [key, gone] of this.#gone) {
      if (this.#gone.size <= maxGone) break
      this.#gone.delete(key)
      this.#forgotten = gone
    }
    if (changed) this.#revision = revision
  }
}
