/** `starlane run`: options and help. serve.ts does the work. */
import { Command } from 'commander'
import type { Io } from './terminal/io.ts'

interface Options {
  readonly config: string
}

export function runCommand(io: Io, end: (code: number) => void): Command {
  return new Command('run')
    .summary('run Starlane')
    .description('Runs in the foreground until a signal stops it. Logs to standard error.')
    .requiredOption('-c, --config <file>', 'the configuration; conf/starlane.yaml lists every option')
    .addHelpText('after', signals)
    .action(async ({ config }: Options) => {
      // Imported here, because it is most of the program and other commands do not need it.
      const { serve } = await import('./serve.ts')
      end(await serve(io, config))
    })
}

const signals = `
Signals:
  SIGHUP           reload the configuration; if it has errors, nothing changes
  SIGTERM, SIGINT  stop: not ready at once, accept flows for proxy.announce more, let open ones continue for proxy.drain
  SIGUSR2          start this program anew, perhaps another version: the new process takes over all sockets
  a second one     stop at once, with exit code 1

Examples:
  starlane validate -c starlane.yaml && starlane run -c starlane.yaml
  starlane run -c starlane.yaml 2>starlane.log & starlane status --wait`
