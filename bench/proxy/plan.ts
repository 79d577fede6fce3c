import type { Table } from '../report/table.ts'
import type { Place } from './place.ts'

/** A group of the benchmark: what it starts is stopped when it is over. */
export interface Plan {
  /** For `--only`, and in the name of its plot. */
  readonly name: string
  readonly title: string
  /** Why it cannot run here; undefined when it can. */
  lacks(): string | undefined
  run(setting: Setting): Promise<readonly Table[]>
}

export interface Setting {
  readonly place: Place
  /** How often each contender is measured. */
  readonly rounds: number
  /** Of load per measurement. */
  readonly seconds: number
  readonly connections: number
  /** Only these contenders; undefined: all. */
  readonly among: readonly string[] | undefined
}
