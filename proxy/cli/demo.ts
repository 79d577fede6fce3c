import { Command, InvalidArgumentError } from 'commander'
import type { Io } from './terminal/io.ts'

export function demoCommand(io: Io, end: (code: number) => void): Command {
  return new Command('demo')
    .summary('play a story of two clusters on this machine')
    .description(
      'Two clusters on loopback, one service: failover to be looked at. Ends with 0 only if no request failed.',
    )
    .option('--hold', 'leave it running at the end, until Ctrl-C')
    .option('--kubernetes', 'read both clusters from API servers that kubectl can drive (in a checkout)')
    .addHelpText('after', examples)
    .addCommand(scaleCommand(io, end))
    .action(async ({ hold = false, kubernetes = false }: { hold?: boolean; kubernetes?: boolean }) => {
      const { demo } = await import('./demo/demo.ts')
      end(await demo(io.stdout, { hold, kubernetes }))
    })
}

const examples = `
Nothing is left behind when it ends. It needs no privileges; where port 80 may not be bound it takes 8080 and says so.

Examples:
  starlane demo
  starlane demo --hold
  starlane demo scale rebel-base --replicas=0 --context cluster-2    while one is held`

function scaleCommand(io: Io, end: (code: number) => void): Command {
  return new Command('scale')
    .summary('scale a deployment of the demo that is running')
    .description('What kubectl scale does, for the demo that is running.')
    .argument('<deployment>', 'rebel-base')
    .requiredOption('--replicas <count>', 'how many pods, 0 to 9', replicas)
    .option('--context <cluster>', 'cluster-1 or cluster-2', 'cluster-2')
    .action(async (service: string, options: { replicas: number; context: string }) => {
      const { scaleDemo } = await import('./demo/demo.ts')
      end(await scaleDemo(io.stdout, { service, ...options }))
    })
}

function replicas(text: string): number {
  if (!/^\d$/.test(text)) throw new InvalidArgumentError('write a number from 0 to 9.')
  return Number(text)
}
