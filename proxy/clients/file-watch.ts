import { hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { Clock } from '../model/time/clock.ts'

/** How often is looked. A Secret of Kubernetes changes by a swap of links two folders up, of which few systems tell. */
export const lookEveryMs = 5000

/** Calls when a file has another text than when it was last looked at; one that cannot be read has none. */
export function watchFile(path: string, clock: Clock, changed: () => void): () => void {
  let known: string | undefined
  let isFirst = true
  let isLooking = false
  let isOver = false
  const look = async (): Promise<void> => {
    if (isLooking) return
    isLooking = true
    const found = await digestOf(path)
    isLooking = false
    const isNews = !isFirst && found !== known && found !== undefined
    isFirst = false
    known = found ?? known
    if (isNews && !isOver) changed()
  }
  void look()
  const stop = clock.every(lookEveryMs, () => void look())
  return () => {
    isOver = true
    stop()
  }
}

/** Undefined for what is no readable file. */
export async function digestOf(path: string): Promise<string | undefined> {
  try {
    return hash('sha256', await readFile(path), 'base64')
  } catch {
    return undefined
  }
}
