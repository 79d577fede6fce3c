/** `starlane mesh status --context …`: what is joined, whether it can be read, and how long tokens last. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { messageOf } from '../../model/error.ts'
import { isHalfOver, lifeOf } from '../../model/text/token-life.ts'
import { type Io, paintFor } from '../terminal/io.ts'
import { type OutputOptions, printData } from '../terminal/output.ts'
import { count, span } from '../terminal/table.ts'
import { pause, untilInterrupted } from '../terminal/wait.ts'
import { anyToken, KubeconfigSecret } from './access.ts'
import { type ContextOptions, clustersOf, membersOf } from './contexts.ts'
import { type Installed, remotesOf, workloads } from './installed.ts'
import { kubectl, type Manifest } from './kubectl.ts'

export interface MeshStatusOptions extends ContextOptions, OutputOptions {
  readonly wait?: boolean
  /** Milliseconds. */
  readonly timeout: number
}

interface Finding {
  readonly severity: 'good' | 'warning' | 'error'
  readonly text: string
}

interface MemberStatus {
  readonly context: string
  readonly cluster: string
  readonly id: number
  readonly findings: readonly Finding[]
}

const pauseMs = 2000

/** Exits with 1 while there is an error, or after the timeout with `wait`. */
export async function meshStatus(io: Io, options: MeshStatusOptions): Promise<number> {
  const clusters = clustersOf(io, options)
  const until = untilInterrupted(io)
  const deadline = io.clock.now() + options.timeout
  try {
    for (let said = ''; ; ) {
      const members = await membersOf(clusters)
      const seen = await Promise.all(members.map(member => examine(io, member, members)))
      const wrong = seen.flatMap(({ context, findings }) =>
        findings.filter(({ severity }) => severity === 'error').map(({ text }) => `${context}: ${text}`),
      )
      const isLast = !options.wait || wrong.length === 0 || io.clock.now() + pauseMs > deadline
      if (!isLast && wrong.join() !== said) io.stderr.write(`waiting: ${wrong.join('; ')}\n`)
      said = wrong.join()
      if (!isLast && (await pause(pauseMs, until))) continue
      show(io, seen, options)
      return wrong.length === 0 ? 0 : 1
    }
  } finally {
    until.dispose()
  }
}

async function examine(io: Io, member: Installed, members: readonly Installed[]): Promise<MemberStatus> {
  const { cluster, name, id } = member
  const secret = await KubeconfigSecret.read(cluster)
  const running = (await workloads(cluster)).map(rollout)
  const none: Finding = { severity: 'error', text: 'no workload of Starlane; run "starlane mesh enable" again' }
  const remotes = remotesOf(member)
  const links = await Promise.all(remotes.map(remote => linkOf(io, remote, secret.get(remote))))
  const missing = members
    .filter(other => other !== member && !member.config.clusters.some(each => each.name === other.name))
    .map(other => error(`does not read ${other.name}; run "starlane mesh connect" with both contexts`))
  const findings = [...(running.length > 0 ? running : [none]), ...links, ...missing]
  return { context: cluster.context, cluster: name, id, findings }
}

/** Whether all Pods of the newest configuration are ready. */
function rollout({ kind, metadata, spec, status = {} }: Manifest): Finding {
  const seen = status as Readonly<Record<string, number | undefined>>
  const isDaemonSet = kind === 'DaemonSet'
  const desired = isDaemonSet ? seen.desiredNumberScheduled : ((spec as { replicas?: number }).replicas ?? 1)
  const updated = (isDaemonSet ? seen.updatedNumberScheduled : seen.updatedReplicas) ?? 0
  const ready = (isDaemonSet ? seen.numberReady : seen.readyReplicas) ?? 0
  const isObserved = (seen.observedGeneration ?? 0) >= Number(metadata.generation ?? 0)
  const what = `${kind} ${metadata.name}`
  if (desired === undefined || !isObserved) return error(`${what}: Kubernetes has not begun with it`)
  if (desired === 0) return error(`${what}: no node runs it; see its nodeSelector`)
  if (updated < desired) return error(`${what}: ${updated} of ${count(desired, 'Pod')} have the newest configuration`)
  if (ready < desired)
    return error(`${what}: ${ready} of ${count(desired, 'Pod')} ready; see "kubectl -n starlane logs"`)
  return { severity: 'good', text: `${what}: ${count(ready, 'Pod')} ready` }
}

/** Whether the kubeconfig is accepted, asked from here, and how long its token lasts. */
async function linkOf(io: Io, remote: string, kubeconfig: string | undefined): Promise<Finding> {
  if (kubeconfig === undefined) return error(`${remote}: no kubeconfig in the Secret; run "starlane mesh connect"`)
  const life = lifeOf(anyToken(kubeconfig) ?? '')
  const now = io.clock.wall()
  if (life && life.ends <= now) return error(`${remote}: its token has ended; run "starlane mesh connect"`)
  const refused = await probe(io, kubeconfig)
  if (refused && /Unauthorized|[Ff]orbidden|must be logged in/.test(refused))
    return error(`${remote}: its API server refuses the token: ${refused}; run "starlane mesh connect --renew"`)
  const lasts = life ? `, the token lasts ${span(life.ends - now)}` : ', the token does not end'
  if (refused) {
    const note = 'its API server does not answer here; that of the clusters counts'
    return { severity: 'warning', text: `${remote}: ${note}${lasts}: ${refused}` }
  }
  if (life && isHalfOver(life, now)) {
    const remedy = 'run "starlane mesh connect" to renew it'
    return { severity: 'warning', text: `${remote}: readable${lasts}; ${remedy}` }
  }
  return { severity: 'good', text: `${remote}: readable${lasts}` }
}

/** Lists with the kubeconfig; the reason if that fails. */
async function probe(io: Io, kubeconfig: string): Promise<string | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'starlane-mesh-'))
  try {
    const file = join(folder, 'kubeconfig')
    await writeFile(file, kubeconfig, { mode: 0o600 })
    const path = '/api/v1/services?limit=1'
    await kubectl(['--kubeconfig', file, '--request-timeout=5s', 'get', '--raw', path], { env: io.env })
    return undefined
  } catch (error) {
    return messageOf(error).replace(/^kubectl: /, '')
  } finally {
    await rm(folder, { recursive: true })
  }
}

function error(text: string): Finding {
  return { severity: 'error', text }
}

function show(io: Io, seen: readonly MemberStatus[], { output }: MeshStatusOptions): void {
  if (output === 'json' || output === 'yaml') return printData(io, seen, output)
  const paint = paintFor(io.stdout, io.env)
  const marks = { good: paint('good', '✓'), warning: paint('warn', '!'), error: paint('bad', '✗') }
  for (const { context, cluster, id, findings } of seen) {
    io.stdout.write(`${paint('strong', context)}: cluster ${cluster}, id ${id}\n`)
    for (const { severity, text } of findings) io.stdout.write(`  ${marks[severity]} ${text}\n`)
  }
}
