import { Command, CommanderError } from 'commander'
import { ConfigError } from '../config/error.ts'
import { MeshError } from '../model/error.ts'
import { demoCommand } from './demo.ts'
import { dnsCommand } from './dns.ts'
import { execCommand } from './exec.ts'
import { explainCommand } from './explain.ts'
import { installCommand } from './install.ts'
import { meshCommand } from './mesh/command.ts'
import { runCommand } from './run.ts'
import { servicesCommand } from './services.ts'
import { statusCommand } from './status.ts'
import { type Io, paintFor } from './terminal/io.ts'
import { fail } from './terminal/output.ts'
import { validateCommand } from './validate.ts'
import { version } from './version.ts'

const commands = [
  demoCommand,
  runCommand,
  statusCommand,
  servicesCommand,
  explainCommand,
  dnsCommand,
  validateCommand,
  execCommand,
  installCommand,
  meshCommand,
]

const examples = `
Ends with 0 when all went well, 1 when something failed, 2 when the command line was wrong.

Examples:
  starlane demo                              see it work, on this machine alone
  starlane validate -c conf/starlane.yaml    is the configuration good?
  starlane run -c conf/starlane.yaml         run it
  starlane status --wait                     is everything up?
  starlane explain rebel-base                who would serve me, and why?
  starlane dns rebel-base                    what does the name resolve to, and why?
  starlane exec -- curl -s rebel-base        use a service of the mesh by its name
  starlane install node-agent -c FILE        put it into a cluster

What runs can be looked at in a browser too: http://127.0.0.1:9911/`

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
    // The lines of a ConfigError bear their codes already.
    const coded = error.code === 'USAGE' || error instanceof ConfigError
    fail(io, coded ? error.message : `${error.code}  ${error.message}`)
    return error.code === 'USAGE' ? 2 : 1
  }
}

function createProgram(io: Io, end: (code: number) => void): Command {
  const program = new Command('starlane')
    .description(
      'Global services for a set of Kubernetes clusters: a DNS responder and a TCP/UDP proxy in one process.',
    )
    .version(version, '-V, --version', 'print the version')
    .helpCommand('help [command]', 'print this, or what a command does')
    .addHelpText('after', examples)
    .enablePositionalOptions()
  for (const create of commands) program.addCommand(create(io, end))
  settle(program, io)
  return program
}

/** What all commands have in common; commander hands it down only to those it makes itself. */
function settle(command: Command, io: Io, before = ''): void {
  const paint = paintFor(io.stdout, io.env)
  const path = `${before}${command.name()}`
  command
    .helpOption('-h, --help', 'print this')
    .exitOverride()
    .showHelpAfterError(`See: ${path} --help`)
    .configureOutput({
      writeOut: text => io.stdout.write(text),
      writeErr: text => io.stderr.write(text),
      outputError: (text, write) => write(text.replace(/^error: /, 'starlane: ')),
      // The paint knows; without a word commander would take the colours out.
      getOutHasColors: () => true,
      getOutHelpWidth: () => 100,
      getErrHelpWidth: () => 100,
    })
    .configureHelp({ styleTitle: text => paint('strong', text) })
  for (const child of command.commands) settle(child, io, `${path} `)
}
