/** A stage for faults: two clusters of manifests, backends in this process, and Starlanes as processes of their own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { claimNetwork } from '../loopback.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

export type Engine = 'streams' | 'native'

export interface LogLine {
  readonly event?: string
  readonly [field: string]: unknown
}

/** A running Starlane and its log. */
export class Starlane {
  readonly child: ChildProcess
  readonly lines: LogLine[] = []
  readonly ended: Promise<number | string>
  #waiting: { readonly event: string; readonly done: (line: LogLine) => void }[] = []

  constructor(child: ChildProcess) {
    this.child = child
    this.ended = new Promise(resolve => child.once('exit', (code, signal) => resolve(signal ?? code ?? -1)))
    if (child.stderr) createInterface({ input: child.stderr }).on('line', line => this.#heard(line))
  }

  get pid(): number {
    return this.child.pid ?? 0
  }

  /** Resolves with the next line of that event, or one that has come. Rejects when the process ends first. */
  async logged(event: string): Promise<LogLine> {
    const found = this.lines.find(line => line.event === event)
    if (found) return found
    const line = new Promise<LogLine>(done => this.#waiting.push({ event, done }))
    const end = this.ended.then(code => {
      throw new Error(`ended with ${code} before "${event}":\n${this.lines.map(one => JSON.stringify(one)).join('\n')}`)
    })
    return Promise.race([line, end])
  }

  #heard(text: string): void {
    let line: LogLine
    try {
      line = JSON.parse(text) as LogLine
    } catch {
      line = { text }
    }
    this.lines.push(line)
    this.#waiting = this.#waiting.filter(({ event, done }) => {
      if (line.event !== event) return true
      done(line)
      return false
    })
  }
}

export interface RunLimits {
  readonly held?: readonly number[]
  readonly descriptors?: number
}

export interface StageOptions {
  readonly engine: Engine
  readonly drain: string
  readonly announce?: string
  readonly config?: object
  /** Dials wait for 10 s: for tests on a machine that may be busy for seconds. */
  readonly isPatient?: boolean
  /** Where the TCP service is, if not at a loopback address. */
  readonly frontend?: { readonly host: string; readonly port: number }
}

/** A global Service and its EndpointSlice, as Kubernetes has them. */
export function serviceObjects(
  name: string,
  { ip, port, protocol, ips }: { ip: string; port: number; protocol: string; ips: readonly string[] },
) {
  const metadata = { name, namespace: 'default', annotations: { 'service.cilium.io/global': 'true' } }
  const ports = [{ name: 'main', port, targetPort: 8000, protocol }]
  return [
    { apiVersion: 'v1', kind: 'Service', metadata, spec: { clusterIP: ip, ports } },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: [{ name: 'main', port: 8000, protocol }],
      endpoints: ips.map(ip => ({ addresses: [ip], conditions: { ready: true } })),
    },
  ]
}

export class Stage {
  readonly folder = mkdtempSync(join(tmpdir(), 'starlane-faults-'))
  readonly file = join(this.folder, 'starlane.yaml')
  readonly network = claimNetwork()
  readonly tcp: { readonly host: string; readonly port: number }
  readonly udp: { readonly host: string; readonly port: number }
  readonly dns: { readonly host: string; readonly port: number }
  readonly admin: { readonly host: string; readonly port: number }
  readonly #options: StageOptions
  readonly #running = new Set<Starlane>()
  readonly #closers: (() => void)[] = []

  constructor(options: StageOptions) {
    this.#options = options
    this.tcp = options.frontend ?? { host: this.ip(0), port: 7000 }
    this.udp = { host: this.ip(1), port: 7001 }
    this.dns = { host: this.ip(2), port: 7053 }
    this.admin = { host: this.ip(2), port: 7911 }
    this.write()
    for (const cluster of ['cluster-1', 'cluster-2']) mkdirSync(join(this.folder, cluster))
  }

  ip(last: number): string {
    return `${this.network}.${10 + last}`
  }

  /** The configuration, with changes of its sections. */
  write(changes: Readonly<Record<string, unknown>> = {}): void {
    const { engine, drain, announce = '0', config = {}, isPatient } = this.#options
    const dial = isPatient && { timeout: '10s', budget: '30s' }
    const whole: Record<string, unknown> = {
      cluster: 'cluster-1',
      clusters: ['cluster-1', 'cluster-2'].map((name, i) => ({ name, id: i + 1, source: { manifests: `./${name}` } })),
      state: './state',
      dns: { listen: `${this.dns.host}:${this.dns.port}`, upstream: [] },
      admin: { listen: `${this.admin.host}:${this.admin.port}` },
      proxy: { engine, drain, announce, idle: { udp: '5s' }, ...(dial && { dial }) },
      log: { format: 'json' },
      ...config,
    }
    for (const [key, change] of Object.entries(changes)) {
      const isSection = typeof change === 'object' && change !== null && !Array.isArray(change)
      whole[key] = isSection ? { ...((whole[key] as object) ?? {}), ...change } : change
    }
    writeFileSync(this.file, stringify(whole))
  }

  /** A Service in the manifests of these clusters, with the `pods` of each. */
  declare(name: 'tcp' | 'udp', pods: Readonly<Record<string, readonly string[]>>): void {
    const { host, port } = this[name]
    for (const [cluster, ips] of Object.entries(pods)) {
      const ip = cluster === 'cluster-1' ? host : this.ip(9)
      this.#write(cluster, name, { ip, port, protocol: name.toUpperCase(), ips })
    }
  }

  /** A further TCP service of the local cluster, at the address of the first. */
  declareOther(name: string, port: number, ips: readonly string[]): void {
    this.#write('cluster-1', name, { ip: this.tcp.host, port, protocol: 'TCP', ips })
  }

  #write(
    cluster: string,
    name: string,
    given: { ip: string; port: number; protocol: string; ips: readonly string[] },
  ): void {
    const objects = serviceObjects(name, given)
    const folder = join(this.folder, cluster)
    if (!existsSync(folder)) return // its source is away
    const path = join(folder, `${name}.yaml`)
    writeFileSync(`${path}.new`, objects.map(object => stringify(object)).join('---\n'))
    renameSync(`${path}.new`, path)
  }

  /** A TCP backend that answers each chunk with itself. */
  async echo(ip: string): Promise<{ close(): void; readonly sockets: ReadonlySet<Socket>; readonly accepted: number }> {
    const sockets = new Set<Socket>()
    let accepted = 0
    const server = createServer({ allowHalfOpen: true }, socket => {
      accepted++
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket)).on('error', () => {})
      socket.pipe(socket)
    })
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(8000, ip, 1024, resolve))
    const close = () => {
      for (const socket of sockets) socket.destroy()
      server.close()
    }
    this.#closers.push(close)
    return {
      close,
      sockets,
      get accepted() {
        return accepted
      },
    }
  }

  /** A UDP backend that answers each datagram with itself. */
  async udpEcho(ip: string): Promise<void> {
    const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 })
    socket.on('message', (message, { port, address }) => socket.send(message, port, address))
    await new Promise<void>((resolve, reject) => socket.once('error', reject).bind(8000, ip, resolve))
    this.#closers.push(() => socket.close())
  }

  /** TCP and UDP backends that answer with what they get, in a process of their own, whose id is returned. */
  async backends(ips: readonly string[]): Promise<number> {
    const child = spawn(process.execPath, [join(root, 'scripts/faults/backends.ts'), ...ips], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.#closers.push(() => child.kill('SIGKILL'))
    await Promise.race([
      once(child.stdout, 'data'),
      once(child, 'exit').then(([code]) => {
        throw new Error(`the backends have ended with ${code}`)
      }),
    ])
    return child.pid ?? 0
  }

  /** Both services, with these backends of each cluster; by default two of the first and one of the second. */
  async populate(
    pods: Readonly<Record<string, readonly string[]>> = {
      'cluster-1': [this.ip(10), this.ip(11)],
      'cluster-2': [this.ip(12)],
    },
  ): Promise<void> {
    await this.backends(Object.values(pods).flat())
    this.declare('tcp', pods)
    this.declare('udp', pods)
  }

  /** A copy of this checkout as another version. */
  copyAs(version: string): string {
    const folder = join(this.folder, `starlane-${version}`)
    mkdirSync(join(folder, 'native'), { recursive: true })
    for (const part of ['bin', 'proxy', 'plugins', 'native/build'])
      cpSync(join(root, part), join(folder, part), { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
    const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ ...manifest, version }))
    return folder
  }

  /**
   * `from`: the checkout that is run. `held`: sockets that it gets as a service manager passes them (sd_listen_fds(3)). `descriptors`: how many
   * it may have open.
   */
  run(from = root, env: Readonly<Record<string, string>> = {}, { held = [], descriptors }: RunLimits = {}): Starlane {
    const command = [process.execPath, join(from, 'bin/starlane.js'), 'run', '-c', this.file]
    const limit = descriptors === undefined ? '' : `ulimit -n ${descriptors}; `
    // Only the process itself knows the number that LISTEN_PID has to have.
    const listen = held.length === 0 ? '' : `export LISTEN_PID=$$ LISTEN_FDS=${held.length}; `
    const shell = ['sh', '-c', `${limit}${listen}exec "$@"`, 'sh', ...command]
    const [program = '', ...args] = limit || listen ? shell : command
    const child = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'pipe', ...held],
      env: { ...process.env, STARLANE_NATIVE: '1', LISTEN_PID: '', NOTIFY_SOCKET: '', ...env },
    })
    const starlane = new Starlane(child)
    this.#running.add(starlane)
    void starlane.ended.then(() => this.#running.delete(starlane))
    return starlane
  }

  get running(): number {
    return this.#running.size
  }

  /** Of its processes. */
  get pids(): number[] {
    return [...this.#running].map(({ pid }) => pid)
  }

  /** Of a Starlane: its descriptors, by what they are. */
  static descriptors(pid: number): string[] {
    return readdirSync(`/proc/${pid}/fd`).flatMap(name => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${name}`)
      } catch {
        return []
      }
    })
  }

  async close(): Promise<void> {
    for (const { child } of this.#running) child.kill('SIGKILL')
    await Promise.all([...this.#running].map(({ ended }) => ended))
    for (const close of this.#closers) close()
    rmSync(this.folder, { recursive: true, force: true })
  }
}
