/** Polls a file for changes of its content. */
import { hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { Clock } from '../model/time/clock.ts'

/** The polling interval. A mounted Secret changes by a link swap two folders up, which file events often miss. */
export const pollEveryMs = 5000

/** Calls `changed` when the content differs from that of the last poll. While the file cannot be read, nothing is called. */
export function watchFile(path: string, clock: Clock, changed: () => void): () => void {
  let known: string | undefined
  let isFirst = true
  let isPolling = false
  let isOver = false
  const poll = async (): Promise<void> => {
    if (isPolling) return
    isPolling = true
    const found = await digestOf(path)
    isPolling = false
    const isChanged = !isFirst && found !== known && found !== undefined
    isFirst = false
    known = found ?? known
    if (isChanged && !isOver) changed()
  }
  void poll()
  const stop = clock.every(pollEveryMs, () => void poll())
  return () => {
    isOver = true
    stop()
  }
}

/** The SHA-256 of a file; undefined when it cannot be read. */
export async function digestOf(path: string): Promise<string | undefined> {
  try {
    return hash('sha256', await readFile(path), 'base64')
  } catch {
    return undefined
  }
}
