/**
 * Queries per second and CPU per query, side by side with the servers that people use, under one load generator.
 *
 *   npm run bench:dns [-- --rounds 6 --seconds 2 --services 5000]
 *
 * Rounds alternate, forward and backward, and only figures of one run compare: the machine is never quite the same twice.
 * CPU per query is the robust figure; queries per second at this depth are partly dnsperf's own limit.
 */
import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { cpus, release, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Contender, kinds, start } from './dns/contenders.ts'
import { hostileCosts } from './dns/hostile.ts'
import { serviceName } from './dns/names.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '6' },
    seconds: { type: 'string', default: '2' },
    services: { type: 'string', default: '5000' },
    changes: { type: 'string', default: '100' },
    only: { type: 'string', default: '' },
  },
})
const [rounds, seconds, services, changes] = [values.rounds, values.seconds, values.services, values.changes].map(
  Number,
) as [number, number, number, number]
/** Below the ports that clients get, so that no client sits on one. */
const firstPort = 15_300

interface Sample {
  readonly micros: number
  readonly perSecond: number
  readonly lost: number
}

if (spawnSync('dnsperf', ['-h']).error) {
  console.error('bench:dns needs dnsperf (Debian: apt-get install dnsperf unbound dnsmasq-base)')
  process.exit(2)
}
const folder = await mkdtemp(join(tmpdir(), 'starlane-bench-dns-'))
const contenders: Contender[] = []
try {
  const wanted = kinds(services, changes).filter(kind => kind.name.includes(values.only))
  for (const [i, kind] of wanted.entries()) {
    const contender = await start(kind, folder, firstPort + i)
    if (contender) contenders.push(contender)
    else console.log(`${kind.name} is not installed`)
  }
  await report(await measure(await writeLoads()))
} finally {
  await Promise.all(contenders.map(contender => contender.stop()))
  await rm(folder, { recursive: true })
}

type Load = readonly [name: string, file: string]

async function writeLoads(): Promise<Load[]> {
  const names = (count: number, name: (i: number) => string) => Array.from({ length: count }, (_, i) => `${name(i)} A`)
  const loads: [string, string[]][] = [
    ['100 names', names(100, serviceName)],
    [`${services} names`, names(services, serviceName)],
    [`${services} missing names`, names(services, i => `missing-${i}.default.svc.cluster.local`)],
  ]
  return Promise.all(
    loads.map(async ([name, lines], i): Promise<Load> => {
      const file = join(folder, `load-${i}`)
      await writeFile(file, `${lines.join('\n')}\n`)
      return [name, file]
    }),
  )
}

async function measure(loads: readonly Load[]): Promise<Map<string, Sample[]>> {
  const samples = new Map<string, Sample[]>()
  for (const contender of contenders) for (const [, file] of loads) perform(contender, file, 0.5)
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? contenders : contenders.toReversed()
    for (const [load, file] of loads) {
      for (const contender of order) {
        const key = `${contender.name}|${load}`
        samples.set(key, [...(samples.get(key) ?? []), perform(contender, file, seconds)])
      }
    }
  }
  return samples
}

function perform(contender: Contender, file: string, limit: number): Sample {
  const before = contender.cpu()
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
      '8',
      '-T',
      '1',
      '-q',
      '100',
    ],
    { encoding: 'utf8' },
  )
  const read = (label: string) => Number(new RegExp(`${label}:\\s+([\\d.]+)`).exec(stdout)?.[1])
  const completed = read('Queries completed')
  return {
    micros: ((contender.cpu() - before) * 1e6) / completed,
    perSecond: read('Queries per second'),
    lost: read('Queries lost'),
  }
}

async function report(samples: ReadonlyMap<string, Sample[]>): Promise<void> {
  const loads = [...new Set([...samples.keys()].map(key => key.split('|')[1] ?? ''))]
  const rows = loads.flatMap(load =>
    contenders.map(({ name }) => {
      const own = samples.get(`${name}|${load}`) ?? []
      const over = (other: string) => ratio(own, samples.get(`${other}|${load}`) ?? [])
      return {
        load,
        server: name,
        'CPU us/query': round(median(own.map(s => s.micros)), 2),
        'x bare': over('bare node:dgram'),
        'x unbound': over('unbound'),
        'x dnsmasq': over('dnsmasq'),
        'queries/s': Math.round(median(own.map(s => s.perSecond))),
        lost: own.reduce((sum, s) => sum + s.lost, 0),
      }
    }),
  )
  console.table(rows)
  const hostile = hostileCosts().map(([packet, micros]) => ({ packet, us: round(micros, 2) }))
  console.table(hostile)
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, kernel: release(), node: process.version }
  await mkdir('bench/results', { recursive: true })
  await writeFile(
    'bench/results/dns.json',
    `${JSON.stringify({ machine, rounds, seconds, services, rows, hostile }, null, 2)}\n`,
  )
}

/** The median over rounds of the quotient within a round, since what disturbs one disturbs its neighbours. */
function ratio(own: readonly Sample[], other: readonly Sample[]): number | undefined {
  const quotients = own.flatMap((sample, i) => (other[i] ? [sample.micros / other[i].micros] : []))
  return quotients.length > 0 ? round(median(quotients), 2) : undefined
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits))
}
