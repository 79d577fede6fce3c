import { Command } from 'commander'
import type { Io } from './terminal/io.ts'

interface Options {
  readonly config: string
}

export function runCommand(io: Io, end: (code: number) => void): Command {
  return new Command('run')
    .summary('run Starlane')
    .description('Runs in the foreground until it is told to stop. The log goes to standard error.')
    .requiredOption('-c, --config <file>', 'the configuration; conf/starlane.yaml has every option')
    .addHelpText('after', signals)
    .action(async ({ config }: Options) => {
      // Most of the program, which other commands need not read.
      const { serve } = await import('./serve.ts')
      end(await serve(io, config))
    })
}

const signals = `
Signals:
  SIGHUP           reads the configuration again; one with a fault changes nothing
  SIGTERM, SIGINT  stops: no new flows, those in progress may go on for proxy.drain
  either again     stops at once, and ends with 1

Examples:
  starlane validate -c starlane.yaml && starlane run -c starlane.yaml
  starlane run -c starlane.yaml 2>starlane.log & starlane status --wait`
