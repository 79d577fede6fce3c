/** `starlane check`: what Starlane needs, before and after it is installed, each line with its remedy. */
import { Command, Option } from 'commander'
import { ConfigError } from '../../config/error.ts'
import type { Finding } from '../../runtime/checks/checks.ts'
import { type AdminOptions, connectAdmin } from '../admin-client.ts'
import { type Io, type Paint, paintFor, printable } from '../terminal/io.ts'
import { addOutputOption, type OutputOptions, printData } from '../terminal/output.ts'
import { count, wrapped } from '../terminal/table.ts'

export interface CheckOptions extends AdminOptions, OutputOptions {
  readonly context?: readonly string[]
  readonly kubeconfig?: string
  readonly strict?: boolean
  readonly quiet?: boolean
  readonly json?: boolean
}

export function checkCommand(io: Io, end: (code: number) => void): Command {
  const command = new Command('check')
    .summary('look at everything that Starlane needs, before and after installing')
    .description(
      'Looks at this machine, the clusters and the ways between them, and says what to do about what is wrong. It changes nothing: ' +
        'rights are asked for by SelfSubjectAccessReview, and ports are bound for a moment.',
    )
    .option('-c, --config <file>', 'the configuration that runs or is to run')
    .option('--context <context...>', 'kubeconfig contexts that Starlane is to be installed in')
    .option('--kubeconfig <file>', 'the file with the contexts (default: $KUBECONFIG, else ~/.kube/config)')
    .option('--admin <address>', 'admin address of the Starlane that runs (default: that of --config)')
    .option('-q, --quiet', 'only what is not good')
    .option('--strict', 'count warnings as errors')
    .addOption(new Option('--json', 'the same as -o json').conflicts('output'))
  return addOutputOption(command)
    .addHelpText('after', examples)
    .action(async (options: CheckOptions) => end(await check(io, options)))
}

const examples = `
Exits with 1 when there is an error. What could not be looked at is skipped, and is no error.
With --context: version, rights to install and join, clock, certificates, Services that kube-proxy serves.
With --config also: the file, kernel, programs, capabilities, descriptors, connection tracking, ports, the rights that
the configuration needs, gateways with their certificates and clocks, and the MTU of the way to them; and what a Starlane
that runs says of itself. Run it where Starlane runs, for example with kubectl exec.

Examples:
  starlane check --context kind-1 --context kind-2
  starlane check -c starlane.yaml
  kubectl -n starlane exec daemonset/starlane -- starlane check -c /etc/starlane/starlane.yaml
  starlane check -c starlane.yaml -o json | jq '.findings[] | select(.state == "error")'`

async function check(io: Io, options: CheckOptions): Promise<number> {
  const findings = await gatherFindings(io, options)
  const format = options.json ? 'json' : options.output
  const good = isGood(findings, options.strict === true)
  if (format === 'json' || format === 'yaml') printData(io, { good, findings }, format)
  else io.stdout.write(findingsText(findings, options.quiet === true, paintFor(io.stdout, io.env), io.stdout.columns))
  return good ? 0 : 1
}

function isGood(findings: readonly Finding[], isStrict: boolean): boolean {
  return findings.every(({ state }) => state !== 'error' && !(isStrict && state === 'warning'))
}

/** Also of a file with faults, which is the only finding then. */
export async function gatherFindings(io: Io, options: CheckOptions): Promise<readonly Finding[]> {
  const { checkConfig, checkContexts, checkMachineAlone } = await import('../../runtime/checks/checks.ts')
  const { config: file, context = [], kubeconfig } = options
  const parts = { env: io.env, clock: io.clock }
  const ofContexts = checkContexts(context, kubeconfig, parts)
  if (file === undefined) return [...(await checkMachineAlone()), ...(await ofContexts)]
  try {
    const { loadConfig } = await import('../../config/load.ts')
    const loaded = await loadConfig(file, io.env)
    const running = await runningFindings(io, options)
    const ofConfig = await checkConfig(loaded, running !== undefined, parts)
    return [...ofConfig, ...(running ?? []), ...(await ofContexts)]
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.faults.map(({ place, path, message }) => ({
      ...{ where: 'this machine', check: 'configuration', state: 'error' as const },
      ...{
        found: `${place}  ${path === '' ? '' : `${path}: `}${message}`,
        remedy: `correct ${file}, or name another with -c`,
      },
    }))
  }
}

/** What the Starlane that runs says of itself; undefined if none answers. */
async function runningFindings(io: Io, options: CheckOptions): Promise<Finding[] | undefined> {
  const status = await connectAdmin(options, io)
    .then(admin => admin.status())
    .catch(() => undefined)
  if (!status) return undefined
  const where = `Starlane ${status.version}`
  const state = status.ready ? ('good' as const) : ('error' as const)
  const found = status.ready ? 'ready' : `not ready: ${status.waiting.join(', ') || 'starting'}`
  const ready = { where, check: 'ready', state, found, ...(!status.ready && { remedy: 'starlane status --wait' }) }
  const problems = status.problems.map(({ severity, code, where: place, message }) => {
    const cut = message.lastIndexOf('; ')
    const [text, remedy] =
      cut === -1 ? [message, 'see "starlane status"'] : [message.slice(0, cut), message.slice(cut + 2)]
    return { where, check: code, state: severity, found: `${place}: ${text}`, remedy }
  })
  return [ready, ...problems]
}

const marks = { good: '✓', warning: '!', error: '✗', skipped: '-' } as const
const paints = { good: 'good', warning: 'warn', error: 'bad', skipped: 'soft' } as const

export function findingsText(findings: readonly Finding[], isQuiet: boolean, paint: Paint, width = 120): string {
  const shown = findings.filter(({ state }) => !isQuiet || state === 'warning' || state === 'error')
  const longest = Math.max(0, ...shown.map(({ check }) => check.length))
  const indent = ' '.repeat(longest + 6)
  const places = [...Map.groupBy(shown, ({ where }) => where)].map(([where, list]) => {
    const lines = list.map(({ state, check, found, remedy }) => {
      const mark = paint(paints[state], marks[state])
      const [first = '', ...more] = wrapped(printable(found), width - indent.length)
      const todo = remedy === undefined ? [] : wrapped(`→ ${printable(remedy)}`, width - indent.length)
      const rest = [...more, ...todo.map(line => paint('strong', line))].map(line => `${indent}${line}\n`)
      return `  ${mark} ${check.padEnd(longest + 2)}${first}\n${rest.join('')}`
    })
    return `${paint('strong', printable(where))}\n${lines.join('')}`
  })
  const number = (state: Finding['state']) => findings.filter(each => each.state === state).length
  const [errors, warnings, skipped] = [number('error'), number('warning'), number('skipped')]
  const verdict = errors > 0 ? paint('bad', count(errors, 'error')) : paint('good', 'no error')
  const rest = [...(warnings > 0 ? [count(warnings, 'warning')] : []), ...(skipped > 0 ? [`${skipped} skipped`] : [])]
  return [...places, `${[verdict, ...rest].join(', ')}, ${count(number('good'), 'check')} passed\n`].join('\n')
}
