import { hash } from 'node:crypto'
import { type Path, pathText } from '../../config/fields.ts'
import { messageOf, type Problem } from '../../model/error.ts'
import { decodeKubernetes } from '../decode/decode.ts'
import { type ClusterObject, refText } from '../objects.ts'
import { parseManifest } from './parse.ts'
import { ProblemList } from './problem-list.ts'
import { linesOf, type RawObject, SyntaxFault } from './raw-object.ts'
import { readText } from './read-text.ts'
import { isGone } from './walk.ts'

/** An object and where it was read: `services.yaml:12`. */
export interface Placed {
  readonly object: ClusterObject
  readonly origin: string
}

const maxProblems = 100
const stays = 'what it said before stays in use'

/**
 * One manifest file: what it last said that was sound, and what is wrong with it now. A file that cannot be read or parsed
 * keeps all it had, since it may be half written; an object that is not sound any more stays what it was.
 */
export class ManifestFile {
  readonly path: string
  /** By `refText`. */
  objects: ReadonlyMap<string, Placed> = new Map()
  problems: readonly Problem[] = []
  #stamp = ''
  #isSettled = false
  #hash = ''

  constructor(path: string) {
    this.path = path
  }

  /**
   * Reads the file again unless its `stat` says that nothing has happened. `breathe` is called between objects and may
   * wait. `changed` means the objects, not the dates.
   */
  async refresh(stamp: string, breathe: () => Promise<void> | undefined): Promise<'same' | 'changed' | 'gone'> {
    // Two writes within one tick of the file system's clock have the same dates, so new dates are believed at second sight.
    const isKnown = stamp === this.#stamp
    if (isKnown && this.#isSettled) return 'same'
    this.#stamp = stamp
    this.#isSettled = isKnown
    try {
      const text = await readText(this.path)
      const sum = hash('sha256', text)
      if (sum === this.#hash) return 'same'
      await this.#take(text, breathe)
      this.#hash = sum
      return 'changed'
    } catch (error) {
      if (isGone(error)) return 'gone'
      this.#fail(error)
      return 'same'
    }
  }

  async #take(text: string, breathe: () => Promise<void> | undefined): Promise<void> {
    if (this.objects.size > 0 && text.trim() === '') throw new SyntaxFault('it is empty; remove it if that is meant', 1)
    const reading = new Reading(this.path, this.objects)
    for (const raw of parseManifest(text)) {
      await breathe()
      reading.add(raw)
    }
    this.objects = reading.objects
    this.problems = reading.problems.list()
  }

  #fail(error: unknown): void {
    const isSyntax = error instanceof SyntaxFault
    // What could not be read may be readable next time with no change of dates: a fault of the disk, too many open files.
    if (!isSyntax) this.#isSettled = false
    this.#hash = ''
    const kept = this.objects.size > 0 ? `; ${stays}` : ''
    const where = isSyntax ? `${this.path}:${error.line}` : this.path
    this.problems = [{ code: 'SOURCE_READ', where, message: `cannot be read: ${messageOf(error)}${kept}` }]
  }
}

/** One pass over the objects of a file. */
class Reading {
  readonly objects = new Map<string, Placed>()
  readonly problems: ProblemList
  readonly #path: string
  readonly #before: ReadonlyMap<string, Placed>

  constructor(path: string, before: ReadonlyMap<string, Placed>) {
    this.#path = path
    this.#before = before
    this.problems = new ProblemList(path, maxProblems)
  }

  add(raw: RawObject): void {
    const { subject, ref, object, faults } = decodeKubernetes(raw.value)
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
    message: `${key}: is at ${first} already, and only that one counts; remove one of them`,
  }
}
