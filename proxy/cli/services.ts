/** `starlane services`: frontends and backends, of all services or of one. */
import { Command } from 'commander'
import { endpointText } from '../model/address.ts'
import type { BackendNote, BackendView, ServiceView } from '../model/views.ts'
import { type AdminOptions, addAdminOptions, connectAdmin, noService, parseServiceName } from './admin-client.ts'
import { type Io, type Paint, paintFor } from './terminal/io.ts'
import { addOutputOption, fail, type OutputOptions, printData } from './terminal/output.ts'
import { columns, fitted, span, table } from './terminal/table.ts'
import { watch } from './terminal/watch.ts'

interface Options extends AdminOptions, OutputOptions {
  readonly namespace?: string
  readonly unhealthy?: boolean
  readonly watch?: boolean
}

export function servicesCommand(io: Io, end: (code: number) => void): Command {
  const command = new Command('services')
    .summary('show services with their frontends and backends')
    .description('Shows the services of the mesh: their frontends, and their backends in all clusters.')
    .argument('[service]', 'NAMESPACE/NAME, or NAME for default/NAME (default: all services)')
    .option('-n, --namespace <namespace>', 'only this namespace; also that of a NAME alone')
    .option('--unhealthy', 'only services that are unreachable, reduced or without backends')
    .option('-w, --watch', 'show it again every 2 s, until Ctrl-C')
  return addAdminOptions(addOutputOption(command, ['wide', 'yaml', 'json', 'name']))
    .addHelpText('after', examples)
    .action(async (service: string | undefined, options: Options) => end(await services(io, service, options)))
}

const examples = `
A backend marked ● gets new flows now; one marked · does not. NOTES: what plugins say of a backend, such as an
open circuit breaker. For one service, plugins have columns of their own.

Examples:
  starlane services
  starlane services -n shop --unhealthy
  starlane services default/rebel-base --watch
  starlane services -o json | jq '.[] | .namespace + "/" + .name'`

const watchMs = 2000

async function services(io: Io, asked: string | undefined, options: Options): Promise<number> {
  const admin = await connectAdmin(options, io)
  const { output } = options
  const paint = paintFor(io.stdout, io.env)
  if (asked !== undefined) {
    const { namespace, name } = parseServiceName(asked, options.namespace)
    const seen = await admin.service(namespace, name)
    if (!seen) return fail(io, await noService(admin, namespace, name))
    return show(io, options, seen, async first => {
      const service = first ?? (await admin.service(namespace, name))
      if (output === 'name') return `${namespace}/${name}\n`
      return service ? serviceText(service, io, paint) : `${namespace}/${name} is gone.\n`
    })
  }
  const find = async () => (await admin.services()).filter(service => isWanted(service, options))
  return show(io, options, await find(), async first => {
    const found = first ?? (await find())
    if (output === 'name') return found.map(({ namespace, name }) => `${namespace}/${name}\n`).join('')
    return found.length > 0 ? overview(found, io, output === 'wide', paint) : nothing(options)
  })
}

/** `seen` is what is shown first; `text` reads it again where it is given nothing. */
async function show<T>(
  io: Io,
  { output, watch: isWatched }: Options,
  seen: T,
  text: (seen: T | undefined) => Promise<string>,
): Promise<number> {
  if (output === 'json' || output === 'yaml') printData(io, seen, output)
  else if (isWatched) await watch(io, watchMs, () => text(undefined))
  else io.stdout.write(await text(seen))
  return 0
}

function isWanted({ namespace, condition }: ServiceView, options: Options): boolean {
  if (options.namespace !== undefined && namespace !== options.namespace) return false
  return !options.unhealthy || (condition.state !== 'ok' && condition.state !== 'none')
}

function nothing({ namespace, unhealthy }: Options): string {
  const where = namespace === undefined ? '' : ` in ${namespace}`
  return unhealthy
    ? `No service${where} is unreachable, reduced or without backends.\n`
    : `There are no services${where}.\n`
}

/** Frontends and backends of a service side by side; each service has as many lines as its longer list. */
function overview(services: readonly ServiceView[], io: Io, isWide: boolean, paint: Paint): string {
  const hasNotes = services.some(({ backends }) => backends.some(backend => notesText(backend) !== ''))
  const rows = services.flatMap(service => {
    const left = frontendTexts(service, isWide)
    const right = service.backends.map(backend => [
      ...(isWide ? backendCells(backend, paint) : shortCells(backend, paint)),
      ...(hasNotes ? [notesText(backend)] : []),
    ])
    return Array.from({ length: Math.max(left.length, right.length) }, (_, i) => [
      i === 0 ? `${service.namespace}/${service.name}` : '',
      left[i] ?? '',
      ...(right[i] ?? (i === 0 ? ['none'] : [])),
    ])
  })
  const rest = isWide ? ['BACKEND', 'CLUSTER', 'STATE', 'HEALTH', 'FLOWS'] : ['BACKEND', 'HEALTH']
  const heads = ['SERVICE', 'FRONTEND', ...rest, ...(hasNotes ? ['NOTES'] : [])]
  return fitted(heads, rows, isWide ? undefined : io.stdout.columns, head => paint('soft', head))
}

/** A closed breaker, an open tunnel and a node that is reached say nothing. */
function notesText({ notes = {} }: BackendView): string {
  const told = Object.entries(notes).filter(([by, { state, detail }]) =>
    by in quiet ? state !== quiet[by] : state !== 'closed' || detail !== undefined,
  )
  return told.map(([plugin, { state }]) => `${plugin} ${state}`).join(', ')
}

const quiet: Readonly<Record<string, string>> = { tunnel: 'open', underlay: 'reached' }

function serviceText(service: ServiceView, { clock }: Io, paint: Paint): string {
  const { namespace, name, backends, changedAt, condition } = service
  const properties = [
    ...frontendTexts(service, true).map((text, i) => [i === 0 ? 'Frontends' : '', text]),
    ...(condition.why === undefined ? [] : [['Condition', conditionText(condition, paint)]]),
    ['Settings', settingsText(service)],
    ['Changed', `${span(clock.wall() - changedAt)} ago`],
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

function conditionText({ state, why }: ServiceView['condition'], paint: Paint): string {
  return `${paint(state === 'unreachable' ? 'bad' : 'warn', state)}: ${why}`
}

function noteText(note: BackendNote | undefined): string {
  return note ? [note.state, note.detail].filter(Boolean).join(': ') : ''
}

/** In short, without the name of the port, and TCP goes without saying. */
function frontendTexts({ frontends, headless, externalName, proxyName }: ServiceView, isLong: boolean): string[] {
  if (externalName !== undefined) return [`ExternalName ${externalName}`]
  if (frontends.length === 0 && proxyName !== undefined && !headless) return [`left to the proxy ${proxyName}`]
  if (frontends.length === 0) return [headless ? 'headless' : 'not in this cluster']
  return frontends.map(({ ip, port, protocol, name, refusing }) => {
    const kind = isLong || protocol !== 'TCP' ? `/${protocol}` : ''
    return `${endpointText(ip, port)}${kind}${isLong && name ? ` ${name}` : ''}${refusing ? ' refusing' : ''}`
  })
}

const healthPaint = { up: 'good', unknown: 'soft', ejected: 'warn', down: 'bad' } as const

function flowsMark(selected: boolean, paint: Paint): string {
  return selected ? paint('good', '●') : paint('soft', '·')
}

function backendCells(
  { address, port, protocol, cluster, state, health, selected }: BackendView,
  paint: Paint,
): string[] {
  return [
    `${endpointText(address, port)}/${protocol}`,
    cluster,
    state === 'active' ? state : paint('warn', state),
    paint(healthPaint[health], health),
    flowsMark(selected, paint),
  ]
}

/** Cluster and address as one; of state and health the worse. */
function shortCells({ address, port, cluster, state, health, selected }: BackendView, paint: Paint): string[] {
  const isBad = health === 'down' || health === 'ejected'
  const condition = state === 'active' || isBad ? paint(healthPaint[health], health) : paint('warn', state)
  return [`${flowsMark(selected, paint)} ${cluster}/${endpointText(address, port)}`, condition]
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
