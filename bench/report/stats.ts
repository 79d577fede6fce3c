/** Medians, spreads and quotients over rounds. */

export interface Spread {
  readonly median: number
  readonly low: number
  readonly high: number
}

/** Undefined for an empty list. */
export function median(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b)
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]]
  return low === undefined || high === undefined ? undefined : (low + high) / 2
}

export function spread(values: readonly number[]): Spread | undefined {
  const middle = median(values)
  return middle === undefined
    ? undefined
    : { median: middle, low: values.reduce((a, b) => Math.min(a, b)), high: values.reduce((a, b) => Math.max(a, b)) }
}

/** Spread of the quotients within each round, since a disturbance affects all contenders of the same round. */
export function quotients(own: readonly number[], base: readonly number[]): Spread | undefined {
  return spread(own.flatMap((value, round) => (base[round] ? [value / base[round]] : [])))
}

/** The median, with the lowest and the highest where they differ from it. */
export function spreadText({ median, low, high }: Spread, digits: number): string {
  const [middle, least, most] = [median, low, high].map(value => value.toFixed(digits))
  return least === most ? `${middle}` : `${middle} (${least} to ${most})`
}
