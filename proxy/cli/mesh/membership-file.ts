/** What `starlane mesh init` has been told of a cluster, kept beside its certificates so that it need not be told again. */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { parse, stringify } from 'yaml'
import { isClusterName } from '../../model/cluster.ts'
import { MeshError, messageOf } from '../../model/error.ts'

const name = v.pipe(v.string(), v.check(isClusterName, 'is no name for a cluster'))

const content = v.object({
  cluster: name,
  id: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(255)),
  endpoints: v.pipe(v.array(v.string()), v.minLength(1)),
  /** Whether other clusters are copied into its etcd. */
  cache: v.optional(v.boolean(), false),
  /** Who may read it: all of it, or what one tenant may have. */
  peers: v.optional(v.record(name, v.object({ tenant: v.optional(v.string()) })), {}),
})

export type Membership = v.InferOutput<typeof content>

const fileName = 'mesh.yaml'

/** Undefined before the first time. */
export async function readMembership(folder: string): Promise<Membership | undefined> {
  const file = join(folder, fileName)
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw new MeshError('USAGE', `cannot read ${file}: ${messageOf(error)}`)
  })
  if (text === undefined) return undefined
  try {
    return v.parse(content, parse(text, { maxAliasCount: 0 }))
  } catch (error) {
    throw new MeshError('USAGE', `${file} is not as "starlane mesh init" wrote it: ${messageOf(error)}`, {
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
