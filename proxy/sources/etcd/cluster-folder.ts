/** Watches a folder of Cilium client files, one for each cluster of the mesh. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pollEveryMs } from '../../clients/file-watch.ts'
import { isClusterName } from '../../model/cluster.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import type { Clock } from '../../model/time/clock.ts'

export interface ClusterFolderListener {
  /** All configured clusters: name to client file. Called first, and when the set changes. */
  changed(clusters: ReadonlyMap<string, string>): void
  /** The folder cannot be read; the configured clusters stay. Called when the reason changes. */
  failed(error: MeshError): void
}

const maxFileBytes = 1024 * 1024
const maxClusters = 511

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
  let isPolling = false
  let isOver = false
  const poll = async (): Promise<void> => {
    if (isPolling) return
    isPolling = true
    try {
      const found = await clustersIn(path, own)
      // While a folder is being replaced it may list only some files: a file is gone when it was missing twice.
      const kept = [...present].filter(([name]) => !found.has(name) && !missed.has(name))
      const clusters = new Map([...found, ...kept].sort(([a], [b]) => (a < b ? -1 : 1)))
      missed = new Set(kept.map(([name]) => name))
      present = clusters
      const names = JSON.stringify([...clusters.keys()])
      failure = undefined
      if (!isOver && names !== known) listener.changed(clusters)
      known = names
    } catch (error) {
      const why = messageOf(error)
      if (!isOver && why !== failure) {
        listener.failed(new MeshError('SOURCE_READ', `cannot read the folder of clusters: ${why}`, { cause: error }))
      }
      failure = why
    }
    isPolling = false
  }
  void poll()
  const stop = clock.every(pollEveryMs, () => void poll())
  return () => {
    isOver = true
    stop()
  }
}

async function clustersIn(path: string, own: string): Promise<Map<string, string>> {
  const names = (await readdir(path)).filter(name => isClusterName(name) && name !== own).sort()
  const clusters = new Map<string, string>()
  for (const name of names) {
    const file = join(path, name)
    if (clusters.size < maxClusters && (await isClientFile(file))) clusters.set(name, file)
  }
  return clusters
}

/** A mounted Secret also contains certificates and links to folders, and a file may disappear after it was listed. */
async function isClientFile(file: string): Promise<boolean> {
  try {
    const found = await stat(file)
    return found.isFile() && found.size <= maxFileBytes && (await readFile(file, 'utf8')).includes('endpoints:')
  } catch {
    return false
  }
}
