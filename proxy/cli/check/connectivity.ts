/** `starlane connectivity test`: from here to every global service, through DNS, frontend and backends, cluster by cluster. */
import { setTimeout } from 'node:timers/promises'
import { Command, Option } from 'commander'
import { endpointText, type Protocol } from '../../model/address.ts'
import { MeshError } from '../../model/error.ts'
import type { FlowRecord } from '../../model/flow-record.ts'
import type { BackendView, ServiceView, Status } from '../../model/views.ts'
import {
  type AdminClient,
  type AdminOptions,
  addAdminOptions,
  connectAdmin,
  parseServiceName,
} from '../admin-client.ts'
import { type Io, type Paint, paintFor, printable } from '../terminal/io.ts'
import { addOutputOption, type OutputOptions, printData } from '../terminal/output.ts'
import { count, durationOf } from '../terminal/table.ts'
import { milliseconds } from '../terminal/wait.ts'
import { askName, type Connection, type Probe, tryConnect, tryDatagram } from './probe.ts'

interface Options extends AdminOptions, OutputOptions {
  readonly timeout: number
  readonly backends: string
}

/** `failed`: a client gets no answer; `reduced`: it does, and something is not as it should be. */
type Verdict = 'ok' | 'reduced' | 'failed' | 'skipped'

interface Step extends Probe {
  /** A name, `10.96.0.10:80`, or `10.96.0.10:53/UDP`. */
  readonly what: string
}

interface ClusterResult {
  readonly cluster: string
  readonly verdict: Verdict
  /** Of the fastest backend, in milliseconds; null if none answered. */
  readonly ms: number | null
  readonly backends: readonly Step[]
  readonly why?: string
}

interface ServiceResult {
  readonly service: string
  readonly verdict: Verdict
  readonly dns: Step
  readonly frontends: readonly (Step & { readonly backend?: string })[]
  readonly clusters: readonly ClusterResult[]
  readonly why?: string
}

export function connectivityCommand(io: Io, end: (code: number) => void): Command {
  const test = new Command('test')
    .description(
      'Connects from here to every global service: asks the responder for its name, connects to its frontends through Starlane, and ' +
        'to its backends directly, cluster by cluster. Nothing is sent over the connections; for UDP an empty datagram is.',
    )
    .argument('[service...]', 'NAMESPACE/NAME, or NAME for default/NAME (default: all global services)')
    .addOption(
      new Option('--timeout <duration>', 'how long one answer may take').default(3000, '3s').argParser(milliseconds),
    )
    .option('--backends <count>', 'how many backends of a service are tried in each cluster', '3')
  addAdminOptions(addOutputOption(test))
    .addHelpText('after', examples)
    .action(async (names: string[], options: Options) => end(await connectivityTest(io, names, options)))
  return new Command('connectivity')
    .summary('test the way to every global service')
    .description('Tests the way from here to services.')
    .addCommand(test)
}

const examples = `
Exits with 1 if a service cannot be used. A service of which only some backends or clusters answer is reduced, which is
no failure. Backends behind gateways are not dialled from here; what Starlane's health checks say of them counts. For UDP
silence is no fault, since few protocols answer an empty datagram: a closed port is, and a session that Starlane did not
carry to a backend. Run it where clients are: frontends may be addresses of the machine alone.

Examples:
  starlane connectivity test
  starlane connectivity test shop/database --timeout 1s
  starlane connectivity test -o json | jq '.services[] | select(.verdict != "ok")'`

const parallel = 8

async function connectivityTest(io: Io, names: readonly string[], options: Options): Promise<number> {
  const most = /^\d{1,4}$/.test(options.backends) ? Number(options.backends) : 0
  if (most < 1) throw new MeshError('USAGE', `--backends ${options.backends} is not a number, 1 or more`)
  const admin = await connectAdmin(options, io)
  const [status, all] = await Promise.all([admin.status(), admin.services()])
  const services = chosen(all, names)
  const results: ServiceResult[] = []
  const queue = [...services.entries()]
  const worker = async () => {
    for (let next = queue.shift(); next; next = queue.shift())
      results[next[0]] = await testService(admin, status, next[1], { timeoutMs: options.timeout, most })
  }
  await Promise.all(Array.from({ length: parallel }, worker))
  const failed = results.filter(({ verdict }) => verdict === 'failed').length
  if (options.output === 'json' || options.output === 'yaml')
    printData(io, { good: failed === 0, services: results }, options.output)
  else io.stdout.write(resultsText(results, paintFor(io.stdout, io.env)))
  return failed === 0 ? 0 : 1
}

function chosen(all: readonly ServiceView[], names: readonly string[]): readonly ServiceView[] {
  if (names.length === 0) return all.filter(({ settings }) => settings.global)
  return names.map(text => {
    const { namespace, name } = parseServiceName(text)
    const found = all.find(service => service.namespace === namespace && service.name === name)
    if (!found) throw new MeshError('USAGE', `there is no service ${namespace}/${name}; "starlane services" lists all`)
    return found
  })
}

interface Limits {
  readonly timeoutMs: number
  readonly most: number
}

async function testService(
  admin: AdminClient,
  status: Status,
  service: ServiceView,
  limits: Limits,
): Promise<ServiceResult> {
  const key = `${service.namespace}/${service.name}`
  const name = `${service.name}.${service.namespace}.svc.${status.dns.domain}`
  const [asked, frontends, clusters] = await Promise.all([
    askName(reachable(status.dns.address), name, limits.timeoutMs),
    testFrontends(admin, service, limits),
    Promise.all(byCluster(service).map(([cluster, list]) => testCluster(cluster, list, status, limits))),
  ])
  const dns: Step = { what: name, ok: asked.ok, ms: asked.ms, ...(asked.why !== undefined && { why: asked.why }) }
  return { service: key, ...verdictOf(service, dns, frontends, clusters), dns, frontends, clusters }
}

/** A responder on all addresses of the machine is asked on loopback. */
function reachable(address: string): string {
  return address.replace(/^0\.0\.0\.0:/, '127.0.0.1:').replace(/^\[::\]:/, '[::1]:')
}

function byCluster({ backends }: ServiceView): [string, BackendView[]][] {
  return [...Map.groupBy(backends, ({ cluster }) => cluster)]
}

/** How long a connection must stay open: the engine dials within its budget, and resets what it cannot connect. */
const settleMs = 300

async function testFrontends(
  admin: AdminClient,
  { namespace, name, frontends }: ServiceView,
  { timeoutMs }: Limits,
): Promise<(Step & { backend?: string })[]> {
  const tried = await Promise.all(
    frontends.map(async ({ ip, port, protocol }) => ({
      protocol,
      what: whatOf(ip, port, protocol),
      ...(await tryEndpoint({ address: ip, port, protocol }, { timeoutMs, settleMs })),
    })),
  )
  const flows = await recordedFlows(admin, `${namespace}/${name}`, tried)
  return tried.map(({ what, protocol, localPort, ...probe }) => {
    const flow = flowOf(flows, protocol, localPort)
    const backend = flow?.starlane.backend
    const { ok, ms, why } = protocol === 'UDP' && probe.ok ? carried(probe, flow) : probe
    return { what, ok, ms, ...(why !== undefined && { why }), ...(backend !== undefined && { backend }) }
  })
}

/** How long a flow may take to be recorded after its client has seen what became of it. */
const recordedMs = 1000

/** The flows of a service, once all that were tried from here are among them. That of a datagram without an answer may never be. */
async function recordedFlows(
  admin: AdminClient,
  service: string,
  tried: readonly { readonly protocol: Protocol; readonly localPort?: number }[],
): Promise<readonly FlowRecord[]> {
  const query = new URLSearchParams({ service, last: '100' })
  const end = performance.now() + recordedMs
  for (;;) {
    const events = await admin.flows(query).catch(() => [])
    const flows = events.flatMap(event => ('flow' in event ? [event.flow] : []))
    const isComplete = tried.every(({ protocol, localPort }) => flowOf(flows, protocol, localPort))
    if (isComplete || performance.now() >= end) return flows
    await setTimeout(50)
  }
}

/** A datagram that nobody refused has come somewhere only if Starlane recorded a session with a backend. */
function carried(probe: Probe, flow: FlowRecord | undefined): Probe {
  if (!flow || flow.verdict === 'FORWARDED' || flow.verdict === 'VERDICT_UNKNOWN') return probe
  return { ...probe, ok: false, why: flow.starlane.refusal?.why ?? 'no backend took the datagram' }
}

function whatOf(ip: string, port: number, protocol: Protocol): string {
  return protocol === 'UDP' ? `${endpointText(ip, port)}/UDP` : endpointText(ip, port)
}

function tryEndpoint(
  { address, port, protocol }: { readonly address: string; readonly port: number; readonly protocol: Protocol },
  times: { readonly timeoutMs: number; readonly settleMs?: number },
): Promise<Connection> {
  return protocol === 'UDP' ? tryDatagram(address, port, { settleMs, ...times }) : tryConnect(address, port, times)
}

/** What the recorder knows of the flow from a local port. */
function flowOf(flows: readonly FlowRecord[], protocol: Protocol, port?: number): FlowRecord | undefined {
  if (port === undefined) return undefined
  return flows.findLast(
    ({ l4 }) => ('TCP' in l4 ? protocol === 'TCP' && l4.TCP : protocol === 'UDP' && l4.UDP) && portOf(l4) === port,
  )
}

function portOf(l4: FlowRecord['l4']): number {
  return 'TCP' in l4 ? l4.TCP.source_port : l4.UDP.source_port
}

async function testCluster(
  cluster: string,
  all: readonly BackendView[],
  { clusters }: Status,
  { timeoutMs, most }: Limits,
): Promise<ClusterResult> {
  const active = all.filter(({ state }) => state === 'active')
  if (active.length === 0) return { cluster, verdict: 'skipped', ms: null, backends: [], why: 'no backend is ready' }
  const isTunnelled = clusters.find(({ name }) => name === cluster)?.tunnels !== undefined
  if (isTunnelled) return behindGateway(cluster, active)
  // Those that get flows first; the same ones each time.
  const picked = [...active].sort((a, b) => Number(b.selected) - Number(a.selected)).slice(0, most)
  const backends = await Promise.all(
    picked.map(async ({ address, port, protocol }) => {
      const { ok, ms, why } = await tryEndpoint({ address, port, protocol }, { timeoutMs })
      return { what: whatOf(address, port, protocol), ok, ms, ...(why !== undefined && { why }) }
    }),
  )
  const good = backends.filter(({ ok }) => ok)
  const verdict = good.length === backends.length ? 'ok' : good.length > 0 ? 'reduced' : 'failed'
  const ms = good.length > 0 ? Math.min(...good.map(({ ms }) => ms)) : null
  return { cluster, verdict, ms, backends }
}

function behindGateway(cluster: string, active: readonly BackendView[]): ClusterResult {
  const up = active.filter(({ health }) => health === 'up' || health === 'unknown').length
  const verdict = up === active.length ? 'ok' : up > 0 ? 'reduced' : 'failed'
  return { cluster, verdict, ms: null, backends: [], why: `behind a gateway: ${up} of ${active.length} healthy` }
}

function verdictOf(
  { headless, externalName, condition }: ServiceView,
  dns: Step,
  frontends: readonly Step[],
  clusters: readonly ClusterResult[],
): { verdict: Verdict; why?: string } {
  if (externalName !== undefined) return { verdict: 'skipped', why: `it is another name for ${externalName}` }
  if (condition.state === 'empty') return { verdict: 'reduced', why: 'it has no backends in any cluster' }
  if (!dns.ok) return { verdict: 'failed', why: `its name does not resolve: ${dns.why}` }
  const dead = frontends.filter(({ ok }) => !ok)
  if (dead[0]) return { verdict: 'failed', why: `${dead[0].what}: ${dead[0].why}` }
  const tested = clusters.filter(({ verdict }) => verdict !== 'skipped')
  if (headless && tested.length > 0 && tested.every(({ verdict }) => verdict === 'failed'))
    return { verdict: 'failed', why: 'no backend answers' }
  const weak = tested.filter(({ verdict }) => verdict !== 'ok').map(({ cluster }) => cluster)
  if (weak.length > 0) return { verdict: 'reduced', why: `backends of ${weak.join(', ')} do not all answer from here` }
  if (!headless && frontends.length === 0) return { verdict: 'skipped', why: 'no frontend here' }
  return { verdict: 'ok' }
}

const paints = { ok: 'good', reduced: 'warn', failed: 'bad', skipped: 'soft' } as const

function resultsText(results: readonly ServiceResult[], paint: Paint): string {
  if (results.length === 0)
    return 'There is no global service to test; annotate one with service.cilium.io/global: "true".\n'
  const blocks = results.map(({ service, verdict, why, dns, frontends, clusters }) => {
    const head = `${paint('strong', printable(service))}: ${paint(paints[verdict], verdict)}${why === undefined ? '' : `, ${printable(why)}`}\n`
    const lines = [
      stepLine('DNS', dns, paint),
      ...frontends.map(step =>
        stepLine('frontend', step, paint, step.backend === undefined ? '' : ` → ${printable(step.backend)}`),
      ),
      ...clusters.map(cluster => clusterLine(cluster, paint)),
    ]
    return `${head}${lines.join('')}`
  })
  const number = (verdict: Verdict) => results.filter(result => result.verdict === verdict).length
  const parts = (['ok', 'reduced', 'failed', 'skipped'] as const)
    .filter(verdict => number(verdict) > 0)
    .map(verdict => paint(paints[verdict], `${number(verdict)} ${verdict}`))
  return [...blocks, `${count(results.length, 'service')}: ${parts.join(', ')}\n`].join('\n')
}

function stepLine(kind: string, { what, ok, ms, why }: Step, paint: Paint, rest = ''): string {
  const mark = paint(ok ? 'good' : 'bad', ok ? '✓' : '✗')
  return `  ${mark} ${kind.padEnd(10)}${printable(what)} ${ok ? durationOf(ms) : printable(why ?? '')}${rest}\n`
}

function clusterLine({ cluster, verdict, ms, backends, why }: ClusterResult, paint: Paint): string {
  const marks = { ok: '✓', reduced: '!', failed: '✗', skipped: '-' } as const
  const good = backends.filter(({ ok }) => ok).length
  const bad = backends.find(({ ok }) => !ok)
  const tried = why ?? `${good} of ${count(backends.length, 'backend')}${ms === null ? '' : `, ${durationOf(ms)}`}`
  const fault = bad === undefined ? '' : `; ${printable(`${bad.what}: ${bad.why}`)}`
  return `  ${paint(paints[verdict], marks[verdict])} ${'backends'.padEnd(10)}${printable(cluster)}: ${tried}${fault}\n`
}
