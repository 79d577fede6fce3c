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
  if (before.length === 0 || after.length === 0) return { gone: before, come: after }
  let gone: T[] | undefined
  let come: T[] | undefined
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
    while (skipped-- > 0) gone = extended(gone, before[i++] as T)
    while (added-- > 0) come = extended(come, after[j++] as T)
  }
  for (; i < before.length; i++) gone = extended(gone, before[i] as T)
  for (; j < after.length; j++) come = extended(come, after[j] as T)
  return gone && come ? withoutMoved(gone, come) : { gone: gone ?? none, come: come ?? none }
}

/** A list begins with room for one, which is all that most of them get: the first push to an empty one makes room for 17. */
function extended<T>(list: T[] | undefined, one: T): T[] {
  if (!list) return [one]
  list.push(one)
  return list
}

/** What has only moved was found in both; usually nothing. */
function withoutMoved<T extends object>(gone: readonly T[], come: readonly T[]): ListDelta<T> {
  if (gone.length * come.length <= fewPairs) {
    if (!haveCommon(gone, come)) return { gone, come }
    return { gone: gone.filter(one => !come.includes(one)), come: come.filter(one => !gone.includes(one)) }
  }
  const [left, arrived] = [new Set(gone), new Set(come)]
  return { gone: gone.filter(one => !arrived.has(one)), come: come.filter(one => !left.has(one)) }
}

function haveCommon<T>(some: readonly T[], others: readonly T[]): boolean {
  for (const one of some) if (others.includes(one)) return true
  return false
}
