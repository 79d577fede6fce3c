/**
 * Queries per second and CPU per query of Starlane and of other DNS servers, under the same load generator.
 *
 *   npm run bench:dns [-- --rounds 6 --seconds 2 --services 5000 --shapes '100 outstanding,100 clients']
 *
 * Rounds alternate, forward and backward. Compare figures of one run only, since the machine differs between runs. CPU per
 * query is the robust figure; queries per second with 100 outstanding are partly limited by dnsperf. The rows with native
 * sockets need `npm run build:native` first.
 */
import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { commandLine } from '../scripts/command-line.ts'
import { type Contender, kinds, start } from './dns/contenders.ts'
import { hostileCosts } from './dns/hostile.ts'
import { serviceName } from './dns/names.ts'
import { nativeKinds } from './dns/native.ts'
import { stopAll, stopOnSignal } from './process.ts'
import { recordGroup } from './report/all-goals.ts'
import { readDns } from './report/dns-results.ts'
import { thisMachine } from './report/machine.ts'

const { values } = commandLine(import.meta.url, {
  options: {
    /** Measurements per server and load; the tables show medians. */
    rounds: { type: 'string', default: '6' },
    seconds: { type: 'string', default: '2' },
    /** How questions are asked; one table for each. */
    shapes: { type: 'string', default: '100 outstanding,20 outstanding,100 clients' },
    services: { type: 'string', default: '5000' },
    /** Service changes per second in one of the rows. */
    changes: { type: 'string', default: '100' },
    /** The first of the ports; choose it below net.ipv4.ip_local_port_range, whose ports may be in use. */
    port: { type: 'string', default: '15300' },
  },
})
const rounds = Number(values.rounds)
const seconds = Number(values.seconds)
const services = Number(values.services)

/** Sockets that ask, and questions in flight over all of them. A hundred sockets with a hundred questions have one each, on average. */
const shapes: Readonly<Record<string, { readonly sockets: number; readonly outstanding: number }>> = {
  '100 outstanding': { sockets: 8, outstanding: 100 },
  '20 outstanding': { sockets: 8, outstanding: 20 },
  '100 clients': { sockets: 100, outstanding: 100 },
}

interface Sample {
  readonly micros: number
  readonly perSecond: number
  readonly lost: number
}

if (spawnSync('dnsperf', ['-h']).error) {
  console.error(
    'bench:dns needs dnsperf (Debian: apt-get install dnsperf unbound dnsmasq-base; CoreDNS is compared at STARLANE_COREDNS)',
  )
  process.exit(2)
}
stopOnSignal()
const folder = await mkdtemp(join(tmpdir(), 'starlane-bench-dns-'))
const contenders: Contender[] = []
try {
  const changes = Number(values.changes)
  for (const [i, kind] of [...nativeKinds(services, changes), ...kinds(services, changes)].entries()) {
    const contender = await start(kind, folder, Number(values.port) + i)
    if (contender) contenders.push(contender)
    else console.log(`${kind.name} is not installed`)
  }
  await report(await measure(await writeLoads()))
} finally {
  await stopAll()
  await rm(folder, { recursive: true })
}

interface Load {
  readonly name: string
  readonly file: string
  readonly sockets: number
  readonly outstanding: number
}

async function writeLoads(): Promise<Load[]> {
  const names = (count: number, name: (i: number) => string) => Array.from({ length: count }, (_, i) => `${name(i)} A`)
  const loads: [string, string[]][] = [
    ['100 names', names(100, serviceName)],
    [`${services} names`, names(services, serviceName)],
    [`${services} missing names`, names(services, i => `missing-${i}.default.svc.cluster.local`)],
  ]
  const written = await Promise.all(
    loads.map(async ([name, lines], i) => {
      const file = join(folder, `load-${i}`)
      await writeFile(file, `${lines.join('\n')}\n`)
      return { name, file }
    }),
  )
  return values.shapes.split(',').flatMap(asked => {
    const shape = shapes[asked]
    if (!shape) throw new Error(`--shapes: there is no "${asked}"; use some of ${Object.keys(shapes).join(', ')}`)
    return written.map(({ name, file }) => ({ name: `${name}, ${asked}`, file, ...shape }))
  })
}

async function measure(loads: readonly Load[]): Promise<Map<string, Sample[]>> {
  const samples = new Map<string, Sample[]>()
  for (const contender of contenders) for (const load of loads) perform(contender, load, 0.5)
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? contenders : contenders.toReversed()
    for (const load of loads) {
      for (const contender of order) {
        const key = `${contender.name}|${load.name}`
        samples.set(key, [...(samples.get(key) ?? []), perform(contender, load, seconds)])
      }
    }
  }
  return samples
}

function perform(contender: Contender, { file, sockets, outstanding }: Load, limit: number): Sample {
  const before = contender.child.cpu()
  const { stdout } = spawnSync(
    'dnsperf',
    [
      '-s',
      '127.0.0.1',
      '-p',
      String(contender.port),
      '-d',
      file,
      '-l',
      String(limit),
      '-c',
      String(sockets),
      '-T',
      '1',
      '-q',
      String(outstanding),
    ],
    { encoding: 'utf8' },
  )
  const read = (label: string) => Number(new RegExp(`${label}:\\s+([\\d.]+)`).exec(stdout)?.[1])
  const completed = read('Queries completed')
  return {
    micros: ((contender.child.cpu() - before) * 1e6) / completed,
    perSecond: read('Queries per second'),
    lost: read('Queries lost'),
  }
}

async function report(samples: ReadonlyMap<string, Sample[]>): Promise<void> {
  const loads = [...new Set([...samples.keys()].map(key => key.split('|')[1] ?? ''))]
  const tables = loads.map(load => {
    const of = (name: string) => samples.get(`${name}|${load}`) ?? []
    const rows = contenders.map(({ name }) => {
      const own = of(name)
      return [
        name,
        median(own.map(s => s.micros)).toFixed(2),
        ratio(own, of('bare node:dgram')),
        ratio(own, of('unbound')),
        ratio(own, of('dnsmasq')),
        ratio(own, of('coredns')),
        median(own.map(s => s.perSecond)).toFixed(0),
        String(own.reduce((sum, s) => sum + s.lost, 0)),
      ]
    })
    return {
      title: load,
      head: ['', 'CPU us/query', 'x bare', 'x unbound', 'x dnsmasq', 'x coredns', 'queries/s', 'lost'],
      rows,
    }
  })
  const hostile = {
    title: "Hostile packets, in the responder's function alone",
    head: ['packet', 'us'],
    rows: hostileCosts().map(([packet, micros]) => [packet, micros.toFixed(2)]),
  }
  const machine = thisMachine()
  const at = new Date().toISOString()
  const text = `# DNS benchmark

${at}, written by \`npm run bench:dns\`. Medians of ${rounds} alternating rounds of ${seconds} s; dnsperf,
"outstanding" is the number of questions in flight from 8 sockets; "100 clients" are 100 sockets with one question each on average. Load and servers share one machine over loopback; compare within a table only.

- CPU: ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB; kernel ${machine.kernel}; Node ${machine.node}

CPU is user and system time of the server per query, from /proc; ratios are medians over rounds.

${contenders.map(({ name, setup }) => `- ${name}: ${setup}`).join('\n')}

${[...tables, hostile].map(tableText).join('\n')}`
  console.log(text)
  const results = new URL('results/', import.meta.url)
  await mkdir(results, { recursive: true })
  await writeFile(new URL('dns.md', results), text)
  await writeFile(
    new URL('dns.json', results),
    `${JSON.stringify({ machine, at, rounds, seconds, tables, hostile }, undefined, 2)}\n`,
  )
  const group = readDns(new URL('dns.json', results).pathname)
  if (group) recordGroup(group, 'dns.md', 'npm run bench:dns')
}

function tableText({ title, head, rows }: { title: string; head: string[]; rows: string[][] }): string {
  const lines = [head, head.map((_, i) => (i === 0 ? '---' : '--:')), ...rows]
  return `## ${title}\n\n${lines.map(cells => `| ${cells.join(' | ')} |`).join('\n')}\n`
}

/** The median over rounds of the ratio within a round, since load on the machine affects a whole round. */
function ratio(own: readonly Sample[], other: readonly Sample[]): string {
  const quotients = own.flatMap((sample, i) => (other[i] ? [sample.micros / other[i].micros] : []))
  return quotients.length > 0 ? median(quotients).toFixed(2) : ''
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]]
  return low === undefined || high === undefined ? Number.NaN : (low + high) / 2
}
