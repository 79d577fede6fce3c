/** `starlane services`: frontends and backends, of all services or of one. */
import { Command } from 'commander'
import { endpointText } from '../model/address.ts'
import type { BackendNote, BackendView, ServiceView } from '../model/views.ts'
import { type AdminOptions, addAdminOptions, connectAdmin, noService, parseServiceName } from './admin-client.ts'
import { type Io, type Paint, paintFor } from './terminal/io.ts'
import { addOutputOption, fail, type OutputOptions, printJson } from './terminal/output.ts'
import { columns, span, table } from './terminal/table.ts'

interface Options extends AdminOptions, OutputOptions {}

export function servicesCommand(io: Io, end: (code: number) => void): Command {
  const command = new Command('services')
    .summary('show services with their frontends and backends')
    .description('Shows the services of the mesh: their frontends, and their backends in all clusters.')
    .argument('[service]', 'NAMESPACE/NAME, or NAME for default/NAME (default: all services)')
  return addAdminOptions(addOutputOption(command))
    .addHelpText('after', examples)
    .action(async (service: string | undefined, options: Options) => end(await services(io, service, options)))
}

const examples = `
A backend marked ● gets new flows now; one marked · does not. For one service, plugins may add columns; that
of circuit-breaker shows the state of each breaker.

Examples:
  starlane services
  starlane services default/rebel-base
  starlane services -o json | jq '.[] | .namespace + "/" + .name'`

async function services(io: Io, asked: string | undefined, options: Options): Promise<number> {
  const admin = await connectAdmin(options, io)
  const paint = paintFor(io.stdout, io.env)
  if (asked === undefined) {
    const all = await admin.services()
    if (options.output === 'json') printJson(io, all)
    else io.stdout.write(all.length > 0 ? overview(all, paint) : 'There are no services.\n')
    return 0
  }
  const { namespace, name } = parseServiceName(asked)
  const service = await admin.service(namespace, name)
  if (!service) return fail(io, await noService(admin, namespace, name))
  if (options.output === 'json') printJson(io, service)
  else io.stdout.write(serviceText(service, io.clock.wall(), paint))
  return 0
}

/** Frontends and backends of a service side by side; each service has as many lines as its longer list. */
function overview(services: readonly ServiceView[], paint: Paint): string {
  const rows = services.flatMap(service => {
    const left = frontendTexts(service)
    const right = service.backends.map(backend => backendCells(backend, paint))
    return Array.from({ length: Math.max(left.length, right.length) }, (_, i) => [
      i === 0 ? `${service.namespace}/${service.name}` : '',
      left[i] ?? '',
      ...(right[i] ?? (i === 0 ? ['none'] : [])),
    ])
  })
  const heads = ['SERVICE', 'FRONTEND', 'BACKEND', 'CLUSTER', 'STATE', 'HEALTH', 'FLOWS']
  return table(heads, rows, head => paint('soft', head))
}

function serviceText(service: ServiceView, now: number, paint: Paint): string {
  const { namespace, name, backends, changedAt } = service
  const properties = [
    ...frontendTexts(service).map((text, i) => [i === 0 ? 'Frontends' : '', text]),
    ['Settings', settingsText(service)],
    ['Changed', `${span(now - changedAt)} ago`],
  ]
  const plugins = [...new Set(backends.flatMap(({ notes = {} }) => Object.keys(notes)))]
  const heads = ['BACKEND', 'CLUSTER', 'STATE', 'HEALTH', 'FLOWS', 'WEIGHT ', 'PORTS', 'NODE', 'ZONE']
  heads.push(...plugins.map(name => name.toUpperCase()))
  const rows = backends.map(b => [
    ...backendCells(b, paint),
    String(b.weight),
    b.ports.join(','),
    b.node ?? '',
    b.zone ?? '',
    ...plugins.map(name => noteText(b.notes?.[name])),
  ])
  const list =
    rows.length > 0 ? table(heads, rows, head => paint('soft', head)) : 'It has no backends in any cluster.\n'
  return [`${paint('strong', `${namespace}/${name}`)}\n`, columns(properties), list].join('\n')
}

function noteText(note: BackendNote | undefined): string {
  return note ? [note.state, note.detail].filter(Boolean).join(': ') : ''
}

function frontendTexts({ frontends, headless, externalName, proxyName }: ServiceView): string[] {
  if (externalName !== undefined) return [`ExternalName ${externalName}`]
  if (frontends.length === 0 && proxyName !== undefined && !headless) return [`left to the proxy ${proxyName}`]
  if (frontends.length === 0) return [headless ? 'headless' : 'not in this cluster']
  return frontends.map(
    ({ ip, port, protocol, name, refusing }) =>
      `${endpointText(ip, port)}/${protocol}${name ? ` ${name}` : ''}${refusing ? ' refusing' : ''}`,
  )
}

const healthPaint = { up: 'good', unknown: 'soft', ejected: 'warn', down: 'bad' } as const

function backendCells(
  { address, port, protocol, cluster, state, health, selected }: BackendView,
  paint: Paint,
): string[] {
  return [
    `${endpointText(address, port)}/${protocol}`,
    cluster,
    state === 'active' ? state : paint('warn', state),
    paint(healthPaint[health], health),
    selected ? paint('good', '●') : paint('soft', '·'),
  ]
}

function settingsText({ settings, headless }: ServiceView): string {
  const {
    global,
    shared,
    affinity,
    clusterOrder,
    minHealthyLocal,
    clusterWeights,
    sessionAffinityMs,
    trafficDistribution,
  } = settings
  const all = [
    global ? 'global' : 'local only',
    shared ? 'shared' : 'not shared',
    `affinity ${clusterOrder ? clusterOrder.join(', then ') : affinity}`,
    headless && 'headless',
    minHealthyLocal !== undefined && `at least ${minimumText(minHealthyLocal)} healthy local backends`,
    clusterWeights &&
      `weights ${Object.entries(clusterWeights)
        .map(pair => pair.join('='))
        .join(', ')}`,
    trafficDistribution !== undefined && `traffic distribution ${trafficDistribution}`,
    sessionAffinityMs !== undefined && `sticky for ${span(sessionAffinityMs)}`,
  ]
  return all.filter(Boolean).join('; ')
}

function minimumText(minimum: unknown): string {
  const { count, percent } = minimum as { count?: number; percent?: number }
  return percent === undefined ? String(count) : `${percent}%`
}
