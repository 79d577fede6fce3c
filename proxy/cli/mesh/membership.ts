/** The two sides of joining: making a cluster that can be read, and the folder of those that are read. */
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { stringify } from 'yaml'
import { isClusterName } from '../../model/cluster.ts'
import { MeshError } from '../../model/error.ts'
import { createAuthority, issue } from './authority.ts'
import { decodeToken, encodeToken, type Token } from './token.ts'

export interface NewCluster {
  readonly folder: string
  readonly cluster: string
  readonly id: number
  readonly endpoints: readonly string[]
  /** Clusters that are to read this one. */
  readonly peers: readonly string[]
  readonly days: number
}

/** Files of a client, by absolute path. */
export interface ClientFiles {
  readonly ca: string
  readonly cert: string
  readonly key: string
}

export interface MadeCluster {
  readonly server: { readonly cert: string; readonly key: string; readonly ca: string }
  readonly admin: ClientFiles
  readonly publisher: ClientFiles
  readonly tokens: ReadonlyMap<string, string>
}

export function adminOf(cluster: string): string {
  return `admin-${cluster}`
}

export function publisherOf(cluster: string): string {
  return `publisher-${cluster}`
}

/** The user of a peer, as Cilium names it. */
export function readerOf(peer: string): string {
  return `remote-${peer}`
}

/** Makes what is not there yet, so that it can be done again for one more peer. */
export async function makeCluster({ folder, cluster, id, endpoints, peers, days }: NewCluster): Promise<MadeCluster> {
  const path = resolve(folder)
  await mkdir(path, { recursive: true, mode: 0o700 })
  const at = (name: string) => join(path, name)
  const authority = { file: at('ca') }
  if (!(await exists(at('ca.crt')))) await createAuthority({ file: at('ca'), name: `starlane ${cluster}`, days: 3650 })
  const make = async (name: string, hosts: readonly string[] = []): Promise<ClientFiles> => {
    if (!(await exists(at(`${name}.crt`)))) await issue(authority, { file: at(name), name, days, hosts })
    return { ca: at('ca.crt'), cert: at(`${name}.crt`), key: at(`${name}.key`) }
  }
  const hosts = endpoints.map(endpoint => new URL(endpoint).hostname.replace(/^\[|\]$/g, ''))
  const server = await make('server', [...new Set([...hosts, 'localhost', '127.0.0.1'])])
  const admin = await make(adminOf(cluster))
  const publisher = await make(publisherOf(cluster))
  const tokens = new Map<string, string>()
  for (const peer of peers) {
    const { ca, cert, key } = await make(readerOf(peer))
    const [caText, certText, keyText] = await Promise.all([ca, cert, key].map(file => readFile(file, 'utf8')))
    const texts = { ca: caText ?? '', cert: certText ?? '', key: keyText ?? '' }
    tokens.set(peer, encodeToken({ version: 1, cluster, id, endpoints: [...endpoints], ...texts }))
  }
  return { server, admin, publisher, tokens }
}

/** Writes the client file of a cluster, and what it names, into a folder that Cilium's agents could read too. */
export async function joinCluster(folder: string, text: string): Promise<Token & { readonly file: string }> {
  const token = decodeToken(text)
  const path = resolve(folder)
  await mkdir(path, { recursive: true, mode: 0o700 })
  const { cluster, endpoints } = token
  const files = filesOf(path, cluster)
  await replace(files.ca, token.ca, 0o644)
  await replace(files.cert, token.cert, 0o644)
  await replace(files.key, token.key, 0o600)
  const content = { endpoints, 'trusted-ca-file': files.ca, 'cert-file': files.cert, 'key-file': files.key }
  // Last, since from then on the cluster is read.
  await replace(files.file, stringify(content), 0o644)
  return { ...token, file: files.file }
}

/** The cluster is read no more. False when it was not. */
export async function leaveCluster(folder: string, cluster: string): Promise<boolean> {
  if (!isClusterName(cluster)) throw new MeshError('USAGE', `"${cluster}" is no name of a cluster`)
  const { file, ca, cert, key } = filesOf(resolve(folder), cluster)
  const wasThere = await exists(file)
  for (const each of [file, ca, cert, key]) await rm(each, { force: true })
  return wasThere
}

/** Names of the clusters in a folder with their client files. */
export async function joinedClusters(folder: string): Promise<Map<string, string>> {
  const path = resolve(folder)
  const names = (await readdir(path).catch(() => [])).filter(isClusterName).sort()
  return new Map(names.map(name => [name, join(path, name)]))
}

/** As Cilium names them. */
function filesOf(path: string, cluster: string) {
  const client = join(path, `${cluster}.etcd-client`)
  return { file: join(path, cluster), ca: `${client}-ca.crt`, cert: `${client}.crt`, key: `${client}.key` }
}

async function replace(file: string, text: string, mode: number): Promise<void> {
  await writeFile(`${file}.new`, text, { mode })
  await rename(`${file}.new`, file)
}

async function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  )
}
