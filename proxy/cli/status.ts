/** `starlane status`: components, clusters and problems; waits with --wait until nothing is an error. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Command, Option } from 'commander'
import { MeshError } from '../model/error.ts'
import type { ServiceView, Status } from '../model/views.ts'
import { type AdminClient, type AdminOptions, addAdminOptions, connectAdmin } from './admin-client.ts'
import { type Io, paintFor } from './terminal/io.ts'
import { addOutputOption, fail, type OutputOptions, printData } from './terminal/output.ts'
import { clusterText, statusText } from './terminal/status-text.ts'
import { span } from './terminal/table.ts'
import { milliseconds } from './terminal/wait.ts'
import { watch } from './terminal/watch.ts'

interface Options extends AdminOptions, OutputOptions {
  readonly context?: string
  readonly wait?: boolean
  readonly strict?: boolean
  readonly probe?: boolean
  readonly watch?: boolean
  readonly all?: boolean
  readonly kubeconfig?: string
  readonly kubeContext?: readonly string[]
  readonly timeout: number
}

export function statusCommand(io: Io, end: (code: number) => void): Command {
  const command = new Command('status')
    .summary('show what works and what does not')
    .description('Shows the state of each component and of the link to each cluster, and lists problems.')
    .option('--context <cluster>', 'show one cluster in detail')
    .option('--all', 'show what is installed in Kubernetes instead: components, images, nodes and Pods')
    .option('--kubeconfig <file>', 'for --all (default: $KUBECONFIG, else ~/.kube/config)')
    .option(
      '--kube-context <context...>',
      'for --all, the clusters (default: those of --config, else the current context)',
    )
    .option('--wait', 'wait until it is ready and there is no error')
    .option('--probe', 'only whether it is ready, for probes; where $POD_NAME is set, that of this Pod')
    .option('-w, --watch', 'show it again every 2 s, until Ctrl-C')
    .option('--strict', 'count warnings as errors')
    .addOption(
      new Option('--timeout <duration>', 'how long --wait waits').default(60_000, '60s').argParser(milliseconds),
    )
  return addAdminOptions(addOutputOption(command, ['wide', 'yaml', 'json']))
    .addHelpText('after', examples)
    .action(async (options: Options) => end(await status(io, options)))
}

const examples = `
Exits with 1 while it is not ready or there is an error: a service that no client can reach, a lost cluster, DNS or a
listener that is not bound. Warnings (a service that is reduced, a typo in an annotation, a certificate that ends soon)
change the exit code only with --strict; with --all, different images are a warning. With --context the link of that cluster decides alone.

Examples:
  starlane status
  starlane status --wait --timeout 2m && npm test
  starlane status --context cluster-2
  starlane status --all --kube-context kind-1 kind-2
  starlane status -o json | jq '.clusters[] | {name, link}'`

async function status(io: Io, options: Options): Promise<number> {
  if (options.all) return (await import('./see/deployment.ts')).deploymentStatus(io, options)
  const admin = await connectAdmin(options, io)
  if (options.probe) {
    // On one node two Pods share the address: only this one's answer counts.
    const { ok, text } = await admin.ready(io.env.POD_NAME || undefined)
    io.stdout.write(`${text}\n`)
    return ok ? 0 : 1
  }
  const seen = options.wait ? await waitUntilOk(io, admin, options) : await admin.status()
  if (options.context !== undefined) return showCluster(io, admin, seen, options.context, options)
  const { output } = options
  const text = (status: Status) => statusText(status, paintFor(io.stdout, io.env), output === 'wide', io.stdout.columns)
  if (output === 'json' || output === 'yaml') printData(io, seen, output)
  else if (options.watch) await watch(io, watchMs, async () => text(await admin.status()))
  else io.stdout.write(text(seen))
  return notOk(seen, options).length === 0 ? 0 : 1
}

async function showCluster(io: Io, admin: AdminClient, seen: Status, name: string, options: Options): Promise<number> {
  const cluster = seen.clusters.find(cluster => cluster.name === name)
  if (!cluster) {
    const known = seen.clusters.map(cluster => cluster.name).join(', ')
    return fail(io, `there is no cluster "${name}"; there are ${known}`)
  }
  const services = (await admin.services()).filter(service => service.backends.some(b => b.cluster === name))
  const { output } = options
  if (output === 'json' || output === 'yaml') printData(io, { ...cluster, uses: services.map(keyOf) }, output)
  else io.stdout.write(clusterText(cluster, services, seen, paintFor(io.stdout, io.env)))
  return cluster.link.state === 'live' ? 0 : 1
}

const watchMs = 2000
const pauseMs = 500

/** Polls until nothing is wrong or the timeout ends, and returns the last status. Prints what it waits for when that changes. */
async function waitUntilOk(io: Io, admin: AdminClient, options: Options): Promise<Status> {
  const deadline = io.clock.now() + options.timeout
  for (let said = ''; ; await sleep(pauseMs)) {
    const seen = await admin.status().catch(unreachable)
    const wrong = seen instanceof MeshError ? [`an answer from ${admin.address}`] : notOk(seen, options)
    if (!(seen instanceof MeshError) && wrong.length === 0) return seen
    if (io.clock.now() + pauseMs > deadline) {
      if (seen instanceof MeshError) throw seen
      io.stderr.write(`starlane: not OK within ${span(options.timeout)}\n`)
      return seen
    }
    if (wrong.join() !== said) io.stderr.write(`waiting for ${shortList(wrong)}\n`)
    said = wrong.join()
  }
}

/** An unreachable Starlane may still be starting: return the error and ask again. */
function unreachable(error: unknown): MeshError {
  if (error instanceof MeshError && error.code === 'ADMIN_UNREACHABLE') return error
  throw error
}

/** Names of what is wrong. With `context` only the link of that cluster counts. */
function notOk(seen: Status, { context, strict = false }: Pick<Options, 'context' | 'strict'>): string[] {
  const clusters = seen.clusters.filter(({ name }) => context === undefined || name === context)
  const links = clusters.filter(({ link }) => link.state !== 'live').map(({ name }) => name)
  if (context !== undefined) return links
  const counts = (severity: string) => severity === 'error' || (strict && severity === 'warning')
  const parts = seen.components.filter(({ state }) => counts(state)).map(({ name }) => name)
  const wrong = seen.problems.filter(({ severity }) => counts(severity)).map(({ where }) => where)
  const start = seen.ready ? [] : seen.waiting.length > 0 ? seen.waiting : ['startup']
  return [...new Set([...start, ...parts, ...links, ...wrong])]
}

function shortList(names: readonly string[]): string {
  const more = names.length - 5
  return more > 1 ? `${names.slice(0, 5).join(', ')} and ${more} more` : names.join(', ')
}

function keyOf({ namespace, name }: ServiceView): string {
  return `${namespace}/${name}`
}
