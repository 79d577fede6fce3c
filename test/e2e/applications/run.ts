/**
 * Real applications through the product, in each deployment and with each engine, while their pods come and go:
 *
 *     npm run test:applications -- --only=redis,dns --deployment=sidecar --engine=native --event=kill --bulk=5GiB --jobs=2
 *
 * Prints a line for each run, and a table at the end; --page=FILE writes it as a page of Markdown. Exits with 1 where something was wrong.
 */
import { writeFileSync } from 'node:fs'
import { commandLine } from '../../../scripts/command-line.ts'
import { applications } from './applications.ts'
import { examine, type Finding, whyNot } from './support/examine.ts'
import { deployments, type EngineName, type Given } from './support/mesh.ts'
import { columns, page } from './support/page.ts'

const { values } = commandLine(import.meta.url, {
  options: {
    only: { type: 'string', default: '' },
    deployment: { type: 'string', default: deployments.join(',') },
    engine: { type: 'string', default: 'native,streams' },
    event: { type: 'string', default: '' },
    bulk: { type: 'string', default: '5GiB' },
    jobs: { type: 'string', default: '2' },
    page: { type: 'string' },
  },
})

interface Row {
  readonly given: Given
  readonly findings: readonly Finding[]
}

const list = (text: string) => text.split(',').filter(Boolean)
const chosen = applications.filter(({ name }) => values.only === '' || list(values.only).includes(name))
const rows: Row[] = []
const skipped: string[] = []
const queue: Given[] = []
for (const application of chosen) {
  const why = whyNot(application)
  if (why) {
    skipped.push(`skip  ${application.name}: ${why}`)
    continue
  }
  for (const deployment of deployments.filter(name => list(values.deployment).includes(name))) {
    for (const engine of list(values.engine) as EngineName[]) {
      queue.push({ application, deployment, engine, bulkBytes: bytesOf(values.bulk) })
    }
  }
}
const waiting = queue.values()
await Promise.all(Array.from({ length: Number(values.jobs) }, work))
for (const line of skipped) console.log(line)
console.log(`\n${table()}`)
const failed = rows.flatMap(({ findings }) => findings).filter(({ problem }) => problem !== undefined)
console.log(`\n${rows.flatMap(({ findings }) => findings).length - failed.length} passed, ${failed.length} failed`)
if (values.page !== undefined) writeFileSync(values.page, page(inOrder().map(shown)))
process.exitCode = failed.length > 0 || rows.length === 0 ? 1 : 0

async function work(): Promise<void> {
  for (const given of waiting) {
    const findings = await examine(given, list(values.event))
    rows.push({ given, findings })
    const steps = findings.map(({ event, seconds, problem }) => `${event} ${problem ? 'FAIL' : seconds.toFixed(1)}`)
    console.log(`${titleOf(given)}: ${steps.join(', ')}`)
    for (const { event, problem } of findings)
      if (problem) console.log(`  ${event}: ${problem.replaceAll('\n', '\n  ')}`)
  }
}

function titleOf({ application, deployment, engine }: Given): string {
  return `${application.name}, ${deployment}, ${engine}`
}

/** A row for each run; the events that only one application has are in the last column. */
function table(): string {
  const head = ['application', 'deployment', 'engine', ...columns, 'own']
  const cell = (found: Finding | undefined) => (found === undefined ? '-' : found.problem ? 'FAIL' : 'ok')
  const lines = inOrder().map(({ given, findings }) => {
    const own = findings.filter(({ event }) => !columns.includes(event))
    return [
      ...[given.application.name, given.deployment, given.engine],
      ...columns.map(name => cell(findings.find(({ event }) => event === name))),
      own.map(found => `${found.event} ${cell(found)}`).join(', ') || '-',
    ]
  })
  const widths = head.map((title, i) => Math.max(...[head, ...lines].map(line => line[i]?.length ?? title.length)))
  return [head, ...lines]
    .map(line =>
      line
        .map((text, i) => text.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** The runs in the order in which they were asked for. */
function inOrder(): Row[] {
  return rows.toSorted((a, b) => queue.indexOf(a.given) - queue.indexOf(b.given))
}

function shown({ given: { application, deployment, engine }, findings }: Row) {
  return { application: application.name, deployment, engine, findings }
}

function bytesOf(text: string): number {
  const found = /^(\d+)(MiB|GiB)$/.exec(text)
  if (!found) throw new Error(`--bulk=${text} is no size such as 256MiB or 5GiB`)
  return Number(found[1]) * (found[2] === 'GiB' ? 2 ** 30 : 2 ** 20)
}
