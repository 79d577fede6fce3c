/**
 * Benchmark of the mesh: loads many services from manifests, then changes one at a time.
 *
 *   npm run bench:mesh [-- --services 5000 --endpoints 50000 --changes 2000]
 *
 * Figures: time until all services are in the directory, growth of resident memory, and time from a source's change to the
 * first `choose` that uses it (p50, p99). Goals: under 5 s, 500 MiB and 10 ms.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { createBalancer } from '../proxy/balancer/balancers.ts'
import { createChain } from '../proxy/chain/chain.ts'
import { loadPlugins } from '../proxy/chain/loading/load.ts'
import { Mesh } from '../proxy/mesh/mesh.ts'
import { silentLog } from '../proxy/model/log.ts'
import { systemClock } from '../proxy/model/time/clock.ts'
import { createManifestsSource } from '../proxy/sources/manifests/manifests-source.ts'
import { commandLine } from '../scripts/command-line.ts'
import { machineText, thisMachine } from './report/machine.ts'

const { values } = commandLine(import.meta.url, {
  options: {
    services: { type: 'string', default: '5000' },
    endpoints: { type: 'string', default: '50000' },
    changes: { type: 'string', default: '2000' },
    /** Measures this format only and prints one line of JSON. */
    format: { type: 'string' },
  },
})
const services = Number(values.services)
const perService = Math.round(Number(values.endpoints) / services / 2)
const changes = Number(values.changes)
const clusters = [
  { name: 'cluster-1', id: 1, local: true },
  { name: 'cluster-2', id: 2, local: false },
]

/** Each format in a process of its own, so that memory of the first does not count for the second. */
if (values.format === undefined) report(['yaml', 'json'].map(measureApart))
else console.log(JSON.stringify(await measure(values.format)))

function measureApart(format: string): string[] {
  const args = [...process.execArgv, ...process.argv.slice(1), '--format', format]
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' }))
}

/** One row of the table. */
async function measure(format: string): Promise<string[]> {
  const folder = await mkdtemp(join(tmpdir(), 'starlane-bench-'))
  for (const [i, { name }] of clusters.entries()) await writeManifests(join(folder, name), i + 1, format)
  global.gc?.()
  const before = process.memoryUsage().rss
  const begun = performance.now()
  const mesh = new Mesh({
    clusters,
    staleAfterMs: 0,
    services: 'global',
    health: () => 'unknown',
    clock: systemClock,
    log: silentLog,
  })
  const chain = await startChain(mesh)
  const sources = clusters.map(({ name }) => {
    const source = createManifestsSource(join(folder, name), { cluster: name, clock: systemClock, log: silentLog })
    source.start(mesh.sink(name))
    return source
  })
  await mesh.initialized
  const loadedMs = performance.now() - begun
  const rss = process.memoryUsage().rss
  const delays = await measureChanges(mesh, chain)
  await Promise.all(sources.map(source => source.close()))
  await chain.close()
  mesh.close()
  await rm(folder, { recursive: true })
  return [
    format,
    `${(loadedMs / 1000).toFixed(2)} s`,
    `${Math.round((rss - before) / 2 ** 20)} MiB (process ${Math.round(rss / 2 ** 20)} MiB)`,
    `${at(delays, 0.5).toFixed(2)} ms`,
    `${at(delays, 0.99).toFixed(2)} ms`,
  ]
}

function report(rows: readonly string[][]): void {
  const page = `# Mesh benchmark

${new Date().toISOString()}, written by \`npm run bench:mesh\`: ${services} services with ${perService * services * 2} endpoints in two clusters.

${machineText(thisMachine())}

| manifests | loaded in | memory | change to choose, p50 | p99 |
| --- | --: | --: | --: | --: |
${rows.map(row => `| ${row.join(' | ')} |`).join('\n')}

Memory is the growth of resident memory while loading. A change adds one endpoint to one service; its time ends when the
chain chooses from a list that contains it.
`
  const results = new URL('results/', import.meta.url)
  mkdirSync(results, { recursive: true })
  writeFileSync(new URL('mesh.md', results), page)
  console.log(page)
}

async function writeManifests(folder: string, cluster: number, format: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  const perFile = 100
  for (let file = 0; file * perFile < services; file++) {
    const items = Array.from({ length: perFile }, (_, i) => objectsOf(cluster, file * perFile + i)).flat()
    const list = { apiVersion: 'v1', kind: 'List', items }
    const text = format === 'json' ? JSON.stringify(list) : items.map(item => stringify(item)).join('---\n')
    await writeFile(join(folder, `services-${file}.${format}`), text)
  }
}

function objectsOf(cluster: number, index: number): object[] {
  const name = `service-${index}`
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace: `ns-${index % 50}`, annotations: { 'service.cilium.io/global': 'true' } },
      spec: { clusterIP: `10.${95 + cluster}.${index >> 8}.${index & 255}`, ports: [{ name: 'http', port: 80 }] },
    },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: `${name}-x`, namespace: `ns-${index % 50}`, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: [{ name: 'http', port: 8080 }],
      endpoints: Array.from({ length: perService }, (_, i) => ({
        addresses: [addressOf(cluster, index * perService + i)],
        conditions: { ready: true, serving: true, terminating: false },
        nodeName: `node-${i % 100}`,
        zone: `zone-${i % 3}`,
      })),
    },
  ]
}

function addressOf(cluster: number, n: number): string {
  return `10.${cluster * 16 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`
}

async function startChain(mesh: Mesh) {
  const host = { clusters: () => clusters, clock: systemClock, random: Math.random, log: silentLog }
  const uses = ['tenancy', 'circuit-breaker', 'affinity', 'session-affinity'].map(use => ({ use }))
  const { plugins } = await loadPlugins({ uses, folder: '.', placeOf: () => 'bench', host })
  return createChain({
    plugins,
    balancer: openFlows => createBalancer('round-robin', { random: Math.random, openFlows }),
    directory: mesh.directory,
    clock: systemClock,
    log: silentLog,
  })
}

/** Adds an endpoint to one service at a time, and takes the time until the chain chooses from a list that contains it. */
async function measureChanges(mesh: Mesh, chain: Awaited<ReturnType<typeof startChain>>): Promise<number[]> {
  const sink = mesh.sink('cluster-1')
  const all = [...mesh.directory.services()]
  const delays: number[] = []
  for (let i = 0; i < changes; i++) {
    const service = all[(i * 7919) % all.length]
    if (!service?.local) continue
    const address = `10.200.${(i >> 8) & 255}.${i & 255}`
    const endpoint = {
      address,
      ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
      ready: true,
      serving: true,
      terminating: false,
    } as const
    const endpoints = [endpoint, ...service.local.endpoints]
    const begun = performance.now()
    sink.put({ ...service.local, endpoints })
    while (!chosen(mesh, chain, service.key, address)) await new Promise(resolve => setImmediate(resolve))
    delays.push(performance.now() - begun)
  }
  return delays.sort((a, b) => a - b)
}

function chosen(mesh: Mesh, chain: Awaited<ReturnType<typeof startChain>>, key: string, address: string): boolean {
  const service = mesh.directory.service(key)
  const frontend = service?.frontends[0]
  if (!service || !frontend?.backends.some(backend => backend.address === address)) return false
  const client = { address: '127.0.0.1', port: 1 }
  return chain.choose({ id: 0, client, service, frontend, tried: [] }).backend !== undefined
}

function at(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}
