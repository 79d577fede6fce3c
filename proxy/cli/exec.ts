/** `starlane exec`: runs a command whose name lookups go to the running Starlane. */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command, Option } from 'commander'
import { MeshError } from '../model/error.ts'
import type { ServiceView } from '../model/views.ts'
import { type AdminOptions, addAdminOptions, connectAdmin } from './admin-client.ts'
import { installedCarrier } from './exec/carrier.ts'
import { serviceEnvironment } from './exec/environment.ts'
import { privateMounts } from './exec/mounts.ts'
import { type Asked, type Names, namesByDns, namesByHosts } from './exec/names.ts'
import { type Network, openNetwork } from './exec/network.ts'
import type { Io } from './terminal/io.ts'

interface Options extends AdminOptions {
  readonly namespace: string
  readonly names?: 'dns' | 'hosts' | 'env'
  readonly network?: 'own' | 'host'
}

export function execCommand(io: Io, end: (code: number) => void): Command {
  const command = new Command('exec')
    .summary('run a command that resolves the services of the mesh')
    .description(
      'Runs a command that resolves the services of the running Starlane by name. Other programs are not affected.',
    )
    .argument('<command...>', 'the command and its arguments')
    .option('-n, --namespace <namespace>', 'the namespace of bare names', 'default')
    .addOption(
      new Option(
        '--names <way>',
        'how services are found (default: dns where possible, else hosts; env where there are no namespaces)',
      ).choices(['dns', 'hosts', 'env']),
    )
    .addOption(
      new Option(
        '--network <way>',
        'the network of the command (default: own where services are at other ports than their own, and pasta or slirp4netns is installed)',
      ).choices(['own', 'host']),
    )
  return addAdminOptions(command)
    .passThroughOptions()
    .addHelpText('after', explanation)
    .action(async (words: string[], options: Options) => end(await exec(io, words, options)))
}

const explanation = `
The command runs in its own mount namespace, with other files in /etc:
  dns    resolv.conf names the responder, with the search list of a Pod. resolv.conf cannot name a port, so
         unless the responder uses port 53, a forwarder listens on port 53 of a loopback address. That needs
         root, or a net.ipv4.ip_unprivileged_port_start of 53 or less.
  hosts  hosts lists every service and is kept up to date. It needs no privileges. Programs that send DNS
         queries themselves (dig, host) do not read it; point them at the responder.
  env    nothing in /etc changes, and no namespace is needed: for macOS. In all ways the command has the variables of a
         Pod: REBEL_BASE_SERVICE_HOST, REBEL_BASE_SERVICE_PORT and REBEL_BASE_SERVICE_PORT_HTTP of each service of
         its namespace. With proxy.vips: { address, ports } they are what says the port.
With --network own the command also has its own network namespace, made without root. Services are in it at the ports of
their own, those below 1024 too; each has an address of its own. Names are in resolv.conf and hosts. Everything else goes
on through pasta (Debian's passt) or slirp4netns, whichever is installed. Static programs see it like all others.

The exit code is that of the command, and signals are passed on to it. dns, hosts and --network own need Linux.

Examples:
  starlane exec -- curl -s rebel-base
  starlane exec --namespace shop -- psql -h database
  starlane exec -- sh -c 'for i in 1 2 3; do curl -s rebel-base; done'
  starlane exec --network own -- psql -h db.shop
  starlane exec --names env -- sh -c 'curl -s $REBEL_BASE_SERVICE_HOST:$REBEL_BASE_SERVICE_PORT'
  starlane exec -- bash                    a shell in which names resolve`

async function exec(io: Io, command: readonly string[], options: Options): Promise<number> {
  const admin = await connectAdmin(options, io)
  const folder = mkdtempSync(join(tmpdir(), 'starlane-exec-'))
  let names: Names | undefined
  let network: Network | undefined
  try {
    const services = await admin.services()
    const [program = '', ...args] = command
    if (options.names === 'env' || (options.names === undefined && process.platform !== 'linux'))
      return await child(io, [program, ...args], serviceEnvironment(services, options.namespace))
    const asked: Asked = { dns: (await admin.status()).dns, namespace: options.namespace, folder }
    if (wantsNetwork(io, options, services)) {
      network = await openNetwork(asked, () => admin.services(), io)
      return await child(io, network.wrap(command), serviceEnvironment(network.services(), options.namespace))
    }
    if (options.names !== 'hosts' && asked.dns.listening) names = await namesByDns(asked)
    if (!names && options.names === 'dns') throw noPort(asked)
    names ??= await namesByHosts(asked, () => admin.services(), io)
    return await child(io, privateMounts(names.covers)(command), serviceEnvironment(services, options.namespace))
  } finally {
    names?.close()
    network?.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Without being asked, only where it is of use: a service is not at its own port, and this user could not change that. */
function wantsNetwork(io: Io, { network, names }: Options, services: readonly ServiceView[]): boolean {
  if (network === 'own' && names !== undefined)
    throw new MeshError('USAGE', `--network own has names in resolv.conf and hosts; leave out --names ${names}`)
  if (network !== undefined) return network === 'own'
  const isMoved = services.some(({ frontends }) => frontends.some(({ declared }) => declared !== undefined))
  return isMoved && names === undefined && process.getuid?.() !== 0 && installedCarrier(io.env) !== undefined
}

function noPort({ dns }: Asked): MeshError {
  if (!dns.listening) {
    return new MeshError(
      'EXEC_DNS',
      `the DNS responder does not listen at ${dns.address}; see "starlane status", or use --names hosts`,
    )
  }
  return new MeshError(
    'EXEC_DNS',
    `the DNS responder is at ${dns.address}, but resolv.conf can name only port 53, which this user may not bind: ` +
      'run it as root, set dns.listen to port 53, or use --names hosts',
  )
}

const forwardedSignals = ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const

function child(
  io: Io,
  [file, ...args]: [string, ...string[]],
  environment: Readonly<Record<string, string>>,
): Promise<number> {
  const running = spawn(file, args, { stdio: 'inherit', env: { ...process.env, ...environment } })
  // The terminal sends Ctrl-C to the whole foreground process group, the command included; do not send it twice.
  const fromTerminal = (signal: string) => Boolean(io.stderr.isTTY) && signal !== 'SIGTERM' && signal !== 'SIGHUP'
  const pass = (signal: NodeJS.Signals) => {
    if (!fromTerminal(signal)) running.kill(signal)
  }
  for (const signal of forwardedSignals) io.process.on(signal, pass)
  return new Promise<number>((resolve, reject) => {
    running.once('error', error => reject(new MeshError('USAGE', `${file} cannot be started: ${error.message}`)))
    running.once('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? 'SIGKILL']))
  }).finally(() => {
    for (const signal of forwardedSignals) io.process.off(signal, pass)
  })
}
