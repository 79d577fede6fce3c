/**
 * The health of a cluster's backends, as its gateway tells it: a GET whose answer does not end, with a line of JSON for each change.
 * A line is an object of verdicts by `ADDRESS:PORT/PROTOCOL`; `gone` is no longer served to the reader. The first line has all of them.
 */
import type { Health } from '../../model/backend.ts'

export const healthPath = '/.well-known/starlane/health'

export type ToldHealth = Health | 'gone'

export type HealthLine = Readonly<Record<string, ToldHealth>>

const known: ReadonlySet<unknown> = new Set<ToldHealth>(['unknown', 'up', 'down', 'ejected', 'gone'])
/** More than a line of 50,000 backends. */
const maxLine = 8 << 20

/** Takes the answer in pieces, and passes on each line. */
export class HealthReader {
  readonly #take: (line: HealthLine) => void
  #kept = ''

  constructor(take: (line: HealthLine) => void) {
    this.#take = take
  }

  /** Returns false for what is no such answer: the stream is of no more use. */
  push(text: string): boolean {
    this.#kept += text
    for (;;) {
      const end = this.#kept.indexOf('\n')
      if (end === -1) return this.#kept.length <= maxLine
      const line = parseLine(this.#kept.slice(0, end))
      this.#kept = this.#kept.slice(end + 1)
      if (!line) return false
      this.#take(line)
    }
  }
}

function parseLine(text: string): HealthLine | undefined {
  try {
    const line: unknown = JSON.parse(text)
    if (typeof line !== 'object' || line === null || Array.isArray(line)) return undefined
    return Object.values(line).every(health => known.has(health)) ? (line as HealthLine) : undefined
  } catch {
    return undefined
  }
}
