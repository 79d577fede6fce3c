/**
 * Feeds a running Starlane from a remote cluster that takes all it can get, asks it for a local name all the while, and
 * prints the longest silence of DNS, the memory and the state of the cluster. Usage: node scripts/overload.ts [MODE...]
 */
import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const secondsEach = 15
const api = { host: '127.77.7.1', port: 16443 }
const admin = '127.77.7.2:19911'
const dnsPort = 15353
const modes = ['none', 'endless', 'bigpage', 'infbody', 'longline', 'many', 'eps', 'real', 'file', 'files'] as const
type Mode = (typeof modes)[number]
let versions = 0

const [command, ...rest] = process.argv.slice(2)
if (command === 'serve') serve(rest[0] as Mode)
else await measureAll((command === undefined ? modes : [command, ...rest]) as readonly Mode[])

async function measureAll(chosen: readonly Mode[]): Promise<void> {
  for (const mode of chosen) {
    if (!modes.includes(mode)) throw new Error(`no mode ${mode}; use ${modes.join(', ')}`)
    const folder = mkdtempSync(join(tmpdir(), 'starlane-overload-'))
    try {
      console.log(`${mode.padEnd(9)} ${await measure(mode, folder)}`)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }
}

async function measure(mode: Mode, folder: string): Promise<string> {
  const config = prepare(mode, folder)
  const server = spawn(process.execPath, [import.meta.filename, 'serve', mode], { stdio: 'inherit' })
  const bin = join(import.meta.dirname, '../bin/starlane.js')
  const report = join(folder, 'busy')
  const args = ['--import', `data:text/javascript,${encodeURIComponent(busyProbe(report))}`, bin, 'run', '-c', config]
  const starlane = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'ignore'] })
  try {
    const silence = await listen(
      () => memoryOf(starlane.pid ?? 0),
      () => starlane.kill('SIGWINCH'),
    )
    const status = await fetch(`http://${admin}/v1/status`).then(answer => answer.json() as Promise<StatusShape>)
    const remote = status.clusters.find(({ name }) => name === 'remote')
    return `silent ${silence.longestMs} ms, busy ${readFileSync(report, 'utf8')} ms, ${silence.asked} answers, memory ${silence.memoryMiB} MiB, ${JSON.stringify(remote?.link ?? remote).slice(0, 220)}`
  } finally {
    const ended = [starlane, server].map(child => once(child, 'exit'))
    starlane.kill('SIGKILL')
    server.kill('SIGKILL')
    await Promise.all(ended)
  }
}

/**
 * Runs in Starlane: the most processor time that the main thread took between two timers, once it serves. Unlike a
 * silence, it does not depend on what else runs on this machine.
 */
function busyProbe(report: string): string {
  return `
    import { writeFileSync } from 'node:fs'
    const used = () => { const { user, system } = process.threadCpuUsage(); return (user + system) / 1000 }
    let before = used(), longest = 0
    process.on('SIGWINCH', () => { longest = 0; before = used(); writeFileSync('${report}', '0') })
    setInterval(() => {
      const now = used()
      if (now - before > longest) writeFileSync('${report}', String(Math.round(longest = now - before)))
      before = used()
    }, 1).unref()`
}

interface StatusShape {
  readonly clusters: readonly { readonly name: string; readonly link?: unknown }[]
}

function memoryOf(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024
}

/** Asks every 2 ms, from the first answer on. A silence is the time from a question to its answer. */
async function listen(
  memory: () => number,
  served: () => void,
): Promise<{ longestMs: number; p999: number; asked: number; memoryMiB: number }> {
  const socket = createSocket('udp4')
  const question = Buffer.concat([
    Buffer.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
    ...['good', 'default', 'svc', 'cluster', 'local'].map(label =>
      Buffer.from(`${String.fromCharCode(label.length)}${label}`),
    ),
    Buffer.from([0, 0, 1, 0, 1]),
  ])
  const waits: number[] = []
  let memoryMiB = 0
  let end = performance.now() + 30_000
  const ask = () =>
    new Promise<boolean>(resolve => {
      const timer = setTimeout(() => resolve(false), 5000)
      socket.once('message', answer => {
        clearTimeout(timer)
        resolve(answer.readUInt16BE(6) > 0)
      })
      socket.send(question, dnsPort, '127.0.0.1')
    })
  let isServed = false
  while (performance.now() < end) {
    const at = performance.now()
    const isAnswered = await ask().catch(() => false)
    if (isAnswered && !isServed) {
      isServed = true
      served()
      end = performance.now() + secondsEach * 1000
    } else if (isServed) {
      waits.push(performance.now() - at)
    }
    memoryMiB = Math.max(memoryMiB, memory())
    await new Promise(resolve => setTimeout(resolve, isServed ? 2 : 100))
  }
  socket.close()
  waits.sort((a, b) => a - b)
  const longestMs = Math.round(waits.at(-1) ?? Number.NaN)
  return {
    longestMs,
    p999: Math.round(waits[Math.floor(waits.length * 0.999)] ?? 0),
    asked: waits.length,
    memoryMiB: Math.round(memoryMiB),
  }
}

function prepare(mode: Mode, folder: string): string {
  const local = join(folder, 'local')
  const remote = join(folder, 'remote')
  for (const each of [local, remote]) mkdirSync(each)
  writeFileSync(join(local, 'good.json'), JSON.stringify({ apiVersion: 'v1', ...service('good') }))
  const user = { name: 'x', user: { token: 't' } }
  const cluster = { name: 'x', cluster: { server: `http://${api.host}:${api.port}` } }
  const context = { name: 'x', context: { cluster: 'x', user: 'x' } }
  const kubeconfig = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'x',
    clusters: [cluster],
    contexts: [context],
    users: [user],
  }
  writeFileSync(join(folder, 'kubeconfig'), JSON.stringify(kubeconfig))
  if (mode === 'file') {
    const items = Array.from({ length: 60_000 }, (_, i) => ({ apiVersion: 'v1', ...service(`s${i}`, 'y'.repeat(150)) }))
    writeFileSync(join(remote, 'all.json'), JSON.stringify({ apiVersion: 'v1', kind: 'List', items }))
  }
  if (mode === 'files') {
    for (let i = 0; i < 5000; i++)
      writeFileSync(join(remote, `s${i}.json`), JSON.stringify({ apiVersion: 'v1', ...service(`s${i}`) }))
  }
  const source =
    mode === 'file' || mode === 'files' ? { manifests: './remote' } : { kubernetes: { kubeconfig: './kubeconfig' } }
  const config = {
    cluster: 'local',
    clusters: [
      { name: 'local', id: 1, source: { manifests: './local' } },
      { name: 'remote', id: 2, source },
    ],
    dns: { listen: `127.0.0.1:${dnsPort}`, upstream: [] },
    proxy: { vips: { cidr: '127.78.0.0/16' } },
    admin: { listen: admin },
  }
  writeFileSync(join(folder, 'starlane.yaml'), JSON.stringify(config))
  return join(folder, 'starlane.yaml')
}

function service(name: string, pad = '') {
  const annotations = { 'service.cilium.io/global': 'true', pad }
  const metadata = { name, namespace: 'default', resourceVersion: String(++versions), annotations }
  return { kind: 'Service', metadata, spec: { clusterIP: '10.99.0.1', ports: [{ name: 'p', port: 81 }] } }
}

function slice(name: string, of: string, addresses: readonly string[]) {
  const labels = { 'kubernetes.io/service-name': of }
  return {
    metadata: { name, namespace: 'default', resourceVersion: String(++versions), labels },
    addressType: 'IPv4',
    ports: [{ name: 'p', port: 81, protocol: 'TCP' }],
    endpoints: addresses.map(address => ({ addresses: [address], conditions: { ready: true } })),
  }
}

/** Addresses that refuse at once, 100 for each group. */
function addressesOf(group: number): string[] {
  return Array.from({ length: 100 }, (_, i) => `127.${64 + (group >> 8)}.${group & 255}.${i + 1}`)
}

/** The API server of the remote cluster. */
function serve(mode: Mode): void {
  let pages = 0
  const many = <T>(length: number, make: (i: number) => T) => Array.from({ length }, (_, i) => make(i))
  const list = (response: ServerResponse, items: readonly unknown[], more?: string): void => {
    const metadata = { resourceVersion: String(versions), ...(more !== undefined && { continue: more }) }
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ kind: 'List', apiVersion: 'v1', metadata, items }))
  }
  const flood = (response: ServerResponse, text: string): void => {
    const more = (): void => {
      while (response.write(text));
    }
    response.on('drain', more)
    more()
  }
  const services = (response: ServerResponse): void => {
    if (mode === 'endless')
      return list(
        response,
        many(500, i => service(`s${pages}-${i}`)),
        `c${++pages}`,
      )
    if (mode === 'bigpage')
      return list(
        response,
        many(200_000, i => service(`s${i}`, 'y'.repeat(1000))),
      )
    if (mode === 'many')
      return list(
        response,
        many(10_000, i => service(`s${i}`)),
      )
    if (mode === 'real')
      return list(
        response,
        many(5000, i => service(i === 0 ? 'good' : `s${i}`)),
      )
    if (mode !== 'infbody') return list(response, [service('good')])
    response.write('{"items":[')
    flood(response, ' '.repeat(65_536))
  }
  createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://x')
    const isWatch = url.searchParams.has('watch')
    if (isWatch) {
      response.flushHeaders()
      if (mode === 'longline' && url.pathname.endsWith('/services')) flood(response, 'x'.repeat(65_536))
    } else if (url.pathname.endsWith('/services')) services(response)
    else if (!url.pathname.endsWith('/endpointslices')) list(response, [])
    else if (mode === 'eps')
      list(
        response,
        many(1000, i => slice(`good-${i}`, 'good', addressesOf(i))),
      )
    else if (mode === 'real')
      list(
        response,
        many(5000, i => slice(`s${i}-1`, `s${i}`, addressesOf(i).slice(0, 20))),
      )
    else list(response, [slice('good-1', 'good', ['127.44.1.1'])])
  }).listen(api.port, api.host)
}
