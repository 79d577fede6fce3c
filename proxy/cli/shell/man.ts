/** `starlane man`: the manual page, made of the help of all commands, in the language of man(7). */
import { Command, type Help } from 'commander'
import type { Io } from '../terminal/io.ts'
import { version } from '../version.ts'

export function manCommand(io: Io, end: (code: number) => void, program: () => Command): Command {
  return new Command('man')
    .summary('print the manual page')
    .description('Prints the manual page, in the language of man(7).')
    .addHelpText(
      'after',
      '\nExamples:\n  starlane man | man -l -\n  starlane man > /usr/local/share/man/man1/starlane.1',
    )
    .action(() => {
      io.stdout.write(manualPage(program()))
      end(0)
    })
}

function manualPage(program: Command): string {
  const help = program.createHelp()
  return [
    `.TH STARLANE 1 "" "starlane ${version}" "Starlane"`,
    '.SH NAME',
    `starlane \\- ${escaped(program.description())}`,
    '.SH SYNOPSIS',
    '.B starlane',
    '\\fICOMMAND\\fR [\\fIOPTIONS\\fR]',
    '.SH COMMANDS',
    ...help.visibleCommands(program).flatMap(command => commandLines(command, help, 'starlane')),
    '.SH EXIT STATUS',
    '0: success. 1: failure. 2: wrong use.',
    '.SH ENVIRONMENT',
    '.TP',
    '.B STARLANE_ADMIN',
    'The admin address of the running Starlane, where neither \\-\\-admin nor \\-\\-config is given.',
    '.TP',
    '.B NO_COLOR',
    'Without colours, also on a terminal.',
    '',
  ].join('\n')
}

function commandLines(command: Command, help: Help, before: string): string[] {
  const path = `${before} ${command.name()}`
  const children = help.visibleCommands(command).filter(child => child.name() !== 'help')
  const terms = [
    ...help.visibleArguments(command).map(each => [help.argumentTerm(each), help.argumentDescription(each)] as const),
    ...help.visibleOptions(command).map(each => [help.optionTerm(each), help.optionDescription(each)] as const),
  ]
  return [
    `.SS "${escaped(help.commandUsage(command).replace(/^(?!starlane)/, `${before} `))}"`,
    escaped(command.description() || command.summary()),
    ...terms.flatMap(([term, text]) => ['.TP', `.B ${escaped(term)}`, escaped(text) || '\\&']),
    ...children.flatMap(child => commandLines(child, help, path)),
  ]
}

/** Hyphens stay hyphens when they are copied, no line begins with a request, and other letters than ASCII have names. */
function escaped(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('"', '\\(dq')
    .replace(/^(?=[.'])/gm, '\\&')
    .replace(/[^\n -~]/gu, letter => `\\[u${letter.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')}]`)
}
