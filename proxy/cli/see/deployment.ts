/** `starlane status --all`: what is installed in each cluster, and whether it runs. */
import { messageOf } from '../../model/error.ts'
import { type DeploymentStatus, readDeployment } from '../../runtime/status/deployment.ts'
import { type Io, type Paint, paintFor } from '../terminal/io.ts'
import { type OutputOptions, printData } from '../terminal/output.ts'
import { columns, count, table, wrapped } from '../terminal/table.ts'

export interface DeploymentOptions extends OutputOptions {
  readonly kubeconfig?: string
  readonly kubeContext?: readonly string[]
  readonly config?: string
  readonly strict?: boolean
}

/** One cluster, or why it cannot be read. */
type Seen = DeploymentStatus | { readonly context: string; readonly errors: readonly [string] }

/** Exits with 1 if a component is not ready or a cluster cannot be read; with `strict` also for warnings. */
export async function deploymentStatus(io: Io, options: DeploymentOptions): Promise<number> {
  const targets = await targetsOf(io, options)
  const seen = await Promise.all(
    targets.map(
      ({ kubeconfig, context }): Promise<Seen> =>
        readDeployment({ kubeconfig, context, env: io.env }).catch(error => ({
          context: context ?? 'the current context',
          errors: [messageOf(error)],
        })),
    ),
  )
  const { output } = options
  if (output === 'json' || output === 'yaml') printData(io, seen, output)
  else io.stdout.write(seen.map(each => clusterText(each, paintFor(io.stdout, io.env), io.stdout.columns)).join('\n'))
  const isBad = (each: Seen) =>
    each.errors.length > 0 || (options.strict && 'warnings' in each && each.warnings.length > 0)
  return seen.some(isBad) ? 1 : 0
}

interface Target {
  readonly kubeconfig: string | undefined
  readonly context: string | undefined
}

/** The contexts that are named, else the clusters of the configuration that are API servers, else the current context. */
async function targetsOf(
  io: Io,
  { kubeconfig, kubeContext = [], config }: DeploymentOptions,
): Promise<readonly Target[]> {
  if (kubeContext.length > 0) return kubeContext.map(context => ({ kubeconfig, context }))
  if (config === undefined) return [{ kubeconfig, context: undefined }]
  const { loadConfig } = await import('../../config/load.ts')
  const { clusters } = (await loadConfig(config, io.env)).config
  const found = clusters.flatMap(({ source }) =>
    'kubernetes' in source && !('inCluster' in source.kubernetes)
      ? [{ kubeconfig: source.kubernetes.kubeconfig, context: source.kubernetes.context }]
      : [],
  )
  return found.length > 0 ? found : [{ kubeconfig, context: undefined }]
}

function clusterText(seen: Seen, paint: Paint, width: number | undefined): string {
  const isWell = seen.errors.length === 0
  const title = `${paint('strong', seen.context)}: ${isWell ? paint('good', 'OK') : paint('bad', count(seen.errors.length, 'error'))}\n`
  const notes = (style: 'bad' | 'warn', word: string, texts: readonly string[]) =>
    texts.flatMap(text =>
      wrapped(text, (width ?? Number.POSITIVE_INFINITY) - 11).map(
        (line, i) => `  ${i === 0 ? paint(style, word.padEnd(7)) : ' '.repeat(7)}  ${line}\n`,
      ),
    )
  const errors = notes('bad', 'error', seen.errors)
  if (!('components' in seen)) return [title, ...errors].join('')
  const { components, images, nodes, pods, warnings, server } = seen
  const rows = components.map(({ kind, namespace, name, component, desired, ready, available }) => [
    `  ${kind}`,
    `${namespace}/${name}`,
    component,
    String(desired),
    paint(ready < desired ? 'bad' : 'good', String(ready)),
    paint(available < desired ? 'warn' : 'good', String(available)),
  ])
  const heads = ['  KIND', 'NAME', 'COMPONENT', 'DESIRED ', 'READY ', 'AVAILABLE ']
  const facts = [
    ['  API server', server],
    ...Object.entries(images).map(([image, pods], i) => [i === 0 ? '  Images' : '', `${image}, ${count(pods, 'Pod')}`]),
    ['  Nodes', `${nodes.managed} of ${nodes.total} managed`],
    ['  Pods', `${pods.managed} of ${pods.total} managed`],
  ]
  const list = rows.length > 0 ? table(heads, rows, head => paint('soft', head.replace(/^KIND/, '  KIND'))) : ''
  return [title, columns(facts), list, ...errors, ...notes('warn', 'warning', warnings)].join('')
}
