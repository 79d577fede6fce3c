/** Watches folders for file events. */
import { type FSWatcher, watch } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { messageOf } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import { isGone } from './walk.ts'

interface Watch {
  readonly watcher: FSWatcher
  /** The only name whose events matter; undefined: all. */
  only: string | undefined
}

/**
 * Only folders are watched: a watch of a file stays with the old inode, while editors and Kubernetes replace files. The names
 * in events are used only to drop watches whose folder was replaced.
 */
export class Watches {
  readonly #changed: () => void
  readonly #log: Log
  readonly #watches = new Map<string, Watch>()
  /** Folders that cannot be watched. Only the first is logged: the usual cause is a kernel limit, which affects all others too. */
  readonly #refused = new Set<string>()
  #isClosed = false

  constructor(changed: () => void, log: Log) {
    this.#changed = changed
    this.#log = log
  }

  /** Reports every change in the folder, or only those of one name. A folder that does not exist is ignored. */
  add(path: string, only?: string): void {
    const folder = resolve(path)
    const known = this.#watches.get(folder)
    if (known) known.only = only
    else if (!this.#isClosed) this.#begin(folder, only)
  }

  /** Closes all watches except those of the given absolute paths. */
  keep(folders: ReadonlySet<string>): void {
    for (const folder of this.#watches.keys()) if (!folders.has(folder)) this.#end(folder)
    for (const folder of this.#refused) if (!folders.has(folder)) this.#refused.delete(folder)
  }

  close(): void {
    this.#isClosed = true
    this.keep(new Set())
  }

  #begin(folder: string, only: string | undefined): void {
    try {
      const watcher = watch(folder, { persistent: false }, (event, name) => this.#onEvent(folder, event, name))
      watcher.on('error', () => this.#onEvent(folder, 'rename', basename(folder)))
      this.#watches.set(folder, { watcher, only })
      this.#refused.delete(folder)
    } catch (error) {
      if (!isGone(error)) this.#refuse(folder, error)
    }
  }

  #onEvent(folder: string, event: string, name: string | null): void {
    const only = this.#watches.get(folder)?.only
    const isItself = name === basename(folder)
    if (only !== undefined && name !== null && name !== only && !isItself) return
    // Something was created, moved or removed under this name. If it was a folder, its watch is on the old one.
    if (event === 'rename' && name !== null) {
      this.#end(join(folder, name))
      if (isItself) this.#end(folder)
    }
    this.#changed()
  }

  #refuse(folder: string, error: unknown): void {
    this.#refused.add(folder)
    if (this.#refused.size > 1) return
    this.#log.warn('source.unwatched', { folder, why: messageOf(error), until: 'the next slow rescan' })
  }

  #end(folder: string): void {
    this.#watches.get(folder)?.watcher.close()
    this.#watches.delete(folder)
  }
}
