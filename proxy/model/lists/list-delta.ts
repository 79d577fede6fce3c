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

/** By identity; neither list has an object twice. What both have at the beginning and the end costs one comparison each. */
export function listDelta<T extends object>(before: readonly T[], after: readonly T[]): ListDelta<T> {
  if (before === after) return same
  let start = 0
  let [oldEnd, newEnd] = [before.length, after.length]
  while (start < oldEnd && start < newEnd && before[start] === after[start]) start++
  while (oldEnd > start && newEnd > start && before[oldEnd - 1] === after[newEnd - 1]) {
    oldEnd--
    newEnd--
  }
  if (start === oldEnd && start === newEnd) return same
  const [old, now] = [before.slice(start, oldEnd), after.slice(start, newEnd)]
  if (old.length === 0 || now.length === 0) return { gone: old, come: now }
  if (old.length * now.length <= fewPairs) {
    return { gone: old.filter(one => !now.includes(one)), come: now.filter(one => !old.includes(one)) }
  }
  const [inOld, inNow] = [new Set(old), new Set(now)]
  return { gone: old.filter(one => !inNow.has(one)), come: now.filter(one => !inOld.has(one)) }
}
