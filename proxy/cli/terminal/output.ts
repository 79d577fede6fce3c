/** The -o json option, and how a command reports failure. */
import { type Command, Option } from 'commander'
import { type Io, printable } from './io.ts'

export interface OutputOptions {
  readonly output?: 'json'
}

export function addOutputOption(command: Command): Command {
  return command.addOption(new Option('-o, --output <format>', 'print JSON').choices(['json']))
}

export function printJson(io: Io, value: unknown): void {
  io.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}

/** Prints what failed, and returns the exit code. */
export function fail(io: Io, message: string): number {
  io.stderr.write(`starlane: ${printable(message)}\n`)
  return 1
}
