/** `starlane dns`: what the responder answers for a name, and how it found the answer. */
import { Command } from 'commander'
import type { NameExplanation } from '../model/views.ts'
import { type AdminOptions, addAdminOptions, connectAdmin, parseClient } from './admin-client.ts'
import { type Io, type Paint, paintFor } from './terminal/io.ts'
import { addOutputOption, type OutputOptions, printData } from './terminal/output.ts'
import { columns } from './terminal/table.ts'

interface Options extends AdminOptions, OutputOptions {
  readonly from?: string
}

export function dnsCommand(io: Io, end: (code: number) => void): Command {
  const command = new Command('dns')
    .summary('show how a name resolves, and why')
    .description(
      'Shows the answer of the DNS responder to a client, and how it was found: the zone, the services looked up, the plugin ' +
        'that hides one, the cache, the upstream resolvers asked.',
    )
    .argument('<name>', 'a full name, or a short one that the search list completes')
    .argument('[type]', 'A, AAAA, SRV, PTR, TXT, … or TYPE65', 'A')
    .option('--from <ip>', 'the address of the client (default: this machine)')
  return addAdminOptions(addOutputOption(command))
    .addHelpText('after', examples)
    .action(async (name: string, type: string, options: Options) => end(await dns(io, name, type, options)))
}

const examples = `
Exits with 0 also for NXDOMAIN, which is an answer, and with 1 when there was no answer.
Names outside the zones of Starlane are resolved by the upstream resolvers, as for any client.

Examples:
  starlane dns rebel-base
  starlane dns _http._tcp.rebel-base.default.svc.cluster.local SRV
  starlane dns rebel-base.default.svc.clusterset.local --from 10.0.0.7
  starlane dns 10.0.96.127.in-addr.arpa PTR -o json`

async function dns(io: Io, name: string, type: string, options: Options): Promise<number> {
  const from = parseClient(options.from)
  const answer = await (await connectAdmin(options, io)).dns(name, type, from)
  if (options.output === 'json' || options.output === 'yaml') printData(io, answer, options.output)
  else io.stdout.write(answerText(answer, paintFor(io.stdout, io.env)))
  return ['NOERROR', 'NXDOMAIN'].includes(answer.rcode) ? 0 : 1
}

const rcodePaint: Readonly<Record<string, Parameters<Paint>[0]>> = { NOERROR: 'good', NXDOMAIN: 'warn' }

function answerText(explanation: NameExplanation, paint: Paint): string {
  const { name, type, client, rcode, authoritative, answers, authority, additional, way } = explanation
  const outcome = paint(rcodePaint[rcode] ?? 'bad', rcode)
  const title = `${paint('strong', `${name} ${type}`)} for a client at ${client}: ${outcome}`
  return [
    `${title}${authoritative ? ', authoritative' : ''}\n`,
    ...section('ANSWER', answers, paint),
    ...section('AUTHORITY', authority, paint),
    ...section('ADDITIONAL', additional, paint),
    `How it was found:\n${columns(way.map(step => ['', step]))}`,
  ].join('\n')
}

/** Owner, TTL, class and type in columns, then the record data unchanged. */
function section(title: string, records: readonly string[], paint: Paint): string[] {
  if (records.length === 0) return []
  const rows = records.map(record => {
    const [owner = '', ttl = '', of = '', type = '', ...data] = record.split(' ')
    return [owner, ttl, of, type, data.join(' ')]
  })
  return [`${paint('soft', `;; ${title}`)}\n${columns(rows)}`]
}
