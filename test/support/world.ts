/** A whole Starlane in this process, with real manifests in a temporary folder and real backends on loopback. */
import { createSocket } from 'node:dgram'
import { Resolver } from 'node:dns/promises'
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import { type Loaded, loadConfig } from '../../proxy/config/load.ts'
import { type Log, silentLog } from '../../proxy/model/log.ts'
import type { Clock } from '../../proxy/model/time/clock.ts'
import { createRuntime, type Runtime } from '../../proxy/runtime.ts'
import { claimNetwork } from '../../scripts/loopback.ts'

export interface Pod {
  readonly ip: string
  readonly ready?: boolean
  readonly serving?: boolean
  readonly terminating?: boolean
  readonly hostname?: string
  readonly node?: string
}

export interface WorldService {
  readonly name?: string
  readonly clusterIP?: string
  readonly annotations?: Readonly<Record<string, string>>
  readonly port?: number
  readonly targetPort?: number
  readonly protocol?: 'TCP' | 'UDP'
  readonly spec?: object
  readonly pods: readonly Pod[]
}

const global = { 'service.cilium.io/global': 'true' }

/** Each world has loopback addresses of its own, so that test files can run in parallel. */
export async function createWorld(
  t: Test,
  options: {
    clusters?: readonly string[]
    config?: object
    log?: Log
    clock?: Clock
    env?: Readonly<Record<string, string>>
  } = {},
) {
  const { clusters = ['cluster-1', 'cluster-2'], config = {}, log = silentLog, clock } = options
  const network = claimNetwork()
  const folder = await mkdtemp(join(tmpdir(), 'starlane-world-'))
  for (const cluster of clusters) await mkdir(join(folder, cluster), { recursive: true })
  const file = join(folder, 'starlane.yaml')

  const write = async (changes: object = {}) => {
    const whole = {
      cluster: clusters[0],
      clusters: clusters.map((name, i) => ({ name, id: i + 1, source: { manifests: `./${name}` } })),
      dns: { listen: '127.0.0.1:0', upstream: [] },
      admin: { listen: '127.0.0.1:0' },
      // A backend that has gone refuses at once; only a busy machine makes one that is there wait.
      health: { active: { interval: '200ms', timeout: '10s', fall: 2 } },
      proxy: { drain: '300ms' },
      ...config,
      ...changes,
    }
    await writeFile(file, stringify(whole))
  }

  /** Writes a Service and its EndpointSlice, which the running Starlane picks up. */
  const declare = async (cluster: string, service: WorldService) => {
    const name = service.name ?? 'rebel-base'
    const path = join(folder, cluster, `${name}.yaml`)
    await writeFile(
      `${path}.tmp`,
      manifests(service, name)
        .map(object => stringify(object))
        .join('---\n'),
    )
    await rename(`${path}.tmp`, path)
  }
  const undeclare = (cluster: string, name = 'rebel-base') => rm(join(folder, cluster, `${name}.yaml`))

  let runtime: Runtime | undefined
  const start = async (): Promise<Runtime> => {
    await write()
    const loaded: Loaded = await loadConfig(file)
    const started = await createRuntime({
      loaded,
      log,
      version: 'test',
      ...(clock && { clock }),
      env: { STARLANE_NATIVE: process.env.STARLANE_NATIVE, ...options.env },
    })
    runtime = started
    await started.start()
    await started.ready
    return started
  }
  t.teardown(async () => {
    runtime?.destroy()
    await runtime?.close()
    await rm(folder, { recursive: true, force: true })
  })

  return {
    folder,
    file,
    start,
    write,
    declare,
    undeclare,
    /** `ip(11)`: an address of this world only. */
    ip: (last: number) => `${network}.${last}`,
    load: () => loadConfig(file),
    status: () => (runtime as Runtime).status(),
    runtime: () => runtime as Runtime,
    /** An answer of the admin API as JSON. */
    look: async (path: string) => {
      const { admin } = await (runtime as Runtime).ready
      return (await fetch(`http://${admin}${path}`)).json()
    },
    resolve: (name: string) => resolve((runtime as Runtime).status().dns.address, name),
  }
}

export type World = Awaited<ReturnType<typeof createWorld>>

/** A Service and its EndpointSlice. */
export function manifests(service: WorldService, name: string) {
  const {
    clusterIP = 'None',
    annotations = global,
    port = 7000,
    targetPort = 8000,
    protocol = 'TCP',
    spec = {},
    pods,
  } = service
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace: 'default', annotations },
      spec: { clusterIP, ports: [{ name: 'main', port, targetPort, protocol }], ...spec },
    },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: `${name}-1`, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: [{ name: 'main', port: targetPort, protocol }],
      endpoints: pods.map(({ ip, ready = true, serving = ready, terminating = false, hostname, node }) => ({
        addresses: [ip],
        conditions: { ready, serving, terminating },
        ...(hostname === undefined ? {} : { hostname }),
        ...(node === undefined ? {} : { nodeName: node }),
      })),
    },
  ]
}

/** A TCP server that sends its name, then echoes. */
export async function startPod(t: Test, ip: string, name: string, port = 8000): Promise<{ close(): Promise<void> }> {
  const sockets = new Set<import('node:net').Socket>()
  const server: Server = createServer({ allowHalfOpen: true }, socket => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket)).on('error', () => {})
    socket.write(`${name}\n`)
    socket.pipe(socket)
  })
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, ip, resolve))
  const close = () =>
    new Promise<void>(resolve => {
      for (const socket of sockets) socket.destroy()
      server.close(() => resolve())
    })
  t.teardown(close)
  return { close }
}

/** Connects and resolves with the name that the backend sends; rejects when the connection fails or closes first. */
export function ask(host: string, port = 7000, localAddress?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, ...(localAddress === undefined ? {} : { localAddress }) })
    let heard = ''
    socket.setTimeout(10_000, () => socket.destroy(new Error('no answer within 10 s')))
    socket.on('error', reject)
    socket.on('close', () => reject(new Error(`closed after "${heard}"`)))
    socket.on('data', data => {
      heard += data
      if (!heard.includes('\n')) return
      socket.destroy()
      resolve(heard.trim())
    })
  })
}

/** Asks a number of times in sequence and counts the answers by name. */
export async function tally(
  times: number,
  host: string,
  port = 7000,
  localAddress?: string,
): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (let i = 0; i < times; i++) {
    const name = await ask(host, port, localAddress)
    counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}

/** A UDP server that answers each datagram with its name and the datagram. */
export async function startUdpPod(t: Test, ip: string, name: string, port = 8000): Promise<{ close(): Promise<void> }> {
  const socket = createSocket('udp4')
  socket.on('message', (message, peer) => socket.send(`${name}:${message}`, peer.port, peer.address))
  await new Promise<void>((resolve, reject) => socket.once('error', reject).bind(port, ip, resolve))
  let open = true
  const close = () =>
    new Promise<void>(resolve => {
      if (!open) return resolve()
      open = false
      socket.close(() => resolve())
    })
  t.teardown(close)
  return { close }
}

async function resolve(server: string, name: string): Promise<string[]> {
  const resolver = new Resolver({ timeout: 3000, tries: 1 })
  resolver.setServers([server])
  return resolver.resolve4(name)
}
