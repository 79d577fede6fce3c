/** The part of two lists of endpoints that a change is about: whatever is done address by address need only be done for it. */
import { listDelta } from './list-delta.ts'

export interface Touched<T> {
  readonly before: readonly T[]
  readonly after: readonly T[]
}

/** All at the addresses of those that have come or gone, by identity, in their order. */
export function touchedOf<T extends { readonly address: string }>(
  before: readonly T[],
  after: readonly T[],
): Touched<T> {
  const { gone, come } = listDelta(before, after)
  if (gone.length === before.length || come.length === after.length) return { before, after }
  const addresses = new Set<string>()
  for (const { address } of gone) addresses.add(address)
  for (const { address } of come) addresses.add(address)
  const isTouched = ({ address }: T) => addresses.has(address)
  return { before: before.filter(isTouched), after: after.filter(isTouched) }
}
