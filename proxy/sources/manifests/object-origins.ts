import type { Problem } from '../../model/error.ts'
import type { ClusterObject } from '../objects.ts'
import { duplicate, type Placed } from './manifest-file.ts'

interface Claim extends Placed {
  readonly path: string
}

/** Takes what comes to count, and what counts no more. */
export interface Assembly {
  put(object: ClusterObject, origin: string): void
  remove(object: ClusterObject): void
}

/**
 * Which file's word counts when several have the same object: that of the first by path, whenever it was written. The
 * others wait, and step in when it goes.
 */
export class ObjectOrigins {
  readonly #assembly: Assembly
  /** By `refText`; the first of each list counts. */
  readonly #origins = new Map<string, readonly Claim[]>()
  readonly #contested = new Set<string>()

  constructor(assembly: Assembly) {
    this.#assembly = assembly
  }

  /** What a file has now in place of what it had; an empty map when it is gone. */
  replace(path: string, before: ReadonlyMap<string, Placed>, after: ReadonlyMap<string, Placed>): void {
    for (const key of before.keys()) if (!after.has(key)) this.#set(path, key, undefined)
    for (const [key, placed] of after) this.#set(path, key, placed)
  }

  problems(): Problem[] {
    return [...this.#contested].flatMap(key => {
      const [first, ...others] = this.#origins.get(key) ?? []
      return first ? others.map(other => duplicate(key, other.origin, first.origin)) : []
    })
  }

  #set(path: string, key: string, placed: Placed | undefined): void {
    const known = this.#origins.get(key) ?? []
    const others = known.filter(claim => claim.path !== path)
    const later = others.findIndex(claim => claim.path > path)
    const claims = placed ? others.toSpliced(later === -1 ? others.length : later, 0, { ...placed, path }) : others
    if (claims.length > 0) this.#origins.set(key, claims)
    else this.#origins.delete(key)
    if (claims.length > 1) this.#contested.add(key)
    else this.#contested.delete(key)
    const [before, after] = [known[0], claims[0]]
    if (after && after !== before) this.#assembly.put(after.object, after.origin)
    else if (before && !after) this.#assembly.remove(before.object)
  }
}
