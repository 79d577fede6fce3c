/**
 * `starlane mesh certificates`: the certificates of tunnels. One cluster has the authority and signs; the others send it requests, so
 * that no private key ever leaves the machine where it was made.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Command, Option } from 'commander'
import { isClusterName } from '../../model/cluster.ts'
import { MeshError } from '../../model/error.ts'
import { readRegularText } from '../../model/text/regular-file.ts'
import { isTrustDomain, type Role, starlaneId } from '../../model/tunnel/identity.ts'
import {
  addRoots,
  createAuthority,
  encodeInvitation,
  invite,
  isDue,
  issue,
  removeExpired,
  request,
  sign,
} from '../../runtime/tunnel/issuing.ts'
import type { Io } from '../terminal/io.ts'
import { readNamedFile } from '../terminal/named-file.ts'
import { milliseconds } from '../terminal/wait.ts'

interface Options {
  readonly dir: string
  readonly cluster: string
  readonly trustDomain: string
  readonly days: string
  readonly role: string
  readonly gateway: readonly string[]
  readonly expires: number
}

export function certificatesCommand(io: Io, end: (code: number) => void): Command {
  const command = new Command('certificates')
    .description('Makes the certificates of gateways and of those who use them (docs/tunnel.md).')
    .helpCommand('help [command]', 'print this help, or the help of a command')
    .addHelpText('after', examples)
  command
    .command('init')
    .description(
      'Creates an authority, and the certificates of the gateway and the proxies of its own cluster. Run it again to renew those with ' +
        'less than a third of their life left: running gateways and proxies take the new ones without a restart.',
    )
    .requiredOption('--cluster <name>', 'the name of this cluster')
    .option('--trust-domain <name>', 'the trust domain of the mesh', 'starlane.mesh')
    .option('--days <number>', 'how long certificates are valid', '30')
    .option('--dir <folder>', 'where authority and certificates are kept', './mesh-tls')
    .action(async (options: Options) => end(await init(io, options)))
  command
    .command('invite')
    .description(
      'Prints a token with which "starlane mesh join" gets a certificate from a gateway that has `gateway.authority`. It works once, ' +
        'expires, and holds no private key. Who it is for is said here.',
    )
    .requiredOption('--cluster <name>', 'the cluster that it is for')
    .requiredOption('--role <role>', 'gateway or proxy')
    .requiredOption(
      '--gateway <host:port...>',
      'where the gateways of this cluster are reached that have the authority',
    )
    .option('--trust-domain <name>', 'the trust domain of the mesh', 'starlane.mesh')
    .option('--days <number>', 'how long certificates are valid; they are renewed before', '30')
    .addOption(
      new Option('--expires <duration>', 'how long the token works').default(3_600_000, '1h').argParser(milliseconds),
    )
    .option('--dir <folder>', 'where the authority is kept', './mesh-tls')
    .action(async (options: Options) => end(await invitation(io, options)))
  command
    .command('request')
    .description('Makes a key, and a request to be signed where the authority is.')
    .option('--dir <folder>', 'where the key is kept: `tunnel.certificates` or `gateway.certificates`', './tls')
    .action(async ({ dir }: Options) => end(await ask(io, dir)))
  command
    .command('sign')
    .description(
      'Signs a request, and prints the certificate with the root. Who it is for is said here, not by the request.',
    )
    .argument('<request>', 'the file tls.csr')
    .requiredOption('--cluster <name>', 'the cluster that it is for')
    .requiredOption('--role <role>', 'gateway or proxy')
    .option('--trust-domain <name>', 'the trust domain of the mesh', 'starlane.mesh')
    .option('--days <number>', 'how long it is valid', '30')
    .option('--dir <folder>', 'where the authority is kept', './mesh-tls')
    .action(async (file: string, options: Options) => end(await signed(io, file, options)))
  command
    .command('install')
    .description('Puts a signed certificate and its root beside the key that it was requested for.')
    .argument('<signed>', 'what `sign` has printed')
    .option('--dir <folder>', 'where the key is', './tls')
    .action(async (file: string, { dir }: Options) => end(await install(io, file, dir)))
  return command
}

const examples = `
Examples:
  starlane mesh certificates init --cluster east                             in east, which keeps the authority
  starlane mesh certificates invite --cluster west --role proxy --gateway gw.east.example:15008 >token       in east
  starlane mesh join --token-file token --dir tls                            in west; or without a gateway, by files:
  starlane mesh certificates request --dir tls                               in west: a key, and tls/tls.csr to send
  starlane mesh certificates sign tls.csr --cluster west --role proxy >west.pem     in east
  starlane mesh certificates install west.pem --dir tls                      in west, with the file that came back`

async function init(io: Io, { dir, cluster, trustDomain, days }: Options): Promise<number> {
  const life = checked(cluster, trustDomain, days)
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const authority = { file: join(dir, 'ca') }
  if (!(await exists(`${authority.file}.crt`))) {
    await createAuthority({ ...authority, name: `starlane ${trustDomain}`, days: 3650 })
    io.stdout.write(`The authority of ${trustDomain} is in ${dir}: keep ${dir}/ca.key to yourself.\n`)
  }
  for (const role of ['gateway', 'proxy'] as const) {
    const file = join(dir, role, 'tls')
    await mkdir(join(dir, role), { recursive: true, mode: 0o700 })
    const isNew = await isDue(file, [], io.clock.wall())
    const id = starlaneId(trustDomain, cluster, role)
    if (isNew) await issue(authority, { file, name: `${cluster} ${role}`, days: life, id })
    await addRoots(join(dir, role), await readFile(`${authority.file}.crt`, 'utf8'))
    io.stdout.write(`${isNew ? 'Issued' : 'Still good'}: ${id} in ${join(dir, role)}\n`)
  }
  return 0
}

async function invitation(io: Io, options: Options): Promise<number> {
  const { dir, cluster, trustDomain, days, role, gateway, expires } = options
  const life = checked(cluster, trustDomain, days)
  if (role !== 'gateway' && role !== 'proxy') throw usage(`--role ${role} is neither gateway nor proxy`)
  if (!(await exists(join(dir, 'ca.key'))))
    throw usage(`${dir} has no authority; run "starlane mesh certificates init" there`)
  const gateways = gateway.map(text => {
    const url = URL.parse(`https://${text}`)
    if (url?.pathname !== '/' || url.username !== '')
      throw usage(`--gateway ${text} is not a gateway; write HOST:15008`)
    return url.port === '' ? `${text}:15008` : text
  })
  const ca = await readFile(join(dir, 'ca.crt'), 'utf8')
  const own = await ownCluster(dir)
  const now = io.clock.wall()
  await removeExpired(dir, now)
  const { id, secret } = await invite(dir, { cluster, role, trustDomain, days: life }, now + expires)
  const token = encodeInvitation({ version: 2, cluster: own, trustDomain, gateways, ca, id, secret })
  // Only the token, so that the output can be kept as a file.
  io.stdout.write(`${token}\n`)
  io.stderr.write(
    `This token makes its bearer ${starlaneId(trustDomain, cluster, role)}. It works once, until ${new Date(now + expires).toISOString()}.\n` +
      'In that cluster, with the token in a file or on standard input:\n\n  starlane mesh join --token-file FILE --dir tls\n',
  )
  return 0
}

/** The cluster that the authority was made in, as the certificate of its gateway says. */
async function ownCluster(dir: string): Promise<string> {
  const text = await readFile(join(dir, 'gateway', 'tls.crt'), 'utf8').catch(() => '')
  const [, name] =
    (text && /URI:spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\//.exec(new X509Certificate(text).subjectAltName ?? '')) || []
  if (name === undefined) throw usage(`${dir}/gateway has no certificate; run "starlane mesh certificates init" again`)
  return name
}

async function ask(io: Io, dir: string): Promise<number> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  // The key in use stays until the certificate for the new one is installed.
  const pending = join(dir, 'pending')
  await mkdir(pending, { recursive: true, mode: 0o700 })
  await request(join(pending, 'tls'))
  await rename(join(pending, 'tls.csr'), join(dir, 'tls.csr'))
  io.stdout.write(`The request is ${join(dir, 'tls.csr')}; its key stays in ${pending}.
Have it signed where the authority is, and install what comes back:

  starlane mesh certificates sign tls.csr --cluster NAME --role proxy >signed.pem
  starlane mesh certificates install signed.pem --dir ${dir}
`)
  return 0
}

async function signed(io: Io, file: string, { dir, cluster, trustDomain, days, role }: Options): Promise<number> {
  const life = checked(cluster, trustDomain, days)
  if (role !== 'gateway' && role !== 'proxy') throw usage(`--role ${role} is neither gateway nor proxy`)
  const authority = { file: join(dir, 'ca') }
  if (!(await exists(`${authority.file}.key`)))
    throw usage(`${dir} has no authority; run "starlane mesh certificates init" there`)
  const csr = await readNamedFile(file)
  const id = starlaneId(trustDomain, cluster, role satisfies Role)
  const certificate = await sign(authority, csr, { name: `${cluster} ${role}`, days: life, id })
  io.stdout.write(certificate + (await readFile(`${authority.file}.crt`, 'utf8')))
  return 0
}

async function install(io: Io, file: string, dir: string): Promise<number> {
  const text = await readNamedFile(file)
  const [certificate, ...roots] = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  if (certificate === undefined || roots.length === 0)
    throw usage(`${file} is not what "sign" prints: a certificate and its root`)
  const pending = join(dir, 'pending', 'tls.key')
  const key = await readRegularText(pending).catch(() => {
    throw usage(`${dir} has no pending request; run "starlane mesh certificates request --dir ${dir}"`)
  })
  const leaf = new X509Certificate(certificate)
  if (!leaf.checkPrivateKey(createPrivateKey(key))) throw usage(`${file} is not for the pending request of ${dir}`)
  // The root first, so that who meets the new certificate can be met.
  await addRoots(dir, `${roots.join('\n')}\n`)
  await rename(pending, join(dir, 'tls.key'))
  await replace(join(dir, 'tls.crt'), `${certificate}\n`)
  io.stdout.write(`Installed in ${dir}: ${leaf.subjectAltName ?? ''}, valid until ${leaf.validTo}\n`)
  return 0
}

function checked(cluster: string, trustDomain: string, days: string): number {
  if (!isClusterName(cluster)) throw usage(`"${cluster}" is not a valid cluster name`)
  if (!isTrustDomain(trustDomain)) throw usage(`"${trustDomain}" is not a trust domain; use a-z, 0-9, -, _ and .`)
  const number = /^\d{1,5}$/.test(days) ? Number(days) : 0
  if (number < 1 || number > 3650) throw usage(`--days ${days} is not a number from 1 to 3650`)
  return number
}

async function replace(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text, { mode: 0o644 })
  await rename(`${file}.new`, file)
}

function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  )
}

function usage(message: string): MeshError {
  return new MeshError('USAGE', message)
}
