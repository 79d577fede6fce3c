/** `starlane explain`: which backends a client would get, and which step removed the others. */
import { Command } from 'commander'
import type { Explanation, Removal } from '../model/views.ts'
import {
  type AdminOptions,
  addAdminOptions,
  connectAdmin,
  noService,
  parsePodOrClient,
  parseServiceName,
} from './admin-client.ts'
import { type Io, type Paint, paintFor } from './terminal/io.ts'
import { addOutputOption, fail, type OutputOptions, printData } from './terminal/output.ts'
import { columns } from './terminal/table.ts'

interface Options extends AdminOptions, OutputOptions {
  readonly from?: string
  readonly namespace?: string
}

export function explainCommand(io: Io, end: (code: number) => void): Command {
  const command = new Command('explain')
    .summary('show which backends a client would get, and why')
    .description('Shows which backends a client would get, and which step of the plugin chain removed the others.')
    .argument('<service>', 'NAMESPACE/NAME, or NAME for default/NAME')
    .option('-n, --namespace <namespace>', 'the namespace of a NAME alone')
    .option('--from <client>', 'the address of the client, or its Pod as NAMESPACE/POD (default: this machine)')
  return addAdminOptions(addOutputOption(command))
    .addHelpText('after', examples)
    .action(async (service: string, options: Options) => end(await explain(io, service, options)))
}

const examples = `
Nothing is dialled and no state changes: circuit breakers and sticky sessions stay as they are.
The lines "attempt 2" and so on show where a flow goes if its attempts fail, each at the first backend
of the list before. "(spread)": it leaves a cluster or zone because two attempts there have failed.

Examples:
  starlane explain rebel-base
  starlane explain shop/cart --from 10.0.0.7
  starlane explain shop/cart --from shop/web-0
  starlane explain shop/cart -o json`

async function explain(io: Io, asked: string, options: Options): Promise<number> {
  const { namespace, name } = parseServiceName(asked, options.namespace)
  const from = parsePodOrClient(options.from)
  const admin = await connectAdmin(options, io)
  const explanation = await admin.explain(namespace, name, from)
  if (!explanation) return fail(io, await noService(admin, namespace, name))
  if (options.output === 'json' || options.output === 'yaml') printData(io, explanation, options.output)
  else io.stdout.write(explanationText(explanation, paintFor(io.stdout, io.env)))
  return 0
}

function explanationText({ namespace, name, client, before, frontends }: Explanation, paint: Paint): string {
  const title = `${paint('strong', `${namespace}/${name}`)} for a client at ${client}\n`
  const parts = frontends.map(frontend => frontendText(frontend, paint))
  if (frontends.length === 0) parts.push('It has no frontend in this cluster, so there is nothing to choose.\n')
  return [title, ...leftOut(before, paint), ...parts].join('\n')
}

function leftOut(before: readonly Removal[], paint: Paint): string[] {
  return before.length === 0
    ? []
    : [`Left out before the chain runs:\n${columns(before.map(removal => removalCells(removal, paint)))}`]
}

function frontendText(frontend: Explanation['frontends'][number], paint: Paint): string {
  const { steps, candidates, doubts = {}, ways = {}, decidedBy, offload, refusal, retries } = frontend
  const lines = steps.flatMap(({ step, left, removed }) => [
    ['', step, `${left} left`],
    ...byReason(removed, refusal?.why).map(line => ['', '', paint('soft', line)]),
  ])
  const end = refusal
    ? [['', paint('bad', 'refused'), `by ${refusal.code}: ${refusal.why}`]]
    : [
        ['', paint('good', 'chosen'), `by ${decidedBy}, from`],
        ...candidates.map(backend => [
          '',
          '',
          candidateText(backend, doubts[backend], paint),
          ...(ways[backend] === undefined ? [] : [paint('soft', ways[backend])]),
        ]),
      ]
  const way = offload === undefined ? [] : [['', 'offload', offload]]
  const rows = [...lines, ...end, ...retries.map(retry => retryCells(retry, paint)), ...way]
  return `${frontend.frontend}\n${columns(rows)}`
}

const mostNamed = 3

/** Each reason once, with the backends that it is about; one that the refusal gives is not said again. */
function byReason(removed: readonly Removal[], refused: string | undefined): string[] {
  const reasons = new Map<string, string[]>()
  for (const { backend, why } of removed) {
    const known = reasons.get(why)
    if (known) known.push(backend)
    else reasons.set(why, [backend])
  }
  return [...reasons].flatMap(([why, backends]) => {
    const more = backends.length - mostNamed
    const named = [...backends.slice(0, mostNamed), ...(more > 0 ? [`and ${more} more`] : [])]
    const reason = refused?.includes(why) ? '' : `: ${why}`
    return named.map((name, i) => `${i === 0 ? 'without ' : '        '}${name}${i === named.length - 1 ? reason : ''}`)
  })
}

function candidateText(backend: string, doubt: string | undefined, paint: Paint): string {
  return doubt === undefined ? paint('good', backend) : paint('bad', `${backend}: ${doubt}`)
}

type Retry = Explanation['frontends'][number]['retries'][number]

function retryCells({ attempt, candidates, moved, refusal }: Retry, paint: Paint): string[] {
  if (refusal) return ['', `attempt ${attempt}`, `refused by ${refusal.code}: ${refusal.why}`]
  const [first = '', ...others] = candidates
  const more = others.length > 0 ? ` or ${others.length} more` : ''
  return ['', `attempt ${attempt}`, `${first}${more}${moved ? paint('soft', ' (spread)') : ''}`]
}

function removalCells({ backend, why }: Removal, paint: Paint): string[] {
  return ['', backend, paint('soft', why)]
}
