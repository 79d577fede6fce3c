import { type Command, Option } from 'commander'
import { type Io, printable } from './io.ts'

export interface OutputOptions {
  readonly output?: 'json'
}

export function addOutputOption(command: Command): Command {
  return command.addOption(new Option('-o, --output <format>', 'for programs').choices(['json']))
}

export function printJson(io: Io, value: unknown): void {
  io.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}

/** Says what failed, and is the exit code for it. */
export function fail(io: Io, message: string): number {
  io.stderr.write(`starlane: ${printable(message)}\n`)
  return 1
}
