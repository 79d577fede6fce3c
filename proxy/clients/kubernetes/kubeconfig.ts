/**
 * Parses kubeconfig files, merges them, and resolves a context, by the rules of client-go (`tools/clientcmd`). Pure functions.
 * Unknown keys are ignored.
 */
import { dirname, isAbsolute, join } from 'node:path'
import * as v from 'valibot'
import { parse } from 'yaml'
import { didYouMean } from '../../config/fields.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import type { Access, Credential, Pem } from './access.ts'

export interface Kubeconfig {
  /** For messages: the files it was read from. */
  readonly name: string
  readonly currentContext: string
  readonly clusters: ReadonlyMap<string, ClusterEntry>
  readonly users: ReadonlyMap<string, UserEntry>
  readonly contexts: ReadonlyMap<string, ContextEntry>
}

type ClusterEntry = v.InferOutput<typeof clusterShape>
type UserEntry = v.InferOutput<typeof userShape>
type ContextEntry = v.InferOutput<typeof contextShape>

const text = v.nullish(v.string(), '')
const flag = v.nullish(v.boolean(), false)
const texts = v.nullish(v.array(v.string()), [])

const clusterShape = v.object({
  server: text,
  'tls-server-name': text,
  'insecure-skip-tls-verify': flag,
  'certificate-authority': text,
  'certificate-authority-data': text,
  'proxy-url': v.nullish(v.string()),
  extensions: v.nullish(v.array(v.object({ name: text, extension: v.unknown() })), []),
})

const execShape = v.object({
  apiVersion: text,
  command: text,
  args: texts,
  env: v.nullish(v.array(v.object({ name: v.string(), value: text })), []),
  installHint: text,
  provideClusterInfo: flag,
  interactiveMode: text,
})

const userShape = v.object({
  'client-certificate': text,
  'client-certificate-data': text,
  'client-key': text,
  'client-key-data': text,
  token: text,
  tokenFile: text,
  username: text,
  password: text,
  as: text,
  'as-uid': text,
  'as-groups': texts,
  'as-user-extra': v.nullish(v.record(v.string(), v.array(v.string())), {}),
  'auth-provider': v.nullish(v.object({ name: text })),
  exec: v.nullish(execShape),
})

const contextShape = v.object({ cluster: text, user: text })

const fileEntries = v.object({
  kind: v.nullish(v.literal('Config', ({ input }) => `${JSON.stringify(input)} is not "Config"`)),
  'current-context': text,
  clusters: named('cluster', clusterShape),
  users: named('user', userShape),
  contexts: named('context', contextShape),
})

const fileShape = v.pipe(
  v.custom(value => !Array.isArray(value), 'it is a list'),
  fileEntries,
)

/** Parses one file. Paths are relative to it. A duplicate name is an error, as in kubectl. */
export function parseKubeconfig(source: string, file: string): Kubeconfig {
  const result = v.safeParse(fileShape, parseYaml(source, file))
  if (!result.success) {
    const [{ message, path }] = result.issues
    const where = path?.map(({ key }) => String(key)).join('.') || 'the file'
    throw new MeshError('SOURCE_READ', `${file}: ${where}: ${message}; this is not a kubeconfig as kubectl writes it`)
  }
  const { clusters, users, contexts } = result.output
  const folder = dirname(file)
  return {
    name: file,
    currentContext: result.output['current-context'],
    clusters: byName(clusters, 'clusters', file, ({ cluster }) => located(cluster, clusterPaths, folder)),
    users: byName(users, 'users', file, ({ user }) => locatedUser(user, folder)),
    contexts: byName(contexts, 'contexts', file, ({ context }) => context),
  }
}

/** Merges files: for each name, and for the current context, the first file that has it wins. */
export function mergeKubeconfigs(files: readonly Kubeconfig[]): Kubeconfig {
  const firstWins = <T>(maps: readonly ReadonlyMap<string, T>[]) =>
    new Map([...maps].reverse().flatMap(map => [...map]))
  return {
    name: files.map(({ name }) => name).join(', '),
    currentContext: files.find(({ currentContext }) => currentContext !== '')?.currentContext ?? '',
    clusters: firstWins(files.map(({ clusters }) => clusters)),
    users: firstWins(files.map(({ users }) => users)),
    contexts: firstWins(files.map(({ contexts }) => contexts)),
  }
}

/** Resolves one context, by default the current one. Errors in other contexts are ignored. */
export function accessOf(config: Kubeconfig, contextName?: string): Access {
  const name = contextName ?? config.currentContext
  const known = [...config.contexts.keys()]
  const has = known.length > 0 ? `it has ${known.join(', ')}` : 'it has no contexts at all'
  if (name === '') fail(config.name, `no current-context is set; name one (${has})`)
  const context = config.contexts.get(name)
  if (!context) fail(config.name, `it has no context "${name}"${didYouMean(name, known)} (${has})`)
  const where = `context ${name} of ${config.name}`
  const cluster = config.clusters.get(context.cluster)
  if (!cluster) fail(where, `its cluster "${context.cluster}" is not in the file; kubectl config set-cluster makes one`)
  const user = config.users.get(context.user)
  if (!user && context.user !== '') {
    fail(where, `its user "${context.user}" is not in the file; kubectl config set-credentials makes one`)
  }
  return { name: where, ...serverOf(cluster, user, where), ...identityOf(user ?? nobody, cluster, where) }
}

const nobody: UserEntry = v.parse(userShape, {})

function serverOf(
  cluster: ClusterEntry,
  user: UserEntry | undefined,
  where: string,
): Pick<Access, 'server' | 'ca' | 'servername' | 'insecure' | 'proxy'> {
  const ca = pemOf(cluster, 'certificate-authority', where)
  const insecure = cluster['insecure-skip-tls-verify']
  if (ca && insecure) {
    fail(where, 'insecure-skip-tls-verify does not go with a certificate-authority; remove one, best the former')
  }
  const hasCertificate = user && (user['client-certificate'] !== '' || user['client-certificate-data'] !== '')
  const proxy = cluster['proxy-url']
  if (proxy) checkProxy(proxy, where)
  return {
    server: serverUrl(cluster.server, ca !== undefined || insecure || hasCertificate === true, where),
    ...(ca && { ca }),
    ...(cluster['tls-server-name'] !== '' && { servername: cluster['tls-server-name'] }),
    insecure,
    // Empty means absent, as in client-go: the environment then decides.
    ...(proxy && { proxy }),
  }
}

/** Without a scheme the address is https where the entry has certificates, and http elsewhere. */
function serverUrl(server: string, hasTls: boolean, where: string): string {
  if (server === '') fail(where, 'its cluster has no server; give https://HOST:6443')
  const written = /^[a-z][a-z0-9+.-]*:\/\//i.test(server) ? server : `${hasTls ? 'https' : 'http'}://${server}`
  const url = URL.canParse(written) ? new URL(written) : undefined
  if (!url || !/^https?:$/.test(url.protocol) || url.hostname === '' || url.search !== '' || url.hash !== '') {
    fail(where, `server: "${server}" is not the address of an API server; write https://HOST:6443`)
  }
  return `${url.origin}${url.pathname}`.replace(/\/+$/, '')
}

function checkProxy(proxy: string, where: string): void {
  const protocol = URL.canParse(proxy) ? new URL(proxy).protocol : ''
  if (!/^(https?|socks5):$/.test(protocol)) {
    // Its value is not shown, since it may contain a password.
    fail(where, 'proxy-url is not a proxy; write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT')
  }
}

function identityOf(
  user: UserEntry,
  cluster: ClusterEntry,
  where: string,
): Pick<Access, 'certificate' | 'credential' | 'impersonate'> {
  const cert = pemOf(user, 'client-certificate', where)
  const key = pemOf(user, 'client-key', where)
  if ((cert === undefined) !== (key === undefined)) {
    fail(where, 'its user has only one of client-certificate and client-key; give both')
  }
  return {
    ...(cert && key && { certificate: { cert, key } }),
    credential: credentialOf(user, cluster, where),
    impersonate: impersonation(user, where),
  }
}

/** In client-go's order: static credentials before the exec plugin. */
function credentialOf(user: UserEntry, cluster: ClusterEntry, where: string): Credential {
  const { token, tokenFile, username, password, exec } = user
  const provider = user['auth-provider']
  if (provider) {
    fail(where, `auth-provider ${provider.name} was removed from Kubernetes; use the exec plugin that replaced it`)
  }
  if ((token !== '' || tokenFile !== '') && (username !== '' || password !== '')) {
    fail(where, 'its user has both a token and a password; keep one')
  }
  if (tokenFile !== '') return { by: 'token-file', file: tokenFile, ...(token !== '' && { token }) }
  if (token !== '') return { by: 'token', token }
  if (username !== '') return { by: 'password', username, password }
  if (!exec) return { by: 'nothing' }
  if (exec.command === '') fail(where, 'exec: the command is missing')
  if (!/^client\.authentication\.k8s\.io\/(v1|v1beta1)$/.test(exec.apiVersion)) {
    fail(
      where,
      `exec: "${exec.apiVersion}" is not client.authentication.k8s.io/v1 or v1beta1; update the plugin's entry`,
    )
  }
  if (exec.interactiveMode === 'Always') {
    fail(where, 'exec: interactiveMode Always needs a terminal, and there is none; use another credential')
  }
  const { apiVersion, command, args, installHint, provideClusterInfo } = exec
  const config = cluster.extensions.find(({ name }) => name === 'client.authentication.k8s.io/exec')?.extension
  return {
    by: 'exec',
    plugin: {
      apiVersion,
      command,
      args,
      env: Object.fromEntries(exec.env.map(({ name, value }) => [name, value])),
      ...(installHint !== '' && { installHint }),
      provideClusterInfo,
      ...(config !== undefined && { config }),
    },
  }
}

function impersonation(user: UserEntry, where: string): Access['impersonate'] {
  const { as, 'as-uid': uid, 'as-groups': groups, 'as-user-extra': extra } = user
  if (as === '' && (uid !== '' || groups.length > 0 || Object.keys(extra).length > 0)) {
    fail(where, 'as-uid, as-groups and as-user-extra need `as`, the user to impersonate')
  }
  return {
    ...(as !== '' && { 'Impersonate-User': as }),
    ...(uid !== '' && { 'Impersonate-Uid': uid }),
    ...(groups.length > 0 && { 'Impersonate-Group': groups }),
    ...Object.fromEntries(
      Object.entries(extra).map(([k, values]) => [`Impersonate-Extra-${encodeURIComponent(k)}`, values]),
    ),
  }
}

/** `KEY-data` takes precedence over `KEY`. */
function pemOf<K extends string>(entry: { [key in K | `${K}-data`]: string }, key: K, where: string): Pem | undefined {
  const dataKey = `${key}-data` as const
  const [data, file]: [string, string] = [entry[dataKey], entry[key]]
  if (data === '') return file === '' ? undefined : { file }
  const pem = Buffer.from(data, 'base64').toString('latin1')
  if (!pem.includes('-----BEGIN'))
    fail(where, `${dataKey} is not base64-encoded PEM; write it with kubectl config set --set-raw-bytes`)
  return { data: pem }
}

function parseYaml(source: string, file: string): unknown {
  try {
    return parse(source, { maxAliasCount: 100 }) ?? {}
  } catch (error) {
    throw new MeshError('SOURCE_READ', `${file} is not YAML: ${messageOf(error).split('\n')[0]}`, { cause: error })
  }
}

function named<K extends string, S extends v.GenericSchema>(key: K, shape: S) {
  const entry = { name: v.string(), [key]: v.nullish(shape, {} as v.InferInput<S>) }
  return v.nullish(v.array(v.object(entry as { name: v.StringSchema<undefined> } & Record<K, S>)), [])
}

function byName<E extends { name: string }, T>(
  entries: readonly E[],
  key: string,
  file: string,
  value: (entry: E) => T,
): Map<string, T> {
  const map = new Map<string, T>()
  for (const entry of entries) {
    if (map.has(entry.name)) fail(file, `${key} has the name "${entry.name}" twice; remove one`)
    map.set(entry.name, value(entry))
  }
  return map
}

const clusterPaths = ['certificate-authority'] as const
const userPaths = ['client-certificate', 'client-key', 'tokenFile'] as const

function locatedUser(user: UserEntry, folder: string): UserEntry {
  const { exec } = user
  // A command without a slash is looked up in PATH.
  const command = exec?.command.includes('/') ? absolute(exec.command, folder) : exec?.command
  return { ...located(user, userPaths, folder), ...(exec && { exec: { ...exec, command: command ?? '' } }) }
}

function located<K extends string, T extends { [key in K]: string }>(entry: T, keys: readonly K[], folder: string): T {
  return { ...entry, ...Object.fromEntries(keys.map(key => [key, absolute(entry[key], folder)])) }
}

function absolute(path: string, folder: string): string {
  return path === '' || isAbsolute(path) ? path : join(folder, path)
}

function fail(where: string, message: string): never {
  throw new MeshError('SOURCE_READ', `${where}: ${message}`)
}
