/** What Starlane needs of the API server of a cluster: an answer, its version, rights, clock and certificates. */
import { connect } from 'node:tls'
import type { KubernetesClient } from '../../clients/kubernetes/client.ts'
import { createKubernetesClient, type KubernetesLogin, kubernetesAccess } from '../../clients/kubernetes/connect.ts'
import { messageOf } from '../../model/error.ts'
import { silentLog } from '../../model/log.ts'
import { readRegularText } from '../../model/text/regular-file.ts'
import { lifeOf } from '../../model/text/token-life.ts'
import type { Clock } from '../../model/time/clock.ts'
import { type Finding, type Findings, findingsAt } from './finding.ts'
import { type Right, rightText } from './rights.ts'

type Env = Readonly<Record<string, string | undefined>>

export interface ApiServerCheck {
  /** The cluster, or the context. */
  readonly name: string
  readonly login: KubernetesLogin
  readonly rights: readonly Right[]
  /** The value of the label by which kube-proxy leaves Services to Starlane; undefined where it need not. */
  readonly proxyName: string | undefined
}

const timeoutMs = 10_000
const dayMs = 86_400_000
const soonMs = 14 * dayMs
/** The first with EndpointSlices in the form that is read, and with bound tokens. */
const leastMinor = 21

/** Stops after the first step without which the others make no sense. */
export async function checkApiServer(check: ApiServerCheck, env: Env, clock: Clock): Promise<Finding[]> {
  const at = findingsAt(check.name)
  const access = await kubernetesAccess(check.login, env).catch(error => messageOf(error))
  if (typeof access === 'string') return [at.error('credentials', access, 'correct the kubeconfig or its path')]
  const client = createKubernetesClient(check.login, { clock, env, log: silentLog, random: Math.random })
  const signal = AbortSignal.timeout(timeoutMs)
  try {
    const answer = await client.list({ path: '/version' }, signal).catch(error => messageOf(error))
    if (typeof answer === 'string') {
      const remedy =
        'is the address right from here, and does a firewall let it through? "kubectl get --raw /version" asks the same'
      return [at.error('answer', answer, remedy)]
    }
    const found = [
      await versionFinding(answer.chunks, at),
      clockFinding(answer.sentAt - clock.wall(), at),
      ...(await certificateFindings(access, at, clock)),
      ...(await tokenFindings(access, at, clock)),
    ]
    const rights = await rightsFindings(client, check.rights, at, signal)
    if (check.proxyName === undefined) return [...found, ...rights]
    return [...found, ...rights, await labelFinding(client, check, at)]
  } finally {
    await client.close()
  }
}

async function versionFinding(chunks: AsyncIterable<Buffer>, at: Findings): Promise<Finding> {
  const parts: Buffer[] = []
  for await (const chunk of chunks) parts.push(chunk)
  const { gitVersion = '', major = '', minor = '' } = objectIn(Buffer.concat(parts).toString('utf8'))
  if (gitVersion === '') return at.error('version', 'the answer is not that of an API server', 'correct its address')
  const isOld = major === '1' && Number.parseInt(minor, 10) < leastMinor
  if (isOld) return at.error('version', `Kubernetes ${gitVersion}`, `upgrade to 1.${leastMinor} or newer`)
  return at.good('version', `Kubernetes ${gitVersion}`)
}

function objectIn(text: string): Readonly<Record<string, string>> {
  try {
    return Object(JSON.parse(text))
  } catch {
    return {}
  }
}

/** Beyond a minute certificates seem not valid yet; beyond five, tokens are refused. */
export function clockFinding(skewMs: number, at: Findings): Finding {
  if (Number.isNaN(skewMs)) return at.skipped('clock', 'the server does not tell its time')
  const seconds = Math.round(Math.abs(skewMs) / 1000)
  if (seconds <= 60) return at.good('clock', `agrees with ours within ${seconds} s`)
  const text = `is ${seconds} s ${skewMs > 0 ? 'ahead of' : 'behind'} ours: certificates and tokens seem to have ended, or not to be valid yet`
  const remedy = 'set both by NTP: timedatectl set-ntp true'
  return seconds > 300 ? at.error('clock', text, remedy) : at.warning('clock', text, remedy)
}

type Access = Awaited<ReturnType<typeof kubernetesAccess>>

async function certificateFindings(
  { server, proxy, servername }: Access,
  at: Findings,
  clock: Clock,
): Promise<Finding[]> {
  const { protocol, hostname, port } = new URL(server)
  if (protocol !== 'https:' || proxy) return []
  const host = hostname.replace(/^\[|\]$/g, '')
  const ends = await new Promise<number>(resolve => {
    const socket = connect({
      ...{ host, port: Number(port || 443), rejectUnauthorized: false, timeout: timeoutMs },
      ...(servername !== undefined && { servername }),
    })
    const end = (ms: number) => {
      socket.destroy()
      resolve(ms)
    }
    socket.once('secureConnect', () => end(Date.parse(socket.getPeerCertificate().valid_to)))
    socket.once('timeout', () => end(Number.NaN))
    socket.on('error', () => end(Number.NaN))
  })
  if (Number.isNaN(ends)) return [at.skipped('certificate', `that of ${server} could not be read`)]
  const remedy = 'renew it: "kubeadm certs renew apiserver", or as the provider says'
  return [endFinding(at, 'certificate', `of ${server}`, ends - clock.wall(), remedy)]
}

async function tokenFindings({ credential }: Access, at: Findings, clock: Clock): Promise<Finding[]> {
  const token =
    credential.by === 'token'
      ? credential.token
      : credential.by === 'token-file'
        ? await readRegularText(credential.file).catch(() => '')
        : ''
  const life = lifeOf(token.trim())
  // The kubelet renews the token of a Pod, whose life is an hour.
  if (!life || credential.by === 'token-file') return []
  return [endFinding(at, 'token', '', life.ends - clock.wall(), 'run "starlane mesh connect" with both contexts')]
}

function endFinding(at: Findings, check: string, what: string, leftMs: number, remedy: string): Finding {
  const subject = what === '' ? '' : `${what}: `
  if (leftMs <= 0) return at.error(check, `${subject}ended ${Math.ceil(-leftMs / dayMs)} days ago`, remedy)
  const text = `${subject}valid for ${Math.floor(leftMs / dayMs)} days`
  return leftMs < soonMs ? at.warning(check, text, remedy) : at.good(check, text)
}

/** By SelfSubjectAccessReview, which every user may create. */
async function rightsFindings(
  client: KubernetesClient,
  rights: readonly Right[],
  at: Findings,
  signal: AbortSignal,
): Promise<Finding[]> {
  const asked = rights.flatMap(right => right.verbs.map(verb => ({ right, verb })))
  const answers = await Promise.all(asked.map(({ right, verb }) => allowed(client, right, verb, signal)))
  const [failure] = answers.filter(answer => typeof answer === 'string')
  if (failure !== undefined) return [at.skipped('rights', `the server does not say: ${failure}`)]
  const missing = rights.flatMap(right => {
    const verbs = asked.flatMap(({ right: of, verb }, i) => (of === right && answers[i] === false ? [verb] : []))
    return verbs.length > 0 ? [{ right, verbs }] : []
  })
  if (missing.length === 0) return [at.good('rights', `all of ${asked.length} that are needed`)]
  return missing.map(({ right, verbs }) => {
    const what = `may not ${verbs.join(', ')} ${right.resource}${right.group === '' ? '' : `.${right.group}`}: ${right.why}`
    const remedy = `add the rule ${rightText(right)} (${right.from})`
    return right.isOptional ? at.warning('rights', what, remedy) : at.error('rights', what, remedy)
  })
}

/** A text is why the server does not say. */
async function allowed(
  client: KubernetesClient,
  { group, resource, namespace }: Right,
  verb: string,
  signal: AbortSignal,
): Promise<boolean | string> {
  const [name, subresource] = resource.split('/')
  const resourceAttributes = { group, resource: name, subresource, verb, namespace }
  const review = {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SelfSubjectAccessReview',
    spec: { resourceAttributes },
  }
  const path = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews'
  const body = { type: 'application/json', value: review }
  try {
    const answer = (await client.json({ method: 'POST', path, body }, signal)) as { status?: { allowed?: boolean } }
    return answer.status?.allowed === true
  } catch (error) {
    return messageOf(error)
  }
}

interface ServiceList {
  readonly metadata?: { readonly continue?: string }
  readonly items?: readonly {
    readonly metadata: {
      readonly name: string
      readonly namespace: string
      readonly labels?: Readonly<Record<string, string>>
      readonly annotations?: Readonly<Record<string, string>>
    }
    readonly spec?: { readonly clusterIP?: string }
  }[]
}

const proxyLabel = 'service.kubernetes.io/service-proxy-name'

/** kube-proxy rewrites packets to the ClusterIP of a Service before Starlane sees them, unless the Service has the label. */
async function labelFinding(client: KubernetesClient, { proxyName }: ApiServerCheck, at: Findings): Promise<Finding> {
  const bare: string[] = []
  let labelled = 0
  for (let next = ''; ; ) {
    const query = { limit: '500', ...(next !== '' && { continue: next }) }
    const signal = AbortSignal.timeout(timeoutMs)
    const list = await client.json({ path: '/api/v1/services', query }, signal).catch(error => messageOf(error))
    if (typeof list === 'string') return at.skipped('kube-proxy', `Services cannot be listed: ${list}`)
    const { items = [], metadata = {} } = list as ServiceList
    for (const { metadata: service, spec } of items) {
      const { annotations = {}, labels = {}, namespace, name } = service
      const mark = annotations['service.cilium.io/global'] ?? annotations['io.cilium/global-service']
      if (mark !== 'true' || spec?.clusterIP === 'None') continue
      if (labels[proxyLabel] === undefined) bare.push(`${namespace}/${name}`)
      else if (labels[proxyLabel] === proxyName) labelled++
    }
    next = metadata.continue ?? ''
    if (next === '') break
  }
  if (bare.length === 0) return at.good('kube-proxy', `leaves ${labelled} global Services to Starlane`)
  const [first = ''] = bare
  const [namespace, name] = first.split('/')
  const some = `${bare.slice(0, 3).join(', ')}${bare.length > 3 ? ` and ${bare.length - 3} more` : ''}`
  const remedy = `kubectl -n ${namespace} label service ${name} ${proxyLabel}=${proxyName}`
  return at.warning('kube-proxy', `serves ${some}, before Starlane sees their packets`, remedy)
}
