import { type FSWatcher, watch } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { messageOf } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import { isGone } from './walk.ts'

interface Watch {
  readonly watcher: FSWatcher
  /** The one name in the folder that matters; undefined for all. */
  only: string | undefined
}

/**
 * Watches of folders. Files are not watched themselves: a watch stays with the file that was there, while editors and
 * Kubernetes put another in its place. What an event says of names is used only to let go of watches that have died.
 */
export class Watches {
  readonly #changed: () => void
  readonly #log: Log
  readonly #watches = new Map<string, Watch>()
  /** Folders that cannot be watched; only the first is told of, since a limit of the kernel concerns all that follow. */
  readonly #refused = new Set<string>()
  #isClosed = false

  constructor(changed: () => void, log: Log) {
    this.#changed = changed
    this.#log = log
  }

  /** From now on every change in the folder itself is told, or those of one name. A folder that is gone is passed over. */
  add(path: string, only?: string): void {
    const folder = resolve(path)
    const known = this.#watches.get(folder)
    if (known) known.only = only
    else if (!this.#isClosed) this.#begin(folder, only)
  }

  /** Ends all watches but those of the given absolute paths. */
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
      const watcher = watch(folder, { persistent: false }, (event, name) => this.#heard(folder, event, name))
      watcher.on('error', () => this.#heard(folder, 'rename', basename(folder)))
      this.#watches.set(folder, { watcher, only })
      this.#refused.delete(folder)
    } catch (error) {
      if (!isGone(error)) this.#refuse(folder, error)
    }
  }

  #heard(folder: string, event: string, name: string | null): void {
    const only = this.#watches.get(folder)?.only
    const isItself = name === basename(folder)
    if (only !== undefined && name !== null && name !== only && !isItself) return
    // Something was made, moved or removed under this name. If it is a folder, the watch may hang on one that is no more.
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
