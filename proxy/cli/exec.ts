import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command, Option } from 'commander'
import { MeshError } from '../model/error.ts'
import { type AdminOptions, addAdminOptions, connectAdmin } from './admin-client.ts'
import { privateMounts } from './exec/mounts.ts'
import { type Asked, type Names, namesByDns, namesByHosts } from './exec/names.ts'
import type { Io } from './terminal/io.ts'

interface Options extends AdminOptions {
  readonly namespace: string
  readonly names?: 'dns' | 'hosts'
}

export function execCommand(io: Io, end: (code: number) => void): Command {
  const command = new Command('exec')
    .summary('run a command that knows the names of the mesh')
    .description('Runs a command, and only that command finds the services of the running Starlane by name.')
    .argument('<command...>', 'the command and its arguments')
    .option('-n, --namespace <namespace>', 'where bare names are looked up', 'default')
    .addOption(
      new Option('--names <way>', 'how names are found (default: dns where it can, else hosts)').choices([
        'dns',
        'hosts',
      ]),
    )
  return addAdminOptions(command)
    .passThroughOptions()
    .addHelpText('after', explanation)
    .action(async (words: string[], options: Options) => end(await exec(io, words, options)))
}

const explanation = `
The command gets a mount namespace of its own, in which some files of /etc are others:
  dns    resolv.conf asks the responder, with the search list of a Pod. It can name no port, so unless the
         responder is at port 53 a forwarder listens there on loopback: as root, or where
         net.ipv4.ip_unprivileged_port_start allows it.
  hosts  hosts lists every service, and is kept up to date. It needs no privileges, but programs that speak
         DNS themselves (dig, host) do not read it; they can ask the responder directly.
Nothing changes for other programs. Exit code and signals are the command's. Linux only.

Examples:
  starlane exec -- curl -s rebel-base
  starlane exec --namespace shop -- psql -h database
  starlane exec -- sh -c 'for i in 1 2 3; do curl -s rebel-base; done'
  starlane exec -- bash                    a shell that stays inside`

async function exec(io: Io, command: readonly string[], options: Options): Promise<number> {
  const admin = await connectAdmin(options, io)
  const folder = mkdtempSync(join(tmpdir(), 'starlane-exec-'))
  let names: Names | undefined
  try {
    const asked: Asked = { dns: (await admin.status()).dns, namespace: options.namespace, folder }
    if (options.names !== 'hosts' && asked.dns.listening) names = await namesByDns(asked)
    if (!names && options.names === 'dns') throw noPort(asked)
    names ??= await namesByHosts(asked, admin, io)
    return await child(io, privateMounts(names.covers)(command))
  } finally {
    names?.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

function noPort({ dns }: Asked): MeshError {
  if (!dns.listening) {
    return new MeshError(
      'LISTEN',
      `the responder does not listen at ${dns.address}; starlane status says why, or use --names hosts`,
    )
  }
  return new MeshError(
    'LISTEN',
    `the responder is at ${dns.address}, resolv.conf can name only port 53, and this user may not bind that: ` +
      'run it as root, set dns.listen to port 53, or use --names hosts',
  )
}

const passed = ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const

function child(io: Io, [file, ...args]: [string, ...string[]]): Promise<number> {
  const running = spawn(file, args, { stdio: 'inherit' })
  // Ctrl-C reaches the command without us: a terminal signals all that runs in front of it.
  const fromTerminal = (signal: string) => Boolean(io.stderr.isTTY) && signal !== 'SIGTERM' && signal !== 'SIGHUP'
  const pass = (signal: NodeJS.Signals) => {
    if (!fromTerminal(signal)) running.kill(signal)
  }
  for (const signal of passed) io.process.on(signal, pass)
  return new Promise<number>((resolve, reject) => {
    running.once('error', reject)
    running.once('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? 'SIGKILL']))
  }).finally(() => {
    for (const signal of passed) io.process.off(signal, pass)
  })
}
