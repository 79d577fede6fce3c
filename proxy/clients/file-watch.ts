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

/**
 * Calls `changed` when the content of a file differs from what it was. While a file cannot be read, nothing is called for it.
 * `paths` is asked again before each look, since the list may depend on the files.
 */
export function watchFiles(paths: () => readonly string[], clock: Clock, changed: () => void): () => void {
  const known = new Map<string, FileState>()
  /** Of the last look: a path that was not among them has no earlier content. */
  let listed: ReadonlySet<string> = new Set(paths())
  // At once, so that a caller who reads the files after this call misses no change.
  for (const path of listed) {
    const state = stateNow(path)
    if (state) known.set(path, state)
  }
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
    const files = new Set(paths())
    let isChanged = false
    for (const path of files) {
      await scan.follow(path)
      const before = known.get(path)
      const found = await stateOf(path, isEvent ? undefined : before)
      if (found && found.digest !== before?.digest && listed.has(path)) isChanged = true
      if (found) known.set(path, found)
    }
    scan.end()
    for (const path of known.keys()) if (!files.has(path)) known.delete(path)
    listed = files
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
  return () => {
    isOver = true
    stopPolling()
    stopWaiting()
    watch.close()
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
