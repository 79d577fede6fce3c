/** Watches the content of files, behind any links. */
import { hash } from 'node:crypto'
import { readFileSync, type Stats, statSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { readRegularFile } from '../model/text/regular-file.ts'
import type { Clock } from '../model/time/clock.ts'
import { PathWatch } from './path-watch.ts'

/** The interval of looking without an event: network file systems and bind mounts report none. */
export const pollEveryMs = 1500
/** How long there must be no event: a file that is written in place is empty for a moment. */
export const settleMs = 100

export interface FileWatch {
  /**
   * To be called between learning of new paths and reading their files: what they hold now is what later content is compared with.
   * Otherwise a change before the next look is missed.
   */
  pathsChanged(): void
  stop(): void
}

/**
 * Calls `changed` when the content of a file differs from what it was. While a file cannot be read, nothing is called for it.
 * `paths` is asked again before each look, since the list may depend on the files.
 */
export function watchFiles(paths: () => readonly string[], clock: Clock, changed: () => void): FileWatch {
  const known = new Map<string, FileState>()
  /** A path that is not among them has no earlier content. */
  const listed = new Set<string>()
  /** At once, so that a caller who reads the files after it misses no change. True when there are new ones. */
  const list = (): boolean => {
    const before = listed.size
    for (const path of paths()) {
      if (listed.has(path)) continue
      listed.add(path)
      const state = stateNow(path)
      if (state) known.set(path, state)
    }
    return listed.size > before
  }
  list()
  let isLooking = false
  let isAsked = false
  let isOver = false
  let stopWaiting = (): void => {}
  const watch = new PathWatch(() => {
    stopWaiting()
    stopWaiting = clock.after(settleMs, () => void look(true))
  })
  const look = async (isEvent: boolean): Promise<void> => {
    if (isLooking) {
      isAsked ||= isEvent
      return
    }
    isLooking = true
    const scan = watch.begin()
    list()
    let isChanged = false
    for (const path of [...listed]) {
      await scan.follow(path)
      const before = known.get(path)
      const found = await stateOf(path, isEvent ? undefined : before)
      if (found && found.digest !== before?.digest) isChanged = true
      if (found) known.set(path, found)
    }
    scan.end()
    const files = new Set(paths())
    for (const path of listed) {
      if (files.has(path)) continue
      listed.delete(path)
      known.delete(path)
    }
    isLooking = false
    if (isOver) return watch.close()
    if (isChanged) changed()
    if (isAsked) {
      isAsked = false
      void look(true)
    }
  }
  void look(true)
  const stopPolling = clock.every(pollEveryMs, () => void look(false))
  return {
    pathsChanged: () => {
      if (!isOver && list()) void look(true)
    },
    stop: () => {
      isOver = true
      stopPolling()
      stopWaiting()
      watch.close()
    },
  }
}

interface FileState {
  readonly stamp: string
  /** SHA-256 of the content. */
  readonly digest: string
}

/** Undefined when it cannot be read. A file whose `stat` is that of `known` is not read again. */
async function stateOf(path: string, known: FileState | undefined): Promise<FileState | undefined> {
  try {
    const stamp = stampOf(await stat(path))
    if (known?.stamp === stamp) return known
    return { stamp, digest: digestOf(await readRegularFile(path)) }
  } catch {
    return undefined
  }
}

function stateNow(path: string): FileState | undefined {
  try {
    const stats = statSync(path)
    // A named pipe would block the process.
    return stats.isFile() ? { stamp: stampOf(stats), digest: digestOf(readFileSync(path)) } : undefined
  } catch {
    return undefined
  }
}

function stampOf({ dev, ino, size, mtimeMs, ctimeMs }: Stats): string {
  return `${dev}:${ino}:${size}:${mtimeMs}:${ctimeMs}`
}

function digestOf(content: Uint8Array): string {
  return hash('sha256', content, 'base64')
}
