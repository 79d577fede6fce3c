/** Checks the request of a rehearsal, which comes from outside. */
import * as v from 'valibot'
import { canonicalAddress } from '../../model/address.ts'
import { MeshError } from '../../model/error.ts'
import { maxFlowGroups, maxNameAddresses, maxNameGroups } from '../../model/flows/flow-groups.ts'
import type { RehearsalRequest } from '../../model/flows/rehearsal.ts'

const count = v.pipe(v.number(), v.integer(), v.minValue(1))
const address = v.pipe(
  v.string(),
  v.check(text => canonicalAddress(text) === text, 'is not a canonical address'),
)
const name = v.object({ name: v.string(), addresses: v.pipe(v.array(address), v.maxLength(maxNameAddresses)) })
const group = v.object({
  client: address,
  pod: v.exactOptional(v.string()),
  service: v.string(),
  frontend: v.string(),
  backend: v.exactOptional(v.string()),
  count,
})

const request = v.strictObject({
  manifests: v.exactOptional(v.array(v.object({ path: v.string(), text: v.string() }))),
  cluster: v.exactOptional(v.string()),
  without: v.exactOptional(v.string()),
  flows: v.exactOptional(v.pipe(v.array(group), v.maxLength(maxFlowGroups))),
  names: v.exactOptional(v.pipe(v.array(name), v.maxLength(maxNameGroups))),
  sinceMs: v.exactOptional(count),
})

/** Throws USAGE. `clusters`: the names of all, the local one first. */
export function checkedRequest(value: unknown, clusters: readonly string[]): RehearsalRequest {
  const result = v.safeParse(request, value, { abortEarly: true })
  if (!result.success) {
    const [issue] = result.issues
    throw new MeshError('USAGE', `${v.getDotPath(issue) ?? 'the request'}: ${issue.message}`)
  }
  const { manifests, cluster, without } = result.output
  if ((manifests === undefined) === (without === undefined))
    throw new MeshError('USAGE', 'give either policies to try or a cluster to do without')
  for (const name of [cluster, without]) {
    if (name !== undefined && !clusters.includes(name))
      throw new MeshError('USAGE', `there is no cluster "${name}"; there are ${clusters.join(', ')}`)
  }
  if (without !== undefined && without === clusters[0])
    throw new MeshError(
      'USAGE',
      `"${without}" is the local cluster, without which there are no frontends; name another one`,
    )
  return result.output
}
