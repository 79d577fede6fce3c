/** Results of a benchmark as data: stored in bench/results, and rendered from there as tables and plots. */
import type { Machine } from './machine.ts'
import { median, quotients, type Spread } from './stats.ts'

/** One contender's figures of one round, by the key of a column. */
export type Sample = Readonly<Record<string, number>>

export interface Column {
  readonly key: string
  /** With its unit. */
  readonly title: string
  /** Decimal places. */
  readonly digits: number
  /** Whether it gets a panel of its own in the plot, as the first column always does. */
  readonly plotted?: boolean
  /** Shows the sum over rounds in place of the median, for failures. */
  readonly sum?: boolean
}

export interface Row {
  readonly name: string
  readonly samples: readonly Sample[]
  /** Why samples are missing. */
  readonly note?: string
}

export interface Table {
  readonly key: string
  readonly title: string
  /** How it was measured: a sentence or two. */
  readonly how: string
  /** The first is the main figure, from which ratios are made; less is better. */
  readonly columns: readonly [Column, ...Column[]]
  /** The rows that others are compared with. */
  readonly peers: readonly string[]
  readonly rows: readonly Row[]
}

/** Tables measured together in alternating rounds: ratios are valid within a group. */
export interface Group {
  readonly name: string
  readonly title: string
  readonly at: string
  readonly machine: Machine
  /** Load average of the machine before the start: other work on it. */
  readonly loadBefore: number
  readonly rounds: number
  readonly seconds: number
  readonly tables: readonly Table[]
}

export function valuesOf(table: Table, name: string, { key }: Column = table.columns[0]): readonly number[] {
  const row = table.rows.find(row => row.name === name)
  return row?.samples.flatMap(sample => sample[key] ?? []) ?? []
}

/** The peer with the lowest median; undefined where none was measured. */
export function betterPeer(table: Table, among = table.peers): string | undefined {
  const measured = among.flatMap(name => {
    const middle = median(valuesOf(table, name))
    return middle === undefined ? [] : [{ name, middle }]
  })
  return measured.sort((a, b) => a.middle - b.middle)[0]?.name
}

export function ratio(table: Table, name: string, peer: string | undefined, column?: Column): Spread | undefined {
  return peer === undefined ? undefined : quotients(valuesOf(table, name, column), valuesOf(table, peer, column))
}
