/** Compares the results with the goals. */
import { goals as allGoals, type Goal } from './goals.ts'
import { type Spread, spread } from './stats.ts'
import { betterPeer, type Group, ratio, type Table, valuesOf } from './table.ts'

export interface Verdict {
  readonly goal: Goal
  readonly engine: Spread | undefined
  readonly product: Spread | undefined
}

export function judge(groups: readonly Group[], goals = allGoals): Verdict[] {
  const tables = groups.flatMap(({ tables }) => tables)
  return goals.map(goal => {
    const table = tables.find(({ key }) => key === goal.table)
    return { goal, engine: measured(goal, goal.engine, table), product: measured(goal, goal.product, table) }
  })
}

function measured({ column: key, against }: Goal, name?: string, table?: Table): Spread | undefined {
  if (!table || name === undefined) return undefined
  const column = table.columns.find(column => column.key === key) ?? table.columns[0]
  if (!against) return spread(valuesOf(table, name, column))
  // One of two peers is not the better of them: with a program that is not installed the goal is not measured.
  if (against.some(peer => valuesOf(table, peer, column).length === 0)) return undefined
  return ratio(table, name, betterPeer({ ...table, columns: [column] }, against), column)
}

/** The verdict in words: met, met by the engine alone, or missed by a percentage. */
export function outcome({ goal, engine, product }: Verdict): string {
  const [ofEngine, ofProduct] = [engine, product].map(value => value && value.median / goal.limit)
  const shares = [ofEngine, ofProduct].filter(value => value !== undefined)
  if (shares.length === 0) return 'not measured'
  if (shares.every(value => value <= 1)) return 'met'
  if (ofEngine !== undefined && ofEngine <= 1) return `met by the engine; the product misses by ${percent(ofProduct)}`
  return `missed by ${percent(ofEngine ?? ofProduct)}`
}

function percent(value: number | undefined): string {
  return `${Math.ceil(((value ?? 1) - 1) * 100)} %`
}
