/** `starlane install`: fills in an overlay of deploy/ and applies it with kubectl. */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { Argument, Command } from 'commander'
import { stringify } from 'yaml'
import { loadConfig } from '../config/load.ts'
import { MeshError } from '../model/error.ts'
import { packagePath } from '../model/program/package-files.ts'
import type { Io } from './terminal/io.ts'

interface Options {
  readonly context?: string
  readonly config: string
  readonly image: string
  readonly print: boolean
}

/** The overlays of deploy/: where Starlane runs. */
const ways = ['sidecar', 'node-agent', 'gateway'] as const

export function installCommand(io: Io, end: (code: number) => void): Command {
  return new Command('install')
    .summary('install Starlane in a Kubernetes cluster')
    .description('Puts a configuration and an image into the manifests of deploy/, and applies them with kubectl.')
    .addArgument(new Argument('<way>', 'beside an application, on every node, or once per cluster').choices(ways))
    .requiredOption('-c, --config <file>', 'the configuration to run with')
    .option('--context <name>', 'the kubeconfig context of the cluster (default: the current context)')
    .option('--image <image>', 'the image with its tag', 'starlane:latest')
    .option('--print', 'print the manifests and change nothing', false)
    .addHelpText('after', examples)
    .action(async (way: string, options: Options) => end(await install(io, way, options)))
}

const examples = `
Needs kubectl 1.21 or newer. The configuration is checked first. Starlane reads it inside the cluster, so
paths in it are paths in the container.

Examples:
  starlane install node-agent -c starlane.yaml --image registry.example/starlane:1.0 --print
  starlane install node-agent -c starlane.yaml --image registry.example/starlane:1.0 --context kind-1`

async function install(io: Io, way: string, { config, context, image, print }: Options): Promise<number> {
  const { dns, plugins } = (await loadConfig(config, io.env)).config
  const components = [
    ...(dns.pods === 'verified' ? ['components/verified-pods'] : []),
    ...(plugins.some(({ use }) => use === 'policy') ? ['components/policies'] : []),
  ]
  const manifests = await render(way, await readFile(config, 'utf8'), image, components)
  if (print) {
    io.stdout.write(manifests)
    return 0
  }
  const target = context === undefined ? [] : ['--context', context]
  io.stdout.write(await kubectl([...target, 'apply', '-f', '-'], manifests))
  return 0
}

/** The overlay with this configuration and image. Kustomize hashes the ConfigMap's name, so a changed file causes a rollout. */
async function render(way: string, config: string, image: string, components: readonly string[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'starlane-install-'))
  try {
    await writeFile(join(folder, 'starlane.yaml'), config)
    const deployed = (path: string) => relative(folder, packagePath(`deploy/${path}`))
    const all = kustomization(deployed(`overlays/${way}`), image, components.map(deployed))
    await writeFile(join(folder, 'kustomization.yaml'), stringify(all))
    return await kubectl(['kustomize', folder]).catch(async error => {
      await refuseOld()
      throw error
    })
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** kubectl before 1.21 contains a Kustomize of 2019, which fails on the overlays with a message that does not help. */
async function refuseOld(): Promise<void> {
  const { clientVersion } = JSON.parse(await kubectl(['version', '--client', '-o', 'json']))
  if (clientVersion.major !== '1' || Number.parseInt(clientVersion.minor, 10) >= 21) return
  const why = `kubectl ${clientVersion.gitVersion} is too old for the overlays of deploy/; install needs 1.21 or newer`
  throw new MeshError('USAGE', why)
}

function kustomization(overlay: string, image: string, components: readonly string[]): object {
  const [, name = image, tag = 'latest'] = /^(.+?)(?::([\w.-]+))?$/.exec(image) ?? []
  return {
    apiVersion: 'kustomize.config.k8s.io/v1beta1',
    kind: 'Kustomization',
    namespace: 'starlane',
    resources: [overlay],
    components,
    configMapGenerator: [{ name: 'starlane', behavior: 'replace', files: ['starlane.yaml'] }],
    images: [{ name: 'starlane', newName: name, newTag: tag }],
  }
}

function kubectl(args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile('kubectl', args, { maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      if (!error) return resolve(stdout)
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
      const why = missing ? 'kubectl is not installed; install needs it' : `kubectl: ${stderr.trim() || error.message}`
      reject(new MeshError(missing ? 'USAGE' : 'SOURCE_WRITE', why, { cause: error }))
    })
    child.stdin?.on('error', () => {})
    child.stdin?.end(input)
  })
}
