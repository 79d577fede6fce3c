/** `starlane rehearse`: what a policy, or the loss of a cluster, would change, by recorded flows. */
import { Command } from 'commander'
import { MeshError } from '../../model/error.ts'
import type { Rehearsal, RehearsalRequest } from '../../model/flows/rehearsal.ts'
import { parseDuration } from '../../model/text/duration.ts'
import { type AdminOptions, addAdminOptions, connectAdmin } from '../admin-client.ts'
import { type Io, paintFor } from '../terminal/io.ts'
import { addOutputOption, type OutputOptions, printJson } from '../terminal/output.ts'
import { readManifests, readRecording } from './input.ts'
import { rehearsalText } from './text.ts'

interface Options extends AdminOptions, OutputOptions {
  readonly policy?: string
  readonly cluster?: string
  readonly without?: string
  readonly flows?: string
  readonly last?: string
  readonly offline?: boolean
}

export function rehearseCommand(io: Io, end: (code: number) => void): Command {
  const command = new Command('rehearse')
    .summary('show what a policy or the loss of a cluster would change')
    .description(
      'Decides recorded flows again, with other policies or without a cluster, and shows what would change. No flow is touched, and nothing is applied.',
    )
    .option(
      '--policy <path>',
      'a file or folder of NetworkPolicies and Cilium policies, in addition to those that are there',
    )
    .option('--cluster <name>', 'the cluster that the policies are for (default: the local one)')
    .option('--without <cluster>', 'the cluster that is lost')
    .option(
      '--flows <file>',
      'a recording, as "starlane observe -o json" prints it (default: what the running Starlane has recorded)',
    )
    .option('--last <duration>', 'only flows of this time, as 1h (default: all that are recorded)')
    .option(
      '--offline',
      'read the clusters from the manifests of the configuration (-c) instead of asking a running Starlane',
    )
  return addAdminOptions(addOutputOption(command))
    .addHelpText('after', examples)
    .action(async (options: Options) => end(await rehearseWith(io, options)))
}

const examples = `
A policy replaces one of the same kind and name. Exit codes: 0 no flow would be refused, and no service would have
less than half of its backends; 1 some would, or Pods could not be read; 2 wrong usage.

Examples:
  starlane rehearse --policy deny-all.yaml --last 1h
  starlane rehearse --policy policies/ --flows flows.json --offline -c starlane.yaml
  starlane rehearse --without cluster-2`

/** Resolves with the exit code. */
async function rehearseWith(io: Io, options: Options): Promise<number> {
  const request = await requestOf(options)
  const rehearsal = options.offline ? await offline(io, options, request) : await online(io, options, request)
  if (options.output === 'json') printJson(io, rehearsal)
  else io.stdout.write(rehearsalText(request, rehearsal, paintFor(io.stdout, io.env)))
  const isWorse =
    rehearsal.changes.some(({ to }) => to === 'refused') || rehearsal.services.some(({ state }) => state !== 'some')
  return isWorse || rehearsal.incomplete ? 1 : 0
}

async function requestOf({ policy, cluster, without, flows, last, offline }: Options): Promise<RehearsalRequest> {
  if ((policy === undefined) === (without === undefined))
    throw new MeshError('USAGE', 'give either --policy FILE or --without CLUSTER')
  if (cluster !== undefined && policy === undefined)
    throw new MeshError('USAGE', '--cluster says for which cluster --policy is; give --policy too')
  if (flows !== undefined && last !== undefined)
    throw new MeshError('USAGE', '--last is about what the running Starlane has recorded; give it or --flows')
  if (offline && policy !== undefined && flows === undefined)
    throw new MeshError('USAGE', '--offline has no recorded flows of its own; give --flows FILE')
  const sinceMs = last === undefined ? undefined : parseDuration(last)
  if (last !== undefined && (sinceMs === undefined || sinceMs < 1))
    throw new MeshError('USAGE', `--last ${last} is not a duration; write for example --last 1h`)
  const recording = flows === undefined ? undefined : await readRecording(flows)
  return {
    ...(policy === undefined ? {} : { manifests: await readManifests(policy) }),
    ...(cluster === undefined ? {} : { cluster }),
    ...(without === undefined ? {} : { without }),
    ...(recording === undefined ? {} : { flows: recording.groups }),
    ...(recording === undefined || recording.names.length === 0 ? {} : { names: recording.names }),
    ...(sinceMs === undefined ? {} : { sinceMs: Math.round(sinceMs) }),
  }
}

async function online(io: Io, options: Options, request: RehearsalRequest): Promise<Rehearsal> {
  return (await connectAdmin(options, io)).rehearse(request)
}

async function offline(io: Io, { config }: Options, request: RehearsalRequest): Promise<Rehearsal> {
  if (config === undefined) throw new MeshError('USAGE', '--offline reads a configuration; give -c FILE')
  const { loadConfig } = await import('../../config/load.ts')
  const { rehearseOffline } = await import('../../runtime.ts')
  return rehearseOffline(await loadConfig(config, io.env), request)
}
