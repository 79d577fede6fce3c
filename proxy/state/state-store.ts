/**
 * The last known state of every cluster: held in memory for a successor process, and with a folder kept on disk, so that a restart
 * needs no control plane.
 */
import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { MeshError, messageOf, type Problem } from '../model/error.ts'
import type { Log } from '../model/log.ts'
import type { Sink, Snapshot } from '../model/sink.ts'
import type { Clock } from '../model/time/clock.ts'
import { KnownCluster } from './known-cluster.ts'
import { privateFolder } from './private-folder.ts'
import { SavedCluster } from './saved-cluster.ts'
import { linesOf, SnapshotReader } from './snapshot-lines.ts'
import { readStateFile } from './state-file.ts'

export interface StateStoreParts {
  /** Undefined: nothing is kept on disk. */
  readonly folder: string | undefined
  readonly clock: Clock
  readonly log: Log
}

/** What an earlier process knew of a cluster. */
export interface Memory {
  readonly snapshot: Snapshot
  /** When that was last known to be true; wall-clock milliseconds. */
  readonly since: number
}

interface Entry {
  readonly source: string
  readonly known: KnownCluster
  readonly saved: SavedCluster | undefined
}

/** As many as a mesh can have clusters. */
const maxFiles = 511
const suffix = '.state'

export class StateStore {
  readonly #parts: StateStoreParts
  readonly #entries = new Map<string, Entry>()
  /** Memories that a predecessor has handed over, by cluster, with their sources. */
  readonly #given = new Map<string, Memory & { readonly source: string }>()
  #folder: string | undefined
  #failure: MeshError | undefined

  constructor(parts: StateStoreParts) {
    this.#parts = parts
  }

  /** Prepares the folder. One that cannot be used is a problem in status; nothing is kept then. */
  async open(): Promise<void> {
    const { folder, log } = this.#parts
    if (folder === undefined) return
    try {
      await privateFolder(folder)
      await removeOldest(folder)
      this.#folder = folder
    } catch (error) {
      this.#failure = new MeshError('STATE', `cannot be used (${messageOf(error)}); nothing is kept for a restart`)
      log.warn('state.unusable', { folder, why: messageOf(error) })
    }
  }

  /** What a predecessor knows comes before what is on disk. Throws for lines that are not objects of the cluster. */
  give(cluster: string, source: string, since: number, lines: Iterable<string>): void {
    const reader = new SnapshotReader(cluster)
    for (const line of lines) reader.add(line)
    this.#given.set(cluster, { snapshot: reader.snapshot, since, source })
  }

  /** What is known from earlier; undefined if nothing is, or what is there cannot be used. `source`: where the cluster is read from. */
  async recall(cluster: string, source: string): Promise<Memory | undefined> {
    const given = this.#given.get(cluster)
    this.#given.delete(cluster)
    if (given?.source === source) return given
    if (this.#folder === undefined) return undefined
    const path = pathOf(this.#folder, cluster)
    const reader = new SnapshotReader(cluster)
    try {
      const since = await readStateFile(path, { cluster, source }, line => reader.add(line))
      return since === undefined ? undefined : { snapshot: reader.snapshot, since }
    } catch (error) {
      this.#parts.log.warn('state.unreadable', { path, why: messageOf(error), remedy: 'it is replaced soon' })
      return undefined
    }
  }

  /** Notes what comes for `next` from the source of a cluster. */
  sink(cluster: string, source: string, next: Sink, memory?: Memory): Sink {
    const { clock, log } = this.#parts
    const folder = this.#folder
    const known = new KnownCluster(
      () => clock.wall(),
      () => saved?.changed(),
    )
    if (memory) known.recall(memory.snapshot, memory.since)
    const path = folder === undefined ? '' : pathOf(folder, cluster)
    const saved =
      folder === undefined ? undefined : new SavedCluster({ path, header: { cluster, source }, known, clock, log })
    this.#entries.set(cluster, { source, known, saved })
    return known.sink(next)
  }

  /** The cluster is no longer read, or is read from elsewhere. Its file stays, for a configuration that names it again. */
  async leave(cluster: string): Promise<void> {
    const entry = this.#entries.get(cluster)
    this.#entries.delete(cluster)
    entry?.known.close()
    await entry?.saved?.close()
  }

  /** What is known of each cluster, for a successor: where it is read from, since when it is known, and its objects as lines. */
  *known(): Iterable<{ cluster: string; source: string; since: number; lines: Iterable<string> }> {
    for (const [cluster, { source, known }] of this.#entries) {
      const since = known.isLive ? this.#parts.clock.wall() : known.lastLive
      if (since > 0) yield { cluster, source, since, lines: linesOf(known.snapshot) }
    }
  }

  /** Nothing is written from now on: another process keeps the files. Or it is again. */
  setSaving(isSaving: boolean): void {
    for (const { saved } of this.#entries.values()) saved?.setSaving(isSaving)
  }

  problems(): Problem[] {
    const { folder = '' } = this.#parts
    const own = this.#failure ? [{ code: this.#failure.code, where: folder, message: this.#failure.message }] : []
    return [...own, ...[...this.#entries.values()].flatMap(({ saved }) => saved?.problem() ?? [])]
  }

  /** Writes what has changed. */
  async close(): Promise<void> {
    await Promise.all([...this.#entries.keys()].map(cluster => this.leave(cluster)))
  }
}

/** Names of clusters are safe as names of files. */
function pathOf(folder: string, cluster: string): string {
  return join(folder, `${cluster}${suffix}`)
}

/** Files of clusters that are no longer configured stay, up to a number. */
async function removeOldest(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter(name => name.endsWith(suffix))
  if (names.length <= maxFiles) return
  const files = await Promise.all(
    names.map(async name => ({ path: join(folder, name), at: (await stat(join(folder, name))).mtimeMs })),
  )
  const oldest = files.sort((a, b) => a.at - b.at).slice(0, names.length - maxFiles)
  await Promise.all(oldest.map(({ path }) => rm(path, { force: true })))
}
