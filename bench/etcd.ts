/**
 * A mesh through one etcd, without flows: how long a reader takes until it is in step, how long a change of one cluster takes
 * to the directory that another's data path reads, and what it costs in memory.
 *
 *     node bench/etcd.ts --clusters=50 --services=200 --endpoints=20
 *
 * The publishers are in this process, the reader is in one of its own. Needs the program etcd. Prints one table.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Mesh } from '../proxy/mesh/mesh.ts'
import { systemClock } from '../proxy/model/clock.ts'
import { heartbeatKey } from '../proxy/model/clustermesh.ts'
import { silentLog } from '../proxy/model/log.ts'
import type { ClusterService } from '../proxy/model/service.ts'
import { createPublisher, type Publisher } from '../proxy/publish/publisher.ts'
import { connectEtcd } from '../proxy/sources/etcd/connect.ts'
import { createEtcdSource } from '../proxy/sources/etcd/etcd-source.ts'

const { values } = parseArgs({
  options: {
    clusters: { type: 'string', default: '50' },
    /** In each cluster; their names are the same everywhere. */
    services: { type: 'string', default: '200' },
    endpoints: { type: 'string', default: '20' },
    changes: { type: 'string', default: '400' },
    port: { type: 'string', default: '18379' },
    reader: { type: 'boolean', default: false },
  },
})
const [clusters, services, endpoints, changes, port] = (
  ['clusters', 'services', 'endpoints', 'changes', 'port'] as const
).map(name => Number(values[name])) as [number, number, number, number, number]
const url = `http://127.0.0.1:${port}`
const parts = { clock: systemClock, random: Math.random, log: silentLog }

if (values.reader) read()
else await measure()

async function measure(): Promise<void> {
  const data = mkdtempSync(join(tmpdir(), 'starlane-bench-'))
  const etcd = spawn('etcd', ['--data-dir', data, '--listen-client-urls', url, '--advertise-client-urls', url], {
    stdio: 'ignore',
  })
  const children: ChildProcess[] = [etcd]
  const publishers: Publisher[] = []
  try {
    await listening()
    const rows: [what: string, value: string][] = []
    const started = performance.now()
    for (let i = 0; i < clusters; i++) publishers.push(publisher(i))
    await until(() => publishers.every(p => p.state().state === 'publishing' && p.state().pending === 0))
    rows.push(['all clusters published', seconds(performance.now() - started)])

    const reader = fork(import.meta.filename, [...process.argv.slice(2), '--reader'])
    children.push(reader)
    const [synced] = (await once(reader, 'message')) as [Synced]
    rows.push([
      'one reader in step with all: time, and its CPU time',
      `${seconds(synced.ms)}, ${seconds(synced.cpuMs)}`,
    ])
    rows.push(['its memory (RSS), before and after', `${mebibytes(synced.before)}, ${mebibytes(synced.after)}`])

    const delays: number[] = []
    reader.on('message', (delay: number) => delays.push(delay))
    for (let i = 0; i < changes; i++) {
      const cluster = i % clusters
      publishers[cluster]?.put(service(cluster, i % services, { at: String(Date.now()) }))
      await sleep(20)
    }
    await until(() => delays.length >= changes)
    delays.sort((a, b) => a - b)
    const at = (share: number) => `${delays[Math.floor((delays.length - 1) * share)]} ms`
    rows.push(['change of one to the directory of another, p50', at(0.5)], ['p99', at(0.99)], ['worst', at(1)])
    rows.push(["etcd's memory (RSS)", mebibytes(rssOf(etcd.pid ?? 0))])
    rows.push(['memory of all publishers together (RSS)', mebibytes(process.memoryUsage.rss())])
    print(rows)
  } finally {
    await Promise.all(publishers.map(each => each.close()))
    for (const child of children) child.kill('SIGKILL')
    rmSync(data, { recursive: true, force: true })
  }
}

interface Synced {
  readonly ms: number
  readonly cpuMs: number
  readonly before: number
  readonly after: number
}

/** The other side: a mesh of all the clusters behind a local one that has every service too, as a stub. */
function read(): void {
  const remote = Array.from({ length: clusters }, (_, i) => ({ name: nameOf(i), id: i + 1, local: false }))
  const mesh = new Mesh({
    clusters: [{ name: 'local', id: 255, local: true }, ...remote],
    staleAfterMs: 0,
    services: 'global',
    health: () => 'unknown',
    ...parts,
  })
  const stubs = Array.from({ length: services }, (_, i) => ({ ...service(0, i), cluster: 'local', endpoints: [] }))
  mesh.sink('local').reset({ services: stubs, namespaces: [] })
  const before = process.memoryUsage.rss()
  const cpu = process.cpuUsage()
  const started = performance.now()
  let live = 0
  for (const { name, id } of remote) {
    const sink = mesh.sink(name)
    let isFirst = true
    const counted = {
      ...sink,
      reset: (snapshot: Parameters<typeof sink.reset>[0]) => {
        sink.reset(snapshot)
        if (isFirst && ++live === clusters) setImmediate(done)
        isFirst = false
      },
    }
    createEtcdSource({ cluster: name, id, endpoints: [url] }, parts).start(counted)
  }
  function done(): void {
    mesh.flush()
    const { user, system } = process.cpuUsage(cpu)
    const ms = performance.now() - started
    const after = process.memoryUsage.rss()
    process.send?.({ ms, cpuMs: (user + system) / 1000, before, after } satisfies Synced)
    const seen = new Set<string>()
    mesh.directory.onChange(change => {
      for (const { after } of change) {
        for (const { cluster, namespace, name, labels } of after?.members ?? []) {
          const news = `${cluster} ${namespace}/${name} ${labels.at}`
          if (labels.at === undefined || seen.has(news)) continue
          seen.add(news)
          process.send?.(Date.now() - Number(labels.at))
        }
      }
    })
  }
}

function publisher(index: number): Publisher {
  const made = createPublisher(
    { cluster: nameOf(index), clusterId: index + 1, slices: false, leaseMs: 900_000, writesPerSecond: 20 },
    { ...parts, open: signal => connectEtcd({ endpoints: [url] }, { ...parts, probe: heartbeatKey, signal }) },
  )
  made.reset(Array.from({ length: services }, (_, i) => service(index, i)))
  made.start()
  return made
}

function nameOf(cluster: number): string {
  return `cluster-${cluster + 1}`
}

function service(cluster: number, index: number, labels: Readonly<Record<string, string>> = {}): ClusterService {
  const ports = [{ name: 'http', protocol: 'TCP' as const, port: 80 }]
  return {
    cluster: nameOf(cluster),
    namespace: `ns-${index % 10}`,
    name: `service-${index}`,
    type: 'ClusterIP',
    headless: false,
    clusterIPs: [`10.${96 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`],
    ports,
    annotations: { 'service.cilium.io/global': 'true' },
    labels,
    publishNotReadyAddresses: false,
    internalTrafficPolicy: 'Cluster',
    endpoints: Array.from({ length: endpoints }, (_, i) => {
      const n = index * endpoints + i
      return {
        address: `${11 + cluster}.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`,
        ports: ports.map(given => ({ ...given, port: 8080 })),
        ready: true,
        serving: true,
        terminating: false,
      }
    }),
  }
}

async function listening(): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      const client = await connectEtcd({ endpoints: [url] }, { ...parts, probe: heartbeatKey })
      return client.close()
    } catch (error) {
      if (tries > 100) throw error
      await sleep(100)
    }
  }
}

async function until(check: () => boolean): Promise<void> {
  for (let waited = 0; !check(); waited += 10) {
    if (waited > 300_000) throw new Error('five minutes were not enough')
    await sleep(10)
  }
}

function rssOf(pid: number): number {
  const [, kib] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kib) * 1024
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MiB`
}

function print(rows: readonly (readonly [string, string])[]): void {
  console.log(`\n${clusters} clusters, ${services} services each, ${endpoints} endpoints each\n`)
  console.log('| | |\n|---|---|')
  for (const [what, value] of rows) console.log(`| ${what} | ${value} |`)
}
