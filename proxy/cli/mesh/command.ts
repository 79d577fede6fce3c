import { dirname, join } from 'node:path'
import { Command } from 'commander'
import { isClusterName, viewName } from '../../model/cluster.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import { diagnose, type Finding, grantRights, withdrawRights } from '../../runtime/etcd-admin.ts'
import { type Io, type Paint, paintFor } from '../terminal/io.ts'
import {
  adminOf,
  forgetPeer,
  joinCluster,
  joinedClusters,
  leaveCluster,
  localOf,
  type MadeCluster,
  makeCluster,
  publisherOf,
  readerOf,
} from './membership.ts'
import { type Membership, readMembership, writeMembership } from './membership-file.ts'

interface FolderOption {
  readonly dir: string
}

interface InitOptions extends FolderOption {
  readonly cluster?: string
  readonly id?: string
  readonly endpoint: readonly string[]
  readonly peer: readonly string[]
  readonly tenant?: string
  readonly cache?: boolean
  readonly days: string
}

/** Where Cilium's agents look; a folder of one's own is given with `--dir`. */
const defaultFolder = '/var/lib/cilium/clustermesh'

export function meshCommand(io: Io, end: (code: number) => void): Command {
  const command = new Command('mesh')
    .summary('join a ClusterMesh through etcd, or make one')
    .description('Makes and takes the certificates and files by which clusters read one another through etcd.')
    .addHelpText('after', examples)
  const folder = (each: Command, what: string, fallback = defaultFolder) =>
    each.option('--dir <folder>', what, fallback)
  folder(command.command('init'), 'where the certificates are kept', './mesh')
    .description(
      'Makes the authority and the certificates of a cluster, sets the rights in its etcd, and prints a token per peer. ' +
        'It remembers what it was told: say it again with one more --peer, or alone to renew what is about to expire.',
    )
    .option('--cluster <name>', 'the name of this cluster')
    .option('--id <number>', 'its number in the mesh, 1 to 255')
    .option('--endpoint <url...>', 'where the others reach its etcd: https://HOST:2379', [])
    .option('--peer <name...>', 'a cluster that is to read this one', [])
    .option('--tenant <name>', 'these peers are of this tenant, and see what `publish.tenants` gives it')
    .option('--cache', 'other clusters are copied into this etcd (`publish.cache`)')
    .option('--days <number>', 'how long the certificates are valid', '1095')
    .action(async (options: InitOptions) => end(await init(io, options)))
  folder(command.command('dismiss'), 'where the certificates are kept', './mesh')
    .description('Takes the rights to read this cluster away from a peer.')
    .argument('<peer>')
    .action(async (peer: string, { dir }: FolderOption) => end(await dismiss(io, dir, peer)))
  folder(command.command('join'), 'the folder of client files')
    .description('Takes a token and writes the files by which its cluster is read.')
    .argument('<token>', 'what "starlane mesh init" printed in the other cluster')
    .action(async (token: string, { dir }: FolderOption) => end(await joined(io, dir, token)))
  folder(command.command('leave'), 'the folder of client files')
    .description('Removes the files of a cluster: it is read no more.')
    .argument('<cluster>')
    .action(async (cluster: string, { dir }: FolderOption) => end(await leave(io, dir, cluster)))
  folder(command.command('status'), 'the folder of client files')
    .description('Says of each cluster whether it can be read.')
    .action(async ({ dir }: FolderOption) => end(await examine(io, dir, undefined, summary)))
  folder(command.command('doctor'), 'the folder of client files')
    .description('Goes the way to a cluster step by step, and says what is wrong with the first that fails.')
    .argument('[cluster]', 'without it all')
    .action(async (cluster: string | undefined, { dir }: FolderOption) => end(await examine(io, dir, cluster, details)))
  return command
}

const examples = `
Examples:
  starlane mesh init --cluster east --id 1 --endpoint https://192.0.2.10:2379 --peer west   in east: prints a token
  starlane mesh join TOKEN                                                                  in west
  starlane mesh doctor east                                                                 in west: can it be read?`

async function init(io: Io, options: InitOptions): Promise<number> {
  const { dir, peer: named, days } = options
  const membership = membershipOf(options, await readMembership(dir))
  const invited = named.length > 0 ? named : Object.keys(membership.peers)
  const made = await makeCluster(dir, membership, { invited, days: whole('--days', days, 36_500), clock: io.clock })
  await writeMembership(dir, membership)
  const { cluster, endpoints, peers } = membership
  io.stdout.write(`The certificates of ${cluster} are in ${dir}.\n`)
  try {
    await grantRights(
      { endpoints, ...made.admin },
      {
        ...{ admin: adminOf(cluster), cluster, publisher: publisherOf(cluster) },
        readers: invited.map(peer => ({ user: readerOf(peer), tenant: peers[peer]?.tenant })),
        local: made.local && localOf(cluster),
      },
    )
  } catch (error) {
    io.stdout.write(`\nStart its etcd like this, with what else you give it:\n\n${etcdCommand(made, endpoints)}\n`)
    io.stderr.write(
      `\nThe rights in it are not set yet: ${messageOf(error)}\n` +
        `When it runs, say "starlane mesh init --dir ${dir}" again: that sets them, and prints the tokens.\n`,
    )
    return 1
  }
  io.stdout.write(`etcd knows the users now; each may do what it must and no more.\n`)
  io.stdout.write(`\nThe configuration of Starlane in ${cluster}:\n\n${publishSection(made, membership)}\n`)
  for (const [peer, token] of made.tokens) {
    const part = peers[peer]?.tenant === undefined ? '' : `, which sees the part of tenant ${peers[peer].tenant}`
    io.stdout.write(
      `\nIn ${peer}${part}, once; it holds a private key, so keep it to yourselves:\n\n  starlane mesh join ${token}\n`,
    )
  }
  return 0
}

/** What is said now, and what was said before. */
function membershipOf(
  { cluster: saidName, id: saidId, endpoint, peer, tenant, cache, dir }: InitOptions,
  before: Membership | undefined,
): Membership {
  const cluster = saidName ?? before?.cluster
  const id = saidId ?? before?.id
  const endpoints = endpoint.length > 0 ? [...endpoint] : (before?.endpoints ?? [])
  if (cluster === undefined || id === undefined || endpoints.length === 0) {
    throw usage('the first time, say --cluster NAME, --id NUMBER and --endpoint https://HOST:2379')
  }
  if (before && cluster !== before.cluster)
    throw usage(`${dir} is of ${before.cluster}; give ${cluster} a --dir of its own`)
  for (const name of [cluster, ...peer]) if (!isClusterName(name)) throw usage(`"${name}" is no name of a cluster`)
  if (peer.includes(cluster)) throw usage(`${cluster} is this cluster itself; name the others`)
  if (tenant !== undefined && !isClusterName(viewName(cluster, tenant))) {
    throw usage(`"${tenant}" is no name of a tenant; use a-z, 0-9 and -, with ${cluster}-- before it at most 32`)
  }
  if (tenant !== undefined && peer.length === 0)
    throw usage('--tenant says whose peers they are; name them with --peer')
  for (const url of endpoints) {
    if (URL.parse(url)?.protocol !== 'https:') throw usage(`"${url}" is no endpoint; write https://HOST:2379`)
  }
  const peers = { ...before?.peers }
  for (const name of peer) peers[name] = tenant === undefined ? (peers[name] ?? {}) : { tenant }
  return { cluster, id: whole('--id', String(id), 255), endpoints, cache: cache ?? before?.cache ?? false, peers }
}

function etcdCommand({ server }: MadeCluster, endpoints: readonly string[]): string {
  const { port } = new URL(endpoints[0] ?? '')
  return [
    `  etcd --listen-client-urls=https://0.0.0.0:${port || 443} --advertise-client-urls=${endpoints[0]}`,
    `    --client-cert-auth --trusted-ca-file=${server.ca}`,
    `    --cert-file=${server.cert} --key-file=${server.key}`,
  ].join(' \\\n')
}

function publishSection({ publisher, local }: MadeCluster, { endpoints, peers }: Membership): string {
  const { ca, cert, key } = publisher
  const tenants = [...new Set(Object.values(peers).flatMap(({ tenant }) => tenant ?? []))]
  const parts = tenants.map(tenant => `${tenant}: ["NAMESPACE/*"]`)
  return [
    'publish:',
    `  endpoints: [${endpoints.join(', ')}]`,
    ...[`ca: ${ca}`, `cert: ${cert}`, `key: ${key}`].map(line => `  ${line}`),
    ...(parts.length === 0 ? [] : [`  tenants: { ${parts.join(', ')} }    # the services that each may read`]),
    ...(local ? [`  cache: true    # its readers here use ${local.cert} and .key`] : []),
  ].join('\n')
}

async function dismiss(io: Io, dir: string, peer: string): Promise<number> {
  if (!isClusterName(peer)) throw usage(`"${peer}" is no name of a cluster`)
  const membership = await readMembership(dir)
  if (!membership) throw usage(`${dir} has no mesh.yaml; give the --dir of "starlane mesh init"`)
  const { [peer]: known, ...peers } = membership.peers
  const file = (ending: string) => join(dir, `${adminOf(membership.cluster)}.${ending}`)
  const admin = { ca: join(dir, 'ca.crt'), cert: file('crt'), key: file('key') }
  await withdrawRights({ endpoints: membership.endpoints, ...admin }, readerOf(peer))
  await writeMembership(dir, { ...membership, peers })
  await forgetPeer(dir, peer)
  const gone = `${peer} may not begin to read ${membership.cluster} any more.
What it watches already it watches until its connection ends: restart etcd, member by member, to end it now.\n`
  io.stdout.write(known ? gone : `${peer} was no peer.\n`)
  return known ? 0 : 1
}

async function joined(io: Io, folder: string, text: string): Promise<number> {
  const { cluster, id, file } = await joinCluster(folder, text)
  io.stdout.write(`${cluster} can be read now. A configuration with

clustermesh: { folder: ${dirname(file)} }

takes it up by itself; or name it there, which also lets you say whose it is:

clusters:
  - name: ${cluster}
    id: ${id}
    source: { etcd: { config: ${file} } }

Whether that works: starlane mesh doctor ${cluster}${folder === defaultFolder ? '' : ` --dir ${folder}`}\n`)
  return 0
}

async function leave(io: Io, folder: string, cluster: string): Promise<number> {
  const wasThere = await leaveCluster(folder, cluster)
  io.stdout.write(wasThere ? `${cluster} is read no more.\n` : `${cluster} was not read.\n`)
  return wasThere ? 0 : 1
}

type Telling = (cluster: string, findings: readonly Finding[], paint: Paint) => string

async function examine(io: Io, folder: string, only: string | undefined, tell: Telling): Promise<number> {
  const all = await joinedClusters(folder)
  const chosen = [...all].filter(([name]) => only === undefined || name === only)
  if (chosen.length === 0) throw usage(`there is no client file ${only ?? 'of any cluster'} in ${folder}`)
  const paint = paintFor(io.stdout, io.env)
  let code = 0
  for (const [cluster, file] of chosen) {
    const findings = await diagnose(cluster, file, { clock: io.clock, random: Math.random })
    if (!isReadable(findings)) code = 1
    io.stdout.write(tell(cluster, findings, paint))
  }
  return code
}

/** One server of several may be down; what counts is whether the content was reached. */
function isReadable(findings: readonly Finding[]): boolean {
  const last = findings.at(-1)
  return last?.step === 'content' && last.isGood
}

const summary: Telling = (cluster, findings, paint) => {
  const word = isReadable(findings) ? paint('good', 'OK') : paint('bad', 'cannot be read')
  const told = isReadable(findings) ? findings.at(-1) : findings.find(({ isGood }) => !isGood)
  return `${cluster}: ${word}: ${told?.text ?? ''}\n`
}

const details: Telling = (cluster, findings, paint) => {
  const lines = findings.map(
    ({ step, isGood, text }) => `  ${isGood ? paint('good', '✓') : paint('bad', '✗')} ${step}: ${text}\n`,
  )
  return `${cluster}\n${lines.join('')}`
}

function whole(option: string, text: string, max: number): number {
  const number = /^\d{1,6}$/.test(text) ? Number(text) : 0
  if (number < 1 || number > max) throw usage(`${option} ${text} is not a number from 1 to ${max}`)
  return number
}

function usage(message: string): MeshError {
  return new MeshError('USAGE', message)
}
