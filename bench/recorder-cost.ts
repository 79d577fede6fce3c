/**
 * What the recorder costs, and beside it the counts of `starlane top`: nanoseconds per flow and per DNS question, and bytes per record that is kept. Each round runs the same
 * events with and without the recorder, one after the other, and the median of the differences counts, so that other work of
 * the machine falls on both. Exits with 1 beyond 300 ns or 200 bytes. Run: npm run bench:recorder
 */
import { createChain } from '../proxy/chain/chain.ts'
import { nameOf, readQuery } from '../proxy/dns/message/query.ts'
import type { Backend } from '../proxy/model/backend.ts'
import type { Flow, FlowObserver } from '../proxy/model/flow.ts'
import { silentLog } from '../proxy/model/log.ts'
import { refusal } from '../proxy/model/refusal.ts'
import { systemClock } from '../proxy/model/time/clock.ts'
import { Recorder } from '../proxy/recorder/recorder.ts'
import { TrafficCounts } from '../proxy/recorder/traffic-counts.ts'
import { commandLine } from '../scripts/command-line.ts'
import { backendsOf, flowTo, serviceOf } from './choose-fixture.ts'

commandLine(import.meta.url, {})

/** One list for all questions: the responder keeps it with the reply, whoever asks. */
const answered: readonly string[] = ['10.96.0.10']
const mostNs = 300
const mostBytes = 200
const rounds = 61
const perRound = 5000
const size = 65_536

const service = serviceOf(0, backendsOf(10, 0))
const backend = service.backends[0] as Backend
const newRecorder = () => new Recorder({ size, rate: 1_000_000_000, questions: true }, systemClock)
const directory = {
  ...{ service: () => service, services: () => [service].values(), size: 1 },
  ...{ hasNamespace: () => true, servicesAt: () => [] },
  ...{ hasPod: () => false, synced: true, changedAt: 0, onChange: () => () => {} },
}
const other: Partial<FlowObserver> = { result: () => {}, closed: () => {}, refused: () => {} }
const chainWith = (observers: readonly Partial<FlowObserver>[]) =>
  createChain({
    ...{ plugins: [], directory, clock: systemClock, log: silentLog, observers },
    balancer: () => ({ pick: (_, backends) => backends[0] as Backend }),
  })

const counts = new TrafficCounts(directory, systemClock)

interface OneFlow extends Flow {
  record: number
}

/** As an engine makes them: an object of its own for each flow, and a text of its own for each client. */
function newFlow(i: number): OneFlow {
  const { frontend } = flowTo(service, 0)
  const client = { address: `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`, port: 40_000 }
  return { id: i, client, service, frontend, tried: [], record: 0 }
}

let made = 0
const connected = { outcome: 'connected', ms: 0.4 } as const
const totals = { sent: 120, received: 4096, ms: 3.5, reason: 'done' } as const
const refused = refusal('limit', '10000 connections are open, the limit')

type Run = (observer: ReturnType<typeof chainWith>, flow: OneFlow) => void
const runs: Record<string, Run> = {
  'a connection': (chain, flow) => {
    chain.connecting(flow, backend)
    chain.result(flow, backend, connected)
    chain.closed(flow, backend, totals)
  },
  'a connection whose bytes are told once before': (chain, flow) => {
    chain.connecting(flow, backend)
    chain.result(flow, backend, connected)
    chain.carried(flow, backend, totals, totals)
    chain.closed(flow, backend, { ...totals, told: totals })
  },
  'a refused connection': (chain, flow) => chain.refused(flow, refused),
  'a connection at the second attempt': (chain, flow) => {
    chain.connecting(flow, backend)
    chain.result(flow, backend, { outcome: 'refused', ms: 0.2 })
    chain.connecting(flow, backend)
    chain.result(flow, backend, connected)
    chain.closed(flow, backend, totals)
  },
}

let failed = false
function say(what: string, value: number, most: number, unit: string): void {
  const isOver = value > most
  failed ||= isOver
  console.log(`${what.padEnd(52)} ${value.toFixed(0).padStart(5)} ${unit}${isOver ? `, more than ${most}` : ''}`)
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0
}

/** Nanoseconds of CPU time per call of `one`, over calls with what `make` has made before. */
function timed<T>(make: () => T, one: (input: T) => void): number {
  const inputs = Array.from({ length: perRound }, make)
  const before = process.cpuUsage()
  for (const input of inputs) one(input)
  const { user, system } = process.cpuUsage(before)
  return ((user + system) * 1000) / perRound
}

/** With less without, over rounds in turns. */
function paired<T>(make: () => T, without: (input: T) => void, with_: (input: T) => void): number {
  const differences: number[] = []
  for (let round = 0; round < rounds; round++) {
    const [first, second] = round % 2 === 0 ? [without, with_] : [with_, without]
    const [a, b] = [timed(make, first), timed(make, second)]
    if (round > 4) differences.push(round % 2 === 0 ? b - a : a - b)
  }
  return median(differences)
}

for (const [of, observer, most] of [
  ['recorder', newRecorder(), mostNs],
  ['counts of top', counts, Number.POSITIVE_INFINITY],
] as const) {
  for (const [what, run] of Object.entries(runs)) {
    const without = chainWith([other])
    const with_ = chainWith([other, observer])
    const ns = paired(
      () => newFlow(made++),
      flow => run(without, flow),
      flow => run(with_, flow),
    )
    say(`${of}: ${what}`, ns, most, 'ns')
  }
}
{
  const recorder = newRecorder()
  const client = { address: '10.0.0.7', port: 40_000 }
  const name = [...'rebel-base.default.svc.cluster.local'.split('.').map(l => String.fromCharCode(l.length) + l), '\0']
  const bytes = Buffer.from(`\0\x01\x01\0\0\x01\0\0\0\0\0\0${name.join('')}\0\x01\0\x01`, 'latin1')
  const query = readQuery(bytes)
  if (!query || 'rcode' in query) throw new Error('the query is not valid')
  let now = performance.now()
  say(
    'recorder: a DNS question',
    paired(
      () => (now += 0.01),
      () => {},
      at => {
        if (!recorder.wants(at)) return
        const { type } = query
        const made = {
          client,
          name: nameOf(query),
          type,
          transport: 'udp' as const,
          zone: 'cluster.local.',
          rcode: 0 as const,
          addresses: answered,
        }
        recorder.question({ ...made, bytes: 90, at, ms: 0.01 })
      },
    ),
    mostNs,
    'ns',
  )
}

/** What the ring holds when it is full, with a client of its own in each record. */
function heldBy(fill: (recorder: Recorder, i: number) => void): number {
  // The first time also compiles, and makes what stays.
  heldOnce(fill)
  return heldOnce(fill)
}

function heldOnce(fill: (recorder: Recorder, i: number) => void): number {
  const held = () => {
    for (let i = 0; i < 3; i++) globalThis.gc?.()
    const { heapUsed, arrayBuffers } = process.memoryUsage()
    return heapUsed + arrayBuffers
  }
  const before = held()
  const recorder = newRecorder()
  for (let i = 0; i < size; i++) fill(recorder, i)
  const after = held()
  // Both rings are there; only one was filled, and the other is of its least size in effect.
  if (recorder.flows.next + recorder.questions.next < size) throw new Error('not filled')
  return (after - before) / size
}
if (globalThis.gc) {
  const empty = heldBy(recorder => recorder.flows.next++)
  console.log(`${'both rings when empty, per record of each'.padEnd(52)} ${empty.toFixed(0).padStart(5)} bytes`)
  const flowBytes = heldBy((recorder, i) => {
    const flow = newFlow(i)
    recorder.result(flow, backend, connected)
    recorder.closed(flow, backend, totals)
  })
  const questionBytes = heldBy((recorder, i) => {
    const client = { address: `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`, port: 4000 }
    const name = Buffer.from(`\x0arebel-base\x07default\x03svc\x07cluster\x05local\0${i}`).toString('latin1', 0, 39)
    recorder.question({
      client,
      name,
      type: 1,
      transport: 'udp',
      zone: 'z',
      rcode: 0,
      addresses: answered,
      bytes: 9,
      at: 0,
      ms: 1,
    })
  })
  const ofRecord = 5 * 8 + 5 * 8
  say('a flow that is kept', flowBytes - empty + ofRecord, mostBytes, 'bytes')
  say('a DNS question that is kept', questionBytes - empty + (6 * 4 + 3 * 8), mostBytes, 'bytes')
}
process.exitCode = failed ? 1 : 0
