/** `starlane validate`: checks a configuration with its manifests and plugins, and shows the result. */
import { Command } from 'commander'
import { ConfigError, type ConfigFault, faultText } from '../config/error.ts'
import type { Loaded } from '../config/load.ts'
import type { Problem, Severity } from '../model/error.ts'
import type { PluginView } from '../model/views.ts'
import type { Report } from '../runtime.ts'
import { type Io, type Paint, paintFor, printable } from './terminal/io.ts'
import { addOutputOption, type OutputOptions, printData } from './terminal/output.ts'
import { count, table } from './terminal/table.ts'

interface Options extends OutputOptions {
  readonly config: string
}

/** The faults of a file, or the clusters, plugins and problems that it leads to. */
interface Findings extends Partial<Report> {
  readonly faults: readonly ConfigFault[]
  readonly warnings: readonly ConfigFault[]
}

export function validateCommand(io: Io, end: (code: number) => void): Command {
  const command = new Command('validate')
    .summary('check a configuration, its manifests and its plugins')
    .description(
      'Reads a configuration and every manifest and plugin it names, and lists all problems. It binds no address and ' +
        'opens no connection: of API servers and etcd only the kubeconfigs, client files and certificates on this machine are checked.',
    )
    .requiredOption('-c, --config <file>', 'the configuration')
  return addOutputOption(command)
    .addHelpText('after', examples)
    .action(async (options: Options) => end(await validate(io, options)))
}

const examples = `
Exits with 0 when there is no problem. Warnings are not problems.

Examples:
  starlane validate -c conf/starlane.yaml
  starlane validate -c starlane.yaml -o json | jq .problems`

/** Resolves with the exit code. */
export async function validate(io: Io, { config: file, output }: Options, check: Check = checkLazily): Promise<number> {
  const findings = await examine(io, file, check)
  const problems = findings.faults.length + (findings.problems?.length ?? 0)
  if (output === 'json' || output === 'yaml') printData(io, formOf(file, findings), output)
  else io.stdout.write(findingsText(file, findings, paintFor(io.stdout, io.env)))
  return problems === 0 ? 0 : 1
}

/** One form, whatever was found: a fault of the file is an error, and clusters and chain are empty then. */
function formOf(file: string, { faults, warnings, problems = [], clusters = [], chain = [] }: Findings): object {
  const ofFile = (severity: Severity) => (fault: ConfigFault) => {
    const { code, place, path, message } = fault
    return { severity, code, where: place, message: path === '' ? message : `${path}: ${message}` }
  }
  const found = [
    ...faults.map(ofFile('error')),
    ...problems.map(problem => ({ severity: 'error' as const, ...problem })),
    ...warnings.map(ofFile('warning')),
  ]
  return { file, good: faults.length + problems.length === 0, problems: found, clusters, chain }
}

type Check = (loaded: Loaded, env: Io['env']) => Promise<Report>

/** Imports the runtime only for a file without faults, because it is most of the program. */
const checkLazily: Check = async (loaded, env) => (await import('../runtime.ts')).validate(loaded, env)

async function examine(io: Io, file: string, check: Check): Promise<Findings> {
  const { loadConfig } = await import('../config/load.ts')
  let loaded: Loaded
  try {
    loaded = await loadConfig(file, io.env)
  } catch (error) {
    if (error instanceof ConfigError) return { faults: error.faults, warnings: [] }
    throw error
  }
  return { faults: [], warnings: loaded.warnings, ...(await check(loaded, io.env)) }
}

function findingsText(file: string, findings: Findings, paint: Paint): string {
  const { faults, warnings, problems = [], clusters = [], chain = [] } = findings
  const bad = faults.length + problems.length
  const verdict = bad === 0 ? paint('good', 'good') : paint('bad', count(bad, 'problem'))
  const rest = warnings.length === 0 ? '' : `, ${paint('warn', count(warnings.length, 'warning'))}`
  const parts = [
    `${file}: ${verdict}${rest}\n`,
    lines(faults.map(faultText)),
    lines(problems.map(problemText)),
    lines(warnings.map(warning => `warning  ${faultText(warning)}`)),
    clusterTable(clusters, paint),
    lines(clusters.filter(({ ignored }) => ignored.length > 0).map(ignoredText)),
    chainTable(chain, paint),
  ]
  return parts.filter(part => part !== '').join('\n')
}

function lines(texts: readonly string[]): string {
  return texts.map(text => `${printable(text)}\n`).join('')
}

function problemText({ code, where, message }: Problem): string {
  return `${code}  ${where}  ${message}`
}

function clusterTable(clusters: Report['clusters'], paint: Paint): string {
  if (clusters.length === 0) return ''
  const rows = clusters.map(({ name, source, read, services, globalServices, backends }) => [
    name,
    ...(read ? [services, globalServices, backends].map(String) : ['-', '-', '-']),
    read ? source : `${source} (not contacted)`,
  ])
  return table(['CLUSTER', 'SERVICES ', 'GLOBAL ', 'BACKENDS ', 'SOURCE'], rows, head => paint('soft', head))
}

/** What is not read on purpose. */
function ignoredText({ name, ignored }: Report['clusters'][number]): string {
  return `not read in ${name}: ${ignored.join(', ')}`
}

/** The order of the rows is the order of every hook. */
function chainTable(chain: readonly PluginView[], paint: Paint): string {
  if (chain.length === 0) return ''
  const rows = chain.map(({ name, from, hooks, onError }, i) => {
    const has = (hook: string) => (hooks.includes(hook) ? '●' : '·')
    const watches = hooks.filter(hook => hook.startsWith('on')).map(hook => hook.slice(2).toLowerCase())
    return [`${i + 1}`, name, from, has('admit'), has('candidates'), has('pick'), watches.join(' ') || '·', onError]
  })
  const heads = ['# ', 'PLUGIN', 'FROM', 'ADMIT', 'CANDIDATES', 'PICK', 'WATCHES', 'ON ERROR']
  return table(heads, rows, head => paint('soft', head))
}
