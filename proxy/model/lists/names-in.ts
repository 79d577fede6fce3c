/** Questions about the names in a list, of which there are mostly few. */

/** Up to so many comparisons all in all, each question goes through the list, which takes no memory. */
const few = 256

/** Whether one in the list has a name, for so many questions. */
export function namesIn<T>(
  list: readonly T[],
  nameOf: (one: T) => string,
  questions = list.length,
): (name: string) => boolean {
  if (list.length * questions <= few) return name => hasName(list, nameOf, name)
  const names = new Set(list.map(nameOf))
  return name => names.has(name)
}

function hasName<T>(list: readonly T[], nameOf: (one: T) => string, name: string): boolean {
  for (const one of list) if (nameOf(one) === name) return true
  return false
}
