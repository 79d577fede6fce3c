/** `starlane top` and `starlane stat`: what passes now, by service, cluster or client. */
import { Argument, Command, Option } from 'commander'
import { MeshError, messageOf } from '../../model/error.ts'
import type { ClientTraffic, ClusterTraffic, ServiceTraffic, Traffic, TrafficRates } from '../../model/flows/traffic.ts'
import type { AdminClient } from '../admin-client.ts'
import { type Io, type Paint, paintFor } from '../terminal/io.ts'
import { addOutputOption, fail, type OutputOptions, printData } from '../terminal/output.ts'
import { bytesText, count, durationOf, fitted } from '../terminal/table.ts'
import { watch } from '../terminal/watch.ts'
import { joined } from './joined-traffic.ts'
import { addProcessOptions, findProcesses, type ProcessOptions, processHelp } from './processes.ts'

const subjects = ['services', 'clusters', 'clients'] as const
type Subject = (typeof subjects)[number]
const orders = ['rate', 'open', 'failed', 'refused', 'p99', 'bytes', 'name'] as const

interface Options extends ProcessOptions, OutputOptions {
  readonly namespace?: string
  readonly sort: (typeof orders)[number]
  readonly interval: string
}

export function topCommand(io: Io, end: (code: number) => void): Command {
  return trafficCommand('top', 'show what passes now, refreshed in place')
    .option('--interval <seconds>', 'the time between two looks', '2')
    .action(async (subject: Subject, options: Options) => end(await top(io, subject, options)))
}

export function statCommand(io: Io, end: (code: number) => void): Command {
  return trafficCommand('stat', 'show what passes now, once').action(async (subject: Subject, options: Options) =>
    end(await stat(io, subject, options)),
  )
}

function trafficCommand(name: string, summary: string): Command {
  const command = new Command(name)
    .summary(summary)
    .description(
      'Shows rates by service, by cluster or by client: of the last 5 to 10 seconds; dial times of 1 to 2 minutes.',
    )
    .addArgument(new Argument('[subject]', 'what to show').choices(subjects).default('services'))
    .option('-n, --namespace <namespace>', 'services of this namespace')
    .addOption(new Option('--sort <order>', 'what comes first').choices(orders).default('rate'))
  return addProcessOptions(addOutputOption(command, ['wide', 'yaml', 'json'])).addHelpText(
    'after',
    `
CONN/S: connections and UDP sessions a second. FAILED: of the attempts to reach a backend. REFUSED: of the flows, by a plugin
or a limit, or because no backend was left. P99: until a backend was connected. Bytes are counted about
once a second while a flow is open. Clients are counted from the flows that the recorder has kept of the last minute.
${processHelp}

Examples:
  starlane ${name}
  starlane ${name} clients --sort refused
  starlane ${name} services -n shop --all`,
  )
}

async function stat(io: Io, subject: Subject, options: Options): Promise<number> {
  const processes = await findProcesses(options, io)
  try {
    const traffic = await trafficOf(io, processes.clients)
    if (!traffic) return 1
    if (options.output === 'json' || options.output === 'yaml') printData(io, traffic, options.output)
    else io.stdout.write(trafficText(io, traffic, subject, options))
    return 0
  } finally {
    processes.close()
  }
}

async function top(io: Io, subject: Subject, options: Options): Promise<number> {
  const seconds = Number(options.interval)
  if (!(seconds >= 0.2 && seconds <= 3600)) {
    throw new MeshError('USAGE', `--interval ${options.interval} is not a number of seconds from 0.2 to 3600`)
  }
  // Without a terminal there is no place to refresh.
  if (!io.stdout.isTTY || options.output === 'json' || options.output === 'yaml') return stat(io, subject, options)
  const processes = await findProcesses(options, io)
  let code = 0
  try {
    await watch(io, seconds * 1000, async () => {
      const traffic = await trafficOf(io, processes.clients)
      if (!traffic) {
        code = 1
        return undefined
      }
      const time = new Date(traffic.now).toISOString().slice(11, 19)
      const where =
        processes.clients.length > 1 ? count(processes.clients.length, 'process', 'processes') : traffic.node
      const title = `starlane top ${subject}, ${where}, ${time} UTC; Ctrl-C ends it\n\n`
      return title + trafficText(io, traffic, subject, options)
    })
    return code
  } finally {
    processes.close()
  }
}

/** Of all processes together; undefined when none answers. Those that do not are named. */
async function trafficOf(io: Io, clients: readonly AdminClient[]): Promise<Traffic | undefined> {
  const answers = await Promise.all(
    clients.map(client =>
      client.traffic().catch(error => {
        if (clients.length === 1) throw error
        fail(io, `${client.name}: ${messageOf(error)}`)
        return undefined
      }),
    ),
  )
  const all = answers.filter(answer => answer !== undefined)
  const [first] = all
  return first && all.length > 1 ? joined(all, first) : first
}

function trafficText(io: Io, traffic: Traffic, subject: Subject, options: Options): string {
  const paint = paintFor(io.stdout, io.env)
  if (subject === 'clients') return clientsText(io, sorted(traffic.clients, options.sort, nameOfClient), paint)
  const isWide = options.output === 'wide'
  const { namespace } = options
  const services = traffic.services.filter(service => namespace === undefined || service.namespace === namespace)
  const rows =
    subject === 'clusters'
      ? sorted(traffic.clusters, options.sort, ({ cluster }) => cluster).map(row => [row.cluster, row] as const)
      : sorted(services, options.sort, nameOfService).flatMap((row): [string, TrafficRates][] => [
          [nameOfService(row), row],
          ...(isWide ? row.clusters.map((each): [string, TrafficRates] => [`  ${each.cluster}`, each]) : []),
        ])
  if (rows.length === 0) return `No ${subject} have had traffic yet.\n`
  const heads = [subject === 'clusters' ? 'CLUSTER' : 'SERVICE', 'CONN/S ', 'OPEN ', 'FAILED ', 'REFUSED ']
  heads.push(...(isWide ? ['P50 '] : []), 'P99 ', 'SENT/S ', 'RECV/S ')
  const cells = rows.map(([name, row]) => [
    name,
    rateText(row.perSecond),
    String(row.open),
    shareText(row.failed, paint),
    shareText(row.refused, paint),
    ...(isWide ? [row.dialP50 === undefined ? '-' : durationOf(row.dialP50)] : []),
    row.dialP99 === undefined ? '-' : durationOf(row.dialP99),
    bytesText(row.sentPerSecond),
    bytesText(row.receivedPerSecond),
  ])
  return fitted(heads, cells, isWide ? undefined : io.stdout.columns, head => paint('soft', head))
}

function clientsText(io: Io, clients: readonly ClientTraffic[], paint: Paint): string {
  if (clients.length === 0) return 'No flows were recorded in the last minute.\n'
  const heads = ['CLIENT', 'CONN/S ', 'OPEN ', 'FAILED ', 'REFUSED ', 'SENT ', 'RECEIVED ', 'SERVICE']
  const cells = clients.map(client => [
    nameOfClient(client),
    rateText(client.perSecond),
    String(client.open),
    shareText(client.failed, paint),
    shareText(client.refused, paint),
    bytesText(client.sent),
    bytesText(client.received),
    client.services[0]?.service ?? '',
  ])
  return fitted(heads, cells, io.stdout.columns, head => paint('soft', head))
}

type Sortable = TrafficRates | ClusterTraffic | ServiceTraffic | ClientTraffic

function sorted<T extends Sortable>(rows: readonly T[], order: Options['sort'], nameOf: (row: T) => string): T[] {
  const value = (row: T): number => {
    if (order === 'p99') return 'dialP99' in row ? (row.dialP99 ?? 0) : 0
    if (order === 'bytes') return 'sent' in row ? row.sent + row.received : row.sentPerSecond + row.receivedPerSecond
    return order === 'rate' || order === 'name' ? row.perSecond : row[order]
  }
  return rows.toSorted((a, b) => {
    const byName = nameOf(a) < nameOf(b) ? -1 : 1
    return order === 'name' ? byName : value(b) - value(a) || b.open - a.open || byName
  })
}

function nameOfService({ namespace, name }: ServiceTraffic): string {
  return `${namespace}/${name}`
}

function nameOfClient({ address, namespace, pod }: ClientTraffic): string {
  return pod === undefined ? address : `${namespace}/${pod}`
}

function rateText(perSecond: number): string {
  return perSecond === 0 ? '0' : perSecond < 10 ? perSecond.toFixed(1) : String(Math.round(perSecond))
}

function shareText(share: number, paint: Paint): string {
  if (share === 0) return '0%'
  const text = share < 0.001 ? '<0.1%' : `${(share * 100).toFixed(share < 0.1 ? 1 : 0)}%`
  return paint(share >= 0.05 ? 'bad' : 'warn', text)
}
