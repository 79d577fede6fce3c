/** `starlane completion` prints a script for a shell, which asks `starlane complete` for the words that may come next. */
import { Argument, Command } from 'commander'
import { AdminClient, defaultAddress } from '../admin-client.ts'
import type { Io } from '../terminal/io.ts'

const shells = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof shells)[number]

const scripts: Readonly<Record<Shell, string>> = {
  bash: `_starlane() {
  local IFS=$'\\n'
  COMPREPLY=($(starlane complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _starlane starlane
`,
  zsh: `#compdef starlane
_starlane() {
  local -a found
  found=(\${(f)"$(starlane complete -- "\${(@)words[2,$CURRENT]}" 2>/dev/null)"})
  if (( $#found )); then compadd -a found; else _files; fi
}
compdef _starlane starlane
`,
  fish: `complete -c starlane -a '(starlane complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
`,
}

const explanation = `
Load it once, or in the file that the shell reads when it starts:
  source <(starlane completion bash)        ~/.bashrc
  source <(starlane completion zsh)         ~/.zshrc, after compinit
  starlane completion fish | source         ~/.config/fish/config.fish

It completes commands, options, their values, and the names of services of a running Starlane.`

export function completionCommand(io: Io, end: (code: number) => void): Command {
  return new Command('completion')
    .summary('print a script that completes command lines')
    .description('Prints a script by which a shell completes the command lines of starlane.')
    .addArgument(new Argument('<shell>', 'the shell').choices(shells))
    .addHelpText('after', explanation)
    .action((shell: Shell) => {
      io.stdout.write(scripts[shell])
      end(0)
    })
}

/** For the scripts alone. */
export function completeCommand(io: Io, end: (code: number) => void, program: () => Command): Command {
  return new Command('complete')
    .summary('print the words that may come next')
    .argument('[words...]', 'the words so far; the last one may be empty or a beginning')
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (words: string[]) => {
      const found = await candidates(program(), words, io)
      io.stdout.write(found.map(word => `${word}\n`).join(''))
      end(0)
    })
}

async function candidates(program: Command, words: readonly string[], io: Io): Promise<string[]> {
  const last = words.at(-1) ?? ''
  let command = program
  const rest: string[] = []
  for (const word of words.slice(0, -1)) {
    const child = rest.length === 0 ? command.commands.find(each => each.name() === word) : undefined
    if (child) command = child
    else rest.push(word)
  }
  return (await wordsAfter(command, rest, last, io)).filter(word => word.startsWith(last))
}

async function wordsAfter(command: Command, rest: readonly string[], last: string, io: Io): Promise<readonly string[]> {
  const { options } = command
  const before = rest.at(-1) ?? ''
  const option = options.find(({ long, short, required, optional }) => {
    return (required || optional) && (long === before || short === before)
  })
  if (option) return option.argChoices ?? (option.long === '--service' ? services(io) : [])
  if (last.startsWith('-')) return [...options.flatMap(({ long }) => long ?? []), '--help']
  const children = command.createHelp().visibleCommands(command)
  if (children.length > 0) return children.map(child => child.name())
  const [argument] = command.registeredArguments
  if (argument?.argChoices) return argument.argChoices
  return argument?.name() === 'service' ? services(io) : []
}

/** Without an answer there is nothing to complete. */
async function services(io: Io): Promise<string[]> {
  const admin = new AdminClient((io.env.STARLANE_ADMIN ?? defaultAddress).split(',')[0] ?? defaultAddress)
  const all = await admin.services().catch(() => [])
  return all.map(({ namespace, name }) => `${namespace}/${name}`)
}
