// Compiles what a start of the executable calls: a Starlane is started from the bundle, with a service of two clusters, one of them of
// manifests and one with an API server, and stopped. V8 takes the code of its functions from files then, in place of their text, which saves a
// third of the time to `ready`.
import { spawn, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { codeFile } from '../../proxy/model/program/package-files.ts'
import { oneService } from './one-service.ts'
import { type TrainingApi, trainingApi } from './training-api.ts'

export interface TrainingParts {
  /** A folder for what is written. */
  readonly work: string
  /** The name of the bundle. */
  readonly main: string
  /** Files by the names under which the executable has them: the bundle, and the libraries that it loads. */
  readonly assets: Readonly<Record<string, string>>
  /** V8's flags of the executable. */
  readonly flags: readonly string[]
}

/** Of starts whose code is compared. Which functions they call differs where something of the machine comes in between. */
const attempts = 6

/** The data of V8's code cache by the name of the script. */
type Compiled = ReadonlyMap<string, Buffer>

/**
 * The same for the same bundle: of each script that of the first two starts which agree. Rejects if none do, or if V8 would not take it.
 */
export async function compiledCode(parts: TrainingParts): Promise<Compiled> {
  mkdirSync(parts.work, { recursive: true })
  const found: Compiled[] = []
  const agreed = new Map<string, Buffer>()
  for (let attempt = 0; attempt < attempts; attempt++) {
    const compiled = await trained(parts)
    for (const [script, code] of compiled) {
      if (!agreed.has(script) && found.some(other => other.get(script)?.equals(code))) agreed.set(script, code)
    }
    if (agreed.size === compiled.size) return agreed
    found.push(compiled)
  }
  throw new Error(`${attempts} starts of one bundle compiled ${attempts} different sets of functions`)
}

async function trained(parts: TrainingParts): Promise<Compiled> {
  const api = await trainingApi()
  try {
    const folder = await started(parts, api)
    const found = new Set(readdirSync(folder))
    const scripts = Object.keys(parts.assets).map(script => ({ script, file: basename(codeFile(script)) }))
    const compiled = scripts.filter(({ file }) => found.has(file))
    return new Map(compiled.map(({ script, file }) => [script, ordered(parts, script, join(folder, file))]))
  } finally {
    api.close()
  }
}

/** Returns a folder with the code of the scripts that a start has loaded. */
async function started({ work, main, assets, flags: own }: TrainingParts, api: TrainingApi): Promise<string> {
  const list = join(work, 'assets.json')
  const output = join(work, 'code')
  rmSync(output, { recursive: true, force: true })
  // Apart from the configuration, whose folder is watched.
  const temporary = join(work, 'temporary')
  for (const folder of [output, temporary]) mkdirSync(folder, { recursive: true })
  writeFileSync(list, JSON.stringify(assets))
  const trainee = fileURLToPath(new URL('trainee.ts', import.meta.url))
  const folder = join(work, 'configuration')
  const run = ['run', '-c', configuration(folder, api.url)]
  // Room for young objects, so that no collection comes in between; and the same numbers each time.
  const flags = ['--random-seed=1', ...own, '--min-semi-space-size=64', '--max-semi-space-size=64']
  const child = spawn(process.execPath, [...flags, trainee, main, list, output, ...run], {
    cwd: work,
    env: { PATH: '/usr/bin:/bin', TMPDIR: temporary },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const ended = once(child, 'exit')
  const lines: string[] = []
  for await (const line of createInterface(child.stderr)) {
    lines.push(line)
    if (!line.includes('"event":"ready"')) continue
    await Promise.race([api.watched, ended])
    // The folders above are watched too, and others may write there: so that it always hears of something.
    writeFileSync(join(folder, `other-${randomUUID()}`), '')
    child.kill('SIGTERM')
  }
  const [status] = await ended
  if (status !== 0) throw new Error(`a start that is compiled has failed:\n${lines.join('\n')}`)
  return output
}

/** Clusters whose order of events is always the same, on an address of the loopback interface that nobody else has. */
function configuration(folder: string, server: string): string {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const byte = () => 100 + Math.floor(Math.random() * 100)
  writeFileSync(join(folder, 'service.yaml'), oneService({ port: 8080, backend: { address: '10.1.0.1', port: 8080 } }))
  const kubeconfig = {
    'current-context': 'two',
    clusters: [{ name: 'two', cluster: { server } }],
    contexts: [{ name: 'two', context: { cluster: 'two' } }],
  }
  writeFileSync(join(folder, 'kubeconfig'), JSON.stringify(kubeconfig))
  const file = join(folder, 'starlane.yaml')
  writeFileSync(
    file,
    `cluster: one
clusters:
  - { name: one, id: 1, source: { manifests: ./service.yaml } }
  - { name: two, id: 2, source: { kubernetes: { kubeconfig: ./kubeconfig } } }
dns: { listen: 127.0.0.1:0, upstream: [] }
admin: { listen: 127.0.0.1:0 }
proxy: { vips: { cidr: 127.${byte()}.${byte()}.0/24 }, announce: 0s }
health: { active: { type: none } }
`,
  )
  return file
}

/** The code as V8 writes it in a process that has only read it: in one order. Throws where the executable, with its flags, would not take it. */
function ordered({ work, assets, flags }: TrainingParts, script: string, file: string): Buffer {
  const output = join(work, 'ordered.cache')
  const text = `
    const { readFileSync, writeFileSync } = require('node:fs')
    const { constants, Script } = require('node:vm')
    const [script, cache, output] = process.argv.slice(1)
    const options = { filename: 'starlane.cjs', cachedData: readFileSync(cache), importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER }
    const compiled = new Script(readFileSync(script, 'latin1'), options)
    if (compiled.cachedDataRejected) process.exit(1)
    writeFileSync(output, compiled.createCachedData())`
  const from = assets[script] ?? script
  const { status } = spawnSync(process.execPath, ['--random-seed=1', ...flags, '-e', text, from, file, output])
  if (status !== 0) throw new Error('V8 does not take the code that it has compiled: its flags differ')
  return readFileSync(output)
}
