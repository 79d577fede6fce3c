// What a Starlane costs: memory and time to ready, of a small mesh of manifests from the sources, the package and the single executable, of
// the executable with other sources and after load, and what each module adds. Linux only.
//
//     npm run bench:footprint [-- --rounds=5] [--connections=1000000] [--without=package,scenes,modules]
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { commandLine } from '../scripts/command-line.ts'
import { parts } from './footprint/parts.ts'
import { manifestScene, type Scene, scenes } from './footprint/scenes.ts'
import { atMost, type Judged, recordGoals } from './report/all-goals.ts'
import { machineText, thisMachine } from './report/machine.ts'
import { spread, spreadText } from './report/stats.ts'

interface Memory {
  /** Resident and anonymous memory in KiB. */
  readonly resident: number
  readonly anonymous: number
}

interface Figures extends Memory {
  /** From the start of the process. */
  readonly readyMs: number
}

const { values } = commandLine(import.meta.url, {
  options: {
    rounds: { type: 'string', default: '5' },
    connections: { type: 'string', default: '1000000' },
    without: { type: 'string', default: '' },
  },
})
const rounds = Number(values.rounds)
const without = new Set(values.without.split(','))
/** Long enough for what the start has left to be collected by an idle V8. */
const idleMs = 5000
const root = fileURLToPath(new URL('../', import.meta.url)).replace(/\/$/, '')
const folder = mkdtempSync(join(tmpdir(), 'starlane-footprint-'))
try {
  await measure()
} finally {
  rmSync(folder, { recursive: true, force: true })
}

async function measure(): Promise<void> {
  const scene = manifestScene(folder)
  const forms = await prepare()
  const modules = loadedAt(scene.config)
  const costs = without.has('modules') ? new Map<string, Memory>() : await costsOf(modules)
  const rows = await measured(forms.map(({ name, command }) => ({ name, command, scene })))
  const { command: executable } = forms.at(-1) ?? {}
  if (executable && !without.has('executable')) {
    await readAgain(executable, scene)
    rows.push(...(await measured([{ name: 'single executable', command: executable, scene }])))
  }
  const inScenes = executable && !without.has('scenes') ? await measureScenes(executable) : []
  const results = join(root, 'bench/results/footprint')
  mkdirSync(results, { recursive: true })
  writeFileSync(join(results, 'README.md'), page(rows.map(rowText), inScenes.map(rowText), modules, costs))
  const goals = { page: 'footprint/README.md', rows: inScenes.flatMap(goalsOf) }
  if (goals.rows.length > 0) recordGoals({ title: 'Footprint', command: 'npm run bench:footprint', ...goals })
}

async function measureScenes(command: readonly string[]): Promise<Measured[]> {
  const { all, close } = await scenes(folder, Number(values.connections))
  try {
    return await measured(all.map(scene => ({ name: scene.name, command, scene })))
  } finally {
    close()
  }
}

/** Takes the file out of the page cache, and starts it once: its pages come from the disk then, as where nobody has just written it. */
async function readAgain(command: readonly string[], scene: Scene): Promise<void> {
  const [file = ''] = command
  execFileSync('sync', [file])
  execFileSync('dd', [`if=${file}`, 'iflag=nocache', 'count=0', 'status=none'])
  await start(command, scene)
}

interface Case {
  readonly name: string
  readonly command: readonly string[]
  readonly scene: Scene
}

interface Measured {
  readonly name: string
  readonly goals: Scene['goals'] | undefined
  readonly figures: readonly Figures[]
}

/** In each round every case in turn. */
async function measured(cases: readonly Case[]): Promise<Measured[]> {
  const figures = cases.map(() => [] as Figures[])
  for (let round = 0; round < rounds; round++) {
    for (const [i, { command, scene }] of cases.entries()) {
      if (round < (scene.rounds ?? rounds)) figures[i]?.push(await start(command, scene))
    }
  }
  return cases.map(({ name, scene }, i) => ({ name, goals: scene.goals, figures: figures[i] ?? [] }))
}

function rowText({ name, figures }: Measured): string {
  const of = (key: keyof Figures) => figures.map(one => one[key])
  return `| ${name} | ${mib(of('resident'))} | ${mib(of('anonymous'))} | ${spreadOf(of('readyMs'), 0)} |`
}

function goalsOf({ name, goals, figures }: Measured): Judged[] {
  if (!goals) return []
  const resident = figures.map(({ resident }) => resident / 1024)
  const ready = figures.map(({ readyMs }) => readyMs)
  const { residentMiB, readyMs } = goals
  return [
    ...atMost(`${name}: resident memory`, resident, residentMiB, ' MiB', 1),
    ...(readyMs === undefined ? [] : atMost(`${name}: ready after`, ready, readyMs, ' ms')),
  ]
}

/** What is left out by `--without` is not measured. */
async function prepare(): Promise<{ name: string; command: string[] }[]> {
  const forms = [{ name: 'sources', command: [process.execPath, join(root, 'bin/starlane.js')] }]
  if (!without.has('package')) {
    execFileSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] })
    forms.push({
      name: 'package',
      command: [process.execPath, '-e', startOf(join(root, 'dist/proxy/cli/main.js')), '--'],
    })
  }
  if (!without.has('executable')) {
    const { bundle } = await import('../scripts/release/bundle.ts')
    const { makeExecutable } = await import('../scripts/release/executable.ts')
    const addon = join(root, 'native/build/starlane.node')
    const output = join(folder, 'starlane')
    await makeExecutable({
      ...{ root, work: folder, node: process.execPath, output, native: true },
      bundle: await bundle(root),
      addon: existsSync(addon) ? addon : undefined,
    })
    forms.push({ name: 'single executable, just written', command: [output] })
  }
  return forms
}

/** As bin/starlane.js does in the published package, which has no sources beside it. */
function startOf(main: string): string {
  return `process.argv.splice(1, 0, 'starlane'); import(${JSON.stringify(main)}).then(({ start }) => start())`
}

async function start([command = '', ...args]: readonly string[], { config, load }: Scene): Promise<Figures> {
  const began = performance.now()
  const child = spawn(command, [...args, 'run', '-c', config], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '' },
  })
  const exited = once(child, 'exit')
  try {
    const { admin } = await ready(child)
    const readyMs = performance.now() - began
    await load?.(admin)
    await wait(idleMs)
    return { ...memoryOf(child.pid), readyMs }
  } finally {
    child.kill('SIGTERM')
    await exited
  }
}

/** The line that says so. */
async function ready(child: ChildProcess): Promise<{ admin: string }> {
  if (!child.stderr) throw new Error('no standard error')
  const lines: string[] = []
  for await (const line of createInterface({ input: child.stderr })) {
    if (line.includes('"event":"ready"')) {
      child.stderr.resume()
      return JSON.parse(line)
    }
    lines.push(line)
  }
  throw new Error(`it ended before it was ready: ${lines.join('\n')}`)
}

function memoryOf(pid: number | undefined): Memory {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  const of = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1])
  return { resident: of('Rss'), anonymous: of('Anonymous') }
}

interface Modules {
  /** Packages of npm, with how many of their files are loaded. */
  readonly packages: ReadonlyMap<string, number>
  /** Folders of proxy/, with how many of their files are loaded. */
  readonly folders: ReadonlyMap<string, number>
}

/** What a start loads, by the child that the guard test uses too. */
function loadedAt(config: string): Modules {
  const child = join(root, 'bench/footprint/child.ts')
  const urls = JSON.parse(execFileSync(process.execPath, [child, config], { encoding: 'utf8' })) as string[]
  const count = (pattern: RegExp) => {
    const names = urls.flatMap(url => pattern.exec(url)?.[1] ?? [])
    return new Map([...Map.groupBy(names, name => name)].sort().map(([name, all]) => [name, all.length]))
  }
  return {
    packages: count(/^.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//),
    folders: count(/^(?!.*\/node_modules\/).*\/(proxy\/[^/]+)\//),
  }
}

/** What importing one module into an empty process adds to its memory, after a collection. */
async function costsOf({ packages }: Modules): Promise<Map<string, Memory>> {
  const empty = await importing([])
  const costs = new Map<string, Memory>()
  const cost = async (name: string, modules: string[]) => {
    const { resident, anonymous } = await importing(modules)
    costs.set(name, { resident: resident - empty.resident, anonymous: anonymous - empty.anonymous })
  }
  costs.set('an empty process', empty)
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: object }
  const direct = Object.keys(dependencies).filter(name => name !== 'node-api-headers')
  for (const name of direct) await cost(`${name}${packages.has(name) ? '' : ' (not at start)'}`, [name])
  for (const name of ['node:http', 'node:https', 'node:tls', 'node:http2', 'node:crypto', 'node:worker_threads'])
    await cost(name, [name])
  for (const [part, what] of parts) await cost(`${part}: ${what}`, [join(root, 'dist', `${part}.js`)])
  return costs
}

async function importing(modules: readonly string[]): Promise<Memory> {
  const code = `for (const module of ${JSON.stringify(modules)}) await import(module); gc(); process.stderr.write('{"event":"ready"}\\n'); setInterval(() => {}, 1e6)`
  const found: Memory[] = []
  for (let round = 0; round < 3; round++) {
    const child = spawn(process.execPath, ['--expose-gc', '--input-type=module', '-e', code], {
      cwd: root,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const exited = once(child, 'exit')
    await ready(child)
    found.push(memoryOf(child.pid))
    child.kill()
    await exited
  }
  const middle = (key: keyof Memory) => found.map(one => one[key]).sort((a, b) => a - b)[1] ?? 0
  return { resident: middle('resident'), anonymous: middle('anonymous') }
}

function page(
  rows: readonly string[],
  sceneRows: readonly string[],
  { packages, folders }: Modules,
  costs: ReadonlyMap<string, Memory>,
): string {
  const list = (map: ReadonlyMap<string, number>) => [...map].map(([name, files]) => `${name} (${files})`).join(', ')
  const costRows = [...costs].map(
    ([name, { resident, anonymous }]) => `| ${name} | ${one(resident)} | ${one(anonymous)} |`,
  )
  return `# Footprint

Made by \`npm run bench:footprint\`; not edited by hand. Two clusters of manifests with one service, defaults, JSON log; memory of
the process (\`smaps_rollup\`) ${idleMs / 1000} s after it was ready or its load had ended. The aims: resident 60 MiB idle with manifests, 75 with
Kubernetes, 95 after a million connections, 250 with 5,000 services and 50,000 endpoints; ready in 250 ms. Median of ${rounds} rounds in turn (least to
most); what has a long load is measured once.

${machineText(thisMachine())}

| form | resident, MiB | anonymous, MiB | ready after, ms |
|---|---|---|---|
${rows.join('\n')}

Pages of the program that were read from its file and are not touched any more are given back 2 s after the start
(\`native/src/memory\`); those that are touched again come from the kernel's page cache. Anonymous memory is what no other process shares.
Since Linux 6.18 a page that is touched brings all of its folio in the page cache with it. Of a file that has just been written, as by a copy or
an installation, these have up to 1 MiB, of one that was read from the disk 128 KiB: that is the difference of the last two rows. The
scenes below are of the executable that was read.

## The single executable

| scene | resident, MiB | anonymous, MiB | ready after, ms |
|---|---|---|---|
${sceneRows.join('\n')}

## What is loaded at start

Packages, with their files: ${list(packages)}.

Folders, with their files: ${list(folders)}.

\`test/bench/footprint.test.ts\` fails when a package is added to that list.
${costRows.length > 0 ? costsText(costRows) : ''}`
}

function costsText(rows: readonly string[]): string {
  return `
## What modules cost

Each imported alone into an empty process, after a collection, median of 3. Rows overlap where modules share what they import. Those of
Starlane are from the package.

| module | resident, MiB | anonymous, MiB |
|---|---|---|
${rows.join('\n')}
`
}

function mib(kibs: readonly number[]): string {
  return spreadOf(
    kibs.map(kib => kib / 1024),
    1,
  )
}

function one(kib: number): string {
  return (kib / 1024).toFixed(1)
}

function spreadOf(values: readonly number[], digits: number): string {
  const found = spread(values)
  return found ? spreadText(found, digits) : '?'
}
