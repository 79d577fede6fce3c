/** `starlane underlay`: joins the pods of all clusters' nodes by VXLAN or by routes, on the node that it runs on. */
import { Command, Option } from 'commander'
import { type Loaded, loadConfig } from '../config/load.ts'
import { MeshError } from '../model/error.ts'
import type { UnderlayRuntime } from '../runtime.ts'
import { type Io, printable } from './terminal/io.ts'
import { createLog } from './terminal/log.ts'

interface Options {
  readonly config: string
  readonly mode?: 'vxlan' | 'geneve' | 'direct' | 'wireguard'
  readonly node?: string
  readonly print?: 'plan' | 'bird' | 'frr' | 'kube-router'
  readonly once?: boolean
  readonly keep?: boolean
  readonly remove?: boolean
}

export function underlayCommand(io: Io, end: (code: number) => void): Command {
  return new Command('underlay')
    .summary('join the pods of all clusters by VXLAN, Geneve, WireGuard or routes')
    .description(
      "Sets a VXLAN, Geneve or WireGuard device or routes on this node, so that its pods reach those of other clusters' nodes, follows the nodes of all " +
        'clusters in the foreground, and removes what it has set when it ends. `underlay` in the configuration has its options. ' +
        'Linux, with the capability NET_ADMIN and iproute2.',
    )
    .requiredOption('-c, --config <file>', 'the configuration')
    .addOption(
      new Option('--mode <mode>', 'instead of underlay.mode; vxlan where that is none').choices([
        'vxlan',
        'geneve',
        'direct',
        'wireguard',
      ]),
    )
    .option('--node <name>', 'the name or address of this node (default: found by the addresses of this machine)')
    .addOption(
      new Option(
        '--print [what]',
        'change nothing; plan: print what would be done; bird, frr, kube-router: a configuration for that daemon',
      )
        .choices(['plan', 'bird', 'frr', 'kube-router'])
        .preset('plan'),
    )
    .option('--once', 'set it, leave it and end')
    .option('--keep', 'leave it when the command ends, for a successor')
    .option('--remove', 'remove what an earlier run has left, and end')
    .addHelpText('after', examples)
    .action(async (options: Options) => end(await underlay(io, options)))
}

const examples = `
Exit codes: 1 if it fails, or if --print or --once finds pod networks that overlap.

Examples:
  starlane underlay -c starlane.yaml --print              what would be done
  starlane underlay -c starlane.yaml                      VXLAN, until a signal ends it
  starlane underlay -c starlane.yaml --mode direct --once
  starlane underlay -c starlane.yaml --print bird > /etc/bird/bird.conf
  starlane underlay -c starlane.yaml --remove`

/** Resolves with the exit code. */
async function underlay(io: Io, options: Options): Promise<number> {
  const alone = [options.print, options.once, options.remove, options.keep].filter(each => each !== undefined)
  if (alone.length > 1) throw new MeshError('USAGE', '--print, --once, --keep and --remove exclude each other')
  const loaded = await loadConfig(options.config, io.env)
  const { createUnderlay, underlayOptions } = await import('../runtime.ts')
  const log = await createLog(loaded.config.log, io)
  const { mode } = loaded.config.underlay
  const wanted = underlayOptions(loaded.config, options.mode ?? (mode === 'none' ? 'vxlan' : mode))
  const node = options.node ?? loaded.config.location?.node ?? io.env.NODE_NAME
  const reads = options.remove === undefined
  const runtime = createUnderlay({ loaded, options: wanted, node, log, env: io.env }, { reads })
  try {
    return await act(io, options, runtime, loaded)
  } finally {
    await runtime.close()
    await log.close()
  }
}

async function act(io: Io, options: Options, runtime: UnderlayRuntime, loaded: Loaded): Promise<number> {
  const { print, once, remove, keep } = options
  if (remove) {
    const removed = await runtime.remove()
    io.stdout.write(removed > 0 ? 'removed\n' : 'there was nothing to remove\n')
    return 0
  }
  if (print !== undefined || once) return show(io, options, runtime)
  if (loaded.config.clustermesh) {
    io.stderr.write('starlane: clusters that clustermesh.folder finds are not joined; list them in clusters\n')
  }
  const ended = signalled(io)
  await runtime.follow()
  await ended
  await runtime.close()
  if (!keep) await runtime.remove()
  return 0
}

/** What is done, or would be. */
async function show(io: Io, { print, once }: Options, runtime: UnderlayRuntime): Promise<number> {
  await runtime.read()
  if (print !== undefined && print !== 'plan') {
    io.stdout.write(await runtime.daemon(print))
    return 0
  }
  const { plan, commands, rules } = await (once ? runtime.apply() : runtime.propose())
  const { commandText } = await import('../runtime.ts')
  for (const command of commands) io.stdout.write(`${commandText(command)}\n`)
  if (rules !== undefined) io.stdout.write(rules)
  if (commands.length === 0 && rules === undefined) io.stdout.write('nothing to do\n')
  for (const each of plan.leftOut) io.stderr.write(printable(`left out: ${each.node}: ${each.why}\n`))
  return plan.leftOut.some(({ overlap }) => overlap) ? 1 : 0
}

function signalled({ process }: Io): Promise<void> {
  return new Promise(resolve => {
    const alive = setInterval(() => {}, 60_000)
    for (const signal of ['SIGTERM', 'SIGINT']) {
      process.on(signal, () => {
        clearInterval(alive)
        resolve()
      })
    }
  })
}
