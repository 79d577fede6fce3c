/** `starlane install`: fills in an overlay of deploy/ and applies it with kubectl. */
import { readFile } from 'node:fs/promises'
import { Argument, Command } from 'commander'
import { loadConfig } from '../config/load.ts'
import { defaultImage } from './kubernetes/image.ts'
import { kubectl } from './kubernetes/kubectl.ts'
import { componentsOf, renderOverlay } from './kubernetes/overlay.ts'
import type { Io } from './terminal/io.ts'

interface Options {
  readonly context?: string
  readonly config: string
  readonly image: string
  readonly print: boolean
}

/** The overlays of deploy/: where Starlane runs. */
const ways = ['sidecar', 'node-agent', 'gateway', 'tunnel-gateway'] as const

export function installCommand(io: Io, end: (code: number) => void): Command {
  return new Command('install')
    .summary('install Starlane in a Kubernetes cluster')
    .description('Puts a configuration and an image into the manifests of deploy/, and applies them with kubectl.')
    .addArgument(
      new Argument(
        '<way>',
        'beside an application, on every node, once per cluster, or for tunnels of other clusters',
      ).choices(ways),
    )
    .requiredOption('-c, --config <file>', 'the configuration to run with')
    .option('--context <name>', 'the kubeconfig context of the cluster (default: the current context)')
    .option('--image <image>', 'the image with its tag', defaultImage)
    .option('--print', 'print the manifests and change nothing', false)
    .addHelpText('after', examples)
    .action(async (way: string, options: Options) => end(await install(io, way, options)))
}

const examples = `
Needs kubectl 1.21 or newer. The configuration is checked first. Starlane reads it inside the cluster, so
paths in it are paths in the container.

Examples:
  starlane install node-agent -c starlane.yaml --image REGISTRY/starlane:TAG --print
  starlane install node-agent -c starlane.yaml --image REGISTRY/starlane:TAG --context kind-1`

async function install(io: Io, way: string, { config, context, image, print }: Options): Promise<number> {
  const components = componentsOf((await loadConfig(config, io.env)).config)
  const manifests = await renderOverlay({ way, config: await readFile(config, 'utf8'), image, components })
  if (print) {
    io.stdout.write(manifests)
    return 0
  }
  const target = context === undefined ? [] : ['--context', context]
  io.stdout.write(await kubectl([...target, 'apply', '-f', '-'], { input: manifests, env: io.env }))
  return 0
}
