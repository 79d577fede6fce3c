/** The source that reads one cluster from manifest files. */
import { normalize, sep } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { PathWatch } from '../../clients/path-watch.ts'
import { MeshError, messageOf, type Problem } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import type { Sink } from '../../model/sink.ts'
import type { Clock } from '../../model/time/clock.ts'
import { Turns } from '../../model/time/turn.ts'
import { ServiceAssembler } from '../service-assembler.ts'
import type { Source } from '../source.ts'
import { DebouncedJob } from './debounced-job.ts'
import { ManifestFile } from './manifest-file.ts'
import { ManifestReader } from './manifest-reader.ts'
import { ObjectOrigins } from './object-origins.ts'
import { ProblemList } from './problem-list.ts'
import { maxEntries, type Tree, walk } from './walk.ts'

export interface ManifestsOptions {
  /** The name of the cluster that the manifests describe. */
  readonly cluster: string
  readonly clock: Clock
  readonly log: Log
  /** Whether to read labels of Pods, and policies. */
  readonly workloads?: boolean
  /**
   * Milliseconds without a file event before the files are read; default 100. Increase it where files are written slowly,
   * since half a file that happens to parse is used as it is.
   */
  readonly debounceMs?: number
  /** Milliseconds between rescans without an event, for file systems that report none; default 30 000. */
  readonly rescanMs?: number
  /** Called with every sort of object that is left out though nothing is wrong with it, once: `Deployment (apps/v1)`. */
  readonly ignored?: (what: string) => void
}

const maxProblems = 1000
const maxLogged = 20
/** Sorts of objects that are ignored; more are not told. */
const maxIgnored = 100

/** Reads a file, or all .yaml, .yml and .json files below a folder, and watches them. */
export function createManifestsSource(path: string, options: ManifestsOptions): Source {
  return new ManifestsSource(path, options)
}

class ManifestsSource implements Source {
  readonly #path: string
  readonly #cluster: string
  readonly #reader: ManifestReader
  readonly #turns = new Turns()
  readonly #log: Log
  readonly #watch: PathWatch
  readonly #rescan: DebouncedJob
  readonly #assembler: ServiceAssembler
  readonly #origins: ObjectOrigins
  readonly #files = new Map<string, ManifestFile>()
  #sink: Sink | undefined
  #isClosed = false
  #isDelivered = false
  /** The reason of the loss that was reported; undefined while the source is not lost. */
  #loss: string | undefined
  #problems: readonly Problem[] = []
  #isUnwatched = false
  readonly #ignored = new Set<string>()
  readonly #tellIgnored: ((what: string) => void) | undefined

  constructor(path: string, options: ManifestsOptions) {
    const { cluster, workloads = false, clock, log, debounceMs = 100, rescanMs = 30_000, ignored } = options
    this.#path = normalize(path)
    this.#cluster = cluster
    this.#reader = new ManifestReader(workloads)
    this.#log = log
    this.#tellIgnored = ignored
    this.#assembler = new ServiceAssembler(cluster)
    this.#origins = new ObjectOrigins(this.#assembler)
    const rescan = () =>
      this.#readAll().catch(error => log.error('source.fault', { cluster, path, why: messageOf(error) }))
    this.#rescan = new DebouncedJob(rescan, { clock, debounceMs, everyMs: rescanMs })
    this.#watch = new PathWatch(
      () => this.#rescan.request(),
      (folder, error) => this.#unwatched(folder, error),
    )
  }

  start(sink: Sink): void {
    this.#sink = sink
    this.#rescan.start()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#watch.close()
    await this.#reader.release()
    await this.#rescan.close()
  }

  /** Delivers at the end, so that changes in several files reach the sink as one, unless they are many. */
  async #readAll(): Promise<void> {
    const tree = await this.#walk()
    if (!tree || this.#isClosed) return
    try {
      await this.#readFiles(tree)
    } finally {
      await this.#reader.release()
    }
    if (this.#isClosed) return
    this.#report(this.#allProblems(tree))
    this.#sayIgnored()
    await this.#deliver()
  }

  async #readFiles(tree: Tree): Promise<void> {
    const present = new Set<string>()
    for (const [path, stamp] of tree.files) {
      if (await this.#refresh(path, stamp)) present.add(path)
      if (this.#isClosed) return
    }
    for (const path of this.#files.keys()) {
      if (!present.has(path) && !isBelow(path, tree.unreadable)) await this.#forget(path)
    }
  }

  async #walk(): Promise<Tree | undefined> {
    const scan = this.#watch.begin()
    try {
      return await walk(this.#path, scan)
    } catch (error) {
      if (!this.#isClosed) this.#lose(error)
      return undefined
    } finally {
      scan.end()
    }
  }

  /** Logged once: the usual cause is a kernel limit, which affects all other folders too. */
  #unwatched(folder: string, error: unknown): void {
    if (this.#isUnwatched) return
    this.#isUnwatched = true
    this.#log.warn('source.unwatched', { folder, why: messageOf(error), until: 'the next slow rescan' })
  }

  /** False when the file is gone. */
  async #refresh(path: string, stamp: string): Promise<boolean> {
    const file = this.#files.get(path) ?? new ManifestFile(path)
    const before = file.objects
    const outcome = await file.refresh(stamp, this.#reader, this.#pause)
    if (outcome === 'gone') return false
    this.#files.set(path, file)
    if (outcome === 'changed') await this.#origins.replace(path, before, file.objects, this.#pause)
    return true
  }

  async #forget(path: string): Promise<void> {
    await this.#origins.replace(path, this.#files.get(path)?.objects ?? new Map(), new Map(), this.#pause)
    this.#files.delete(path)
  }

  /** A large file takes seconds to decode; this lets DNS and flows run in between. */
  #pause = (): Promise<void> | undefined => this.#turns.next()

  #allProblems(tree: Tree): readonly Problem[] {
    const all = new ProblemList(this.#path, maxProblems)
    if (tree.cut)
      all.add(() => unread(this.#path, `it has more than ${maxEntries} files and folders; the rest is ignored`))
    for (const [path, why] of tree.unreadable) all.add(() => unread(path, `${why}; its last valid state stays in use`))
    for (const path of [...this.#files.keys()].sort())
      for (const problem of this.#files.get(path)?.problems ?? []) all.add(() => problem)
    for (const problem of this.#origins.problems()) all.add(() => problem)
    return all.list()
  }

  #report(problems: readonly Problem[]): void {
    if (isDeepStrictEqual(problems, this.#problems)) return
    const known = new Set(this.#problems.map(textOf))
    const fresh = problems.filter(problem => !known.has(textOf(problem)))
    for (const { code, where, message } of fresh.slice(0, maxLogged))
      this.#log.warn('source.problem', { cluster: this.#cluster, code, where, message })
    this.#problems = problems
    this.#sink?.problems(problems)
  }

  /** What is ignored on purpose is said once, since somebody may expect it to be read. */
  #sayIgnored(): void {
    const kinds = [...this.#files.values()].flatMap(({ ignored }) => [...ignored])
    const fresh = [...new Set(kinds)].filter(what => !this.#ignored.has(what)).sort()
    const told = fresh.slice(0, maxIgnored - this.#ignored.size)
    if (told.length === 0) return
    this.#log.info('source.ignored', { cluster: this.#cluster, path: this.#path, what: told.join(', ') })
    for (const what of told) {
      this.#ignored.add(what)
      this.#tellIgnored?.(what)
    }
  }

  /** After a loss, delivers everything, since the sink may have dropped what it had. */
  async #deliver(): Promise<void> {
    const isWhole = this.#loss !== undefined || !this.#isDelivered
    if (isWhole) await this.#assembler.prepare()
    if (!this.#sink || this.#isClosed) return
    this.#isDelivered = true
    if (isWhole) this.#assembler.reset(this.#sink)
    else await this.#assembler.flushInTurns(this.#sink, () => this.#isClosed)
    this.#loss = undefined
  }

  #lose(error: unknown): void {
    const why = messageOf(error)
    if (why === this.#loss) return
    this.#loss = why
    const message = `${this.#path}: no manifests can be read: ${why}; create it, or correct the path`
    this.#sink?.lost(new MeshError('SOURCE_READ', message, { cause: error }))
  }
}

function isBelow(path: string, tops: ReadonlyMap<string, unknown>): boolean {
  for (const top of tops.keys()) if (path === top || path.startsWith(`${top}${sep}`)) return true
  return false
}

function unread(where: string, why: string): Problem {
  return { code: 'SOURCE_READ', where, message: `cannot be read: ${why}` }
}

function textOf({ where, message }: Problem): string {
  return `${where}: ${message}`
}
