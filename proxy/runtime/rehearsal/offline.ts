/** A rehearsal over manifests alone, for a pipeline: no Starlane needs to run. */
import type { Loaded } from '../../config/load.ts'
import type { Rehearsal } from '../../model/flows/rehearsal.ts'
import { readOffline } from '../offline.ts'
import { rehearse } from './rehearsal.ts'
import { checkedRequest } from './request.ts'

/** Clusters that are not read from manifests have no services and no Pods here. Rejects with USAGE. */
export async function rehearseOffline(loaded: Loaded, given: unknown): Promise<Rehearsal> {
  const { cluster, clusters } = loaded.config
  const request = checkedRequest(given, [cluster, ...clusters.map(({ name }) => name).filter(name => name !== cluster)])
  const offline = await readOffline(loaded)
  const { mesh, workloads, plugins, chain, host, errors } = offline
  try {
    if (errors[0]) throw errors[0]
    return await rehearse(
      request,
      { groups: request.flows ?? [], names: request.names ?? [] },
      {
        ...{ cluster, directory: mesh.directory, workloads, plugins, chain, host, arePodsRead: true },
      },
    )
  } finally {
    await offline.close()
  }
}
