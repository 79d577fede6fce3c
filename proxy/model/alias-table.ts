/** Walker's alias method: a weighted draw in constant time, by a table with as many slots as there are things to draw. */

export interface AliasTable {
  /** The share of slot i that belongs to thing i; the rest belongs to its alias. */
  readonly own: Float64Array
  readonly alias: Uint32Array
}

/** Weights are positive. Fills the rest of each light thing's slot with the excess of a heavy one. */
export function aliasTable(weights: readonly number[]): AliasTable {
  const count = weights.length
  const alias = new Uint32Array(count)
  const own = new Float64Array(count).fill(1)
  const sum = weights.reduce((total, weight) => total + weight, 0)
  const parts = Float64Array.from(weights, weight => (weight * count) / sum)
  const light = [...parts.keys()].filter(i => (parts[i] as number) < 1)
  const heavy = [...parts.keys()].filter(i => (parts[i] as number) >= 1)
  for (let giver = heavy.pop(); giver !== undefined; ) {
    const taker = light.pop()
    if (taker === undefined) break
    own[taker] = parts[taker] as number
    alias[taker] = giver
    parts[giver] = (parts[giver] as number) - (1 - (parts[taker] as number))
    if ((parts[giver] as number) >= 1) continue
    light.push(giver)
    giver = heavy.pop()
  }
  return { own, alias }
}
