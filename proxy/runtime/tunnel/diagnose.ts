/** `starlane mesh doctor`: looks step by step at the gateways of a cluster, and stops at the first step that fails. */
import { connect } from 'node:net'
import type { Config } from '../../config/schema.ts'
import { messageOf } from '../../model/error.ts'
import { silentLog } from '../../model/log.ts'
import { type Clock, systemClock } from '../../model/time/clock.ts'
import type { ClusterIdentity } from '../../model/tunnel/identity.ts'
import { Credentials } from '../../tunnel/certificates/credentials.ts'
import { describe } from '../../tunnel/certificates/examine.ts'
import type { GatewayAddress } from '../../tunnel/client/link.ts'
import { Tunnel } from '../../tunnel/client/tunnel.ts'
import { healthPath } from '../../tunnel/wire/health-lines.ts'
import type { DiagnosisStep } from '../etcd-admin.ts'
import { credentialSources, reachedBy } from './tunnelling.ts'

export interface TunnelDiagnosis {
  readonly cluster: string
  readonly steps: readonly DiagnosisStep[]
}

/** The clocks of two clusters should not be further apart: certificates are valid from some minutes before they are issued. */
const maxSkewMs = 60_000
const connectMs = 3000
const tunnelMs = 6000

/** All clusters that are reached through gateways, or only this one. */
export async function diagnoseTunnels(
  config: Config,
  only: string | undefined,
  clock = systemClock,
): Promise<TunnelDiagnosis[]> {
  const clusters = config.clusters.filter(
    ({ name, route }) => route === 'tunnel' && (only === undefined || name === only),
  )
  const from = credentialSources(config).tunnel ?? { folder: '' }
  const names = config.clusters.map(({ name }) => name)
  const credentials = new Credentials({ from, clusters: () => names, clock, log: silentLog })
  await credentials.start()
  const own = ownCertificate(credentials)
  const found: TunnelDiagnosis[] = []
  for (const { name, gateways, trustDomain, identities } of clusters) {
    const steps: DiagnosisStep[] = [own]
    const domain = trustDomain ?? credentials.material?.id.trustDomain ?? ''
    const identity = { cluster: name, trustDomain: domain, ids: identities }
    if (own.isGood && gateways.length === 0) steps.push(noGateways)
    if (own.isGood)
      for (const gateway of reachedBy(config, gateways))
        steps.push(...(await examineGateway(gateway, identity, credentials, clock)))
    found.push({ cluster: name, steps })
  }
  credentials.close()
  return found
}

const noGateways: DiagnosisStep = {
  step: 'gateways',
  isGood: false,
  text: 'none is configured: "starlane status" shows those that its source names; to test one, write it into `gateways`',
}

function ownCertificate(credentials: Credentials): DiagnosisStep {
  const [problem] = credentials.problems()
  if (problem) return { step: 'own certificate', isGood: credentials.isValid, text: problem.message }
  const { leaf } = credentials.material ?? {}
  return { step: 'own certificate', isGood: true, text: leaf ? `${describe(leaf)}, valid until ${leaf.validTo}` : '' }
}

async function examineGateway(
  gateway: GatewayAddress,
  identity: ClusterIdentity,
  credentials: Credentials,
  clock: Clock,
): Promise<DiagnosisStep[]> {
  const { text } = gateway
  const failure = await portFailure(gateway.proxy ?? gateway)
  if (failure !== undefined) {
    const remedy = 'is the gateway running, and does a firewall or load balancer let port and address through?'
    return [{ step: 'port', isGood: false, text: `${text}: ${failure}; ${remedy}` }]
  }
  const port: DiagnosisStep = { step: 'port', isGood: true, text: `${text} answers` }
  const opened = Promise.withResolvers<string | undefined>()
  const tunnel = new Tunnel(
    { gateway, identity, credentials, clock, log: silentLog },
    {
      opened: () => opened.resolve(undefined),
      changed() {},
      closed: why => opened.resolve(why ?? 'it was closed'),
    },
  )
  const cancel = clock.after(tunnelMs, () => opened.resolve(`no answer within ${tunnelMs} ms`))
  try {
    const why = await opened.promise
    if (why !== undefined) return [port, { step: 'certificate', isGood: false, text: `${text}: ${why}` }]
    const shown = tunnel.shown?.certificate
    const certificate: DiagnosisStep = {
      step: 'certificate',
      isGood: true,
      text: `${text} is ${shown ? describe(shown) : ''}, valid until ${shown?.validTo}, and accepts ours`,
    }
    return [port, certificate, await clockStep(tunnel, clock)]
  } finally {
    cancel()
    tunnel.close(undefined)
  }
}

function portFailure({ host, port }: Pick<GatewayAddress, 'host' | 'port'>): Promise<string | undefined> {
  return new Promise(resolve => {
    const socket = connect({ host, port, timeout: connectMs })
    const end = (why: string | undefined) => {
      socket.destroy()
      resolve(why)
    }
    socket.once('connect', () => end(undefined))
    socket.once('timeout', () => end(`no answer within ${connectMs} ms`))
    socket.on('error', error => end(messageOf(error)))
  })
}

/** By the `date` of an answer, whatever that is. */
async function clockStep(tunnel: Tunnel, clock: Clock): Promise<DiagnosisStep> {
  const headers = { ':method': 'GET', ':scheme': 'https', ':authority': 'doctor', ':path': healthPath }
  const date = await new Promise<string | undefined>(resolve => {
    const events = {
      answered: (_status: number, _reason: string | undefined, date?: string) => resolve(date),
      closed: () => resolve(undefined),
    }
    if (!tunnel.open(headers, events, () => {}, false)) return resolve(undefined)
    clock.after(connectMs, () => resolve(undefined))
  })
  const there = date === undefined ? Number.NaN : Date.parse(date)
  if (Number.isNaN(there)) return { step: 'clock', isGood: true, text: 'the gateway does not tell its time' }
  const skewMs = there - clock.wall()
  const seconds = Math.round(Math.abs(skewMs) / 1000)
  if (Math.abs(skewMs) <= maxSkewMs)
    return { step: 'clock', isGood: true, text: `the clocks agree within ${seconds} s` }
  const which = skewMs > 0 ? 'ahead of' : 'behind'
  return {
    step: 'clock',
    isGood: false,
    text: `its clock is ${seconds} s ${which} ours: certificates seem expired or not valid yet; set both by NTP`,
  }
}
