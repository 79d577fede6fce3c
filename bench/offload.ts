/**
 * What the kernel's steering adds to a connection (`proxy.offload: ebpf`): paired rounds of the same client against a backend's own address, a
 * ClusterIP that is led straight to the backend, and one that is led to Starlane. Needs root and cgroup v2. Run: npm run bench:offload
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findAddon } from '../proxy/dataplane/native/addon.ts'
import { findCgroup } from '../proxy/dataplane/steering/cgroup.ts'
import { requireSteering } from '../proxy/dataplane/steering/preflight.ts'
import { Steering } from '../proxy/dataplane/steering/steering.ts'
import type { Backend } from '../proxy/model/backend.ts'
import { silentLog } from '../proxy/model/log.ts'
import { systemClock } from '../proxy/model/time/clock.ts'
import { commandLine } from '../scripts/command-line.ts'
import { enterNamespace } from './namespace.ts'
import { machineText, thisMachine } from './report/machine.ts'
import { median, spread } from './report/stats.ts'

enterNamespace()
const { values } = commandLine(import.meta.url, {
  options: {
    rounds: { type: 'string', default: '15' },
    /** Does not write the page. */
    dry: { type: 'boolean', default: false },
  },
})
const rounds = Number(values.rounds)
const seconds = 1
const kernel = requireSteering(findAddon())
const root = findCgroup(undefined)
const cgroup = `${root}/starlane-bench-${process.pid}`
mkdirSync(cgroup)
const folder = mkdtempSync(join(tmpdir(), 'starlane-offload-'))
const program = join(folder, 'connects')
const source = fileURLToPath(new URL('load/connects.c', import.meta.url))
execFileSync('cc', ['-O2', '-o', program, source])

const server = spawn(program, ['serve', '127.0.0.7', '8000'], { stdio: ['ignore', 'pipe', 'inherit'] })
await once(server.stdout, 'data')
const options = { listen: ['127.0.0.1'], cgroup, pin: undefined, direct: true }
const steering = new Steering({
  options,
  kernel,
  drainMs: () => 0,
  onListener: () => {},
  clock: systemClock,
  log: silentLog,
})
await steering.start()
const [problem] = steering.problems()
if (problem) throw new Error(problem.message)
process.on('exit', () => {
  server.kill()
  steering.close()
  rmdirSync(cgroup)
  rmSync(folder, { recursive: true })
})
type Carried = 'TCP' | 'UDP'
const frontendOf = (ip: string, protocol: Carried) =>
  ({ key: `${ip}:80/${protocol}`, ip, port: 80, protocol, service: 'a/b', name: '', backends: [] }) as const
const backendAt = (address: string, protocol: Carried) => {
  const destination = `${address}:8000/${protocol}`
  return { key: `c/${destination}`, destination, address, port: 8000, protocol, weight: 100 } as unknown as Backend
}
// A thousand other frontends, as in a cluster.
for (let i = 0; i < 1000; i++)
  steering.opened(frontendOf(`10.97.${i >> 8}.${i & 255}`, 'TCP'), { address: '127.0.0.1', port: 20_000 + i })
for (const protocol of ['TCP', 'UDP'] as const) {
  // A hundred backends, each of which is the server.
  const list = Array.from({ length: 100 }, () => backendAt('127.0.0.7', protocol))
  steering.route(`10.96.0.10:80/${protocol}`, list)
  steering.opened(frontendOf('10.96.0.10', protocol), { address: '127.0.0.1', port: 9 })
  // Its listener is the server too.
  steering.opened(frontendOf('10.96.0.11', protocol), { address: '127.0.0.7', port: 8000 })
}

const here = '127.0.0.7 8000'
/** The first one by a program outside of the cgroup; the others in turn, by one program in it. */
const ways = [
  'the backend, no programs',
  'the backend, past the programs',
  'a ClusterIP, to a listener',
  'a ClusterIP, straight to a backend',
] as const
const inside = [here, '10.96.0.11 80', '10.96.0.10 80']
const shapes = {
  udp: 'connect() of UDP, which sends nothing',
  tcp: 'connect() of TCP',
  short: 'Connect, one request and its answer, close',
  keepalive: 'A request on an open connection',
}
type Shape = keyof typeof shapes
const results = new Map<Shape, number[][]>()
for (let round = 0; round < rounds; round++) {
  for (const shape of Object.keys(shapes) as Shape[]) {
    const outside = () => measure(shape, root, [here])
    // Each goes first in every other round.
    const [first] = round % 2 ? [] : outside()
    const led = measure(shape, cgroup, inside)
    const [base] = first === undefined ? outside() : [first]
    results.set(shape, [...(results.get(shape) ?? []), [base ?? Number.NaN, ...led]])
  }
}
const changes = changeTimes()
const text = page()
console.log(text)
if (!values.dry) writeFileSync(new URL('results/offload/README.md', import.meta.url), text)
process.exit(0)

/** Milliseconds from a call of `route` until the kernel has the new list, by its length. */
function changeTimes(): [count: number, ms: number, worst: number][] {
  return [1, 10, 100, 1000].map(count => {
    const taken: number[] = []
    for (let i = 0; i < 20; i++) {
      const list = Array.from({ length: count }, (_, n) => ({
        ...backendAt(`10.${i}.${(n >> 8) & 255}.${n & 255}`, 'TCP'),
        weight: 100 + (n % 7),
      }))
      const since = performance.now()
      steering.route('10.96.0.10:80/TCP', list)
      taken.push(performance.now() - since)
    }
    return [count, median(taken) ?? Number.NaN, Math.max(...taken)]
  })
}

/** The medians of one program in a cgroup, in ns, one for each target. */
function measure(shape: Shape, group: string, targets: readonly string[]): number[] {
  const given = [program, shape, String(seconds * 1000), ...targets.flatMap(target => target.split(' '))]
  const enter = `echo $$ > ${group}/cgroup.procs && exec "$@"`
  const { stdout, stderr, status } = spawnSync('sh', ['-c', enter, 'sh', ...given], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${shape}: ${stderr}`)
  return stdout.trim().split(' ').slice(0, targets.length).map(Number)
}

function page(): string {
  const range = (values: readonly number[]) => {
    const of = spread(values)
    return of ? `${of.median.toFixed(0)} (${of.low.toFixed(0)} to ${of.high.toFixed(0)})` : ''
  }
  const tables = (Object.keys(shapes) as Shape[]).map(shape => {
    const all = results.get(shape) ?? []
    const rows = ways.map((way, i) => {
      const own = median(all.map(round => round[i] ?? Number.NaN)) ?? Number.NaN
      // Those in the cgroup are measured by one program, in turn.
      const added =
        i === 0 ? '' : range(all.map(round => (round[i] ?? Number.NaN) - (round[Math.min(i - 1, 1)] ?? Number.NaN)))
      const to = ['', ways[0], ways[1], ways[1]][i]
      return `| ${way} | ${own.toFixed(0)} | ${added} | ${to} |`
    })
    return `## ${shapes[shape]}\n\n| | ns | added, ns | to |\n|---|--:|--:|---|\n${rows.join('\n')}`
  })
  const changed = changes
    .map(([count, ms, worst]) => `| ${count} | ${ms.toFixed(2)} | ${worst.toFixed(2)} |`)
    .join('\n')
  return `# What steering by the kernel costs

<!-- Written by bench/offload.ts (npm run bench:offload). -->

A client in C against a server on the same machine, over loopback, in ${rounds} rounds of ${seconds} s. Each figure is the median over the rounds of a round's median. Targets
in the cgroup are reached in turn by one program, so that they meet the same machine; *added* is the difference within a round, with its lowest and highest.
A thousand other frontends are in the maps, and the list has 100 backends. What a listener then costs is that of
[the proxy](../proxy.md). Load average at the end: ${loadAverage()}.

${machineText(thisMachine())}

${tables.join('\n\n')}

## Until the kernel has a new list

The call that a change of a frontend's backends makes, 20 times.

| backends | median, ms | worst, ms |
|---|--:|--:|
${changed}
`
}

function loadAverage(): string {
  return execFileSync('cat', ['/proc/loadavg'], { encoding: 'utf8' }).split(' ')[0] ?? ''
}
