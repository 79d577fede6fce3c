// The test runner: `npm test`, or `npm test -- test/proxy/dns --jobs=1` for a part of the suite. Tests are written with the tap
// library, but its own command takes three to five times as long for a small file and prints no plain count at the end.
import { globSync, statSync } from 'node:fs'
import { relative, resolve } from 'node:path'
import { commandLine } from '../scripts/command-line.ts'
import { type Outcome, runFile } from './run/file.ts'
import { describe, summary } from './run/report.ts'

const { values, positionals } = commandLine(import.meta.url, {
  allowPositionals: true,
  options: {
    jobs: { type: 'string', default: '2' },
    /** Time limit of one file in seconds. */
    timeout: { type: 'string', default: '120' },
  },
})

const jobs = Math.ceil(positive('jobs', values.jobs))
const timeoutMs = positive('timeout', values.timeout) * 1000
const files = select(positionals)
if (files.length === 0) usageError('no test file below test/')

const interrupt = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    interrupt.abort()
    process.exit(1)
  })
}

const outcomes: Outcome[] = []
const queue = files.values()
await Promise.all(Array.from({ length: jobs }, work))
console.log(`\n${summary(outcomes)}`)
process.exitCode = outcomes.some(({ tally }) => tally.failures.length > 0) ? 1 : 0

// Workers share the iterator, so that each file runs once.
async function work(): Promise<void> {
  for (const file of queue) {
    const outcome = await runFile(file, { timeoutMs, signal: interrupt.signal })
    outcomes.push(outcome)
    console.log(describe(outcome))
  }
}

/** Each pattern is a file, a folder (all tests below it), or part of a path. No pattern selects all tests. */
function select(patterns: readonly string[]): string[] {
  const suite = globSync('test/**/*.test.ts').sort()
  if (patterns.length === 0) return suite
  return [...new Set(patterns.flatMap(pattern => matching(relative('', resolve(pattern)), suite)))]
}

function matching(pattern: string, suite: readonly string[]): string[] {
  const found = statSync(pattern, { throwIfNoEntry: false })
  if (found?.isFile()) return [pattern]
  const files = found?.isDirectory()
    ? globSync(`${pattern}/**/*.test.ts`).sort()
    : suite.filter(file => file.includes(pattern))
  return files.length > 0 ? files : usageError(`no test file matches ${pattern}`)
}

function positive(name: string, value: string): number {
  const number = Number(value)
  return number > 0 ? number : usageError(`--${name}=${value} is not a positive number`)
}

function usageError(message: string): never {
  console.error(message)
  process.exit(2)
}
