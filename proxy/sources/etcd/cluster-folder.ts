/** Watches a folder of Cilium client files, one for each cluster of the mesh. */
import { access, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pollEveryMs, settleMs } from '../../clients/file-watch.ts'
import { type PathScan, PathWatch } from '../../clients/path-watch.ts'
import { isClusterName } from '../../model/cluster.ts'
import { MeshError, messageOf, type Problem } from '../../model/error.ts'
import type { Clock } from '../../model/time/clock.ts'

export interface ClusterFolderListener {
  /**
   * All configured clusters: name to client file, and the client files that configure none, each with the reason. Called first,
   * and when either changes.
   */
  changed(clusters: ReadonlyMap<string, string>, skipped: readonly Problem[]): void
  /** The folder cannot be read; the configured clusters stay. Called when the reason changes. */
  failed(error: MeshError): void
}

const maxFileBytes = 1024 * 1024
const maxClusters = 511
/** Files that are reported by name; a folder may be the wrong one. */
const maxSkipped = 100

/**
 * As Cilium watches it (2.7): a file that contains `endpoints:` configures the cluster of its name. Here only the set of files
 * is watched; each cluster's source watches the content of its own file. The local cluster's file is ignored.
 */
export function watchClusterFolder(
  path: string,
  { own, clock, listener }: { readonly own: string; readonly clock: Clock; readonly listener: ClusterFolderListener },
): () => void {
  let known: string | undefined
  let present: ReadonlyMap<string, string> = new Map()
  let missed: ReadonlySet<string> = new Set()
  let failure: string | undefined
  let isLooking = false
  let isOver = false
  let stopWaiting = (): void => {}
  const lookSoon = (): void => {
    stopWaiting()
    stopWaiting = clock.after(settleMs, () => void look())
  }
  const watch = new PathWatch(lookSoon)
  const look = async (): Promise<void> => {
    if (isLooking) return lookSoon()
    isLooking = true
    const scan = watch.begin()
    try {
      const { clusters: found, skipped } = await clustersIn(path, own, scan)
      // While a folder is being replaced it may list only some files: a file is gone when it was missing twice.
      const kept = [...present].filter(([name]) => !found.has(name) && !missed.has(name))
      const clusters = new Map([...found, ...kept].sort(([a], [b]) => (a < b ? -1 : 1)))
      missed = new Set(kept.map(([name]) => name))
      present = clusters
      const state = JSON.stringify([[...clusters.keys()], skipped])
      failure = undefined
      if (!isOver && state !== known) listener.changed(clusters, skipped)
      known = state
    } catch (error) {
      const why = messageOf(error)
      if (!isOver && why !== failure) {
        listener.failed(new MeshError('SOURCE_READ', `cannot read the folder of clusters: ${why}`, { cause: error }))
      }
      failure = why
    }
    scan.end()
    isLooking = false
    if (isOver) watch.close()
  }
  void look()
  const stopPolling = clock.every(pollEveryMs, () => void look())
  return () => {
    isOver = true
    stopPolling()
    stopWaiting()
    watch.close()
  }
}

async function clustersIn(
  path: string,
  own: string,
  scan: PathScan,
): Promise<{ readonly clusters: Map<string, string>; readonly skipped: readonly Problem[] }> {
  await scan.follow(path)
  scan.folder(path)
  const clusters = new Map<string, string>()
  const skipped: Problem[] = []
  for (const name of (await readdir(path)).sort()) {
    if (name === own || name.startsWith('.')) continue
    const file = join(path, name)
    await scan.follow(file)
    const size = await clientFileSize(file)
    const why = size === undefined ? undefined : reasonToSkip(name, size, clusters.size)
    if (size !== undefined && why === undefined) clusters.set(name, file)
    else if (why !== undefined && skipped.length < maxSkipped)
      skipped.push({ code: 'SOURCE_READ', where: file, message: `configures no cluster: ${why}` })
  }
  // Throws when the folder went away meanwhile: files that could not be read then say nothing.
  await access(path)
  return { clusters, skipped }
}

function reasonToSkip(name: string, size: number, clusters: number): string | undefined {
  if (!isClusterName(name))
    return `${JSON.stringify(name)} is not a cluster name (1 to 32 of a-z, 0-9 and -, with a letter or digit at both ends); rename it`
  if (size > maxFileBytes) return `it has ${size} bytes, more than ${maxFileBytes} (1 MiB)`
  return clusters < maxClusters ? undefined : `there are already ${maxClusters} clusters, which is the most in a mesh`
}

/**
 * Its size; undefined for what is not a client file: a mounted Secret also contains certificates and links to folders, and a
 * file may disappear after it was listed.
 */
async function clientFileSize(file: string): Promise<number | undefined> {
  try {
    const found = await stat(file)
    if (!found.isFile()) return undefined
    // Too large to be searched, but by its name it is meant as one.
    if (found.size > maxFileBytes) return /\.[a-z]+$/.test(file) ? undefined : found.size
    return (await readFile(file, 'utf8')).includes('endpoints:') ? found.size : undefined
  } catch {
    return undefined
  }
}
