/** Deep equality of plain values: several times as fast as `util.isDeepStrictEqual`, which is for any. */

/** Without cycles: texts, numbers, flags, arrays, and objects without a class. Anything else is equal to itself alone. */
export function plainEqual(one: unknown, other: unknown): boolean {
  if (one === other) return true
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return false
  if (Array.isArray(one)) return Array.isArray(other) && sameLists(one, other, plainEqual)
  return isPlain(one) && isPlain(other) && same<object>(one, other, [])
}

/** Equal in all properties except the irrelevant ones. */
export function same<T extends object>(before: T, after: T, irrelevant: readonly (keyof T)[]): boolean {
  for (const key in before) if (!irrelevant.includes(key) && !plainEqual(before[key], after[key])) return false
  for (const key in after) if (!(key in before) && !irrelevant.includes(key)) return false
  return true
}

/** Objects whose contents are not enumerable (Map, Set) compare by identity. */
function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

export function sameLists<T>(before: readonly T[], after: readonly T[], equal: (a: T, b: T) => boolean): boolean {
  return before === after || (before.length === after.length && before.every((one, i) => equal(one, after[i] as T)))
}
