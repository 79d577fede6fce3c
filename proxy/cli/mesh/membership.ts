/** Both sides of joining: the certificates of a cluster that others read, and the client files of clusters that it reads. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { stringify } from 'yaml'
import { isClusterName, viewName } from '../../model/cluster.ts'
import { MeshError } from '../../model/error.ts'
import type { Clock } from '../../model/time/clock.ts'
import { createAuthority, isDue, issue, request, sign } from '../../runtime/tunnel/issuing.ts'
import type { Membership } from './membership-file.ts'
import { decodeToken, encodeToken, type Token } from './token.ts'

/** The files of an etcd client, by absolute path. */
export interface ClientFiles {
  readonly ca: string
  readonly cert: string
  readonly key: string
}

export interface MadeCluster {
  readonly server: ClientFiles
  readonly admin: ClientFiles
  readonly publisher: ClientFiles
  /** For local readers of the cache, if there is one. */
  readonly local: ClientFiles | undefined
  readonly tokens: ReadonlyMap<string, string>
  /** Peers that have sent no request yet. */
  readonly waiting: readonly string[]
}

export function adminOf(cluster: string): string {
  return `admin-${cluster}`
}

export function publisherOf(cluster: string): string {
  return `publisher-${cluster}`
}

/** The etcd user of a peer, as Cilium names it. */
export function readerOf(peer: string): string {
  return `remote-${peer}`
}

/** The etcd user of local readers of the cache, as Cilium names it. */
export function localOf(cluster: string): string {
  return `local-${cluster}`
}

/**
 * Issues the certificates that are missing, expire soon or are for other hosts, so that it can be repeated at any time. Makes
 * tokens for the peers in `invited`.
 */
export async function makeCluster(
  folder: string,
  { cluster, id, endpoints, cache, peers }: Membership,
  {
    invited,
    requests,
    days,
    clock,
  }: {
    readonly invited: readonly string[]
    /** By peer: what it wants signed, in PEM. Kept for the next time. */
    readonly requests: ReadonlyMap<string, string>
    readonly days: number
    readonly clock: Clock
  },
): Promise<MadeCluster> {
  const path = resolve(folder)
  await mkdir(path, { recursive: true, mode: 0o700 })
  const at = (name: string) => join(path, name)
  const authority = { file: at('ca') }
  if (!(await exists(at('ca.crt')))) await createAuthority({ file: at('ca'), name: `starlane ${cluster}`, days: 3650 })
  const make = async (name: string, hosts: readonly string[] = []): Promise<ClientFiles> => {
    if (await isDue(at(name), hosts, clock.wall())) await issue(authority, { file: at(name), name, days, hosts })
    return { ca: at('ca.crt'), cert: at(`${name}.crt`), key: at(`${name}.key`) }
  }
  const hosts = endpoints.map(endpoint => new URL(endpoint).hostname.replace(/^\[|\]$/g, ''))
  const server = await make('server', [...new Set([...hosts, 'localhost', '127.0.0.1'])])
  const admin = await make(adminOf(cluster))
  const publisher = await make(publisherOf(cluster))
  const local = cache ? await make(localOf(cluster)) : undefined
  const tokens = new Map<string, string>()
  const waiting: string[] = []
  for (const peer of invited) {
    const file = at(readerOf(peer))
    const before = await readFile(`${file}.csr`, 'utf8').catch(() => undefined)
    const csr = requests.get(peer) ?? before
    if (csr === undefined) {
      waiting.push(peer)
      continue
    }
    if (csr !== before || (await isDue(file, [], clock.wall()))) {
      const signed = await sign(authority, csr, { name: readerOf(peer), days })
      await replace(`${file}.csr`, csr, 0o600)
      await replace(`${file}.crt`, signed, 0o644)
    }
    const tenant = peers[peer]?.tenant
    const seen = tenant === undefined ? cluster : viewName(cluster, tenant)
    const [ca, cert] = await Promise.all([readFile(at('ca.crt'), 'utf8'), readFile(`${file}.crt`, 'utf8')])
    tokens.set(peer, encodeToken({ version: 2, cluster: seen, id, endpoints: [...endpoints], ca, cert }))
  }
  return { server, admin, publisher, local, tokens, waiting }
}

/** Removes the certificate of a dismissed peer. */
export async function forgetPeer(folder: string, peer: string): Promise<void> {
  for (const ending of ['crt', 'csr', 'key'])
    await rm(join(resolve(folder), `${readerOf(peer)}.${ending}`), { force: true })
}

/** The key with which a cluster reads others is made here; its request is for `mesh init --request` there. Made once. */
export async function requestFor(folder: string): Promise<string> {
  const path = resolve(folder)
  await mkdir(path, { recursive: true, mode: 0o700 })
  const file = join(path, 'request')
  if (!(await exists(`${file}.csr`)) || !(await exists(`${file}.key`))) await request(file)
  return `${file}.csr`
}

/** Writes the client file of a cluster and the files it names, in the layout that Cilium's agents read. */
export async function joinCluster(folder: string, text: string): Promise<Token & { readonly file: string }> {
  const token = decodeToken(text)
  const path = resolve(folder)
  await mkdir(path, { recursive: true, mode: 0o700 })
  const { cluster, endpoints } = token
  const files = filesOf(path, cluster)
  const key = await keyFor(token.cert, [join(path, 'request.key'), files.key])
  if (key === undefined) {
    const remedy = `run "starlane mesh request --dir ${folder}", and give its request to "starlane mesh init" in ${cluster}`
    throw new MeshError('USAGE', `the certificate in the token is for no key in ${path}; ${remedy}`)
  }
  await replace(files.ca, token.ca, 0o644)
  await replace(files.cert, token.cert, 0o644)
  await replace(files.key, key, 0o600)
  const content = { endpoints, 'trusted-ca-file': files.ca, 'cert-file': files.cert, 'key-file': files.key }
  // Last: readers of the folder start when this file appears.
  await replace(files.file, stringify(content), 0o644)
  return { ...token, file: files.file }
}

/** The first of the keys that the certificate is for. */
async function keyFor(certificate: string, files: readonly string[]): Promise<string | undefined> {
  const leaf = new X509Certificate(certificate)
  for (const file of files) {
    const key = await readFile(file, 'utf8').catch(() => undefined)
    if (key !== undefined && leaf.checkPrivateKey(createPrivateKey(key))) return key
  }
  return undefined
}

/** Removes the client files of a cluster. False when it was not joined. */
export async function leaveCluster(folder: string, cluster: string): Promise<boolean> {
  if (!isClusterName(cluster)) throw new MeshError('USAGE', `"${cluster}" is not a valid cluster name`)
  const { file, ca, cert, key } = filesOf(resolve(folder), cluster)
  const wasThere = await exists(file)
  for (const each of [file, ca, cert, key]) await rm(each, { force: true })
  return wasThere
}

/** The client files in a folder, by cluster name. */
export async function joinedClusters(folder: string): Promise<Map<string, string>> {
  const path = resolve(folder)
  const names = (await readdir(path).catch(() => [])).filter(isClusterName).sort()
  return new Map(names.map(name => [name, join(path, name)]))
}

/** File names as Cilium uses them. */
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
