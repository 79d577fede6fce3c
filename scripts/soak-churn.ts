/**
 * Soak test of a whole Starlane: services, endpoints and clusters come and go, the configuration is reloaded, sources are lost and
 * come back, under load of all kinds. A day of an ordinary mesh is simulated by rate.
 *
 *     npm run soak:churn -- --engine=native --rounds=600
 *
 * After each round memory, descriptors and threads of the process are noted. Prints the slope of each over the second half of the
 * rounds, with its 95% confidence interval, and exits with 1 when one surely grows: the whole interval lies above `--mebibytes`
 * (or `--descriptors`) in the second half.
 */
import { readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { connections, datagrams, failures, probes, questions, tallyText } from './faults/load.ts'
import { type Slope, slopeOf } from './faults/slope.ts'
import { type Engine, Stage } from './faults/stage.ts'

const { values } = parseArgs({
  options: {
    engine: { type: 'string', default: 'native' },
    rounds: { type: 'string', default: '600' },
    perSecond: { type: 'string', default: '200' },
    /** What memory may grow by in the second half. */
    mebibytes: { type: 'string', default: '8' },
    descriptors: { type: 'string', default: '2' },
  },
})
const rounds = Number(values.rounds)
const heapMebibytes = 80
const stage = new Stage({ engine: values.engine as Engine, drain: '1s' })
const ips = Array.from({ length: 8 }, (_, i) => stage.ip(10 + i))
for (const ip of ips) await Promise.all([stage.echo(ip), stage.udpEcho(ip)])
declare(0)
// V8 lets an unlimited heap grow for minutes before it collects: that is no leak, and would look like one.
const starlane = stage.run(undefined, { NODE_OPTIONS: `--max-old-space-size=${heapMebibytes}` })
await starlane.logged('ready')
const loads = [
  connections(stage.tcp, Number(values.perSecond)),
  datagrams(stage.udp, 100, Number(values.perSecond)),
  questions(stage.dns, 'tcp.default.svc.cluster.local', Number(values.perSecond)),
  probes(stage.admin, '/metrics', 2),
]
const memory: number[] = []
const descriptors: number[] = []
const threads: number[] = []
for (let round = 1; round <= rounds; round++) {
  declare(round)
  if (round % 5 === 0) {
    stage.write({
      proxy: { limits: { connections: 9000 + (round % 100) } },
      health: { active: { interval: `${2 + (round % 3)}s` } },
    })
    starlane.child.kill('SIGHUP')
  }
  if (round % 10 === 0) move('cluster-2', 'cluster-2-away')
  if (round % 10 === 4) move('cluster-2-away', 'cluster-2')
  await new Promise(resolve => setTimeout(resolve, 250))
  memory.push(residentMebibytes(starlane.pid))
  descriptors.push(Stage.descriptors(starlane.pid).length)
  threads.push(readdirSync(`/proc/${starlane.pid}/task`).length)
  if (round % 50 === 0)
    console.log(`round ${round}: ${memory.at(-1)?.toFixed(1)} MiB, ${descriptors.at(-1)} descriptors`)
}
const tallies = await Promise.all(loads.map(load => load.stop()))
for (const tally of tallies) console.log(tallyText(tally))
const grown = [
  verdict('memory, MiB', memory, Number(values.mebibytes)),
  verdict('descriptors', descriptors, Number(values.descriptors)),
  verdict('threads', threads, 0.5),
]
await stage.close()
process.exit(grown.includes(true) || tallies.some(tally => failures(tally) > 0) ? 1 : 0)

/** The endpoints of the two services that have load, a backend of each cluster at least, and other services that come and go. */
function declare(round: number): void {
  const some = (from: number) => ips.slice(from, from + 4).filter((_, i) => i === 0 || (round >> i) % 2 === 0)
  const isAway = round % 10 === 0 || (round % 10 < 4 && round >= 10)
  const pods = { 'cluster-1': some(0), 'cluster-2': isAway ? [] : some(4) }
  stage.declare('tcp', pods)
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

/** Whether it surely grows by more than `allowed` in the second half. */
function verdict(what: string, samples: readonly number[], allowed: number): boolean {
  const half = samples.slice(samples.length >> 1)
  const { perSample, plusMinus }: Slope = slopeOf(half)
  const [growth, doubt] = [perSample * half.length, plusMinus * half.length]
  console.log(
    `${what}: ${growth.toFixed(2)} ± ${doubt.toFixed(2)} in the last ${half.length} rounds, ${allowed} allowed`,
  )
  return growth - doubt > allowed
}
