/** `starlane demo` and `starlane demo scale`: options and help. The demo itself is in demo/. */
import { Command, InvalidArgumentError } from 'commander'
import type { Io } from './terminal/io.ts'

interface DemoOptions {
  readonly hold: boolean
  readonly kubernetes: boolean
  readonly tunnel: boolean
}

export function demoCommand(io: Io, end: (code: number) => void): Command {
  return new Command('demo')
    .summary('demonstrate failover between two clusters on this machine')
    .description(
      'Runs two clusters with one global service on loopback, and shows failover between them. Exits with 0 only if no ' +
        'request failed.',
    )
    .option('--hold', 'keep it running after the last step, until Ctrl-C')
    .option('--kubernetes', 'read both clusters from API servers that accept kubectl (only in a source checkout)')
    .option('--tunnel', 'reach cluster-2 only through its gateway, and watch what passes between the clusters')
    .addHelpText('after', examples)
    .addCommand(scaleCommand(io, end))
    .addCommand(podCommand(), { hidden: true })
    .action(async ({ hold = false, kubernetes = false, tunnel = false }: Partial<DemoOptions>) => {
      const { demo } = await import('./demo/demo.ts')
      end(await demo(io.stdout, { hold, kubernetes, tunnel }))
    })
}

const examples = `
It stops everything it started. It needs no privileges: if port 80 cannot be bound, it uses 8080 and says so.

Examples:
  starlane demo
  starlane demo --hold
  starlane demo --tunnel
  starlane demo scale rebel-base --replicas=0 --context cluster-2    while --hold keeps one running`

function scaleCommand(io: Io, end: (code: number) => void): Command {
  return new Command('scale')
    .summary('scale a Deployment of the running demo')
    .description('Does what kubectl scale does, in the running demo.')
    .argument('<deployment>', 'rebel-base')
    .requiredOption('--replicas <count>', 'number of pods, 0 to 9', replicas)
    .option('--context <cluster>', 'cluster-1 or cluster-2', 'cluster-2')
    .action(async (service: string, options: { replicas: number; context: string }) => {
      const { scaleDemo } = await import('./demo/demo.ts')
      end(await scaleDemo(io.stdout, { service, ...options }))
    })
}

/** A process of the demo; its parent gives it its address in the environment. */
function podCommand(): Command {
  return new Command('pod').description('Serves as a pod of the demo.').action(async () => {
    const { servePod } = await import('./demo/pod.ts')
    servePod(process.env)
    await new Promise(() => {})
  })
}

function replicas(text: string): number {
  if (!/^\d$/.test(text)) throw new InvalidArgumentError('write a number from 0 to 9.')
  return Number(text)
}
