/** The command-line program: its commands, help and exit codes. */
import { Command, CommanderError } from 'commander'
import { ConfigError } from '../config/error.ts'
import { MeshError } from '../model/error.ts'
import { fitHelp } from './terminal/help-text.ts'
import { type Io, paintFor } from './terminal/io.ts'
import { fail } from './terminal/output.ts'
import { version } from './version.ts'

type Create = (io: Io, end: (code: number) => void) => Command

/** In the order of the help. Each is loaded when it is called, or when all are shown: most of the program is not needed by most commands. */
const commands: Readonly<Record<string, () => Promise<Create>>> = {
  demo: async () => (await import('./demo.ts')).demoCommand,
  run: async () => (await import('./run.ts')).runCommand,
  gateway: async () => (await import('./gateway.ts')).gatewayCommand,
  status: async () => (await import('./status.ts')).statusCommand,
  services: async () => (await import('./services.ts')).servicesCommand,
  explain: async () => (await import('./explain.ts')).explainCommand,
  observe: async () => (await import('./see/observe.ts')).observeCommand,
  top: async () => (await import('./see/top.ts')).topCommand,
  stat: async () => (await import('./see/top.ts')).statCommand,
  dns: async () => (await import('./dns.ts')).dnsCommand,
  validate: async () => (await import('./validate.ts')).validateCommand,
  check: async () => (await import('./check/check.ts')).checkCommand,
  connectivity: async () => (await import('./check/connectivity.ts')).connectivityCommand,
  bundle: async () => (await import('./check/bundle.ts')).bundleCommand,
  rehearse: async () => (await import('./rehearse/command.ts')).rehearseCommand,
  exec: async () => (await import('./exec.ts')).execCommand,
  install: async () => (await import('./install.ts')).installCommand,
  inject: async () => (await import('./kubernetes/inject.ts')).injectCommand,
  mesh: async () => (await import('./mesh/command.ts')).meshCommand,
  underlay: async () => (await import('./underlay.ts')).underlayCommand,
}

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
  const program = await createProgram(
    io,
    ended => {
      code = ended
    },
    argv[0],
  )
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

/** `end` is told the exit code of the command that ran. `first`: the first word of the command line; without one, all commands are there. */
export async function createProgram(io: Io, end: (code: number) => void, first?: string): Promise<Command> {
  const program = new Command('starlane')
    .description('Global services across Kubernetes clusters: a DNS responder and a TCP/UDP proxy in one process.')
    .version(version, '-V, --version', 'print the version')
    .helpCommand('help [command]', 'print this help, or the help of a command')
    .addHelpText('after', examples)
    .enablePositionalOptions()
  for (const { command, hidden = false } of await commandsFor(program, io, end, first))
    program.addCommand(command, { hidden })
  settle(program, io)
  return program
}

interface Listed {
  readonly command: Command
  /** From the help. */
  readonly hidden?: boolean
}

async function commandsFor(
  program: Command,
  io: Io,
  end: (code: number) => void,
  first: string | undefined,
): Promise<Listed[]> {
  if (first === '-V' || first === '--version') return []
  const one = first !== undefined && Object.hasOwn(commands, first) ? commands[first] : undefined
  if (one) return [{ command: (await one())(io, end) }]
  const { insideCommand, insideName } = await import('./exec/inside.ts')
  const inside = { command: insideCommand(end), hidden: true }
  if (first === insideName) return [inside]
  const [all, { completeCommand, completionCommand }, { manCommand }, { versionCommand }] = await Promise.all([
    Promise.all(Object.values(commands).map(load => load())),
    import('./shell/complete.ts'),
    import('./shell/man.ts'),
    import('./version.ts'),
  ])
  return [
    ...all.map(create => ({ command: create(io, end) })),
    { command: completionCommand(io, end) },
    { command: manCommand(io, end, () => program) },
    { command: versionCommand(io, end) },
    { command: completeCommand(io, end, () => program), hidden: true },
    inside,
  ]
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
