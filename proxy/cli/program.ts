/** The command-line program: its commands, help and exit codes. */
import { Command, CommanderError } from 'commander'
import { ConfigError } from '../config/error.ts'
import { MeshError } from '../model/error.ts'
import { bundleCommand } from './check/bundle.ts'
import { checkCommand } from './check/check.ts'
import { connectivityCommand } from './check/connectivity.ts'
import { demoCommand } from './demo.ts'
import { dnsCommand } from './dns.ts'
import { insideCommand } from './exec/inside.ts'
import { execCommand } from './exec.ts'
import { explainCommand } from './explain.ts'
import { gatewayCommand } from './gateway.ts'
import { installCommand } from './install.ts'
import { injectCommand } from './kubernetes/inject.ts'
import { meshCommand } from './mesh/command.ts'
import { rehearseCommand } from './rehearse/command.ts'
import { runCommand } from './run.ts'
import { observeCommand } from './see/observe.ts'
import { statCommand, topCommand } from './see/top.ts'
import { servicesCommand } from './services.ts'
import { completeCommand, completionCommand } from './shell/complete.ts'
import { manCommand } from './shell/man.ts'
import { statusCommand } from './status.ts'
import { fitHelp } from './terminal/help-text.ts'
import { type Io, paintFor } from './terminal/io.ts'
import { fail } from './terminal/output.ts'
import { underlayCommand } from './underlay.ts'
import { validateCommand } from './validate.ts'
import { version, versionCommand } from './version.ts'

const commands = [
  demoCommand,
  runCommand,
  gatewayCommand,
  statusCommand,
  servicesCommand,
  explainCommand,
  observeCommand,
  topCommand,
  statCommand,
  dnsCommand,
  validateCommand,
  checkCommand,
  connectivityCommand,
  bundleCommand,
  rehearseCommand,
  execCommand,
  installCommand,
  injectCommand,
  meshCommand,
  underlayCommand,
]

const examples = `
Exit codes: 0 success, 1 failure, 2 wrong usage.

Examples:
  starlane demo                              see it work on this machine
  starlane validate -c conf/starlane.yaml    check the configuration
  starlane run -c conf/starlane.yaml         run Starlane
  starlane check -c conf/starlane.yaml       does this machine and each cluster have what it needs?
  starlane status --wait                     wait until everything works
  starlane observe -f                        watch flows as they pass
  starlane explain rebel-base                which backends would a client get, and why?
  starlane dns rebel-base                    how does the name resolve, and why?
  starlane rehearse --policy deny.yaml       what would this policy refuse?
  starlane exec -- curl -s rebel-base        call a service of the mesh by its name
  starlane install node-agent -c FILE        install it in a cluster

A running Starlane shows the same in a browser: http://127.0.0.1:9911/`

/** Runs one command line, without the program's name, and resolves with its exit code. */
export async function runProgram(argv: readonly string[], io: Io): Promise<number> {
  let code = 0
  const program = createProgram(io, ended => {
    code = ended
  })
  try {
    await program.parseAsync(argv, { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    if (!(error instanceof MeshError)) throw error
    // The lines of a ConfigError already begin with their codes.
    const coded = error.code === 'USAGE' || error instanceof ConfigError
    fail(io, coded ? error.message : `${error.code}  ${error.message}`)
    return error.code === 'USAGE' ? 2 : 1
  }
}

/** All commands; `end` is told the exit code of the one that ran. */
export function createProgram(io: Io, end: (code: number) => void): Command {
  const program = new Command('starlane')
    .description('Global services across Kubernetes clusters: a DNS responder and a TCP/UDP proxy in one process.')
    .version(version, '-V, --version', 'print the version')
    .helpCommand('help [command]', 'print this help, or the help of a command')
    .addHelpText('after', examples)
    .enablePositionalOptions()
  for (const create of commands) program.addCommand(create(io, end))
  program.addCommand(completionCommand(io, end))
  program.addCommand(manCommand(io, end, () => program))
  program.addCommand(versionCommand(io, end))
  program.addCommand(
    completeCommand(io, end, () => program),
    { hidden: true },
  )
  program.addCommand(insideCommand(end), { hidden: true })
  settle(program, io)
  return program
}

const helpWidth = 100

/** Settings that all commands share. Commander passes them on only to subcommands that it creates itself. */
function settle(command: Command, io: Io, before = ''): void {
  const paint = paintFor(io.stdout, io.env)
  const path = `${before}${command.name()}`
  const width = Math.min(io.stdout.columns ?? helpWidth, helpWidth)
  command
    .helpOption('-h, --help', 'print this help')
    .exitOverride()
    .showHelpAfterError(`See: ${path} --help`)
    .configureOutput({
      writeOut: text => io.stdout.write(fitHelp(text, width)),
      writeErr: text => io.stderr.write(text),
      outputError: (text, write) => write(text.replace(/^error: /, 'starlane: ')),
      // `paint` decides about colours; commander would strip them.
      getOutHasColors: () => true,
      getOutHelpWidth: () => width,
      getErrHelpWidth: () => 100,
    })
    .configureHelp({ styleTitle: text => paint('strong', text) })
  for (const child of command.commands) settle(child, io, `${path} `)
}
