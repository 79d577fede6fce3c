/** Questions about the names in a list that is mostly short. */

/** Up to so many, each is compared, which takes no memory. */
const few = 8

/** Whether one in the list has a name. */
export function namesIn<T>(list: readonly T[], nameOf: (one: T) => string): (name: string) => boolean {
  if (list.length <= few) return name => hasName(list, nameOf, name)
  const names = new Set(list.map(nameOf))
  return name => names.has(name)
}

function hasName<T>(list: readonly T[], nameOf: (one: T) => string, name: string): boolean {
  for (const one of list) if (nameOf(one) === name) return true
  return false
}
