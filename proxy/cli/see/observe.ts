/** `starlane observe`: flows that have passed, and flows as they pass. */
import { appendFileSync } from 'node:fs'
import { Command, Option } from 'commander'
import { MeshError, messageOf } from '../../model/error.ts'
import type { FlowEvent } from '../../model/flow-record.ts'
import type { AdminClient } from '../admin-client.ts'
import { type Io, paintFor } from '../terminal/io.ts'
import { fail } from '../terminal/output.ts'
import { count } from '../terminal/table.ts'
import { untilInterrupted } from '../terminal/wait.ts'
import { compactText, wideHead, wideText } from './flow-text.ts'
import { byTime, TimeMerger } from './merge.ts'
import { addProcessOptions, findProcesses, type ProcessOptions, processHelp } from './processes.ts'

interface Options extends ProcessOptions {
  readonly follow?: boolean
  readonly progress?: boolean
  readonly service?: readonly string[]
  readonly namespace?: string
  readonly from?: readonly string[]
  readonly to?: readonly string[]
  readonly cluster?: readonly string[]
  readonly verdict?: readonly string[]
  readonly kind?: readonly string[]
  readonly code?: readonly string[]
  readonly dns?: boolean
  readonly last?: string
  readonly since?: string
  readonly output: 'compact' | 'json' | 'wide'
  readonly record?: string
}

export function observeCommand(io: Io, end: (code: number) => void): Command {
  const command = new Command('observe')
    .summary('show flows: who talked to what, and how it ended')
    .description('Shows the latest connections, UDP sessions and DNS questions, or with -f each one as it passes.')
    .option('-f, --follow', 'go on with flows as they pass, until Ctrl-C')
    .option('--progress', 'with -f: an open flow again each second in which it moves bytes')
    .option('--service <service...>', 'NAMESPACE/NAME, NAME for default/NAME, or NAMESPACE/*')
    .option('-n, --namespace <namespace>', 'services of this namespace; also the namespace of names without one')
    .option('--from <client...>', 'an address, a range, NAMESPACE/POD (or its beginning) or NAMESPACE/')
    .option('--to <backend...>', 'the same, of backends; an address may also be a frontend')
    .option('--cluster <cluster...>', 'flows to backends of this cluster')
    .option('--verdict <verdict...>', 'forwarded, refused, failed or cancelled')
    .option('--kind <kind...>', 'connection, session or question')
    .option('--code <code...>', 'refused so: the name of a plugin, or a code such as no-backend or limit')
    .option('--dns', 'only DNS questions')
    .addOption(new Option('--last <count>', 'the last so many (default: 20; with -f none)').conflicts('since'))
    .option('--since <duration>', 'those that began in this time: 5m')
    .addOption(
      new Option('-o, --output <format>', 'how to print them').choices(['compact', 'json', 'wide']).default('compact'),
    )
    .option('--record <file>', 'append them to this file as JSON lines, which "starlane rehearse" reads')
  return addProcessOptions(command)
    .addHelpText('after', `${explanation}${processHelp}${examples}`)
    .action(async (options: Options) => end(await observe(io, options)))
}

const explanation = `
Filters combine: a flow must match each that is given, and one of its values. A flow is shown when it opens and again
when it ends; its bytes are those of about a second ago. Times are in UTC. -o json prints one object to a line, with the names of Hubble's flow schema; what is
Starlane's own is in "starlane". How many flows are kept: recorder.size of the configuration.
`

const examples = `

Examples:
  starlane observe --service rebel-base --last 50
  starlane observe -f --verdict refused --verdict failed
  starlane observe -f --from shop/ --cluster cluster-2 -o wide
  starlane observe --dns --since 5m -o json | jq .flow.l7.dns.query
  starlane observe -f --all --record flows.jsonl`

async function observe(io: Io, options: Options): Promise<number> {
  const query = queryOf(options)
  const processes = await findProcesses(options, io)
  const printer = new Printer(io, options)
  try {
    const reached = options.follow
      ? await follow(io, processes.clients, query, events => printer.print(events))
      : await past(io, processes.clients, query, options, events => printer.print(events))
    printer.end()
    return reached > 0 ? 0 : 1
  } finally {
    processes.close()
  }
}

function queryOf({
  service = [],
  namespace,
  from,
  to,
  cluster,
  verdict,
  kind,
  code,
  dns,
  progress,
  last,
  since,
}: Options): URLSearchParams {
  const query = new URLSearchParams()
  const inNamespace = (name: string) => (namespace === undefined || name.includes('/') ? name : `${namespace}/${name}`)
  const services = service.length === 0 && namespace !== undefined ? [`${namespace}/*`] : service.map(inNamespace)
  const lists = { service: services, from, to, cluster, verdict, kind, code }
  for (const [name, values] of Object.entries(lists)) for (const value of values ?? []) query.append(name, value)
  if (dns) query.set('dns', 'true')
  if (progress) query.set('progress', 'true')
  if (last !== undefined) query.set('last', last)
  if (since !== undefined) query.set('since', since)
  return query
}

type Print = (events: readonly FlowEvent[]) => void

/** Resolves with the number of processes that answered; the others are named on standard error. */
async function past(
  io: Io,
  clients: readonly AdminClient[],
  query: URLSearchParams,
  { last, since }: Options,
  print: Print,
): Promise<number> {
  const lists = await Promise.all(clients.map(client => client.flows(query).catch(complaint(io, client, clients))))
  const all = byTime(lists.flatMap(list => list ?? []))
  const most = last === undefined ? (since === undefined ? 20 : undefined) : Number(last)
  print(most === undefined ? all : all.slice(Math.max(0, all.length - most)))
  return lists.filter(list => list !== undefined).length
}

async function follow(io: Io, clients: readonly AdminClient[], query: URLSearchParams, print: Print): Promise<number> {
  const merger = clients.length > 1 ? new TimeMerger(io.clock, print) : undefined
  const push: Print = merger ? events => merger.add(events) : print
  const interrupted = untilInterrupted(io)
  const streams = clients.map(client =>
    client.follow(query, push, interrupted.signal).then(
      () => {
        if (!interrupted.signal.aborted) io.stderr.write(`starlane: ${client.name} has ended\n`)
        return true
      },
      error => (interrupted.signal.aborted ? true : complaint(io, client, clients)(error)),
    ),
  )
  const ends = await Promise.all(streams)
  interrupted.dispose()
  merger?.close()
  return ends.filter(Boolean).length
}

/** With one process its error is that of the command; of several each says its own. A bad query is everybody's. */
function complaint(io: Io, client: AdminClient, all: readonly AdminClient[]) {
  return (error: unknown): undefined => {
    if (all.length === 1 || (error instanceof MeshError && error.code === 'USAGE')) throw error
    fail(io, `${client.name}: ${messageOf(error)}`)
  }
}

class Printer {
  readonly #io: Io
  readonly #options: Options
  readonly #seen = new Set<string>()
  #lost = 0
  #titled = false

  constructor(io: Io, options: Options) {
    this.#io = io
    this.#options = options
  }

  print(events: readonly FlowEvent[]): void {
    if (events.length === 0) return
    const { record, output } = this.#options
    const { stdout, env } = this.#io
    if (record !== undefined) return this.#record(record, events)
    if (output === 'json') return void stdout.write(events.map(event => `${JSON.stringify(event)}\n`).join(''))
    const paint = paintFor(stdout, env)
    const text = output === 'wide' ? wideText : compactText
    const title = output === 'wide' && !this.#titled ? `${paint('soft', wideHead)}\n` : ''
    this.#titled = true
    stdout.write(title + events.map(event => `${text(event, paint)}\n`).join(''))
  }

  end(): void {
    const { record } = this.#options
    if (record === undefined) return
    const lost = this.#lost > 0 ? `; ${this.#lost} were lost before` : ''
    this.#io.stderr.write(`recorded ${count(this.#seen.size, 'flow')} to ${record}${lost}\n`)
  }

  #record(file: string, events: readonly FlowEvent[]): void {
    for (const event of events) {
      if ('flow' in event) this.#seen.add(event.flow.uuid)
      else this.#lost += event.lost_events.num_events_lost
    }
    try {
      appendFileSync(file, events.map(event => `${JSON.stringify(event)}\n`).join(''), { mode: 0o600 })
    } catch (error) {
      throw new MeshError('USAGE', `--record ${file} cannot be written: ${messageOf(error)}`, { cause: error })
    }
  }
}
