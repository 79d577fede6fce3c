/** What a list has lost and gained. Lists of a service are replaced as a whole, and most of what is in them stays the same object. */

export interface ListDelta<T> {
  /** Only the earlier list has them. */
  readonly gone: readonly T[]
  /** Only the later one. */
  readonly come: readonly T[]
}

const none: readonly never[] = []
const same: ListDelta<never> = { gone: none, come: none }

/** Above it, looking up one by one costs more than sets. */
const fewPairs = 64
/** So many that have gone or come side by side are passed over before the lists are taken to differ in order. */
const window = 8

/** By identity; neither list has an object twice. What stays in its order costs a comparison each, and no memory. */
export function listDelta<T extends object>(before: readonly T[], after: readonly T[]): ListDelta<T> {
  if (before === after) return same
  const gone: T[] = []
  const come: T[] = []
  let [i, j] = [0, 0]
  while (i < before.length && j < after.length) {
    if (before[i] === after[j]) {
      i++
      j++
      continue
    }
    const [old, now] = [before[i] as T, after[j] as T]
    let [skipped, added] = [1, 1]
    for (let ahead = 1; ahead <= window; ahead++) {
      if (before[i + ahead] === now) [skipped, added] = [ahead, 0]
      else if (after[j + ahead] === old) [skipped, added] = [0, ahead]
      else continue
      break
    }
    while (skipped-- > 0) gone.push(before[i++] as T)
    while (added-- > 0) come.push(after[j++] as T)
  }
  for (; i < before.length; i++) gone.push(before[i] as T)
  for (; j < after.length; j++) come.push(after[j] as T)
  return gone.length === 0 || come.length === 0 ? { gone, come } : withoutMoved(gone, come)
}

/** What has only moved was found in both. */
function withoutMoved<T extends object>(gone: readonly T[], come: readonly T[]): ListDelta<T> {
  if (gone.length * come.length <= fewPairs) {
    return { gone: gone.filter(one => !come.includes(one)), come: come.filter(one => !gone.includes(one)) }
  }
  const [left, arrived] = [new Set(gone), new Set(come)]
  return { gone: gone.filter(one => !arrived.has(one)), come: come.filter(one => !left.has(one)) }
}
