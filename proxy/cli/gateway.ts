/** `starlane gateway`: options and help. serve.ts does the work, as for `run`. */
import { Command } from 'commander'
import type { Io } from './terminal/io.ts'

interface Options {
  readonly config: string
}

export function gatewayCommand(io: Io, end: (code: number) => void): Command {
  return new Command('gateway')
    .summary('serve this cluster to others through tunnels')
    .description(
      'Runs the gateway of a cluster in the foreground: serves the backends of its shared services to other clusters over mutual ' +
        'TLS, and nothing else. Signals are those of `starlane run`.',
    )
    .requiredOption('-c, --config <file>', 'a configuration with the section `gateway`')
    .addHelpText('after', examples)
    .action(async ({ config }: Options) => {
      const [{ serve }, { createRuntime }] = await Promise.all([import('./serve.ts'), import('../runtime.ts')])
      end(await serve(io, config, createRuntime, 'gateway'))
    })
}

const examples = `
Examples:
  starlane gateway -c gateway.yaml      gateway: { listen: 0.0.0.0:15008, certificates: /etc/starlane/tls }
  starlane status                       which clusters are connected, and what is wrong`
