/** The options by which commands name clusters: contexts of a kubeconfig. */
import type { Command } from 'commander'
import { MeshError } from '../../model/error.ts'
import type { Io } from '../terminal/io.ts'
import { type Installed, readInstalled } from './installed.ts'
import { type Cluster, clusterOf } from './kubectl.ts'

export interface ContextOptions {
  readonly context: readonly string[]
  readonly kubeconfig?: string
}

export function addContextOptions(command: Command): Command {
  return command
    .requiredOption(
      '--context <context...>',
      'kubeconfig contexts of the clusters; give it again for each, or list them',
    )
    .option('--kubeconfig <file>', 'the file with the contexts (default: $KUBECONFIG, else ~/.kube/config)')
}

export function clustersOf(io: Io, { context, kubeconfig }: ContextOptions): Cluster[] {
  if (new Set(context).size < context.length) throw new MeshError('USAGE', 'a context is named twice')
  return context.map(each => clusterOf(each, kubeconfig, io.env))
}

/** All have been enabled, and differ in name and id. */
export async function membersOf(clusters: readonly Cluster[]): Promise<Installed[]> {
  const found = await Promise.all(clusters.map(readInstalled))
  const missing = clusters.filter((_, i) => !found[i]).map(({ context }) => context)
  if (missing.length > 0) {
    const remedy = `run "starlane mesh enable ${missing.map(context => `--context ${context}`).join(' ')}" first`
    throw new MeshError('USAGE', `${missing.join(', ')}: Starlane is not enabled there; ${remedy}`)
  }
  const members = found.filter(each => each !== undefined)
  for (const member of members) {
    const other = members.find(each => each !== member && (each.name === member.name || each.id === member.id))
    if (!other) continue
    const both = `${member.cluster.context} and ${other.cluster.context}`
    const fault = other.name === member.name ? `are both called ${member.name}` : `both have the id ${member.id}`
    const option = other.name === member.name ? '--name NAME' : '--id NUMBER'
    const remedy = `change one with "starlane mesh enable --context ${other.cluster.context} ${option}"`
    throw new MeshError('USAGE', `${both} ${fault}; ${remedy}`)
  }
  return members
}
