/**
 * Benchmark of a mesh through one etcd, without flows: time until a reader is in sync, time from a change in one cluster to the
 * directory of another, and memory.
 *
 *     node bench/etcd.ts --clusters=50 --services=200 --endpoints=20 --cache
 *
 * The publishers run in this process, the reader in its own. With --cache, a third process copies all clusters into a second
 * etcd (KVStoreMesh), and a reader of that is measured too. Needs etcd on the PATH. Prints one table.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { heartbeatKey } from '../proxy/clients/clustermesh.ts'
import { connectEtcd } from '../proxy/clients/etcd/connect.ts'
import { Mesh } from '../proxy/mesh/mesh.ts'
import { silentLog } from '../proxy/model/log.ts'
import type { ClusterService } from '../proxy/model/service.ts'
import { systemClock } from '../proxy/model/time/clock.ts'
import { createPublisher, type Publisher } from '../proxy/publish/publisher.ts'
import { createEtcdCopy } from '../proxy/sources/etcd/etcd-copy.ts'
import { createEtcdSource } from '../proxy/sources/etcd/etcd-source.ts'
import { commandLine } from '../scripts/command-line.ts'

const { values } = commandLine(import.meta.url, {
  options: {
    clusters: { type: 'string', default: '50' },
    /** In each cluster; their names are the same everywhere. */
    services: { type: 'string', default: '200' },
    endpoints: { type: 'string', default: '20' },
    changes: { type: 'string', default: '400' },
    port: { type: 'string', default: '18379' },
    cache: { type: 'boolean', default: false },
    /** Set for the child processes only. */
    role: { type: 'string', default: 'all' },
  },
})
const [clusters, services, endpoints, changes, port] = (
  ['clusters', 'services', 'endpoints', 'changes', 'port'] as const
).map(name => Number(values[name])) as [number, number, number, number, number]
const url = `http://127.0.0.1:${port}`
const homeUrl = `http://127.0.0.1:${port + 2}`
const parts = { clock: systemClock, random: Math.random, log: silentLog }

if (values.role === 'reader') read(url)
else if (values.role === 'home-reader') read(homeUrl)
else if (values.role === 'cache') copy()
else await measure()

async function measure(): Promise<void> {
  const data = mkdtempSync(join(tmpdir(), 'starlane-bench-'))
  const etcd = startEtcd(join(data, 'far'), port)
  const children: ChildProcess[] = [etcd]
  const publishers: Publisher[] = []
  try {
    await listening(url)
    const rows: [what: string, value: string][] = []
    const started = performance.now()
    for (let i = 0; i < clusters; i++) publishers.push(publisher(i))
    await until(() => publishers.every(p => p.state().state === 'publishing' && p.state().pending === 0))
    rows.push(['all clusters published', seconds(performance.now() - started)])

    rows.push(...(await measureReader('reader', publishers, children)))
    if (values.cache) {
      children.push(startEtcd(join(data, 'home'), port + 2))
      await listening(homeUrl)
      const cache = startRole('cache', children)
      const [copied] = (await once(cache, 'message')) as [Synced]
      rows.push([
        'all clusters copied into a second etcd: time, CPU time',
        `${seconds(copied.ms)}, ${seconds(copied.cpuMs)}`,
      ])
      rows.push(['memory of the copying process (RSS)', mebibytes(copied.after)])
      rows.push(...(await measureReader('home-reader', publishers, children)))
    }
    rows.push(["etcd's memory (RSS)", mebibytes(rssOf(etcd.pid ?? 0))])
    rows.push(['memory of all publishers together (RSS)', mebibytes(process.memoryUsage.rss())])
    print(rows)
  } finally {
    await Promise.all(publishers.map(each => each.close()))
    for (const child of children) child.kill('SIGKILL')
    rmSync(data, { recursive: true, force: true })
  }
}

function startEtcd(data: string, port: number): ChildProcess {
  const [client, peer] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${port + 1}`]
  const urls = ['--listen-client-urls', client, '--advertise-client-urls', client, '--listen-peer-urls', peer]
  const own = ['--initial-advertise-peer-urls', peer, '--initial-cluster', `default=${peer}`]
  return spawn('etcd', ['--data-dir', data, ...urls, ...own], { stdio: 'ignore' })
}

function startRole(role: string, children: ChildProcess[]): ChildProcess {
  const child = fork(import.meta.filename, [...process.argv.slice(2), `--role=${role}`])
  children.push(child)
  return child
}

/** Time until the reader is in sync, then the time of each change to its directory. */
async function measureReader(
  role: 'reader' | 'home-reader',
  publishers: readonly Publisher[],
  children: ChildProcess[],
): Promise<[what: string, value: string][]> {
  const who = role === 'reader' ? 'one reader' : 'one reader of the copy'
  const reader = startRole(role, children)
  const [synced] = (await once(reader, 'message')) as [Synced]
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
  return [
    [`${who} in sync with all: time, CPU time`, `${seconds(synced.ms)}, ${seconds(synced.cpuMs)}`],
    ['its memory (RSS) before, after', `${mebibytes(synced.before)}, ${mebibytes(synced.after)}`],
    ['change in one cluster to its directory, p50', at(0.5)],
    ['p99', at(0.99)],
    ['maximum', at(1)],
  ]
}

/** The part of KVStoreMesh: copies every cluster into the second etcd. */
function copy(): void {
  const open = (signal: AbortSignal) => connectEtcd({ endpoints: [homeUrl] }, { ...parts, probe: heartbeatKey, signal })
  const home = createPublisher(
    {
      ...{ cluster: 'home', clusterId: 255, slices: false, leaseMs: 900_000, writesPerSecond: 20 },
      cache: { ttlMs: 0 },
    },
    { ...parts, open },
  )
  const before = process.memoryUsage.rss()
  const cpu = process.cpuUsage()
  const started = performance.now()
  home.reset([])
  home.start()
  for (let i = 0; i < clusters; i++) {
    const [cluster, copied] = [nameOf(i), home.copies.copy(nameOf(i))]
    const target = {
      described: (id: number, config: Uint8Array) => copied.described(id, config),
      listed: copied.listed.bind(copied),
      changed: copied.changed.bind(copied),
      live: () => copied.live(),
      lost: (error: Parameters<typeof copied.lost>[0]) => copied.lost(error),
    }
    createEtcdCopy({ cluster, endpoints: [url] }, target, parts).start()
  }
  const all = clusters * services
  void until(() => {
    const records = [...home.copies.entries()].reduce((sum, [, { keys }]) => sum + keys.size, 0)
    return records >= all && home.state().pending === 0
  }).then(() => {
    const { user, system } = process.cpuUsage(cpu)
    const ms = performance.now() - started
    process.send?.({ ms, cpuMs: (user + system) / 1000, before, after: process.memoryUsage.rss() } satisfies Synced)
  })
}

interface Synced {
  readonly ms: number
  readonly cpuMs: number
  readonly before: number
  readonly after: number
}

/** The reader: a mesh of all clusters, and a local one that declares every service without endpoints. */
function read(url: string): void {
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

async function listening(url: string): Promise<void> {
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
    if (waited > 300_000) throw new Error('not done after five minutes')
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
