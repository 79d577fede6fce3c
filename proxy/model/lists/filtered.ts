/** The same list if all stay, without a copy: who compares lists sees that nothing has changed. `stays` may be asked twice. */
export function filtered<T>(list: readonly T[], stays: (one: T) => boolean): readonly T[] {
  return list.every(stays) ? list : list.filter(stays)
}
