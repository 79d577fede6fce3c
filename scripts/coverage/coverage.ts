/**
 * Runs tests and shows which lines and branches of TypeScript (V8's own counts) and of the addon (a build for gcov) they execute:
 *
 *     npm run coverage                                   the whole suite
 *     npm run coverage -- test/proxy/dataplane           a part of it
 *     npm run coverage -- --show=native/src/pump …       also what was not executed there
 *     npm run coverage -- --again --show=proxy/dns       no tests: the counts of the last run
 *
 * A process that is killed has counted nothing. Exits with the status of the tests.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { commandLine } from '../command-line.ts'
import * as native from './native.ts'
import { missing, table } from './table.ts'
import * as typescript from './typescript.ts'

const { values, positionals } = commandLine(import.meta.url, {
  allowPositionals: true,
  options: {
    show: { type: 'string', multiple: true, default: [] },
    again: { type: 'boolean', default: false },
    jobs: { type: 'string', default: '2' },
  },
})
const counts = resolve('coverage')

if (!values.again) process.exitCode = runTests()
const files = [...(await typescript.read(counts)), ...native.read()]
for (const path of values.show) console.log(`\n${missing(files, path)}`)
console.log(`\n${table(files)}`)

function runTests(): number {
  rmSync(counts, { recursive: true, force: true })
  mkdirSync(counts)
  native.build()
  const preload = pathToFileURL(resolve(import.meta.dirname, 'preload.js'))
  const env = { ...process.env, NODE_V8_COVERAGE: counts, NODE_OPTIONS: `--import=${preload}` }
  // Twice the usual time: counting costs some.
  const command = ['test/run.ts', `--jobs=${values.jobs}`, '--timeout=240', ...positionals]
  return spawnSync(process.execPath, command, { stdio: 'inherit', env }).status ?? 1
}
