/** The part of two lists of endpoints that a change is about: whatever is done address by address need only be done for it. */
import { listDelta } from './list-delta.ts'
import { namesIn } from './names-in.ts'

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
  const isTouched = isAmong(gone, come)
  return { before: picked(before, isTouched), after: picked(after, isTouched) }
}

/** Whether something has the address of one in these two lists. */
export function isAmong<T extends { readonly address: string }>(
  some: readonly T[],
  others: readonly T[],
): (one: { readonly address: string }) => boolean {
  const [isInSome, isInOthers] = [namesIn(some, addressOf), namesIn(others, addressOf)]
  return ({ address }) => isInSome(address) || isInOthers(address)
}

export function addressOf({ address }: { readonly address: string }): string {
  return address
}

/** A list that is filtered grows as if it were to be long. */
function picked<T>(list: readonly T[], isPicked: (one: T) => boolean): readonly T[] {
  let found: T[] | undefined
  for (const one of list) {
    if (!isPicked(one)) continue
    if (found) found.push(one)
    else found = [one]
  }
  return found ?? none
}

const none: readonly never[] = []
