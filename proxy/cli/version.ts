/** The version of this package, and `starlane version`. */
import { Command } from 'commander'
import manifest from 'starlane/package.json' with { type: 'json' }
import type { Io } from './terminal/io.ts'
import { addOutputOption, type OutputOptions, printData } from './terminal/output.ts'

/** Read through the package's own name, because sources and build are at different depths. */
export const version: string = manifest.version

export function versionCommand(io: Io, end: (code: number) => void): Command {
  return addOutputOption(new Command('version'), ['yaml', 'json'])
    .summary('print the version')
    .description('Prints the version of this program, of Node and of the platform.')
    .action(({ output }: OutputOptions) => {
      const { node } = process.versions
      const facts = { starlane: version, node, platform: `${process.platform}/${process.arch}` }
      if (output === 'json' || output === 'yaml') printData(io, facts, output)
      else io.stdout.write(`starlane ${version}, Node ${node}, ${facts.platform}\n`)
      end(0)
    })
}
