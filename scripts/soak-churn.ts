/**
 * Soak test of a whole Starlane: services, endpoints and clusters come and go, the configuration is reloaded, sources are lost and
 * come back, under load of all kinds. A day of an ordinary mesh is simulated by rate: 25 rounds an hour, in each of which some 13
 * services and the pods of two others change; five reloads, of which some bring or remove a cluster, and two losses of a source an hour.
 *
 *     npm run soak:churn -- --engine=native --hours=24
 *     npm run soak:churn -- --hours=24 --restartEvery=60      a new process takes over after so many rounds
 *     npm run soak:churn -- --minutes=5                       as much of the 24 hours as passes in that time
 *
 * After each round memory, descriptors and threads of the process are noted, and after every tenth the heap in use and the timers that
 * wait, after a collection. Prints the slope of each over the second half, with its 95% confidence interval, and exits with 1 when one
 * surely grows: the whole interval lies above what is allowed. Descriptors and timers come and go with the load, so what counts of them is the
 * least of ten samples, which a leak raises. With restarts each process counts once, as it is at its end. Two heap
 * snapshots are compared: after a quarter of the rounds and at the end, both in the same state of the manifests.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Classes, growthOf, Heap } from './faults/heap.ts'
import { connections, datagrams, failures, probes, questions, tallyText } from './faults/load.ts'
import { type Slope, slopeOf } from './faults/slope.ts'
import { type Engine, Stage, type Starlane } from './faults/stage.ts'

const { values } = parseArgs({
  options: {
    engine: { type: 'string', default: 'native' },
    hours: { type: 'string', default: '24' },
    /** Ends after so long, if it takes longer. */
    minutes: { type: 'string', default: '600' },
    /** 0: one process from start to end. */
    restartEvery: { type: 'string', default: '0' },
    perSecond: { type: 'string', default: '200' },
    /** What memory may grow by in the second half. */
    mebibytes: { type: 'string', default: '8' },
    descriptors: { type: 'string', default: '2' },
    timers: { type: 'string', default: '5' },
  },
})
let rounds = Number(values.hours) * 25
const endAt = performance.now() + Number(values.minutes) * 60_000
const restartEvery = Number(values.restartEvery)
const heapMebibytes = 80
/** By then every kind of change has come several times. */
const firstSnapshot = 100
const stage = new Stage({ engine: values.engine as Engine, drain: '1s' })
const ips = Array.from({ length: 8 }, (_, i) => stage.ip(10 + i))
for (const ip of ips) await Promise.all([stage.echo(ip), stage.udpEcho(ip)])
declare(0)
// V8 lets an unlimited heap grow for minutes before it collects: that is no leak, and would look like one.
const env = { NODE_OPTIONS: `--max-old-space-size=${heapMebibytes} --inspect=127.0.0.1:0` }
mkdirSync(join(stage.folder, 'cluster-3'))
let starlane = stage.run(undefined, env)
await starlane.logged('ready')
let heap = await Heap.of(starlane)
const replaced: Starlane[] = []
const loads = [
  connections(stage.tcp, Number(values.perSecond)),
  datagrams(stage.udp, 100, Number(values.perSecond)),
  questions(stage.dns, 'tcp.default.svc.cluster.local', Number(values.perSecond)),
  probes(stage.admin, '/metrics', 2),
]
const memory: number[] = []
const descriptors: number[] = []
const threads: number[] = []
const used: number[] = []
const timers: number[] = []
let first: Classes | undefined
for (let round = 1; round <= rounds; round++) {
  // Both snapshots are taken in the same state of the manifests, which comes again every 20 rounds.
  if (performance.now() > endAt && round % 20 === 0) rounds = round
  declare(round)
  if (round % 5 === 0) {
    const names = ['cluster-1', 'cluster-2', ...(round % 10 === 0 ? ['cluster-3'] : [])]
    stage.write({
      clusters: names.map((name, i) => ({ name, id: i + 1, source: { manifests: `./${name}` } })),
      proxy: { limits: { connections: 9000 + (round % 100) } },
      health: { active: { interval: `${2 + (round % 3)}s` } },
    })
    starlane.child.kill('SIGHUP')
  }
  if (round % 10 === 0) move('cluster-2', 'cluster-2-away')
  if (round % 10 === 4) move('cluster-2-away', 'cluster-2')
  await new Promise(resolve => setTimeout(resolve, 250))
  const ends = restartEvery > 0 && round % restartEvery === 0
  if (restartEvery === 0 || ends) {
    memory.push(residentMebibytes(starlane.pid))
    descriptors.push(Stage.descriptors(starlane.pid).length)
    threads.push(readdirSync(`/proc/${starlane.pid}/task`).length)
  }
  if (restartEvery === 0 ? round % 10 === 0 : ends) {
    used.push(await heap.usedMebibytes())
    timers.push(await heap.timers())
  }
  // With the same round of the manifests as at the end, but for what depends on its number.
  if (
    first === undefined &&
    round >= Math.min(rounds / 4, firstSnapshot) &&
    round % 20 === 0 &&
    (restartEvery === 0 || ends)
  )
    first = await heap.snapshot()
  if (round % 50 === 0 || ends)
    console.log(
      `round ${round}: ${memory.at(-1)?.toFixed(1)} MiB, heap ${used.at(-1)?.toFixed(1)} MiB, ${descriptors.at(-1)} descriptors, ${timers.at(-1)} timers`,
    )
  if (!ends || round === rounds) continue
  heap.close()
  replaced.push(starlane)
  starlane = stage.run(undefined, env)
  await starlane.logged('ready')
  heap = await Heap.of(starlane)
  await replaced.at(-1)?.ended
}
const last = await heap.snapshot()
heap.close()
const tallies = await Promise.all(loads.map(load => load.stop()))
for (const tally of tallies) console.log(tallyText(tally))
const grown = [
  verdict('memory, MiB', memory, Number(values.mebibytes)),
  verdict('descriptors', leastOf(descriptors), Number(values.descriptors)),
  verdict('threads', threads, 0.5),
  verdict('heap in use, MiB', used, Number(values.mebibytes)),
  verdict('timers', leastOf(timers), Number(values.timers)),
]
console.log(`${rounds} rounds, ${(rounds / 25).toFixed(1)} hours`)
if (first) console.log(['what has grown between two heap snapshots:', ...growthOf(first, last)].join('\n  '))
if (restartEvery > 0) console.log(`${replaced.length} restarts, processes left over: ${stage.running - 1}`)
await stage.close()
process.exit(grown.includes(true) || tallies.some(tally => failures(tally) > 0) ? 1 : 0)

/** The endpoints of the two services that have load, a backend of each cluster at least, and other services that come and go. */
function declare(round: number): void {
  const some = (from: number) => ips.slice(from, from + 4).filter((_, i) => i === 0 || (round >> i) % 2 === 0)
  const isAway = round % 10 === 0 || (round % 10 < 4 && round >= 10)
  const pods = { 'cluster-1': some(0), 'cluster-2': isAway ? [] : some(4) }
  stage.declare('tcp', { ...pods, 'cluster-3': [ips[7] ?? ''] })
  stage.declare('udp', pods)
  for (let i = 0; i < 20; i++) {
    const name = `passing-${i}`
    if ((round + i) % 3 === 0) rmSync(join(stage.folder, 'cluster-1', `${name}.yaml`), { force: true })
    else stage.declareOther(name, round % 7 === 0 ? 9100 + i : 9000 + i, [ips[(round + i) % 4] ?? ''])
  }
}

function move(from: string, to: string): void {
  try {
    renameSync(join(stage.folder, from), join(stage.folder, to))
  } catch {} // it is not away
}

function residentMebibytes(pid: number): number {
  const [, kibibytes = '0'] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kibibytes) / 1024
}

/** The least of each ten, or with few samples of each three. */
function leastOf(samples: readonly number[]): number[] {
  const size = samples.length >= 100 ? 10 : 3
  const starts = Array.from({ length: Math.floor(samples.length / size) }, (_, i) => i * size)
  return starts.map(from => Math.min(...samples.slice(from, from + size)))
}

/** Whether it surely grows by more than `allowed` in the second half. */
function verdict(what: string, samples: readonly number[], allowed: number): boolean {
  const half = samples.slice(samples.length >> 1)
  const { perSample, plusMinus }: Slope = slopeOf(half)
  const [growth, doubt] = [perSample * half.length, plusMinus * half.length]
  console.log(
    `${what}: ${growth.toFixed(2)} ± ${doubt.toFixed(2)} in the last ${half.length} samples, ${allowed} allowed`,
  )
  return growth - doubt > allowed
}
