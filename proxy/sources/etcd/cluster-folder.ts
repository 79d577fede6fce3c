import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { lookEveryMs } from '../../clients/file-watch.ts'
import { isClusterName } from '../../model/cluster.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import type { Clock } from '../../model/time/clock.ts'

export interface ClusterFolderListener {
  /** All clusters that are configured now: name to client file. Told at first, and when the set changes. */
  changed(clusters: ReadonlyMap<string, string>): void
  /** The folder cannot be read; what was configured stays. Told when the reason changes. */
  failed(error: MeshError): void
}

const maxFileBytes = 1024 * 1024
const maxClusters = 511

/**
 * A folder of client files as Cilium watches it (2.7): a file that speaks of `endpoints:` is a cluster of its own name. What a
 * file says is followed by the source of the cluster; here is seen which there are. The own cluster's file is passed over.
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
  const look = async (): Promise<void> => {
    if (isLooking) return
    isLooking = true
    try {
      const found = await clustersIn(path, own)
      // A folder that is being moved shows a part of what is in it: only what is missed twice is gone.
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
    isLooking = false
  }
  void look()
  const stop = clock.every(lookEveryMs, () => void look())
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

/** A mounted Secret also holds certificates, and links to folders; a file may be gone between two looks. */
async function isClientFile(file: string): Promise<boolean> {
  try {
    const found = await stat(file)
    return found.isFile() && found.size <= maxFileBytes && (await readFile(file, 'utf8')).includes('endpoints:')
  } catch {
    return false
  }
}
