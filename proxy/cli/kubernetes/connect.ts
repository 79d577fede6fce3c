/** `starlane mesh connect` and `disconnect`: let clusters read each other's API servers, or no longer. */
import { Command } from 'commander'
import { stringify } from 'yaml'
import { MeshError } from '../../model/error.ts'
import { isHalfOver, lifeOf } from '../../model/text/token-life.ts'
import type { Io } from '../terminal/io.ts'
import {
  accessObjects,
  accountOf,
  isOnThisMachine,
  KubeconfigSecret,
  kubeconfigOf,
  renewalObjects,
  requestToken,
  type Server,
  serverOf,
  tokenIn,
} from './access.ts'
import { addContextOptions, type ContextOptions, clustersOf, membersOf } from './contexts.ts'
import { type Installed, namespace, withoutRemotes, withRemote, writeInstalled } from './installed.ts'
import type { Cluster } from './kubectl.ts'

interface Options extends ContextOptions {
  readonly server: readonly string[]
  readonly tokenDays: string
  readonly renew: boolean
  readonly dryRun: boolean
}

export function connectCommand(io: Io, end: (code: number) => void): Command {
  return addContextOptions(new Command('connect'))
    .description(
      'Joins the clusters of the contexts, each with each: in every one an account for each other that may only read, a token bound to ' +
        'it, a Secret with kubeconfigs, and the configuration. Run it again at any time: it changes only what is missing. ' +
        'Starlane renews the tokens itself in the second half of their life; so does this command.',
    )
    .option(
      '--server <context=url...>',
      "where the others reach a cluster's API server (default: the URL of its context)",
      [],
    )
    .option('--token-days <days>', 'how long tokens shall be valid, at least 1; an API server may allow less', '90')
    .option('--renew', 'renew all tokens', false)
    .option('--dry-run', 'print the objects and change nothing', false)
    .action(async (options: Options) => end(await connect(io, options)))
}

async function connect(io: Io, options: Options): Promise<number> {
  const clusters = several(clustersOf(io, options))
  const servers = await serversOf(clusters, options.server)
  const seconds = secondsOf(options.tokenDays)
  const members = await membersOf(clusters)
  for (const member of members) {
    const server = servers.get(member.cluster) as Server
    if (isOnThisMachine(server) && options.server.length === 0) {
      const remedy = `name one that they reach with --server ${member.cluster.context}=URL`
      io.stderr.write(`warning: ${server.server} is an address of this machine, which Pods do not reach; ${remedy}\n`)
    }
  }
  if (options.dryRun) {
    for (const member of members) io.stdout.write(await planText(member, others(members, member), servers))
    return 0
  }
  for (const member of members)
    await member.cluster.apply([
      ...others(members, member).flatMap(({ name }) => accessObjects(name)),
      ...renewalObjects(),
    ])
  for (const reader of members) {
    const read = others(members, reader)
    const changes = await kubeconfigsOf(io, reader, read, { servers, seconds, renew: options.renew })
    const hasNewTokens = await (await KubeconfigSecret.read(reader.cluster)).change(changes)
    const text = joined(reader, read)
    if (text !== reader.text) await writeInstalled(reader, text)
    const done = [
      ...(hasNewTokens ? [`new tokens for ${Object.keys(changes).join(', ')}`] : []),
      ...(text === reader.text ? [] : ['configuration changed']),
    ]
    const names = read.map(({ name }) => name).join(', ')
    io.stdout.write(
      `${reader.cluster.context}: ${reader.name} reads ${names} (${done.join('; ') || 'nothing to change'})\n`,
    )
  }
  return 0
}

interface Wanted {
  readonly servers: ReadonlyMap<Cluster, Server>
  readonly seconds: number
  readonly renew: boolean
}

/** The kubeconfigs that a cluster lacks, by name of the cluster to read. */
async function kubeconfigsOf(
  io: Io,
  reader: Installed,
  read: readonly Installed[],
  { servers, seconds, renew }: Wanted,
): Promise<Record<string, string>> {
  const secret = await KubeconfigSecret.read(reader.cluster)
  const made: Record<string, string> = {}
  for (const { cluster, name } of read) {
    const server = servers.get(cluster) as Server
    const token = tokenIn(secret.get(name) ?? '', name, server)
    const life = token === undefined ? undefined : lifeOf(token)
    const account = await cluster.get('serviceaccount', accountOf(reader.name), namespace)
    const isUsable = life && !isHalfOver(life, io.clock.wall()) && life.account?.uid === account?.metadata.uid
    if (isUsable && !renew) continue
    const fresh = await requestToken(cluster, reader.name, seconds)
    const days = ((lifeOf(fresh)?.ends ?? 0) - io.clock.wall()) / dayMs
    if (days < 0.99) {
      const why = `the API server gives tokens of ${Math.max(0, days * 24).toFixed(1)} h only`
      throw new MeshError(
        'SOURCE_WRITE',
        `${cluster.context}: ${why}; raise --service-account-max-token-expiration to a day or more`,
      )
    }
    made[name] = kubeconfigOf(name, server, fresh)
  }
  return made
}

const dayMs = 86_400_000

async function planText(member: Installed, peers: readonly Installed[], servers: Wanted['servers']): Promise<string> {
  const { cluster } = member
  const kubeconfigs = peers.map(({ name, cluster }) => [
    name,
    kubeconfigOf(name, servers.get(cluster) as Server, 'TOKEN'),
  ])
  const text = joined(member, peers)
  const metadata = { name: 'starlane-clusters', namespace }
  const objects = [
    ...peers.flatMap(({ name }) => accessObjects(name)),
    ...renewalObjects(),
    { apiVersion: 'v1', kind: 'Secret', metadata, stringData: Object.fromEntries(kubeconfigs) },
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'starlane', namespace }, data: { 'starlane.yaml': text } },
  ]
  return `# ${cluster.context}\n${objects.map(object => `---\n${stringify(object)}`).join('')}`
}

function joined(reader: Installed, read: readonly Installed[]): string {
  return read.reduce((text, { name, id }) => withRemote(text, name, id), reader.text)
}

export function disconnectCommand(io: Io, end: (code: number) => void): Command {
  return addContextOptions(new Command('disconnect'))
    .description(
      'Ends what "starlane mesh connect" has joined: removes accounts, which ends their tokens at once, kubeconfigs and entries of ' +
        'the configuration. Starlane keeps running in every cluster.',
    )
    .action(async (options: ContextOptions) => end(await disconnect(io, options)))
}

async function disconnect(io: Io, options: ContextOptions): Promise<number> {
  const members = await membersOf(several(clustersOf(io, options)))
  // First nobody reads, then nobody may.
  for (const member of members) {
    const names = others(members, member).map(({ name }) => name)
    const text = withoutRemotes(member.text, names)
    if (text !== member.text) await writeInstalled(member, text)
    const secret = await KubeconfigSecret.read(member.cluster)
    await secret.change(Object.fromEntries(names.map(name => [name, undefined])))
    io.stdout.write(`${member.cluster.context}: ${member.name} no longer reads ${names.join(', ')}\n`)
  }
  for (const member of members) {
    for (const { name } of others(members, member)) {
      for (const kind of ['clusterrolebinding', 'rolebinding', 'role', 'serviceaccount'])
        await member.cluster.run([
          '-n',
          namespace,
          'delete',
          kind,
          accountOf(name),
          '--ignore-not-found',
          '--wait=false',
        ])
    }
  }
  return 0
}

function several(clusters: Cluster[]): Cluster[] {
  if (clusters.length < 2) throw new MeshError('USAGE', 'name two or more clusters: --context A --context B')
  return clusters
}

function others(members: readonly Installed[], member: Installed): Installed[] {
  return members.filter(each => each !== member)
}

async function serversOf(clusters: readonly Cluster[], given: readonly string[]): Promise<Map<Cluster, Server>> {
  const urls = new Map<string, string>()
  for (const text of given) {
    // A context may contain "=", a scheme and host may not.
    const [, context = '', url = ''] = /^(.+)=(https?:\/\/[^=]+)$/.exec(text) ?? []
    if (!clusters.some(cluster => cluster.context === context) || !URL.canParse(url))
      throw new MeshError('USAGE', `--server ${text} is not CONTEXT=URL with one of the contexts`)
    urls.set(context, url)
  }
  const found = await Promise.all(
    clusters.map(async cluster => [cluster, await serverOf(cluster, urls.get(cluster.context))] as const),
  )
  return new Map(found)
}

function secondsOf(days: string): number {
  const number = /^\d{1,4}$/.test(days) ? Number(days) : 0
  if (number < 1) throw new MeshError('USAGE', `--token-days ${days} is not a number of days, 1 or more`)
  return number * 86_400
}
