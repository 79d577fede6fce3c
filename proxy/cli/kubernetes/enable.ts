/** `starlane mesh enable`: installs Starlane in clusters, each as a mesh of one. */
import { readFile } from 'node:fs/promises'
import { Command, Option } from 'commander'
import { parseAllDocuments, stringify } from 'yaml'
import { isClusterName } from '../../model/cluster.ts'
import { MeshError } from '../../model/error.ts'
import { packagePath } from '../../model/program/package-files.ts'
import type { Io } from '../terminal/io.ts'
import { addContextOptions, type ContextOptions, clustersOf } from './contexts.ts'
import { defaultImage } from './image.ts'
import { installedText, readConfig, readInstalled, withLocal, withoutRemotes, withPlainConfigMap } from './installed.ts'
import type { Cluster, Manifest } from './kubectl.ts'
import { componentsOf, renderOverlay } from './overlay.ts'

interface Options extends ContextOptions {
  readonly name: readonly string[]
  readonly id: readonly string[]
  readonly way: string
  readonly image: string
  readonly dryRun: boolean
}

export function enableCommand(io: Io, end: (code: number) => void): Command {
  return addContextOptions(new Command('enable'))
    .description(
      'Installs Starlane in the cluster of each context, with a name and an id, so that "starlane mesh connect" can join them. ' +
        'Where it runs already, its configuration stays; the name, id and image given here replace those it has.',
    )
    .option('--name <name...>', 'the names of the clusters in the mesh (default: those of the contexts)', [])
    .option(
      '--id <number...>',
      'their ids, 1 to 255 (or 511, see `maxConnectedClusters`), no two alike (default: the lowest that are free)',
      [],
    )
    .addOption(
      new Option('--way <way>', 'on every node, or once per cluster')
        .choices(['node-agent', 'gateway'])
        .default('node-agent'),
    )
    .option('--image <image>', 'the image with its tag', defaultImage)
    .option('--dry-run', 'print the objects and change nothing', false)
    .action(async (options: Options) => end(await enable(io, options)))
}

async function enable(io: Io, options: Options): Promise<number> {
  const clusters = clustersOf(io, options)
  const { name: names, id: ids } = options
  for (const [option, given] of [
    ['--name', names],
    ['--id', ids],
  ] as const) {
    if (given.length > 0 && given.length !== clusters.length)
      throw new MeshError('USAGE', `give ${option} once for each --context, in the same order`)
  }
  const plans = await plansOf(clusters, options)
  for (const { cluster, name, id, text } of plans) {
    const objects = await objectsOf(text, options, cluster.context)
    if (options.dryRun) {
      io.stdout.write(`# ${cluster.context}: cluster ${name} with id ${id}\n`)
      for (const object of objects) io.stdout.write(`---\n${stringify(object)}`)
      continue
    }
    // The namespace first: a list is applied in its order.
    await cluster.apply(objects)
    io.stdout.write(`${cluster.context}: Starlane is installed; it is cluster ${name} with id ${id}.\n`)
  }
  return 0
}

interface Plan {
  readonly cluster: Cluster
  readonly name: string
  readonly id: number
  readonly text: string
}

async function plansOf(clusters: readonly Cluster[], { name: names, id: given, way }: Options): Promise<Plan[]> {
  const ids = given.map(wholeNumber)
  const known = await Promise.all(clusters.map(readInstalled))
  const taken = new Set(known.flatMap((found, i) => ids[i] ?? found?.id ?? []))
  const plans: Plan[] = []
  for (const [i, cluster] of clusters.entries()) {
    const found = known[i]
    const name = names[i] ?? found?.name ?? nameOf(cluster.context)
    const id = ids[i] ?? found?.id ?? lowestFree(taken)
    taken.add(id)
    const text = found?.text ?? (await installedText(cluster))
    plans.push({ cluster, name, id, text: withLocal(text ?? (await plainConfig(way)), name, id) })
  }
  const twice = (key: 'name' | 'id') => new Set(plans.map(plan => plan[key])).size < plans.length
  if (twice('name')) throw new MeshError('USAGE', 'two clusters would have one name; give each its own with --name')
  if (twice('id')) throw new MeshError('USAGE', 'two clusters would have one id; give each its own with --id')
  return plans
}

/** The configuration of the overlay, without its example of a remote cluster. */
async function plainConfig(way: string): Promise<string> {
  return withoutRemotes(await readFile(packagePath(`deploy/overlays/${way}/starlane.yaml`), 'utf8'), ['cluster-2'])
}

async function objectsOf(text: string, { way, image }: Options, context: string): Promise<Manifest[]> {
  const components = componentsOf(readConfig(text, context).config)
  const rendered = parseAllDocuments(await renderOverlay({ way, config: text, image, components }))
  const objects = rendered.map(document => document.toJS() as Manifest)
  return withPlainConfigMap(objects, text)
}

/** A context's name as that of a cluster. */
function nameOf(context: string): string {
  const name = context
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(-32)
    .replace(/^-+|-+$/g, '')
  if (isClusterName(name)) return name
  throw new MeshError('USAGE', `no name for the cluster can be made of the context ${context}; give it with --name`)
}

function lowestFree(taken: ReadonlySet<number>): number {
  let id = 1
  while (taken.has(id)) id++
  return id
}

function wholeNumber(text: string): number {
  const id = /^\d{1,3}$/.test(text) ? Number(text) : 0
  if (id >= 1 && id <= 511) return id
  throw new MeshError('USAGE', `--id ${text} is not a number from 1 to 511`)
}
