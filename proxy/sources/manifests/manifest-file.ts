/** One manifest file: reads it again when it changes, and keeps its last valid objects. */
import { isGone } from '../../clients/path-watch.ts'
import type { Problem } from '../../model/error.ts'
import { readFaultText } from '../../model/text/regular-file.ts'
import { type ClusterObject, refText } from '../objects.ts'
import type { DecodedObject } from './decode-manifest.ts'
import type { ManifestReader, ManifestReading } from './manifest-reader.ts'
import { ProblemList } from './problem-list.ts'
import { SyntaxFault } from './raw-object.ts'

/** An object and where it was read: `services.yaml:12`. */
export interface PlacedObject {
  readonly object: ClusterObject
  readonly origin: string
}

const maxProblems = 100
/** Sorts of objects; a file that has more is not about this cluster. */
const maxIgnored = 100
const stays = 'its last valid state stays in use'

/**
 * A file that cannot be read or parsed keeps its objects, since it may be half written. An object that becomes invalid keeps
 * its last valid state.
 */
export class ManifestFile {
  readonly path: string
  /** By `refText`. */
  objects: ReadonlyMap<string, PlacedObject> = new Map()
  problems: readonly Problem[] = []
  /** What is left out though nothing is wrong with it. */
  ignored: ReadonlySet<string> = new Set()
  #stamp = ''
  #isSettled = false
  #hash = ''

  constructor(path: string) {
    this.path = path
  }

  /**
   * Reads the file unless its `stat` is unchanged. `pause` is called between objects and may wait. `changed` means that the
   * content changed, not only the times.
   */
  async refresh(
    stamp: string,
    reader: Pick<ManifestReader, 'open'>,
    pause: () => Promise<void> | undefined,
  ): Promise<'same' | 'changed' | 'gone'> {
    // Two writes within one tick of the file system's clock have the same times, so a new stamp is read twice.
    const isKnown = stamp === this.#stamp
    if (isKnown && this.#isSettled) return 'same'
    this.#stamp = stamp
    this.#isSettled = isKnown
    try {
      const reading = await reader.open(this.path)
      if (reading.sum === this.#hash) return 'same'
      await pause()
      await this.#take(reading, pause)
      this.#hash = reading.sum
      return 'changed'
    } catch (error) {
      if (isGone(error)) return 'gone'
      this.#fail(error)
      return 'same'
    }
  }

  async #take({ isBlank, next }: ManifestReading, pause: () => Promise<void> | undefined): Promise<void> {
    if (this.objects.size > 0 && isBlank) throw new SyntaxFault('it is empty; delete it if that is intended', 1)
    const placed = new PlacedObjects(this.path, this.objects)
    for (let decoded = await next(); decoded; decoded = await next()) {
      for (const one of decoded) placed.add(one)
      await pause()
    }
    this.objects = placed.objects
    this.problems = placed.problems.list()
    this.ignored = placed.ignored
  }

  #fail(error: unknown): void {
    const isSyntax = error instanceof SyntaxFault
    // A read error may go away without a new stamp: a disk fault, too many open files.
    if (!isSyntax) this.#isSettled = false
    this.#hash = ''
    const kept = this.objects.size > 0 ? `; ${stays}` : ''
    const where = isSyntax ? `${this.path}:${error.line}` : this.path
    this.problems = [{ code: 'SOURCE_READ', where, message: `cannot be read: ${readFaultText(error)}${kept}` }]
  }
}

/** The objects of a file, and what is wrong with them. */
class PlacedObjects {
  readonly objects = new Map<string, PlacedObject>()
  readonly problems: ProblemList
  readonly ignored = new Set<string>()
  readonly #path: string
  readonly #before: ReadonlyMap<string, PlacedObject>

  constructor(path: string, before: ReadonlyMap<string, PlacedObject>) {
    this.#path = path
    this.#before = before
    this.problems = new ProblemList(path, maxProblems)
  }

  add({ line, ref, object, faults, ignored }: DecodedObject): void {
    if (ignored !== undefined && this.ignored.size < maxIgnored) this.ignored.add(ignored)
    const isRefused = !object && faults.length > 0
    const before = ref && isRefused ? this.#before.get(refText(ref))?.object : undefined
    const usable = object ?? before
    if (usable) this.#place(usable, `${this.#path}:${line}`)
    for (const fault of faults) {
      this.problems.add(() => ({
        code: fault.code,
        where: `${this.#path}:${fault.line}`,
        message: `${fault.message}${before ? `; ${stays}` : ''}`,
      }))
    }
  }

  #place(object: ClusterObject, origin: string): void {
    const key = refText(object)
    const first = this.objects.get(key)
    if (first) this.problems.add(() => duplicate(key, origin, first.origin))
    else this.objects.set(key, { object, origin })
  }
}

/** The same object in two places. */
export function duplicate(key: string, origin: string, first: string): Problem {
  return {
    code: 'SOURCE_OBJECT',
    where: origin,
    message: `${key}: is also at ${first}, and only that one is used; remove one of them`,
  }
}
