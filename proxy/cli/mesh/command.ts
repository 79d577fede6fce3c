/** `starlane mesh`: joins clusters through etcd: certificates, rights, tokens, client files and their diagnosis. */
import { randomUUID, X509Certificate } from 'node:crypto'
import { basename, dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { Command, Option } from 'commander'
import { loadConfig } from '../../config/load.ts'
import { isClusterName, viewName } from '../../model/cluster.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import { type DiagnosisStep, diagnose, grantRights, withdrawRights } from '../../runtime/etcd-admin.ts'
import { diagnoseTunnels } from '../../runtime/tunnel/diagnose.ts'
import { enrol, isInvitation } from '../../runtime/tunnel/issuing.ts'
import { connectCommand, disconnectCommand } from '../kubernetes/connect.ts'
import { enableCommand } from '../kubernetes/enable.ts'
import { type MeshStatusOptions, meshStatus } from '../kubernetes/status.ts'
import { type Io, type Paint, paintFor } from '../terminal/io.ts'
import { readNamedFile } from '../terminal/named-file.ts'
import { milliseconds } from '../terminal/wait.ts'
import { certificatesCommand } from './certificates.ts'
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
  requestFor,
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
  readonly request?: string
  readonly cache?: boolean
  readonly days: string
}

/** The folder that Cilium's agents read; `--dir` names another. */
const defaultFolder = '/var/lib/cilium/clustermesh'

export function meshCommand(io: Io, end: (code: number) => void): Command {
  const command = new Command('mesh')
    .summary('join clusters: through their API servers, or through etcd')
    .description(
      'Joins clusters. "enable", "connect" and "disconnect" install Starlane over kubectl contexts and let clusters read each ' +
        "other's API servers. The other commands are for a ClusterMesh through etcd: they create and install certificates and files.",
    )
    .helpCommand('help [command]', 'print this help, or the help of a command')
    .addHelpText('after', examples)
  const folder = (each: Command, what: string, fallback = defaultFolder) =>
    each.option('--dir <folder>', what, fallback)
  folder(command.command('init'), 'where the certificates are kept', './mesh')
    .description(
      'Creates the authority and the certificates of a cluster, sets the rights in its etcd, and prints a token for each ' +
        'peer that has sent a request. Options are remembered: run it again with a new --peer to add one, or without options to renew certificates ' +
        'that expire soon.',
    )
    .option('--cluster <name>', 'the name of this cluster')
    .option('--id <number>', 'its id in the mesh, 1 to 255 (or 511, see `maxConnectedClusters`)')
    .option('--endpoint <url...>', 'where other clusters reach its etcd: https://HOST:2379', [])
    .option('--peer <name...>', 'a cluster that may read this one', [])
    .option('--request <file>', 'what "starlane mesh request" wrote in the one peer that is named: it gets a token')
    .option('--tenant <name>', 'the tenant of these peers: they read only what `publish.tenants` gives it')
    .option('--cache', 'this etcd also holds copies of other clusters (`publish.cache`)')
    .option('--days <number>', 'how long the certificates are valid', '1095')
    .action(async (options: InitOptions) => end(await init(io, options)))
  folder(command.command('dismiss'), 'where the certificates are kept', './mesh')
    .description('Revokes the rights of a peer to read this cluster.')
    .argument('<peer>')
    .action(async (peer: string, { dir }: FolderOption) => end(await dismiss(io, dir, peer)))
  folder(command.command('request'), 'the folder of client files')
    .description(
      'Makes the key with which this cluster reads others, and a request for their "starlane mesh init --request". The key stays here; ' +
        'one request does for all clusters.',
    )
    .action(async ({ dir }: FolderOption) => end(await requested(io, dir)))
  command
    .command('join')
    .description(
      'Reads a token. That of "starlane mesh init" becomes the client files by which a cluster is read; with that of ' +
        '"starlane mesh certificates invite", a gateway gives a certificate for tunnels.',
    )
    .argument('[token]', 'refused: other users of this machine can read it here')
    .option('--token-file <file>', 'a file with the token; - for standard input')
    .option(
      '--dir <folder>',
      `the folder of client files (default: ${defaultFolder}), or of certificates (default: ./tls)`,
    )
    .action(
      async (token: string | undefined, { dir, tokenFile }: { readonly dir?: string; readonly tokenFile?: string }) =>
        end(await joined(io, dir, await tokenOf(token, tokenFile))),
    )
  folder(command.command('leave'), 'the folder of client files')
    .description('Removes the client files of a cluster, so that it is no longer read.')
    .argument('<cluster>')
    .action(async (cluster: string, { dir }: FolderOption) => end(await leave(io, dir, cluster)))
  folder(command.command('status'), 'the folder of client files')
    .description(
      'Shows for each cluster whether it can be read; with --context, what "starlane mesh connect" has joined.',
    )
    .option('--context <context...>', 'kubeconfig contexts, instead of client files for etcd')
    .option('--kubeconfig <file>', 'the file with the contexts (default: $KUBECONFIG, else ~/.kube/config)')
    .option('--wait', 'with --context, wait until there is no error')
    .addOption(
      new Option('--timeout <duration>', 'how long --wait waits').default(180_000, '3m').argParser(milliseconds),
    )
    .addOption(new Option('-o, --output <format>', 'with --context, all as JSON or YAML').choices(['json', 'yaml']))
    .action(async ({ dir, context, ...options }: FolderOption & Partial<MeshStatusOptions> & { timeout: number }) =>
      end(await (context ? meshStatus(io, { ...options, context }) : examine(io, dir, undefined, summary))),
    )
  folder(command.command('doctor'), 'the folder of client files')
    .description(
      'Tests the connection to a cluster step by step, and explains the first step that fails: to its etcd, or with --config to the ' +
        'gateways of clusters with `route: tunnel`.',
    )
    .argument('[cluster]', 'one cluster (default: all)')
    .option('-c, --config <file>', 'the configuration whose gateways are tested')
    .action(async (cluster: string | undefined, { dir, config }: FolderOption & { readonly config?: string }) =>
      end(await (config === undefined ? examine(io, dir, cluster, details) : examineTunnels(io, config, cluster))),
    )
  command.addCommand(enableCommand(io, end))
  command.addCommand(connectCommand(io, end))
  command.addCommand(disconnectCommand(io, end))
  command.addCommand(certificatesCommand(io, end))
  return command
}

const examples = `
Examples:
  starlane mesh enable --context kind-1 --context kind-2 --image REGISTRY/starlane:TAG
  starlane mesh connect --context kind-1 --context kind-2
  starlane mesh status --context kind-1 --context kind-2 --wait
  starlane mesh init --cluster east --id 1 --endpoint https://192.0.2.10:2379              in east
  starlane mesh request                                                                     in west
  starlane mesh init --peer west --request request.csr                                      in east: prints a token
  starlane mesh join --token-file token                                                     in west
  starlane mesh doctor east                                                                 in west: can it be read?
  starlane mesh doctor -c starlane.yaml                                                     can its gateways be used?`

async function init(io: Io, options: InitOptions): Promise<number> {
  const { dir, peer: named, days } = options
  const membership = membershipOf(options, await readMembership(dir))
  const invited = named.length > 0 ? named : Object.keys(membership.peers)
  const requests = await requestsOf(options)
  const made = await makeCluster(dir, membership, {
    invited,
    requests,
    days: wholeNumber('--days', days, 36_500),
    clock: io.clock,
  })
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
    io.stdout.write(
      `\nStart its etcd with these options, besides your own:\n\n${etcdCommand(made, cluster, endpoints)}\n`,
    )
    io.stderr.write(
      `\nThe rights in etcd are not set yet: ${messageOf(error)}\n` +
        `When etcd runs, run "starlane mesh init --dir ${dir}" again: it sets the rights and prints the tokens.\n`,
    )
    return 1
  }
  io.stdout.write('Users and roles created with least privilege.\n')
  io.stdout.write(`\nAdd to the configuration of Starlane in ${cluster}:\n\n${publishSection(made, membership)}\n`)
  const partOf = (peer: string) =>
    peers[peer]?.tenant === undefined ? '' : ` (reads the services of tenant ${peers[peer].tenant})`
  for (const [peer, token] of made.tokens) {
    io.stdout.write(
      `\nThe token for ${peer}${partOf(peer)}. It is of use only where its request was made, once in a file for\n` +
        `"starlane mesh join --token-file FILE":\n\n  ${token}\n`,
    )
  }
  for (const peer of made.waiting) {
    io.stdout.write(
      `\n${peer}${partOf(peer)} gets a token when it has made a key, and a request for it:\n\n` +
        `  starlane mesh request                                      in ${peer}, which prints the name of a file\n` +
        `  starlane mesh init --dir ${dir} --peer ${peer} --request FILE      here\n`,
    )
  }
  return 0
}

async function requestsOf({ peer, request }: InitOptions): Promise<ReadonlyMap<string, string>> {
  if (request === undefined) return new Map()
  const [only] = peer
  if (only === undefined || peer.length > 1) throw usage('--request is of one cluster; name it with --peer')
  const csr = await readNamedFile(request)
  return new Map([[only, csr]])
}

async function requested(io: Io, dir: string): Promise<number> {
  const file = await requestFor(dir)
  io.stdout.write(`The request is ${file}; its key stays beside it. In the cluster that is to be read:

  starlane mesh init --peer NAME_OF_THIS_CLUSTER --request ${basename(file)}\n`)
  return 0
}

/** The options of this run, merged into those of earlier runs. */
function membershipOf(
  { cluster: givenName, id: givenId, endpoint, peer, tenant, cache, dir }: InitOptions,
  before: Membership | undefined,
): Membership {
  const cluster = givenName ?? before?.cluster
  const id = givenId ?? before?.id
  const endpoints = endpoint.length > 0 ? [...endpoint] : (before?.endpoints ?? [])
  if (cluster === undefined || id === undefined || endpoints.length === 0) {
    throw usage('the first time, give --cluster NAME, --id NUMBER and --endpoint https://HOST:2379')
  }
  if (before && cluster !== before.cluster)
    throw usage(`${dir} belongs to ${before.cluster}; give ${cluster} its own --dir`)
  for (const name of [cluster, ...peer]) if (!isClusterName(name)) throw usage(`"${name}" is not a valid cluster name`)
  if (peer.includes(cluster)) throw usage(`--peer ${cluster} is this cluster itself; name other clusters`)
  if (tenant !== undefined && !isClusterName(viewName(cluster, tenant))) {
    throw usage(
      `"${tenant}" is not a valid tenant name; use a-z, 0-9 and -, at most 32 characters together with "${cluster}--"`,
    )
  }
  if (tenant !== undefined && peer.length === 0) throw usage('--tenant applies to peers; name them with --peer')
  for (const url of endpoints) {
    if (URL.parse(url)?.protocol !== 'https:') throw usage(`"${url}" is not an https endpoint; write https://HOST:2379`)
  }
  const peers = { ...before?.peers }
  for (const name of peer) peers[name] = tenant === undefined ? (peers[name] ?? {}) : { tenant }
  return { cluster, id: wholeNumber('--id', String(id), 511), endpoints, cache: cache ?? before?.cache ?? false, peers }
}

/**
 * etcd derives its cluster id and member ids from token, name and peer URL. With the defaults they would be those of any other
 * etcd, and of this one after its data was removed: readers could not notice that.
 */
function etcdCommand({ server }: MadeCluster, cluster: string, endpoints: readonly string[]): string {
  const { port, hostname } = new URL(endpoints[0] ?? '')
  const peer = `http://${hostname}:2380`
  return [
    `  etcd --name=${cluster} --initial-cluster-token=${cluster}-${randomUUID().slice(0, 8)}`,
    `    --listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=${peer} --initial-cluster=${cluster}=${peer}`,
    `    --listen-client-urls=https://0.0.0.0:${port || 443} --advertise-client-urls=${endpoints[0]}`,
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
    ...(parts.length === 0 ? [] : [`  tenants: { ${parts.join(', ')} }    # the services that each tenant may read`]),
    ...(local ? [`  cache: true    # local readers use ${local.cert} and .key`] : []),
  ].join('\n')
}

async function dismiss(io: Io, dir: string, peer: string): Promise<number> {
  if (!isClusterName(peer)) throw usage(`"${peer}" is not a valid cluster name`)
  const membership = await readMembership(dir)
  if (!membership) throw usage(`${dir} has no mesh.yaml; give the --dir that "starlane mesh init" used`)
  const { [peer]: known, ...peers } = membership.peers
  const file = (ending: string) => join(dir, `${adminOf(membership.cluster)}.${ending}`)
  const admin = { ca: join(dir, 'ca.crt'), cert: file('crt'), key: file('key') }
  await withdrawRights({ endpoints: membership.endpoints, ...admin }, readerOf(peer))
  await writeMembership(dir, { ...membership, peers })
  await forgetPeer(dir, peer)
  const revoked = `${peer} may no longer read ${membership.cluster}.
Watches that it has open continue until its connection ends. To end them now, restart etcd, member by member.\n`
  io.stdout.write(known ? revoked : `${peer} was not a peer.\n`)
  return known ? 0 : 1
}

/** A token may be a secret, and any process can read the arguments of another. */
async function tokenOf(given: string | undefined, file: string | undefined): Promise<string> {
  if (given !== undefined)
    throw usage(
      'a token is not taken from the command line, where other users can read it; use --token-file FILE, or - for standard input',
    )
  if (file === undefined) throw usage('give the token in a file with --token-file FILE, or - for standard input')
  if (file === '-') return (await text(process.stdin)).trim()
  const read = await readNamedFile(file)
  return read.trim()
}

async function joined(io: Io, dir: string | undefined, text: string): Promise<number> {
  if (isInvitation(text)) {
    const at = dir ?? './tls'
    const { id, certificate } = await enrol(at, text)
    io.stdout.write(`Enrolled as ${id}, valid until ${new X509Certificate(certificate).validTo}. Starlane renews it while it runs with

tunnel: { certificates: ${at} }\n`)
    return 0
  }
  const folder = dir ?? defaultFolder
  const { cluster, id, file } = await joinCluster(folder, text)
  io.stdout.write(`The client files of ${cluster} are installed. Starlane finds it by itself with this configuration:

clustermesh: { folder: ${dirname(file)} }

Or name it in the list of clusters, where you can also give it a tenant:

clusters:
  - name: ${cluster}
    id: ${id}
    source: { etcd: { config: ${file} } }

To test the connection: starlane mesh doctor ${cluster}${folder === defaultFolder ? '' : ` --dir ${folder}`}\n`)
  return 0
}

async function leave(io: Io, folder: string, cluster: string): Promise<number> {
  const wasThere = await leaveCluster(folder, cluster)
  io.stdout.write(wasThere ? `${cluster} is no longer read.\n` : `${cluster} was not joined.\n`)
  return wasThere ? 0 : 1
}

type Format = (cluster: string, findings: readonly DiagnosisStep[], paint: Paint) => string

async function examine(io: Io, folder: string, only: string | undefined, format: Format): Promise<number> {
  const all = await joinedClusters(folder)
  const chosen = [...all].filter(([name]) => only === undefined || name === only)
  if (chosen.length === 0)
    throw usage(only === undefined ? `no client files in ${folder}` : `no client file ${only} in ${folder}`)
  const paint = paintFor(io.stdout, io.env)
  let code = 0
  for (const [cluster, file] of chosen) {
    const findings = await diagnose(cluster, file, { clock: io.clock, random: Math.random })
    if (!isReadable(findings)) code = 1
    io.stdout.write(format(cluster, findings, paint))
  }
  return code
}

/** Exit code 1 if any gateway of any cluster cannot be used. */
async function examineTunnels(io: Io, file: string, only: string | undefined): Promise<number> {
  const { config } = await loadConfig(file, io.env)
  const found = await diagnoseTunnels(config, only)
  if (found.length === 0) throw usage(`${file} has no cluster ${only ?? ''} with route: tunnel`.replace('  ', ' '))
  const paint = paintFor(io.stdout, io.env)
  for (const { cluster, steps } of found) io.stdout.write(details(cluster, steps, paint))
  return found.every(({ steps }) => steps.every(({ isGood }) => isGood)) ? 0 : 1
}

/** One of several servers may be down; a cluster is readable when its content was reached. */
function isReadable(findings: readonly DiagnosisStep[]): boolean {
  const last = findings.at(-1)
  return last?.step === 'content' && last.isGood
}

const summary: Format = (cluster, findings, paint) => {
  const word = isReadable(findings) ? paint('good', 'OK') : paint('bad', 'cannot be read')
  const decisive = isReadable(findings) ? findings.at(-1) : findings.find(({ isGood }) => !isGood)
  return `${cluster}: ${word}: ${decisive?.text ?? ''}\n`
}

const details: Format = (cluster, findings, paint) => {
  const lines = findings.map(
    ({ step, isGood, text }) => `  ${isGood ? paint('good', '✓') : paint('bad', '✗')} ${step}: ${text}\n`,
  )
  return `${cluster}\n${lines.join('')}`
}

function wholeNumber(option: string, text: string, max: number): number {
  const number = /^\d{1,6}$/.test(text) ? Number(text) : 0
  if (number < 1 || number > max) throw usage(`${option} ${text} is not a number from 1 to ${max}`)
  return number
}

function usage(message: string): MeshError {
  return new MeshError('USAGE', message)
}
