/** Decides which file provides an object that several files contain. */
import type { Problem } from '../../model/error.ts'
import type { ClusterObject } from '../objects.ts'
import { duplicate, type PlacedObject } from './manifest-file.ts'

interface Origin extends PlacedObject {
  readonly path: string
}

/** Receives the objects in use; the service assembler. */
export interface ObjectTarget {
  put(object: ClusterObject, origin: string): void
  remove(object: ClusterObject): void
}

/** The first file by path wins, whenever it was written. When the object disappears from it, the next file takes over. */
export class ObjectOrigins {
  readonly #target: ObjectTarget
  /** By `refText`; the first of each list is in use. */
  readonly #origins = new Map<string, readonly Origin[]>()
  readonly #contested = new Set<string>()

  constructor(target: ObjectTarget) {
    this.#target = target
  }

  /** Replaces the objects of a file; `after` is empty when the file is gone. `pause` is called between objects and may wait. */
  async replace(
    path: string,
    before: ReadonlyMap<string, PlacedObject>,
    after: ReadonlyMap<string, PlacedObject>,
    pause: () => Promise<void> | undefined,
  ): Promise<void> {
    for (const key of before.keys()) {
      if (after.has(key)) continue
      this.#set(path, key, undefined)
      await pause()
    }
    for (const [key, placed] of after) {
      this.#set(path, key, placed)
      await pause()
    }
  }

  problems(): Problem[] {
    return [...this.#contested].flatMap(key => {
      const [first, ...others] = this.#origins.get(key) ?? []
      return first ? others.map(other => duplicate(key, other.origin, first.origin)) : []
    })
  }

  #set(path: string, key: string, placed: PlacedObject | undefined): void {
    const known = this.#origins.get(key) ?? []
    const others = known.filter(origin => origin.path !== path)
    const later = others.findIndex(origin => origin.path > path)
    const origins = placed ? others.toSpliced(later === -1 ? others.length : later, 0, { ...placed, path }) : others
    if (origins.length > 0) this.#origins.set(key, origins)
    else this.#origins.delete(key)
    if (origins.length > 1) this.#contested.add(key)
    else this.#contested.delete(key)
    const [before, after] = [known[0], origins[0]]
    if (after && after !== before) this.#target.put(after.object, after.origin)
    else if (before && !after) this.#target.remove(before.object)
  }
}
