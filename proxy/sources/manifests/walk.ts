/** Finds the manifest files below a path. */
import type { Dirent, Stats } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { isGone, type PathScan } from '../../clients/path-watch.ts'
import { readFaultText } from '../../model/text/regular-file.ts'

export interface Tree {
  /** Whether the path is a folder. */
  readonly isFolder: boolean
  /** The manifests by path, sorted, each with a stamp made of its `stat`, which changes with the file. */
  readonly files: ReadonlyMap<string, string>
  /** Files and folders that exist but cannot be read, with the reason. */
  readonly unreadable: ReadonlyMap<string, string>
  /** Whether there are more than `maxEntries`. */
  readonly cut: boolean
}

/** The maximum number of manifests and folders that one source reads. */
export const maxEntries = 20_000

/**
 * The manifests at a path: the file itself, whatever its name, or all .yaml, .yml and .json files below the folder. Names that
 * begin with a dot are skipped, and with them the folders behind a mounted ConfigMap (`..data`). Links are followed, but no
 * folder is read twice. `scan` is given each folder and link before it is read, so that a watch misses nothing. Throws when the
 * path itself cannot be read.
 */
export async function walk(root: string, scan: PathScan): Promise<Tree> {
  await scan.follow(root)
  const top = await stat(root)
  if (top.isFile())
    return { isFolder: false, files: new Map([[root, stampOf(top)]]), unreadable: new Map(), cut: false }
  if (!top.isDirectory()) throw new Error('it is neither a file nor a folder')
  const files: [path: string, stamp: string][] = []
  const unreadable = new Map<string, string>()
  const folders = [root]
  const seen = new Set([identityOf(top)])
  for (const folder of folders) {
    scan.folder(folder)
    const note = (path: string, error: unknown) => {
      if (path === root) throw error
      if (!isGone(error)) unreadable.set(path, readFaultText(error))
    }
    const entries = await list(folder, scan).catch(error => note(folder, error))
    for (const { path, result } of entries ?? []) {
      if (files.length + folders.length >= maxEntries) break
      if (result.status === 'rejected') note(path, result.reason)
      else if (result.value.isFile() && isManifest(path)) files.push([path, stampOf(result.value)])
      else if (result.value.isDirectory() && !seen.has(identityOf(result.value))) {
        seen.add(identityOf(result.value))
        folders.push(path)
      }
    }
  }
  files.sort(([a], [b]) => (a < b ? -1 : 1))
  return { isFolder: true, files: new Map(files), unreadable, cut: files.length + folders.length >= maxEntries }
}

async function list(folder: string, scan: PathScan): Promise<{ path: string; result: PromiseSettledResult<Stats> }[]> {
  const entries = (await readdir(folder, { withFileTypes: true })).filter(isWanted).slice(0, maxEntries)
  const paths = entries.map(({ name }) => join(folder, name))
  for (const entry of entries) if (entry.isSymbolicLink()) await scan.follow(join(folder, entry.name))
  const results = await Promise.allSettled(paths.map(path => stat(path)))
  return results.map((result, i) => ({ path: paths[i] ?? folder, result }))
}

function isWanted(entry: Dirent): boolean {
  if (entry.name.startsWith('.')) return false
  return entry.isDirectory() || entry.isSymbolicLink() || (entry.isFile() && isManifest(entry.name))
}

function isManifest(path: string): boolean {
  return /\.(ya?ml|json)$/i.test(path)
}

function identityOf({ dev, ino }: Stats): string {
  return `${dev}:${ino}`
}

function stampOf(stats: Stats): string {
  return `${identityOf(stats)}:${stats.size}:${stats.mtimeMs}:${stats.ctimeMs}`
}
