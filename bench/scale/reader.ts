/**
 * One Starlane of such a mesh, whole, in a process of its own that takes orders by IPC message. Tells when it is ready, how long
 * sampled changes took to its directory, and what it used meanwhile.
 */
import { readFileSync } from 'node:fs'
import { PerformanceObserver } from 'node:perf_hooks'
import { loadConfig } from '../../proxy/config/load.ts'
import { silentLog } from '../../proxy/model/log.ts'
import { settleHeap } from '../../proxy/model/program/heap.ts'
import { systemClock } from '../../proxy/model/time/clock.ts'
import { createRuntime, type Runtime } from '../../proxy/runtime.ts'
import { seenAt } from './probe.ts'
import type { Sample } from './publishers.ts'

export type Order =
  | { readonly start: { readonly config: string; readonly services: number } }
  | { readonly sample: Sample }
  | { readonly reset: true }
  | { readonly figures: true }

export interface Figures {
  /** Of JavaScript's thread, and of all threads of the process, in milliseconds. */
  readonly threadCpuMs: number
  readonly cpuMs: number
  readonly delays: readonly number[]
  /** Samples that have not been seen. */
  readonly missing: number
  /** Rounds of the event loop by their time of CPU, the longest; how many took over 20 ms; the longest collection. */
  readonly pauseMs: number
  readonly longPauses: number
  readonly collectionMs: number
  readonly rssMiB: number
  readonly heapMiB: number
}

const longMs = 20

let runtime: Runtime | undefined
let samples: Sample[] = []
let thread = process.threadCpuUsage()
let all = process.cpuUsage()
let round = cpuOf(process.threadCpuUsage())
let [pauseMs, longPauses, collectionMs] = [0, 0, 0]

new PerformanceObserver(list => {
  for (const { duration } of list.getEntries()) collectionMs = Math.max(collectionMs, duration)
}).observe({ entryTypes: ['gc'] })

process.on('message', async (order: Order) => {
  if ('start' in order) await start(order.start.config, order.start.services)
  else if ('sample' in order) samples.push(order.sample)
  else if ('reset' in order) reset()
  else process.send?.({ figures: figures() })
})
process.on('disconnect', () => process.exit())
// For --cpu-prof, which writes at an exit.
process.on('SIGTERM', () => process.exit())

async function start(config: string, services: number): Promise<void> {
  const began = performance.now()
  const cpu = process.cpuUsage()
  runtime = await createRuntime({
    loaded: await loadConfig(config, process.env),
    log: silentLog,
    version: 'bench',
    env: {},
  })
  // As `starlane run` does.
  settleHeap(systemClock, runtime.ready)
  // Until here nothing is served.
  round = cpuOf(process.threadCpuUsage())
  look()
  await runtime.start()
  await runtime.ready
  const readyMs = performance.now() - began
  while (!isSynced(runtime, services)) await new Promise(resolve => setTimeout(resolve, 500))
  const known = { ...figures(), readyMs, ms: performance.now() - began, cpuMs: cpuOf(process.cpuUsage(cpu)) }
  process.send?.({ synced: known })
}

function isSynced(running: Runtime, services: number): boolean {
  const { clusters } = running.status()
  // The work of this look is not the product's.
  round = cpuOf(process.threadCpuUsage())
  return clusters.every(({ link }) => link.state === 'live') && (clusters[0]?.services ?? 0) >= services
}

/** A timer of a millisecond: what the thread has worked since the last one is what a timer, or a client, had to wait for. */
function look(): void {
  const now = cpuOf(process.threadCpuUsage())
  pauseMs = Math.max(pauseMs, now - round)
  if (now - round > longMs) longPauses++
  round = now
  setTimeout(look, 1)
}

function reset(): void {
  samples = []
  seenAt.clear()
  pauseMs = longPauses = collectionMs = 0
  thread = process.threadCpuUsage()
  all = process.cpuUsage()
}

function figures(): Figures {
  const seen = samples.flatMap(({ address, at }) => {
    const when = seenAt.get(address)
    return when === undefined ? [] : Math.max(0, when - at)
  })
  return {
    threadCpuMs: cpuOf(process.threadCpuUsage(thread)),
    cpuMs: cpuOf(process.cpuUsage(all)),
    delays: seen.sort((a, b) => a - b),
    missing: samples.length - seen.length,
    ...{ pauseMs, longPauses, collectionMs },
    rssMiB: Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024,
    heapMiB: process.memoryUsage().heapUsed / 2 ** 20,
  }
}

function cpuOf({ user, system }: { readonly user: number; readonly system: number }): number {
  return (user + system) / 1000
}
