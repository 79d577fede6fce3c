/** `starlane check`: everything that installing or running Starlane depends on, looked at from here. */
import type { KubernetesLogin } from '../../clients/kubernetes/connect.ts'
import type { Loaded } from '../../config/load.ts'
import type { ClusterConfig, Config } from '../../config/schema.ts'
import type { Clock } from '../../model/time/clock.ts'
import { type DiagnosisStep, diagnose } from '../etcd-admin.ts'
import { diagnoseTunnels } from '../tunnel/diagnose.ts'
import { validate } from '../validate.ts'
import { checkApiServer } from './api-server.ts'
import { type Finding, findingsAt } from './finding.ts'
import { checkMachine, thisMachine } from './machine.ts'
import { checkPathMtu } from './path-mtu.ts'
import { checkPorts } from './ports.ts'
import { installingRights, neededRights } from './rights.ts'
import { checkUnderlay } from './underlay.ts'

export type { Finding } from './finding.ts'

export interface CheckParts {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
}

/** Of contexts of a kubeconfig, before anything is installed. */
export async function checkContexts(
  contexts: readonly string[],
  kubeconfig: string | undefined,
  { env, clock }: CheckParts,
): Promise<Finding[]> {
  const found = contexts.map(context => {
    const login: KubernetesLogin = { kubeconfig, context }
    return checkApiServer({ name: context, login, rights: installingRights, proxyName: 'starlane' }, env, clock)
  })
  return (await Promise.all(found)).flat()
}

/** Of a configuration. `running`: a Starlane with it answers. */
export async function checkConfig(loaded: Loaded, running: boolean, parts: CheckParts): Promise<Finding[]> {
  const { config } = loaded
  const lists = await Promise.all([
    checkMachine(config),
    checkUnderlay(config),
    checkFile(loaded, parts),
    checkPorts(config, running),
    ...config.clusters.map(cluster => checkCluster(cluster, config, parts)),
    checkGateways(config, parts),
  ])
  return lists.flat()
}

/** Before there is a configuration. */
export function checkMachineAlone(): Promise<Finding[]> {
  return checkMachine(undefined)
}

async function checkFile(loaded: Loaded, { env }: CheckParts): Promise<Finding[]> {
  const at = findingsAt(thisMachine)
  const { problems } = await validate(loaded, env)
  const found = problems.map(({ code, where, message }) =>
    at.error('configuration', `${code}  ${where}  ${message}`, `correct ${loaded.file}`),
  )
  const warnings = loaded.warnings.map(({ place, path, message }) =>
    at.warning('configuration', `${place}  ${path}: ${message}`, `correct ${loaded.file}`),
  )
  return found.length + warnings.length > 0
    ? [...found, ...warnings]
    : [at.good('configuration', `${loaded.file} is valid`)]
}

async function checkCluster(cluster: ClusterConfig, config: Config, parts: CheckParts): Promise<Finding[]> {
  const { name, source } = cluster
  const at = findingsAt(name)
  if ('manifests' in source) return [at.good('source', `the files of ${source.manifests}`)]
  if ('etcd' in source) {
    if (!('config' in source.etcd)) return [at.skipped('source', 'etcd without a client file; see "starlane status"')]
    return stepFindings(name, await diagnose(name, source.etcd.config, { clock: parts.clock, random: Math.random }))
  }
  const isLocal = name === config.cluster
  const isServed = isLocal && config.proxy.vips === 'clusterIP' && config.proxy.serviceProxyName !== '*'
  const proxyName = isServed ? config.proxy.serviceProxyName : undefined
  const rights = neededRights(config, isLocal)
  return checkApiServer({ name, login: source.kubernetes, rights, proxyName }, parts.env, parts.clock)
}

async function checkGateways(config: Config, { clock }: CheckParts): Promise<Finding[]> {
  const diagnoses = await diagnoseTunnels(config, undefined, clock)
  const steps = diagnoses.flatMap(({ cluster, steps }) => stepFindings(cluster, steps))
  const reached = config.clusters.filter(({ route }) => route === 'tunnel')
  const paths = reached.flatMap(({ name, gateways }) =>
    gateways.map(({ text, host }) => checkPathMtu(findingsAt(name), text, host)),
  )
  return [...steps, ...(await Promise.all(paths))]
}

/** The text of a step that failed ends with its remedy. */
function stepFindings(where: string, steps: readonly DiagnosisStep[]): Finding[] {
  const at = findingsAt(where)
  return steps.map(({ step, isGood, text }) => {
    if (isGood) return at.good(step, text)
    const cut = text.lastIndexOf('; ')
    const doctor = `"starlane mesh doctor" looks at this alone`
    return cut === -1 ? at.error(step, text, doctor) : at.error(step, text.slice(0, cut), text.slice(cut + 2))
  })
}
