/** One manifest file: reads it again when it changes, and keeps its last valid objects. */
import { hash } from 'node:crypto'
import { isGone } from '../../clients/path-watch.ts'
import { type Path, pathText } from '../../config/fields.ts'
import type { Problem } from '../../model/error.ts'
import { readFaultText } from '../../model/text/regular-file.ts'
import { decodeKubernetes } from '../decode/decode.ts'
import { type ClusterObject, refText } from '../objects.ts'
import { parseManifest } from './parse.ts'
import { ProblemList } from './problem-list.ts'
import { linesOf, type RawObject, SyntaxFault } from './raw-object.ts'
import { readText } from './read-text.ts'

/** An object and where it was read: `services.yaml:12`. */
export interface PlacedObject {
  readonly object: ClusterObject
  readonly origin: string
}

const maxProblems = 100
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
  #stamp = ''
  #isSettled = false
  #hash = ''
  readonly #workloads: boolean

  /** `workloads`: with labels of Pods, and policies. */
  constructor(path: string, workloads = false) {
    this.path = path
    this.#workloads = workloads
  }

  /**
   * Reads the file unless its `stat` is unchanged. `pause` is called between objects and may wait. `changed` means that the
   * content changed, not only the times.
   */
  async refresh(stamp: string, pause: () => Promise<void> | undefined): Promise<'same' | 'changed' | 'gone'> {
    // Two writes within one tick of the file system's clock have the same times, so a new stamp is read twice.
    const isKnown = stamp === this.#stamp
    if (isKnown && this.#isSettled) return 'same'
    this.#stamp = stamp
    this.#isSettled = isKnown
    try {
      const text = await readText(this.path)
      await pause()
      const sum = hash('sha256', text)
      if (sum === this.#hash) return 'same'
      await pause()
      await this.#take(text, pause)
      this.#hash = sum
      return 'changed'
    } catch (error) {
      if (isGone(error)) return 'gone'
      this.#fail(error)
      return 'same'
    }
  }

  async #take(text: string, pause: () => Promise<void> | undefined): Promise<void> {
    if (this.objects.size > 0 && text.trim() === '')
      throw new SyntaxFault('it is empty; delete it if that is intended', 1)
    const decoder = new ManifestDecoder(this.path, this.objects, this.#workloads)
    try {
      for (const raw of parseManifest(text)) {
        if (raw) decoder.add(raw)
        await pause()
      }
    } catch (error) {
      if (!(error instanceof SyntaxFault) || !/^[^#\n]*\{\{/m.test(text)) throw error
      const why = 'it is a template with {{ … }}, not a manifest; render it first: helm template CHART'
      throw new SyntaxFault(`${error.message}; ${why}`, error.line)
    }
    this.objects = decoder.objects
    this.problems = decoder.problems.list()
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

/** Decodes the objects of a file. */
class ManifestDecoder {
  readonly objects = new Map<string, PlacedObject>()
  readonly problems: ProblemList
  readonly #path: string
  readonly #before: ReadonlyMap<string, PlacedObject>
  readonly #workloads: boolean

  constructor(path: string, before: ReadonlyMap<string, PlacedObject>, workloads: boolean) {
    this.#path = path
    this.#before = before
    this.#workloads = workloads
    this.problems = new ProblemList(path, maxProblems)
  }

  add(raw: RawObject): void {
    const { subject, ref, object, faults } = decodeKubernetes(raw.value, { workloads: this.#workloads })
    const isRefused = !object && faults.length > 0
    const before = ref && isRefused ? this.#before.get(refText(ref))?.object : undefined
    const usable = object ?? before
    if (usable) this.#place(usable, `${this.#path}:${raw.line}`)
    let lineOf: ((path: Path) => number) | undefined
    for (const { code, path, message } of faults) {
      this.problems.add(() => {
        lineOf ??= linesOf(raw)
        const field = path.length > 0 ? `${pathText(path)}: ` : ''
        return {
          code,
          where: `${this.#path}:${lineOf(path)}`,
          message: `${subject}: ${field}${message}${before ? `; ${stays}` : ''}`,
        }
      })
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
