/**
 * Soak test for leaks in an engine: many short connections through many frontends, from clients that close, reset, or never
 * send anything.
 *
 *     npm run soak -- --engine=native --connections=1000000 --frontends=10000
 *
 * Prints memory and descriptors after each tenth of the connections. Exits with 1 when memory grows by more than `--mebibytes`
 * after the third tenth, or when descriptors are left open.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { createEngine } from '../../proxy/dataplane/engines.ts'
import { type Backend, backendKey, destinationOf } from '../../proxy/model/backend.ts'
import type { Chooser } from '../../proxy/model/flow.ts'
import { silentLog } from '../../proxy/model/log.ts'
import { settleHeap } from '../../proxy/model/program/heap.ts'
import { type Frontend, frontendKey, type GlobalService } from '../../proxy/model/service.ts'
import { systemClock } from '../../proxy/model/time/clock.ts'
import { commandLine } from '../command-line.ts'

const { values } = commandLine(import.meta.url, {
  options: {
    engine: { type: 'string', default: 'native' },
    connections: { type: 'string', default: '1000000' },
    frontends: { type: 'string', default: '1000' },
    /** Allowed growth of memory between the third tenth and the last. */
    mebibytes: { type: 'string', default: '16' },
    /** Port of every frontend; choose one below net.ipv4.ip_local_port_range. */
    port: { type: 'string', default: '18300' },
  },
})
const port = Number(values.port)
const frontends = Number(values.frontends)
const connections = Number(values.connections)

const parts = {
  clock: systemClock,
  log: silentLog,
  options: {
    dial: { timeoutMs: 1000, attempts: 3, budgetMs: 5000 },
    idle: { tcpMs: 3_600_000, halfClosedMs: 60_000, udpMs: 60_000 },
    drainMs: 1000,
    limits: { connections: 20_000, udpSessions: 10_000 },
  },
}

if (process.send) await load()
else await soak()

/** The clients and the backend, in a process of their own so that their memory does not count. */
async function load(): Promise<void> {
  const server = createServer(socket => {
    socket.on('data', () => socket.end('answer'))
    socket.on('end', () => socket.end())
    socket.on('error', () => {})
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  process.send?.(typeof address === 'object' ? address?.port : 0)
  process.on('message', async (count: number) => {
    let left = count
    const visitAll = async () => {
      while (left-- > 0) await visit(left)
    }
    await Promise.all(Array.from({ length: 64 }, visitAll))
    process.send?.('done')
  })
  process.on('disconnect', () => process.exit())
}

function visit(n: number): Promise<void> {
  const socket = connect({ host: frontendIp(n % frontends), port })
  if (n % 3 === 0) socket.on('connect', () => socket.end())
  else socket.write('question')
  socket.on('data', () => n % 3 === 1 && socket.resetAndDestroy())
  socket.on('error', () => {})
  return new Promise(resolve => socket.once('close', () => resolve()))
}

async function soak(): Promise<void> {
  // As in `run`: room for young objects that V8 doubles would be taken for a leak.
  settleHeap(systemClock, Promise.resolve())
  const child = fork(fileURLToPath(import.meta.url), process.argv.slice(2))
  const [backendPort] = (await once(child, 'message')) as [number]
  const kind = values.engine === 'streams' ? 'streams' : 'native'
  const { engine } = createEngine(kind, { chooser: always(backendAt(backendPort)), ...parts }, {})
  const before = performance.now()
  await Promise.all(Array.from({ length: frontends }, (_, i) => engine.listen(...serviceAt(frontendIp(i)))))
  console.log(`${engine.name}: ${frontends} frontends listen after ${Math.round(performance.now() - before)} ms`)

  const descriptors = openDescriptors()
  const memory: number[] = []
  for (let tenth = 1; tenth <= 10; tenth++) {
    const since = performance.now()
    const cpu = process.cpuUsage()
    child.send(Math.ceil(connections / 10))
    await once(child, 'message')
    while (engine.stats().connections > 0) await new Promise(resolve => setTimeout(resolve, 10))
    const { user, system } = process.cpuUsage(cpu)
    globalThis.gc?.() // garbage is not a leak
    memory.push(process.memoryUsage().rss / 2 ** 20)
    const perSecond = connections / 10 / ((performance.now() - since) / 1000)
    console.log(
      `${((connections / 10) * tenth).toFixed(0).padStart(9)} connections  ${memory.at(-1)?.toFixed(1).padStart(6)} MiB (${(process.memoryUsage().heapUsed / 2 ** 20).toFixed(1)} heap)  ` +
        `${openDescriptors()} descriptors  ${((user + system) / (connections / 10)).toFixed(0)} us each  ${perSecond.toFixed(0)}/s`,
    )
  }
  const grown = (memory.at(-1) ?? 0) - Math.max(...memory.slice(0, 3))
  const left = openDescriptors() - descriptors
  console.log(`memory grew by ${grown.toFixed(1)} MiB after the third tenth; ${left} descriptors are left open`)
  engine.destroy()
  child.disconnect()
  if (grown > Number(values.mebibytes) || left > 0) process.exitCode = 1
}

function always(backend: Backend): Chooser {
  return {
    admit: () => undefined,
    choose: () => ({ backend }),
    visible: () => [backend],
    settled: () => [backend],
    connecting() {},
    result() {},
    carried() {},
    closed() {},
    refused() {},
  }
}

function backendAt(port: number): Backend {
  const key = backendKey('soak', '127.0.0.1', port, 'TCP')
  const destination = destinationOf(undefined, '127.0.0.1', port, 'TCP')
  const rest = { state: 'active', serving: true, health: 'unknown', weight: 100, ports: [] } as const
  return {
    key,
    destination,
    cluster: 'soak',
    remote: false,
    address: '127.0.0.1',
    family: 4,
    port,
    protocol: 'TCP',
    ...rest,
  }
}

function serviceAt(ip: string): [Frontend, GlobalService] {
  const frontend: Frontend = {
    ...{ key: frontendKey(ip, port, 'TCP'), service: 'soak/soak', ip, port, protocol: 'TCP', name: '' },
    backends: [],
  }
  const settings = { global: true, shared: true, affinity: 'none', clusterOrder: [] } as const
  const rest = { local: undefined, members: [], parked: [], changedAt: 0, backends: [] }
  return [frontend, { key: 'soak/soak', namespace: 'soak', name: 'soak', settings, frontends: [frontend], ...rest }]
}

function frontendIp(i: number): string {
  return `127.80.${i >> 8}.${i & 255}`
}

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length
}
