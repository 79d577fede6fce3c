/** The -o option: how a command prints its data, and how it reports failure. */
import { type Command, Option } from 'commander'
import { stringify } from 'yaml'
import { type Io, printable } from './io.ts'

export type Format = 'wide' | 'yaml' | 'json' | 'name'

export interface OutputOptions {
  readonly output?: Format
}

const described: Readonly<Record<Format, string>> = {
  wide: 'more columns',
  yaml: 'all as YAML',
  json: 'all as JSON',
  name: 'names alone',
}

export function addOutputOption(command: Command, formats: readonly Format[] = ['json', 'yaml']): Command {
  const help = formats.map(format => `${format}: ${described[format]}`).join('; ')
  return command.addOption(new Option('-o, --output <format>', help).choices([...formats]))
}

export function printJson(io: Io, value: unknown): void {
  io.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}

/** As YAML or as JSON. */
export function printData(io: Io, value: unknown, format: 'yaml' | 'json'): void {
  if (format === 'json') printJson(io, value)
  else io.stdout.write(stringify(JSON.parse(JSON.stringify(value))))
}

/** Prints what failed, and returns the exit code. */
export function fail(io: Io, message: string): number {
  io.stderr.write(`starlane: ${printable(message)}\n`)
  return 1
}
