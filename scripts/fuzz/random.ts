/** Seeded random numbers for the fuzz scripts, so that a run can be repeated. */

export interface Dice {
  /** A whole number from 0, below `limit`. */
  below(limit: number): number
  any<T>(list: readonly T[]): T
}

/** Mulberry32. */
export function dice(seed: number): Dice {
  let state = seed >>> 0
  const random = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (limit: number) => Math.floor(random() * limit)
  return { below, any: list => list[below(list.length)] as never }
}
