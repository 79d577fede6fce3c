/**
 * `starlane mesh certificates`: the certificates of tunnels. One cluster has the authority and signs; the others send it requests, so
 * that no private key ever leaves the machine where it was made.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Command } from 'commander'
import { isClusterName } from '../../model/cluster.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import { readRegularText } from '../../model/text/regular-file.ts'
import { isTrustDomain, type Role, starlaneId } from '../../model/tunnel/identity.ts'
import type { Io } from '../terminal/io.ts'
import { createAuthority, isDue, issue, request, sign } from './authority.ts'

interface Options {
  readonly dir: string
  readonly cluster: string
  readonly trustDomain: string
  readonly days: string
  readonly role: string
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
  const csr = await readRegularText(file).catch(error => {
    throw usage(`cannot read ${file}: ${messageOf(error)}`)
  })
  const id = starlaneId(trustDomain, cluster, role satisfies Role)
  const certificate = await sign(authority, csr, { name: `${cluster} ${role}`, days: life, id })
  io.stdout.write(certificate + (await readFile(`${authority.file}.crt`, 'utf8')))
  return 0
}

async function install(io: Io, file: string, dir: string): Promise<number> {
  const text = await readRegularText(file).catch(error => {
    throw usage(`cannot read ${file}: ${messageOf(error)}`)
  })
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

/** Adds roots to those in ca.crt: with two of them, both the old and the new certificates of a mesh are accepted. */
async function addRoots(dir: string, pem: string): Promise<void> {
  const file = join(dir, 'ca.crt')
  const before = await readFile(file, 'utf8').catch(() => '')
  const missing = (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).filter(
    root => !before.includes(root),
  )
  if (missing.length > 0) await replace(file, `${before}${missing.join('\n')}\n`)
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
