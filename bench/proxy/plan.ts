/** What a group of the proxy benchmark is, and what it is run with. */
import type { Table } from '../report/table.ts'
import type { Place } from './place.ts'

/** One group of the benchmark. The caller stops every child that it started. */
export interface Plan {
  /** As given to `--only`; also in the file name of its plot. */
  readonly name: string
  readonly title: string
  /** Why the group cannot run on this machine; undefined when it can. */
  lacks(): string | undefined
  run(setting: Setting): Promise<readonly Table[]>
}

export interface Setting {
  readonly place: Place
  /** How often each contender is measured. */
  readonly rounds: number
  /** Length of each measurement. */
  readonly seconds: number
  readonly connections: number
  /** Names of the contenders to run; undefined means all. */
  readonly among: readonly string[] | undefined
}
