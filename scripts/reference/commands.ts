/** docs/cli.md: every command with its options, from the definitions that also give its help. */
import type { EventEmitter } from 'node:events'
import type { Command, Help } from 'commander'
import { createProgram } from '../../proxy/cli/program.ts'
import type { Io } from '../../proxy/cli/terminal/io.ts'
import { systemClock } from '../../proxy/model/time/clock.ts'

/** All commands as they are defined. They print nothing, and none has run. */
export function definedCommands(): Promise<Command> {
  const silent = { write: () => {} }
  const io: Io = {
    stdout: silent,
    stderr: silent,
    env: { NO_COLOR: '1' },
    clock: systemClock,
    process: { on: () => io.process, off: () => io.process } as unknown as Io['process'],
  }
  return createProgram(io, () => {})
}

export async function renderCommands(): Promise<string> {
  const program = await definedCommands()
  const help = program.createHelp()
  const commands = help.visibleCommands(program).filter(command => command.name() !== 'help')
  const list = commands.map(
    command =>
      `| [\`${command.name()}\`](#starlane-${command.name()}) | ${escaped(command.summary() || command.description())} |`,
  )
  return `# Command line

Written by \`node scripts/reference.ts\` from the definitions of the commands; do not edit it. \`starlane COMMAND --help\` prints the same.

${escaped(program.description())}

Exit codes: 0 success, 1 failure, 2 wrong usage. \`STARLANE_ADMIN\` is the admin address of the running Starlane where neither \`--admin\`
nor \`--config\` is given; with \`NO_COLOR\` there are no colours. \`starlane man\` prints a manual page, \`starlane completion\` the completion
for a shell.

| command | does |
|---|---|
${list.join('\n')}

${commands.flatMap(command => sections(command, help, 'starlane', 2)).join('\n')}`
}

function sections(command: Command, help: Help, before: string, depth: number): string[] {
  const path = `${before} ${command.name()}`
  const children = help.visibleCommands(command).filter(child => child.name() !== 'help')
  const args = help.visibleArguments(command).map(each => [help.argumentTerm(each), help.argumentDescription(each)])
  const options = help
    .visibleOptions(command)
    .filter(option => option.long !== '--help')
    .map(option => [help.optionTerm(option), help.optionDescription(option)])
  const parts = [
    `${'#'.repeat(depth)} ${path}\n`,
    `${escaped(command.description() || command.summary())}\n`,
    `\`\`\`text\n${help.commandUsage(command).replace(/^(?!starlane)/, `${before} `)}\n\`\`\`\n`,
    ...table('argument', args),
    ...table('option', options),
    ...after(command),
  ]
  return [parts.join('\n'), ...children.flatMap(child => sections(child, help, path, Math.min(depth + 1, 4)))]
}

function table(title: string, rows: readonly (readonly string[])[]): string[] {
  if (rows.length === 0) return []
  const lines = rows.map(([term = '', text = '']) => `| \`${term.replaceAll('|', '\\|')}\` | ${escaped(text)} |`)
  return [`| ${title} | |\n|---|---|\n${lines.join('\n')}\n`]
}

/** What the help says below the options: explanations and examples. */
function after(command: Command): string[] {
  let text = ''
  // Commander's types leave out that a command is an EventEmitter.
  const emitter = command as unknown as EventEmitter
  emitter.emit('afterHelp', {
    error: false,
    command,
    write: (more: string) => {
      text += more
    },
  })
  return text.trim() === '' ? [] : [`\`\`\`text\n${text.trim()}\n\`\`\`\n`]
}

/** Text in a table, or in a paragraph, without anything that Markdown or HTML takes for its own. */
function escaped(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('*', '\\*').replaceAll('\n', ' ')
}
