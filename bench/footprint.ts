// What an idle Starlane with a small mesh of manifests costs: memory and time to ready, from the sources, the package and the single
// executable, and what each of its modules adds. Linux only.
//
//     npm run bench:footprint [-- --rounds=5] [--without=executable]
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { machineText, thisMachine } from './report/machine.ts'

interface Memory {
  /** Resident and anonymous memory in KiB. */
  readonly resident: number
  readonly anonymous: number
}

interface Figures extends Memory {
  /** From the start of the process. */
  readonly readyMs: number
}

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '5' }, without: { type: 'string', default: '' } },
})
const rounds = Number(values.rounds)
/** Long enough for what the start has left to be collected by an idle V8. */
const idleMs = 3000
const root = fileURLToPath(new URL('../', import.meta.url)).replace(/\/$/, '')
const folder = mkdtempSync(join(tmpdir(), 'starlane-footprint-'))
try {
  await measure()
} finally {
  rmSync(folder, { recursive: true, force: true })
}

async function measure(): Promise<void> {
  const config = writeMesh(folder)
  const forms = await prepare()
  const figures = new Map(forms.map(({ name }) => [name, [] as Figures[]]))
  for (let round = 0; round < rounds; round++) {
    for (const { name, command } of forms) figures.get(name)?.push(await start([...command, 'run', '-c', config]))
  }
  const rows = [...figures].map(([name, all]) => {
    const of = (key: keyof Figures) => all.map(one => one[key])
    return `| ${name} | ${mib(of('resident'))} | ${mib(of('anonymous'))} | ${spread(of('readyMs'), 1, 0)} |`
  })
  const modules = loadedAt(config)
  const costs = await costsOf(modules)
  const results = join(root, 'bench/results/footprint')
  mkdirSync(results, { recursive: true })
  writeFileSync(join(results, 'README.md'), page(rows, modules, costs))
}

/** Two clusters with one global service, on addresses of the loopback interface and ports of the kernel's choice. */
function writeMesh(folder: string): string {
  for (const [i, cluster] of ['one', 'two'].entries()) {
    const service = `apiVersion: v1
kind: Service
metadata: { name: echo, namespace: default, annotations: { service.cilium.io/global: "true" } }
spec: { clusterIP: 10.96.0.10, ports: [{ name: http, port: 80 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: echo-1, namespace: default, labels: { kubernetes.io/service-name: echo } }
addressType: IPv4
ports: [{ name: http, port: 8080, protocol: TCP }]
endpoints: [{ addresses: [127.0.${i + 1}.1], conditions: { ready: true } }]
`
    writeFileSync(join(folder, `${cluster}.yaml`), service)
  }
  const config = join(folder, 'starlane.yaml')
  writeFileSync(
    config,
    `cluster: one
clusters:
  - { name: one, id: 1, source: { manifests: ./one.yaml } }
  - { name: two, id: 2, source: { manifests: ./two.yaml } }
dns: { listen: 127.0.0.1:0 }
admin: { listen: 127.0.0.1:0 }
proxy: { vips: { cidr: 127.96.0.0/16 } }
`,
  )
  return config
}

/** What is left out by `--without` is not measured. */
async function prepare(): Promise<{ name: string; command: string[] }[]> {
  const without = new Set(values.without.split(','))
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
    makeExecutable({
      ...{ root, work: folder, node: process.execPath, output, native: true },
      bundle: await bundle(root),
      addon: existsSync(addon) ? addon : undefined,
    })
    forms.push({ name: 'single executable', command: [output] })
  }
  return forms
}

/** As bin/starlane.js does in the published package, which has no sources beside it. */
function startOf(main: string): string {
  return `process.argv.splice(1, 0, 'starlane'); import(${JSON.stringify(main)}).then(({ start }) => start())`
}

async function start([command = '', ...args]: readonly string[]): Promise<Figures> {
  const began = performance.now()
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, NODE_OPTIONS: '' } })
  const exited = once(child, 'exit')
  try {
    const readyMs = await ready(child, began)
    await wait(idleMs)
    return { ...memoryOf(child.pid), readyMs }
  } finally {
    child.kill('SIGTERM')
    await exited
  }
}

async function ready(child: ChildProcess, began: number): Promise<number> {
  if (!child.stderr) throw new Error('no standard error')
  const lines: string[] = []
  for await (const line of createInterface({ input: child.stderr })) {
    if (line.includes('"event":"ready"')) {
      child.stderr.resume()
      return performance.now() - began
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
  const child = join(root, 'bench/footprint-child.ts')
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
  for (const name of [
    'cli/run',
    'cli/serve',
    'config/load',
    'runtime',
    'dns/responder',
    'admin/server',
    'admin/metrics',
  ])
    await cost(`proxy/${name}, with what it imports`, [join(root, 'dist/proxy', `${name}.js`)])
  return costs
}

async function importing(modules: readonly string[]): Promise<Memory> {
  const code = `for (const module of ${JSON.stringify(modules)}) await import(module); gc(); process.stderr.write('"event":"ready"\\n'); setInterval(() => {}, 1e6)`
  const found: Memory[] = []
  for (let round = 0; round < 3; round++) {
    const child = spawn(process.execPath, ['--expose-gc', '--input-type=module', '-e', code], {
      cwd: root,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const exited = once(child, 'exit')
    await ready(child, 0)
    found.push(memoryOf(child.pid))
    child.kill()
    await exited
  }
  const middle = (key: keyof Memory) => found.map(one => one[key]).sort((a, b) => a - b)[1] ?? 0
  return { resident: middle('resident'), anonymous: middle('anonymous') }
}

function page(rows: readonly string[], { packages, folders }: Modules, costs: ReadonlyMap<string, Memory>): string {
  const list = (map: ReadonlyMap<string, number>) => [...map].map(([name, files]) => `${name} (${files})`).join(', ')
  const costRows = [...costs].map(
    ([name, { resident, anonymous }]) => `| ${name} | ${one(resident)} | ${one(anonymous)} |`,
  )
  return `# Footprint

Made by \`npm run bench:footprint\`; not edited by hand. Two clusters of manifests with one service, defaults, JSON log; memory of
the process (\`smaps_rollup\`) ${idleMs / 1000} s after it was ready. Median of ${rounds} rounds in turn (least to most).

${machineText(thisMachine())}

| form | resident, MiB | anonymous, MiB | ready after, ms |
|---|---|---|---|
${rows.join('\n')}

## What is loaded at start

Packages, with their files: ${list(packages)}.

Folders, with their files: ${list(folders)}.

\`test/bench/footprint.test.ts\` fails when a package is added to that list.

## What modules cost

Each imported alone into an empty process, after a collection, median of 3. Rows overlap where modules share what they import. Those of
Starlane are from the package.

| module | resident, MiB | anonymous, MiB |
|---|---|---|
${costRows.join('\n')}
`
}

function mib(kibs: readonly number[]): string {
  return spread(kibs, 1024, 1)
}

function one(kib: number): string {
  return (kib / 1024).toFixed(1)
}

function spread(values: readonly number[], unit: number, digits: number): string {
  const sorted = values.map(value => value / unit).sort((a, b) => a - b)
  const at = (place: number) => sorted[place]?.toFixed(digits) ?? '?'
  return `${at(Math.floor((sorted.length - 1) / 2))} (${at(0)} to ${at(sorted.length - 1)})`
}
