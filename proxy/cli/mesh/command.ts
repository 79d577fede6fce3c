import { Command } from 'commander'
import { isClusterName } from '../../model/cluster.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import { diagnose, type Finding, grantRights } from '../../runtime/mesh-tools.ts'
import { type Io, type Paint, paintFor } from '../io.ts'
import {
  adminOf,
  joinCluster,
  joinedClusters,
  leaveCluster,
  type MadeCluster,
  makeCluster,
  publisherOf,
  readerOf,
} from './membership.ts'

interface FolderOption {
  readonly dir: string
}

interface InitOptions extends FolderOption {
  readonly cluster: string
  readonly id: string
  readonly endpoint: readonly string[]
  readonly peer: readonly string[]
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
      'Makes the authority and the certificates of a cluster, sets the rights in its etcd, and prints a token per peer.',
    )
    .requiredOption('--cluster <name>', 'the name of this cluster')
    .requiredOption('--id <number>', 'its number in the mesh, 1 to 255')
    .requiredOption('--endpoint <url...>', 'where the others reach its etcd: https://HOST:2379')
    .option('--peer <name...>', 'a cluster that is to read this one', [])
    .option('--days <number>', 'how long the certificates are valid', '1095')
    .action(async (options: InitOptions) => end(await init(io, options)))
  folder(command.command('join'), 'the folder of client files')
    .description('Takes a token and writes the files by which its cluster is read.')
    .argument('<token>', 'what "starlane mesh init" printed in the other cluster')
    .action(async (token: string, { dir }: FolderOption) => end(await join(io, dir, token)))
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

async function init(
  io: Io,
  { dir, cluster, id, endpoint: endpoints, peer: peers, days }: InitOptions,
): Promise<number> {
  for (const name of [cluster, ...peers]) if (!isClusterName(name)) throw usage(`"${name}" is no name of a cluster`)
  const numbers = [whole('--id', id, 255), whole('--days', days, 36_500)] as const
  for (const url of endpoints) {
    if (URL.parse(url)?.protocol !== 'https:') throw usage(`"${url}" is no endpoint; write https://HOST:2379`)
  }
  const made = await makeCluster({ folder: dir, cluster, id: numbers[0], endpoints, peers, days: numbers[1] })
  io.stdout.write(`The certificates are in ${dir}. Start etcd with\n\n${etcdFlags(made)}\n\n`)
  const rights = { admin: adminOf(cluster), cluster, publisher: publisherOf(cluster), readers: peers.map(readerOf) }
  try {
    await grantRights({ endpoints, ...made.admin }, rights)
    io.stdout.write('etcd knows the users now; each may do what it must and no more.\n')
  } catch (error) {
    io.stderr.write(
      `The rights are not set, since etcd does not answer: ${messageOf(error)}\nDo this again when it runs.\n`,
    )
    return 1
  }
  for (const [peer, token] of made.tokens) {
    io.stdout.write(
      `\nIn ${peer}, once; it holds a private key, so keep it to yourselves:\n\n  starlane mesh join ${token}\n`,
    )
  }
  return 0
}

function etcdFlags({ server }: MadeCluster): string {
  return `  --client-cert-auth --trusted-ca-file=${server.ca} --cert-file=${server.cert} --key-file=${server.key}`
}

async function join(io: Io, folder: string, text: string): Promise<number> {
  const { cluster, id, file } = await joinCluster(folder, text)
  io.stdout.write(`Add it to the configuration:\n
clusters:
  - name: ${cluster}
    id: ${id}
    source: { etcd: { config: ${file} } }\n`)
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
