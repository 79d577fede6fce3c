/**
 * Soak test of a whole Starlane: services, endpoints and clusters come and go, the configuration is reloaded, sources are lost and
 * come back, under load of all kinds. A day of an ordinary mesh is simulated by rate: 25 rounds an hour, in each of which some 13
 * services and the pods of two others change; five reloads, of which some bring or remove a cluster, and two losses of a source an hour.
 *
 *     npm run soak:churn -- --engine=native --hours=24
 *     npm run soak:churn -- --hours=24 --restartEvery=60      a new process takes over after so many rounds
 *     npm run soak:churn -- --minutes=5                       as much of the 24 hours as passes in that time
 *
 * Clients, backends and Starlane are processes of their own, in a network namespace of their own where that is permitted. A client waits
 * for 20 s. Of connections that fail, those are told apart during which a process had no processor half of the time, as the kernel has
 * counted; of datagrams, those for which no socket had room: this machine is too busy then. Any other failure ends the run with 1.
 *
 * After each round memory and threads of the process are noted. Every 20 rounds, each time in the same state of the manifests, clients rest: once
 * nothing is in progress, its descriptors are noted, and after a collection the heap in use and the timers that wait. Prints the slope of
 * each over the second half, with its 95% confidence interval, and exits with 1 when one surely grows: the whole interval lies above what
 * is allowed. With restarts each process counts once, as it is at its end. Two heap snapshots are compared: after a sixth of the rounds and
 * at the end.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { enterNamespace } from '../../bench/namespace.ts'
import { commandLine } from '../command-line.ts'
import { failures, type Tally, tallyText } from '../faults/load.ts'
import { type Engine, Stage, type Starlane } from '../faults/stage.ts'
import { Waiting } from '../faults/waiting.ts'
import { Clients } from './clients.ts'
import { type Classes, growthOf, Heap } from './heap.ts'
import { type Slope, slopeOf } from './slope.ts'

const { values } = commandLine(import.meta.url, {
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
enterNamespace()
let rounds = Number(values.hours) * 25
const beganAt = performance.now()
const endAt = beganAt + Number(values.minutes) * 60_000
const restartEvery = Number(values.restartEvery)
const heapMebibytes = 80
/** After so many rounds the manifests are the same again, but for what depends on the bits of the number. */
const cycle = 20
/** UDP sessions end after 5 s of idleness. */
const settleMs = 6000
const patienceMs = 20_000
/** Full before the first snapshot of the heap. */
const recorder = { size: 1024 }
const stage = new Stage({ engine: values.engine as Engine, drain: '10s', isPatient: true, config: { recorder } })
const ips = Array.from({ length: 8 }, (_, i) => stage.ip(10 + i))
const backendsPid = await stage.backends(ips)
declare(0)
// V8 lets an unlimited heap grow for minutes before it collects: that is no leak, and would look like one.
const env = { NODE_OPTIONS: `--max-old-space-size=${heapMebibytes} --inspect=127.0.0.1:0` }
mkdirSync(join(stage.folder, 'cluster-3'))
let starlane = stage.run(undefined, env)
await starlane.logged('ready')
let heap = await Heap.of(starlane)
const replaced: Starlane[] = []
const clients = Clients.start({ ...stage, perSecond: Number(values.perSecond), patienceMs })
const waiting = new Waiting(() => [starlane.pid, clients.pid, backendsPid])
const memory: number[] = []
const descriptors: number[] = []
const threads: number[] = []
const used: number[] = []
const timers: number[] = []
let first: Classes | undefined
for (let round = 1; round <= rounds; round++) {
  if (performance.now() > endAt && round % cycle === 0) rounds = round
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
    threads.push(readdirSync(`/proc/${starlane.pid}/task`).length)
  }
  if (restartEvery === 0 ? round % cycle !== 0 : !ends) continue
  await clients.rest()
  descriptors.push(await settled(() => Stage.descriptors(starlane.pid).length))
  used.push(await heap.usedMebibytes())
  timers.push(await heap.timers())
  if (first === undefined && round >= rounds / 6) first = await heap.snapshot()
  clients.goOn()
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
const tallies = await clients.rest()
await settled(() => Stage.descriptors(starlane.pid).length)
const last = await heap.snapshot()
heap.close()
clients.close()
waiting.stop()
const lost = tallies.map(unexplained)
const grown = [
  verdict('memory, MiB', memory, Number(values.mebibytes)),
  verdict('descriptors', descriptors, Number(values.descriptors)),
  verdict('threads', threads, 0.5),
  verdict('heap in use, MiB', used, Number(values.mebibytes)),
  verdict('timers', timers, Number(values.timers)),
]
const minutes = (performance.now() - beganAt) / 60_000
console.log(
  `${values.engine}: ${rounds} rounds, ${(rounds / 25).toFixed(1)} hours in ${minutes.toFixed(1)} minutes; the most delayed thread waited for a processor ${(100 * waiting.share).toFixed(0)}% of the time`,
)
if (first) console.log(['what has grown between two heap snapshots:', ...growthOf(first, last)].join('\n  '))
if (restartEvery > 0) console.log(`${replaced.length} restarts, processes left over: ${stage.running - 1}`)
await stage.close()
process.exit(grown.includes(true) || lost.some(count => count > 0) ? 1 : 0)

/** Prints what became of these clients. Returns how many failed for which a busy machine is no reason. */
function unexplained(tally: Tally): number {
  const areDatagrams = tally.kind === 'udp' || tally.kind === 'dns'
  const excused = areDatagrams ? waiting.droppedDatagrams : waiting.starved(tally.losses).length
  const why = areDatagrams ? 'datagrams that no socket had room for' : 'had no processor'
  console.log(`${tallyText(tally)}${failures(tally) > 0 ? `; ${excused} ${why}` : ''}`)
  for (const { since, at, error } of tally.losses.slice(0, 20))
    console.log(
      `  ${error} after ${Math.round(at - since)} ms, of which ${waiting.waitedMs(since, at)} without a processor`,
    )
  return Math.max(0, failures(tally) - excused)
}

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

/** Resolves with the least that was seen, once it has not fallen for longer than a UDP session may be idle. */
async function settled(count: () => number): Promise<number> {
  for (let [least, since] = [count(), performance.now()]; ; await new Promise(resolve => setTimeout(resolve, 50))) {
    const now = count()
    if (now < least) [least, since] = [now, performance.now()]
    if (performance.now() - since > settleMs) return least
  }
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
