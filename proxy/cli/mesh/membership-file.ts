/** mesh.yaml: the options of `starlane mesh init`, kept beside the certificates for the next run. */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { parse, stringify } from 'yaml'
import { isClusterName } from '../../model/cluster.ts'
import { MeshError, messageOf, whyUnreadable } from '../../model/error.ts'

const name = v.pipe(v.string(), v.check(isClusterName, 'is not a valid cluster name'))

const content = v.object({
  cluster: name,
  id: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(511)),
  endpoints: v.pipe(v.array(v.string()), v.minLength(1)),
  /** Whether its etcd holds copies of other clusters. */
  cache: v.optional(v.boolean(), false),
  /** The clusters that may read it: everything, or the services of one tenant. */
  peers: v.optional(v.record(name, v.object({ tenant: v.optional(v.string()) })), {}),
})

export type Membership = v.InferOutput<typeof content>

const fileName = 'mesh.yaml'

/** Undefined before the first `mesh init`. */
export async function readMembership(folder: string): Promise<Membership | undefined> {
  const file = join(folder, fileName)
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw new MeshError('USAGE', `${file} ${whyUnreadable(error)}`)
  })
  if (text === undefined) return undefined
  try {
    return v.parse(content, parse(text, { maxAliasCount: 0 }))
  } catch (error) {
    throw new MeshError('USAGE', `${file} is not a file of "starlane mesh init": ${messageOf(error)}`, {
      cause: error,
    })
  }
}

export async function writeMembership(folder: string, membership: Membership): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const file = join(folder, fileName)
  const head = '# Written by `starlane mesh init` and `starlane mesh dismiss`.\n'
  await writeFile(`${file}.new`, head + stringify(membership), { mode: 0o600 })
  await rename(`${file}.new`, file)
}
