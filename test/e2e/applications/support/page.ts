/** The results of a run as a page of Markdown. */
import { thisMachine } from '../../../../bench/report/machine.ts'
import type { Finding } from './examine.ts'

export interface Row {
  readonly application: string
  readonly deployment: string
  readonly engine: string
  readonly findings: readonly Finding[]
}

/** Events that every application goes through; what only one has is in the last column. */
export const columns = ['start', 'roll', 'flap', 'kill', 'stop', 'empty', 'reload']

export function page(rows: readonly Row[], remark = ''): string {
  const head = ['application', 'deployment', 'engine', ...columns, 'own']
  const cell = (found: Finding | undefined) =>
    found === undefined ? '-' : found.problem === undefined ? found.seconds.toFixed(1) : '**failed**'
  const lines = rows.map(({ application, deployment, engine, findings }) => [
    ...[application, deployment, engine],
    ...columns.map(name => cell(findings.find(({ event }) => event === name))),
    findings
      .filter(({ event }) => !columns.includes(event))
      .map(found => `${found.event} ${cell(found)}`)
      .join(', ') || '-',
  ])
  const table = [head, head.map((_, i) => (i < 3 ? '---' : '--:')), ...lines].map(line => `| ${line.join(' | ')} |`)
  const all = rows.flatMap(({ findings }) => findings)
  const failed = all.filter(({ problem }) => problem !== undefined).length
  const { cpu, cores, memoryGiB, kernel, node } = thisMachine()
  return `# Real applications through Starlane

Written by \`npm run test:applications -- --page=bench/results/applications/matrix.md\`, which runs everything again, on ${cpu},
${cores} cores, ${memoryGiB} GiB, Linux ${kernel}, Node ${node}.
${remark === '' ? '' : `\n${remark}\n`}
${rows.length} runs of ${new Set(rows.map(({ application }) => application)).size} applications: ${all.length - failed} steps passed, ${failed} failed. A step that passed shows its seconds, in which the
application itself starts and stops pods. \`test/e2e/applications/support/events.ts\` says what clients may notice in each: a
rolling update with a grace period (*roll*), a readiness flap, kill -9, SIGSTOP (*stop*), scale to zero (*empty*), a reload.

${table.join('\n')}
`
}
