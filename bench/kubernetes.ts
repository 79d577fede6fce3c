/**
 * Benchmark of the Kubernetes source: reads many clusters at once, then follows a steady stream of changes.
 *
 *   node bench/kubernetes.ts [--clusters 10 --services 5000 --endpoints 100000 --churn 500 --seconds 20]
 *
 * Every cluster has every service. Figures: time until all services are in the directory, resident memory and CPU, and time
 * from a write in an API server to its change in the directory (p50, p99). The API servers are the small ones of the tests, in
 * a process of their own, so that the CPU time is Starlane's alone.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { Mesh } from '../proxy/mesh/mesh.ts'
import { silentLog } from '../proxy/model/log.ts'
import { systemClock } from '../proxy/model/time/clock.ts'
import { createKubernetesSource } from '../proxy/sources/kubernetes/kubernetes-source.ts'
import { commandLine } from '../scripts/command-line.ts'
import { thisMachine } from './report/machine.ts'

const { values } = commandLine(import.meta.url, {
  options: {
    clusters: { type: 'string', default: '10' },
    services: { type: 'string', default: '5000' },
    endpoints: { type: 'string', default: '100000' },
    churn: { type: 'string', default: '500' },
    seconds: { type: 'string', default: '20' },
  },
})
const [clusterCount, services, endpoints, perSecond, seconds] = [
  Number(values.clusters),
  Number(values.services),
  Number(values.endpoints),
  Number(values.churn),
  Number(values.seconds),
]

const server = fork(new URL('../test/support/kube-api/load.ts', import.meta.url), {
  execArgv: ['--max-old-space-size=8192'],
})
const folder = mkdtempSync(join(tmpdir(), 'starlane-bench-'))
try {
  const perService = Math.round(endpoints / services / clusterCount)
  const { urls } = await order<{ urls: string[] }>({
    fill: { clusters: clusterCount, services, endpoints: perService },
  })
  report(await measure(urls))
} finally {
  server.kill()
  rmSync(folder, { recursive: true })
}

interface Figures {
  readonly syncedMs: number
  readonly syncCpuMs: number
  readonly grownMiB: number
  readonly rssMiB: number
  readonly delays: readonly number[]
  readonly changes: number
  readonly churnCpuPercent: number
  readonly rssAfterMiB: number
}

async function measure(urls: readonly string[]): Promise<Figures> {
  const before = rss()
  const cpuBefore = process.cpuUsage()
  const begun = performance.now()
  const { mesh, close } = joinAll(urls)
  await synced(mesh)
  const syncedMs = performance.now() - begun
  const syncCpuMs = cpuMs(cpuBefore)
  const rssMiB = rss()

  const delays: number[] = []
  const seen = new Map<string, string>()
  mesh.directory.onChange(changes => {
    const now = (performance.timeOrigin + performance.now()) * 1000
    for (const { after } of changes) {
      for (const { key, hostname } of after?.backends ?? []) {
        if (hostname === undefined || seen.get(key) === hostname) continue
        seen.set(key, hostname)
        if (hostname.startsWith('t')) delays.push((now - Number(hostname.slice(1))) / 1000)
      }
    }
  })
  const cpuChurn = process.cpuUsage()
  const churnBegun = performance.now()
  const { changes } = await order<{ changes: number }>({ churn: { perSecond, seconds } })
  await arrived(delays, changes)
  const churnCpuPercent = (100 * cpuMs(cpuChurn)) / (performance.now() - churnBegun)
  const figures = {
    syncedMs,
    syncCpuMs,
    grownMiB: rssMiB - before,
    rssMiB,
    changes,
    churnCpuPercent,
    rssAfterMiB: rss(),
  }
  await close()
  return { ...figures, delays: delays.sort((a, b) => a - b) }
}

function joinAll(urls: readonly string[]) {
  const clusters = urls.map((_, i) => ({ name: `cluster-${i + 1}`, id: i + 1, local: i === 0 }))
  const mesh = new Mesh({
    clusters,
    staleAfterMs: 600_000,
    services: 'global',
    health: () => 'unknown',
    clock: systemClock,
    log: silentLog,
  })
  const sources = clusters.map(({ name }, i) => {
    const kubeconfig = join(folder, name)
    const entry = {
      clusters: [{ name, cluster: { server: urls[i] } }],
      contexts: [{ name, context: { cluster: name } }],
    }
    writeFileSync(kubeconfig, JSON.stringify({ 'current-context': name, ...entry }))
    const world = { clock: systemClock, random: Math.random, log: silentLog, env: {} }
    const source = createKubernetesSource({ cluster: name, kubeconfig }, world)
    source.start(mesh.sink(name))
    return source
  })
  const close = async () => {
    await Promise.all(sources.map(source => source.close()))
    mesh.close()
  }
  return { mesh, close }
}

/** Waits until every change is in the directory, two seconds at most: changes of one slice may arrive as one. */
async function arrived(delays: readonly number[], changes: number): Promise<void> {
  const deadline = performance.now() + 2000
  while (delays.length < changes && performance.now() < deadline) await wait(5)
}

/** Waits until every service has the backends of every cluster. */
async function synced(mesh: Mesh): Promise<void> {
  const wanted = Math.round(endpoints / services / clusterCount) * clusterCount
  for (;;) {
    await wait(5)
    if (mesh.directory.size < services) continue
    if ([...mesh.directory.services()].every(({ backends }) => backends.length === wanted)) return
  }
}

async function order<T>(message: object): Promise<T> {
  server.send(message)
  const [answer] = await once(server, 'message')
  return answer as T
}

function report(figures: Figures): void {
  const { syncedMs, syncCpuMs, grownMiB, rssMiB, delays, changes, churnCpuPercent, rssAfterMiB } = figures
  const { cpu, cores, memoryGiB, kernel, node } = thisMachine()
  const page = `# Kubernetes benchmark

${new Date().toISOString()}, written by \`node bench/kubernetes.ts\`: ${clusterCount} clusters that all have ${services} services, with
${endpoints} endpoints in all; then ${perSecond} endpoint changes per second for ${seconds} s. The API servers are the small ones of the tests, in one
process on the same cores.

${cpu}, ${cores} cores, ${memoryGiB} GiB; kernel ${kernel}; Node ${node}.

| | |
| --- | --: |
| time until all is in the directory | ${(syncedMs / 1000).toFixed(2)} s |
| CPU time until then | ${(syncCpuMs / 1000).toFixed(2)} s |
| memory then | ${Math.round(rssMiB)} MiB, ${Math.round(grownMiB)} MiB of growth |
| changes made, changes seen | ${changes}, ${delays.length} |
| write to directory, p50 | ${at(delays, 0.5).toFixed(1)} ms |
| p99 | ${at(delays, 0.99).toFixed(1)} ms |
| maximum | ${at(delays, 1).toFixed(1)} ms |
| CPU while following | ${churnCpuPercent.toFixed(0)} % of a core |
| memory at the end | ${Math.round(rssAfterMiB)} MiB |
`
  const results = new URL('results/', import.meta.url)
  mkdirSync(results, { recursive: true })
  writeFileSync(new URL('kubernetes.md', results), page)
  console.log(page)
}

function at(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

function rss(): number {
  global.gc?.()
  return process.memoryUsage().rss / 2 ** 20
}

function cpuMs(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since)
  return (user + system) / 1000
}
