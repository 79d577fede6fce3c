/**
 * The longest pause of the main thread of a whole Starlane, while a source gives it the largest documents that there are: processor time
 * that the thread took in one go, and the delay of its event loop. Usage: npm run bench:pauses [-- CASE...]
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { commandLine } from '../../scripts/command-line.ts'
import { atMost, type Judged, recordGoals } from '../report/all-goals.ts'

/** How long the thread must have been idle before the next step. */
const quietMs = 1500
const bin = join(import.meta.dirname, '../../bin/starlane.js')

interface Case {
  readonly name: string
  readonly does: string
  readonly source?: 'manifests' | 'kubernetes' | 'etcd'
  /** The world before. */
  prepare?(world: World): void | Promise<void>
  /** What is measured. */
  act(world: World): void | Promise<void>
}

interface Changes {
  readonly [section: string]: unknown
  readonly allow?: object
  readonly remote?: boolean
}

interface World {
  readonly folder: string
  /** A file of the remote cluster's manifests. */
  manifest(name: string, text: string): void
  /** Objects of the API server by resource: `services`, `endpointslices`. */
  readonly lists: Map<string, readonly unknown[]>
  /** A line of the watch on services. */
  line(text: string): void
  put(key: string, value: string): Promise<void>
  configure(changes: Changes): void
}

const megabyte = 1 << 20
/** Of the objects of the API server. */
let versions = 1
let running: ChildProcess | undefined
const times = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i))

const cases: Case[] = [
  {
    name: 'yaml-nodes',
    does: 'a YAML document of 2 MiB: a list of small numbers',
    act: ({ manifest }) => manifest('x.yaml', `${head('ConfigMap')}x:\n${'- a\n'.repeat((2 * megabyte - 200) >> 2)}`),
  },
  {
    name: 'yaml-flow',
    does: 'a YAML document of 2 MiB: a flow sequence of empty mappings',
    act: ({ manifest }) => manifest('x.yaml', `${head('ConfigMap')}x: [${'{},'.repeat((2 * megabyte - 200) / 3)}]\n`),
  },
  {
    name: 'yaml-faults',
    does: 'a YAML document of 2 MiB: an EndpointSlice whose endpoints are all invalid',
    act: ({ manifest }) =>
      manifest(
        'x.yaml',
        `${head('EndpointSlice')}addressType: IPv4\nendpoints:\n${'- {}\n'.repeat((2 * megabyte - 200) / 5)}`,
      ),
  },
  {
    name: 'json-faults',
    does: 'a JSON document of 2 MiB: a Service whose ports are all invalid',
    act: ({ manifest }) => manifest('x.json', serviceText(`[${times((2 * megabyte - 400) / 3, () => '{}').join()}]`)),
  },
  {
    name: 'documents',
    does: '30 MiB of YAML documents, a Service each',
    act: ({ manifest }) =>
      manifest(
        'x.yaml',
        times(90_000, i => `---\n${yamlService(`s${i}`)}`)
          .join('')
          .slice(0, 30 * megabyte)
          .replace(/---\n(?:(?!---)[\s\S])*$/, ''),
      ),
  },
  {
    name: 'slices',
    does: '20 MB of YAML documents, an EndpointSlice of 1,000 each',
    act: ({ manifest }) => manifest('x.yaml', times(160, i => `---\n${yamlSlice(i)}`).join('')),
  },
  {
    name: 'lists',
    does: 'a ServiceList and an EndpointSliceList in JSON, 20 MB each',
    act: ({ manifest }) => {
      const list = (kind: string, apiVersion: string, items: readonly unknown[]) =>
        JSON.stringify({ kind, apiVersion, items }, null, 2)
      manifest(
        'a.json',
        list(
          'ServiceList',
          'v1',
          times(30_000, i => service(`s${i}`, 'y'.repeat(100))),
        ),
      )
      manifest(
        'b.json',
        list(
          'EndpointSliceList',
          'discovery.k8s.io/v1',
          times(5000, i => slice(i, 20)),
        ),
      )
    },
  },
  {
    name: 'kubectl',
    does: 'a List in YAML of 24 MiB, indented',
    act: ({ manifest }) =>
      manifest(
        'x.yaml',
        `apiVersion: v1\nkind: List\nitems:\n${times(60_000, i => `  - ${yamlService(`s${i}`).trim().replaceAll('\n', '\n    ')}\n`).join('')}`,
      ),
  },
  {
    name: 'first',
    does: 'the first list of an API server: 5,000 services, 100,000 endpoints',
    source: 'kubernetes',
    prepare: () => {},
    act: ({ lists, line }) => {
      lists.set(
        'services',
        times(5000, i => service(`s${i}`)),
      )
      lists.set(
        'endpointslices',
        times(5000, i => slice(i, 20)),
      )
      line(JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code: 410, message: 'too old' } }))
    },
  },
  {
    name: 'page',
    does: 'a page of 24 MB of an API server: 15,000 services',
    source: 'kubernetes',
    act: ({ lists, line }) => {
      lists.set(
        'services',
        times(15_000, i => service(`s${i}`, 'y'.repeat(1400))),
      )
      line(JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code: 410, message: 'too old' } }))
    },
  },
  {
    name: 'line',
    does: 'a line of a watch of 4 MB: a Service with a field of many small values',
    source: 'kubernetes',
    act: ({ line }) =>
      line(`{"type":"ADDED","object":${serviceText('[{"port":80}]', `"x":[${'[],'.repeat(1.3 * megabyte)}[]],`)}}`),
  },
  {
    name: 'line-faults',
    does: 'a line of a watch of 4 MB: a Service whose ports are all invalid',
    source: 'kubernetes',
    act: ({ line }) => line(`{"type":"ADDED","object":${serviceText(`[${'{},'.repeat(1.3 * megabyte)}{}]`)}}`),
  },
  {
    name: 'etcd-backends',
    does: 'a value of etcd of 1 MB: a service with 10,000 backends',
    source: 'etcd',
    act: ({ put }) => put('default/big', record(times(10_000, i => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`))),
  },
  {
    name: 'etcd-nodes',
    does: 'a value of etcd of 1 MB: a service with a field of many small values',
    source: 'etcd',
    act: ({ put }) => put('default/big', record(['10.0.0.1'], `"x":[${'[],'.repeat(0.33 * megabyte)}[]],`)),
  },
  {
    name: 'reload',
    does: 'a reload with 5,000 services and 100,000 endpoints: other options of health and dial',
    prepare: ({ manifest }) => large(manifest),
    act: ({ configure }) =>
      configure({
        proxy: { ...proxy, dial: { timeout: '2s' } },
        health: { active: { interval: '90s' }, passive: { consecutive: 7 } },
      }),
  },
  {
    name: 'reload-allow',
    does: 'the same, with other rights of a cluster',
    prepare: ({ manifest }) => large(manifest),
    act: ({ configure }) => configure({ allow: { cidrs: ['10.0.0.0/8'] } }),
  },
  {
    name: 'reload-removes',
    does: 'the same, without the cluster',
    prepare: ({ manifest }) => large(manifest),
    act: ({ configure }) => configure({ remote: false }),
  },
  {
    name: 'removed',
    does: 'the files of 5,000 services and 100,000 endpoints become empty lists',
    prepare: ({ manifest }) => large(manifest),
    act: ({ manifest }) => {
      manifest('a.json', '{"apiVersion":"v1","kind":"List","items":[]}')
      manifest('b.json', '{"apiVersion":"v1","kind":"List","items":[]}')
    },
  },
]

for (const [name, path] of [
  ['services', '/v1/services'],
  ['rows', '/v1/rows'],
  ['metrics', '/metrics'],
]) {
  cases.push({
    name: `admin-${name}`,
    does: `GET ${path} with 5,000 services and 100,000 endpoints`,
    prepare: ({ manifest }) => large(manifest),
    act: async () => void (await (await fetch(`http://127.77.7.2:19911${path}`)).text()),
  })
}

const proxy = { vips: { cidr: '127.78.0.0/16' }, engine: 'streams' }

/** DNS is never silent for longer. */
const maxPauseMs = 50
const { positionals: chosen } = commandLine(import.meta.url, { allowPositionals: true })
const width = Math.max(...cases.map(({ name }) => name.length))
console.log(`${'case'.padEnd(width)}  processor  delay  memory  `)
const rows: Judged[] = []
for (const one of cases) {
  if (chosen.length > 0 && !chosen.includes(one.name)) continue
  const { busyMs, delayMs, memoryMiB } = await measure(one)
  rows.push(...atMost(`pause of JavaScript's thread: ${one.does}`, [busyMs], maxPauseMs, ' ms'))
  const cell = (value: number, unit: string, space: number) => `${Math.round(value)} ${unit}`.padStart(space)
  console.log(
    `${one.name.padEnd(width)}  ${cell(busyMs, 'ms', 9)} ${cell(delayMs, 'ms', 6)} ${cell(memoryMiB, 'MiB', 7)}  ${one.does}`,
  )
}

if (chosen.length === 0) {
  const goals = { page: '../../docs/security.md', rows }
  recordGoals({ title: 'Pauses', command: 'npm run bench:pauses', ...goals })
}

interface Pause {
  readonly busyMs: number
  readonly delayMs: number
  readonly memoryMiB: number
}

async function measure({ source = 'manifests', prepare, act }: Case): Promise<Pause> {
  const folder = mkdtempSync(join(tmpdir(), 'starlane-pauses-'))
  const ends: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })]
  try {
    const world = await worldOf(folder, source, ends)
    await prepare?.(world)
    const report = join(folder, 'report')
    const probe = `data:text/javascript,${encodeURIComponent(probeText(report))}`
    const args = ['--import', probe, bin, 'run', '-c', join(folder, 'starlane.yaml')]
    const starlane = spawn(process.execPath, args, {
      stdio: ['ignore', 'ignore', process.env.PAUSES_LOG ? 'inherit' : 'ignore'],
    })
    ends.push(async () => {
      starlane.kill('SIGKILL')
      if (starlane.exitCode === null && starlane.signalCode === null) await once(starlane, 'exit')
    })
    await quiet(starlane, report)
    starlane.kill('SIGWINCH')
    await delay(100)
    running = starlane
    await act(world)
    await delay(1000)
    await quiet(starlane, report)
    return readReport(report)
  } finally {
    for (const end of ends.reverse()) await end()
  }
}

/** Waits until the thread takes hardly any processor time. */
async function quiet(starlane: ChildProcess, report: string): Promise<void> {
  let before = Number.NEGATIVE_INFINITY
  let since = performance.now()
  const deadline = since + 120_000
  while (performance.now() - since < quietMs) {
    if (starlane.exitCode !== null || performance.now() > deadline)
      throw new Error('Starlane has ended, or is never idle')
    await delay(100)
    const { used } = readReport(report)
    // It is not a number before the first report.
    if (!(used - before <= 20)) since = performance.now()
    before = used
  }
}

function readReport(file: string): Pause & { readonly used: number } {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return { busyMs: 0, delayMs: 0, memoryMiB: 0, used: Number.POSITIVE_INFINITY }
  }
}

/** Runs in Starlane. The processor time does not depend on what else runs on the machine, the delay does. */
function probeText(report: string): string {
  return `
    import { renameSync, writeFileSync } from 'node:fs'
    const cpu = () => { const { user, system } = process.threadCpuUsage(); return (user + system) / 1000 }
    let used = cpu(), at = performance.now(), busyMs = 0, delayMs = 0, said = 0
    process.on('SIGWINCH', () => { busyMs = delayMs = 0; used = cpu(); at = performance.now() })
    setInterval(() => {
      const now = cpu(), time = performance.now()
      busyMs = Math.max(busyMs, now - used)
      delayMs = Math.max(delayMs, time - at - 1)
      if (time - said > 90) {
        said = time
        writeFileSync('${report}.new', JSON.stringify({ busyMs, delayMs, used: now, memoryMiB: process.memoryUsage.rss() / 1048576 }))
        renameSync('${report}.new', '${report}')
      }
      used = cpu()
      at = performance.now()
    }, 1).unref()`
}

async function worldOf(folder: string, source: string, ends: (() => unknown)[]): Promise<World> {
  for (const each of ['local', 'remote']) mkdirSync(join(folder, each))
  writeFileSync(join(folder, 'local/good.json'), JSON.stringify({ apiVersion: 'v1', ...service('good') }))
  const lists = new Map<string, readonly unknown[]>()
  const api = source === 'kubernetes' ? await serveApi(lists, ends) : undefined
  if (api) writeFileSync(join(folder, 'kubeconfig'), kubeconfig(api.port))
  const etcd = source === 'etcd' ? await startEtcd(folder, ends) : undefined
  const put = async (key: string, value: string) => {
    await etcd?.put(`cilium/state/services/v1/remote/${key}`, value)
  }
  if (etcd) {
    await etcd.put(
      'cilium/cluster-config/remote',
      JSON.stringify({ id: 2, capabilities: { syncedCanaries: true, maxConnectedClusters: 255 } }),
    )
    await etcd.put('cilium/.heartbeat', new Date().toISOString())
    await etcd.put('cilium/synced/remote/cilium/state/services/v1', 'x')
  }
  const origins: Record<string, object> = {
    manifests: { manifests: './remote' },
    kubernetes: { kubernetes: { kubeconfig: './kubeconfig' } },
    etcd: { etcd: { endpoints: [etcd?.url] } },
  }
  const file = join(folder, 'starlane.yaml')
  const write = ({ allow, remote = true, ...changes }: Changes) => {
    const other = {
      name: 'remote',
      id: 2,
      source: origins[source],
      limits: { bytes: '512MiB', rate: '512MiB', serviceEndpoints: 20_000 },
      ...(allow && { allow }),
    }
    const local = { name: 'local', id: 1, source: { manifests: './local' } }
    const config = {
      cluster: 'local',
      clusters: remote ? [local, other] : [local],
      dns: { listen: '127.0.0.1:15353', upstream: [] },
      proxy,
      // Checks of backends that do not answer are no pauses, and never end.
      health: { active: { interval: '60s' } },
      admin: { listen: '127.77.7.2:19911' },
      ...changes,
    }
    writeFileSync(file, JSON.stringify(config))
  }
  write({})
  return {
    folder,
    lists,
    manifest: (name, text) => writeFileSync(join(folder, 'remote', name), text),
    line: text => api?.line(text),
    put,
    configure: changes => {
      write(changes)
      running?.kill('SIGHUP')
    },
  }
}

interface Etcd {
  readonly url: string
  put(key: string, value: string): Promise<void>
}

async function startEtcd(folder: string, ends: (() => unknown)[]): Promise<Etcd> {
  const url = 'http://127.0.0.1:18479'
  const peer = 'http://127.0.0.1:18480'
  const args = ['--data-dir', join(folder, 'etcd'), '--listen-client-urls', url, '--advertise-client-urls', url]
  const etcd = spawn(
    'etcd',
    [
      ...args,
      '--listen-peer-urls',
      peer,
      '--initial-advertise-peer-urls',
      peer,
      '--initial-cluster',
      `default=${peer}`,
    ],
    { stdio: 'ignore' },
  )
  ends.push(async () => {
    etcd.kill('SIGKILL')
    if (etcd.exitCode === null && etcd.signalCode === null) await once(etcd, 'exit')
  })
  const base64 = (text: string) => Buffer.from(text).toString('base64')
  const put = async (key: string, value: string) => {
    const body = JSON.stringify({ key: base64(key), value: base64(value) })
    const answer = await fetch(`${url}/v3/kv/put`, { method: 'POST', body })
    if (!answer.ok) throw new Error(`etcd: ${await answer.text()}`)
  }
  for (let i = 0; i < 100; i++) {
    const isUp = await put('up', '1').then(
      () => true,
      () => false,
    )
    if (isUp) return { url, put }
    await delay(100)
  }
  throw new Error('etcd does not answer')
}

async function serveApi(lists: Map<string, readonly unknown[]>, ends: (() => unknown)[]) {
  const watches = new Map<string, ServerResponse>()
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://x')
    const plural = url.pathname.split('/').at(-1) ?? ''
    response.setHeader('content-type', 'application/json')
    if (url.searchParams.has('watch')) {
      response.flushHeaders()
      watches.set(plural, response)
      return
    }
    if (!['services', 'endpointslices', 'namespaces', 'nodes'].includes(plural)) {
      response.writeHead(404).end('{}')
      return
    }
    const metadata = { resourceVersion: String(++versions) }
    response.end(JSON.stringify({ kind: 'List', apiVersion: 'v1', metadata, items: lists.get(plural) ?? [] }))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  ends.push(() => {
    server.close()
    server.closeAllConnections()
  })
  return {
    port: (server.address() as AddressInfo).port,
    line: (text: string) => {
      const isEnd = text.includes('"ERROR"')
      for (const [plural, response] of watches)
        if (plural === 'services' || (isEnd && lists.has(plural))) response.write(`${text}\n`)
    },
  }
}

function kubeconfig(port: number): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'x',
    clusters: [{ name: 'x', cluster: { server: `http://127.0.0.1:${port}` } }],
    contexts: [{ name: 'x', context: { cluster: 'x', user: 'x' } }],
    users: [{ name: 'x', user: { token: 't' } }],
  })
}

function large(manifest: World['manifest']): void {
  const list = (items: readonly unknown[]) => JSON.stringify({ apiVersion: 'v1', kind: 'List', items })
  manifest('a.json', list(times(5000, i => ({ apiVersion: 'v1', ...service(`s${i}`) }))))
  manifest(
    'b.json',
    list(times(5000, i => ({ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', ...slice(i, 20) }))),
  )
}

function service(name: string, pad = '') {
  const annotations = { 'service.cilium.io/global': 'true', ...(pad && { pad }) }
  const metadata = { name, namespace: 'default', resourceVersion: String(++versions), annotations }
  return { kind: 'Service', metadata, spec: { clusterIP: '10.99.0.1', ports: [{ name: 'p', port: 81 }] } }
}

function slice(i: number, endpoints: number) {
  const labels = { 'kubernetes.io/service-name': `s${i}` }
  return {
    metadata: { name: `s${i}-1`, namespace: 'default', resourceVersion: String(++versions), labels },
    addressType: 'IPv4',
    ports: [{ name: 'p', port: 81, protocol: 'TCP' }],
    endpoints: times(endpoints, j => ({
      addresses: [`10.${50 + (i >> 8)}.${i & 255}.${j + 1}`],
      conditions: { ready: true },
    })),
  }
}

function head(kind: string): string {
  const apiVersion = kind === 'EndpointSlice' ? 'discovery.k8s.io/v1' : 'v1'
  return `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata:\n  name: big\n  namespace: default\n  labels: {kubernetes.io/service-name: big}\n`
}

function serviceText(ports: string, more = ''): string {
  return `{"apiVersion":"v1","kind":"Service","metadata":{"name":"big","namespace":"default","resourceVersion":"999999999"},${more}"spec":{"clusterIP":"10.99.0.2","ports":${ports}}}`
}

function yamlService(name: string): string {
  return `apiVersion: v1\nkind: Service\nmetadata:\n  name: ${name}\n  namespace: default\n  annotations:\n    service.cilium.io/global: "true"\n    pad: ${'y'.repeat(150)}\nspec:\n  clusterIP: 10.99.0.1\n  ports:\n    - name: p\n      port: 81\n`
}

function yamlSlice(i: number): string {
  const endpoints = times(
    1000,
    j =>
      `- addresses:\n  - 10.${60 + (i >> 6)}.${((i << 2) & 255) + (j >> 8)}.${j & 255}\n  conditions:\n    ready: true\n    serving: true\n  nodeName: node-${j}\n  targetRef:\n    kind: Pod\n    name: pod-${j}\n`,
  )
  return `apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: s-${i}\n  namespace: default\n  labels:\n    kubernetes.io/service-name: s${i}\naddressType: IPv4\nports:\n- name: p\n  port: 81\n  protocol: TCP\nendpoints:\n${endpoints.join('')}`
}

function record(addresses: readonly string[], more = ''): string {
  const backends = Object.fromEntries(addresses.map(address => [address, { p: { Protocol: 'TCP', Port: 80 } }]))
  return `{${more}${JSON.stringify({ cluster: 'remote', namespace: 'default', name: 'big', frontends: { '10.96.0.7': { p: { Protocol: 'TCP', Port: 80 } } }, backends, labels: {}, selector: {}, includeExternal: true, shared: true, clusterID: 2 }).slice(1)}`
}
