/** Sets up and tears down what the demo runs on: a copy of conf/demo, the pods of both clusters and a Starlane. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { createWriteStream } from 'node:fs'
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { MeshError } from '../../model/error.ts'
import { ownCommand, packagePath } from '../../model/program/package-files.ts'
import { serveKubernetes } from './kubernetes.ts'
import { Observer } from './observer.ts'
import { type DemoCluster, Pods, podPort } from './pods.ts'
import { writeTunnelFiles } from './tunnel-files.ts'

const servicePort = 80
/** Tried in turn when port 80 cannot be bound. */
const fallbackServicePorts = [8080, 8888, 18_080]

export interface Stage {
  readonly folder: string
  readonly clusters: readonly Pods[]
  /** `127.0.0.1:5353` */
  readonly dns: string
  readonly admin: string
  readonly port: number
  /** Rejects when Starlane exits during the demo. */
  readonly crashed: Promise<never>
  /** Notes to print before the first step. */
  readonly remarks: readonly string[]
  /** What passes between the clusters, where they are joined by a tunnel. */
  readonly observer: Observer | undefined
  close(): Promise<void>
}

export function demoFolder(): string {
  return process.env.STARLANE_DEMO_DIR ?? join(tmpdir(), `starlane-demo-${userInfo().uid}`)
}

/** `subnet` separates the pods of two demos on the same machine. */
export function demoClusters(folder: string, subnet = 0): DemoCluster[] {
  return [
    { name: 'cluster-1', folder: join(folder, 'cluster-1'), network: `127.1.${subnet}.` },
    { name: 'cluster-2', folder: join(folder, 'cluster-2'), network: `127.2.${subnet}.` },
  ]
}

/** Fails when another demo is running. On failure everything started is stopped again. */
export async function openStage({ kubernetes = false, tunnel = false } = {}): Promise<Stage> {
  const folder = demoFolder()
  await takeFolder(folder)
  const remarks: string[] = []
  const port = await choosePort(folder, remarks)
  const dns = await freeAddress(5353, remarks, 'DNS')
  const admin = await freeAddress(9911, remarks, 'admin')

  const clusters = demoClusters(folder, await freeSubnet()).map(cluster => new Pods(cluster))
  let starlane: ChildProcess | undefined
  let api: ChildProcess | undefined
  let far: FarSide | undefined
  const close = async (): Promise<void> => {
    if (starlane) await ended(starlane)
    if (far) await ended(far.gateway)
    far?.observer.close()
    if (api) await ended(api)
    await Promise.all(clusters.map(pods => pods.close()))
    await rm(join(folder, 'demo.json'), { force: true })
  }
  try {
    await Promise.all(clusters.map(pods => pods.start()))
    const served = clusters.map(({ cluster }) => cluster)
    if (kubernetes) api = await serveKubernetes(folder, served)
    if (tunnel) far = await openFarSide(folder, remarks)
    starlane = startStarlane(folder, ['run', '-c', join(folder, 'starlane.yaml')], 'starlane.log', {
      STARLANE_DEMO_DNS: dns,
      STARLANE_DEMO_ADMIN: admin,
    })
    const crashed = crash(starlane, join(folder, 'starlane.log'))
    await Promise.race([ready(admin, join(folder, 'starlane.log')), crashed])
    return { folder, clusters, dns, admin, port, crashed, remarks, observer: far?.observer, close }
  } catch (error) {
    await close()
    throw error
  }
}

interface FarSide {
  readonly gateway: ChildProcess
  readonly observer: Observer
}

/** The gateway of cluster-2, with certificates for both sides, and an observer between them. */
async function openFarSide(folder: string, remarks: string[]): Promise<FarSide> {
  const gatewayAt = await freeAddress(15_008, remarks, 'gateway')
  const admin = await freeAddress(9921, remarks, 'gateway admin')
  const observer = await Observer.open(gatewayAt)
  await writeTunnelFiles(folder, { gateway: gatewayAt, observed: observer.address })
  const args = ['gateway', '-c', join(folder, 'gateway.yaml')]
  const gateway = startStarlane(folder, args, 'gateway.log', { STARLANE_DEMO_ADMIN: admin })
  try {
    await ready(admin, join(folder, 'gateway.log'))
    return { gateway, observer }
  } catch (error) {
    observer.close()
    await ended(gateway)
    throw error
  }
}

async function takeFolder(folder: string): Promise<void> {
  const holder = await readFile(join(folder, 'demo.json'), 'utf8').then(JSON.parse, () => undefined)
  if (typeof holder?.pid === 'number' && alive(holder.pid)) {
    throw new MeshError(
      'USAGE',
      `a demo is already running (process ${holder.pid}); stop it with Ctrl-C, or scale it with "starlane demo scale"`,
    )
  }
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await cp(packagePath('conf/demo'), folder, { recursive: true })
  await writeFile(join(folder, 'demo.json'), JSON.stringify({ pid: process.pid }))
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** The Service's port if this user may bind it, else a free one, which is written into the copied manifests. */
async function choosePort(folder: string, remarks: string[]): Promise<number> {
  const problem = await tcpProblem('127.96.0.10', servicePort)
  if (problem === undefined) return servicePort
  for (const port of fallbackServicePorts) {
    if ((await tcpProblem('127.96.0.10', port)) !== undefined) continue
    for (const cluster of demoClusters(folder)) {
      const file = join(cluster.folder, 'rebel-base.yaml')
      await writeFile(file, (await readFile(file, 'utf8')).replace(`port: ${servicePort}\n`, `port: ${port}\n`))
    }
    const remedy =
      problem === 'EACCES'
        ? 'to use port 80: sudo sysctl net.ipv4.ip_unprivileged_port_start=80, or run as root'
        : 'another program uses it'
    remarks.push(`port ${servicePort} cannot be bound (${problem}): rebel-base is on port ${port} instead; ${remedy}`)
    return port
  }
  throw new MeshError(
    'LISTEN',
    `none of the ports ${servicePort}, ${fallbackServicePorts.join(', ')} can be bound on 127.96.0.10`,
  )
}

/** The first subnet in which the first pod of each cluster can listen. */
async function freeSubnet(): Promise<number> {
  for (let subnet = 0; subnet < 256; subnet++) {
    const problems = [1, 2].map(cluster => tcpProblem(`127.${cluster}.${subnet}.11`, podPort))
    if ((await Promise.all(problems)).every(problem => problem === undefined)) return subnet
  }
  throw new MeshError('LISTEN', `no pod can listen on port ${podPort} anywhere in 127.1.0.0/16 and 127.2.0.0/16`)
}

async function freeAddress(port: number, remarks: string[], what: string): Promise<string> {
  const problem = (await tcpProblem('127.0.0.1', port)) ?? (await udpProblem('127.0.0.1', port))
  if (problem === undefined) return `127.0.0.1:${port}`
  for (let other = port + 1; other < port + 100; other++) {
    if ((await tcpProblem('127.0.0.1', other)) ?? (await udpProblem('127.0.0.1', other))) continue
    remarks.push(`${what} port ${port} cannot be bound (${problem}): using ${other}`)
    return `127.0.0.1:${other}`
  }
  throw new MeshError('LISTEN', `no ${what} port from ${port} to ${port + 99} is free on 127.0.0.1`)
}

function tcpProblem(host: string, port: number): Promise<string | undefined> {
  return new Promise(resolve => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    server.listen(port, host, () => server.close(() => resolve(undefined)))
  })
}

function udpProblem(host: string, port: number): Promise<string | undefined> {
  return new Promise(resolve => {
    const socket = createSocket('udp4')
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    socket.bind(port, host, () => socket.close(() => resolve(undefined)))
  })
}

function startStarlane(
  folder: string,
  command: readonly string[],
  logFile: string,
  env: Record<string, string>,
): ChildProcess {
  const [program, ...args] = ownCommand(command)
  const child = spawn(program, args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const log = createWriteStream(join(folder, logFile))
  child.stdout?.pipe(log, { end: false })
  child.stderr?.pipe(log, { end: false })
  return child
}

async function ready(admin: string, log: string): Promise<void> {
  const deadline = performance.now() + 30_000
  for (;;) {
    const answered = await fetch(`http://${admin}/readyz`).then(
      response => response.ok,
      () => false,
    )
    if (answered) return
    if (performance.now() > deadline) {
      throw new MeshError('ADMIN_UNREACHABLE', `Starlane did not become ready in 30s; ${await endOf(log)}`)
    }
    await sleep(50)
  }
}

/** Rejects when the process exits. The empty catch is for when nothing awaits it, as after the demo stops Starlane. */
function crash(child: ChildProcess, log: string): Promise<never> {
  const exit = new Promise<string>(resolve => child.once('exit', (code, signal) => resolve(signal ?? `code ${code}`)))
  const crashed = exit.then(async how => {
    throw new MeshError('ADMIN_UNREACHABLE', `Starlane exited unexpectedly (${how}); ${await endOf(log)}`)
  })
  crashed.catch(() => {})
  return crashed
}

async function endOf(log: string): Promise<string> {
  const lines = (await readFile(log, 'utf8').catch(() => '')).trimEnd().split('\n')
  return `the end of ${log}:\n${lines.slice(-10).join('\n')}`
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = new Promise<void>(resolve => child.once('exit', () => resolve()))
  child.kill('SIGTERM')
  const cut = setTimeout(() => child.kill('SIGKILL'), 5000)
  await exited
  clearTimeout(cut)
}
