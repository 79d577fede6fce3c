/** A mesh of two clusters with one application in it: its pods, a Starlane in one of the three deployments, and its clients. */
import { chmod, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { stringify } from 'yaml'
import { eventually } from '../../../support/eventually.ts'
import type { Application, Place, Pod, PodState, Session, Stage, Target } from './application.ts'
import { Load } from './load.ts'
import { Machine } from './network.ts'
import { family, Lines, patienceMs, run, signal } from './processes.ts'

/**
 *   exec         the commands run under `starlane exec`, names are answered with loopback addresses
 *   sidecar      as user 65532 without any capability, in the network of its clients, which has it in its resolv.conf
 *   node-agent   the ClusterIP by `proxy.anyip` and `proxy.nftables: redirect`, for clients of the node and of a pod behind it
 */
export type Deployment = 'exec' | 'sidecar' | 'node-agent'
export const deployments: readonly Deployment[] = ['exec', 'sidecar', 'node-agent']
export type EngineName = 'auto' | 'native' | 'streams'

export interface Given {
  readonly application: Application
  readonly deployment: Deployment
  readonly engine: EngineName
  /** Bytes of a large transfer, in each direction. */
  readonly bulkBytes: number
}

interface Running {
  readonly pod: Pod
  readonly cluster: number
  readonly server: Lines
  state: PodState
}

/** What the admin server shows of a backend. */
interface ShownBackend {
  readonly address: string
  readonly state: string
  readonly selected: boolean
}

const root = join(import.meta.dirname, '../../../..')
// As in a container, nothing of the server is left when its first process has ended.
const container = ['unshare', '--pid', '--fork', '--kill-child=SIGKILL', '--']
const clusterIP = '10.96.0.10'
const answers = '/etc/resolv.conf'

export class Mesh implements Stage {
  readonly given: Given
  readonly folder: string
  /** The pods of the endpoints, by name. */
  readonly pods = new Map<string, Running>()
  readonly #node: Machine
  readonly #fabric: Machine
  readonly #behind: Machine
  readonly #opened: Lines[] = []
  #starlane: Lines | undefined
  #log = ''
  #exec: Lines | undefined
  #execId = ''
  #made = 0
  #declared = Promise.resolve()
  #addresses = 0
  readonly #loads: Load[] = []
  #options: object = {}

  private constructor(given: Given, folder: string, machines: readonly [Machine, Machine, Machine]) {
    this.given = given
    this.folder = folder
    ;[this.#node, this.#fabric, this.#behind] = machines
  }

  /** With a pod in each cluster, `one` and `two`, and a running Starlane. */
  static async open(given: Given): Promise<Mesh> {
    const folder = await mkdtemp(join(tmpdir(), 'starlane-applications-'))
    await chmod(folder, 0o755)
    const machines = await Promise.all([Machine.start(), Machine.start(), Machine.start()])
    const mesh = new Mesh(given, folder, machines)
    try {
      await mesh.#prepare()
      return mesh
    } catch (error) {
      await mesh.close()
      throw error
    }
  }

  /** What clients of the service connect to. */
  get target(): Target {
    const { application, deployment } = this.given
    return { host: deployment === 'node-agent' ? clusterIP : application.name, port: application.port }
  }

  /** Where clients run; with `node-agent` on the node itself. */
  readonly place: Place = this.#placeOf(command => this.#inside(command))

  /** Where clients run that stay; with `node-agent` in a pod behind the node. */
  get pod(): Place {
    if (this.given.deployment !== 'node-agent') return this.place
    return this.#placeOf(command => this.#behind.in(command))
  }

  /** Where the pods run: clients here see no Starlane. */
  readonly fabric: Place = this.#placeOf(command => this.#fabric.in(command))

  get bulkBytes(): number {
    return this.given.bulkBytes
  }

  get log(): string {
    return this.#log
  }

  /** The folder that all pods share. */
  get shared(): string {
    return join(this.folder, 'shared')
  }

  call(): Promise<string> {
    return this.given.application.once(this.place, this.target, this.shared)
  }

  load(): Load {
    const load = new Load(() => this.call())
    this.#loads.push(load)
    return load
  }

  /**
   * A session on the pod of the name, or undefined where the application has none. A pod whose datagrams were refused is ejected
   * for half a minute, since nothing checks a UDP port.
   */
  async session(name: string): Promise<Session | undefined> {
    const { session: open } = this.given.application
    const deadline = performance.now() + patienceMs
    while (open && performance.now() < deadline) {
      const session = await open(this.pod, this.target, this)
      if ((await session.use()) === name) return session
      await session.close()
    }
    if (open) throw new Error(`no session on ${name} within ${patienceMs} ms`)
    return undefined
  }

  /** Starts a pod. Clients learn of it by `declare`. */
  async startPod(name: string, cluster: 1 | 2, ip = `10.200.0.${11 + (this.#addresses++ % 80)}`): Promise<void> {
    const { application } = this.given
    const folder = join(this.folder, `pod-${name}`)
    await rm(folder, { recursive: true, force: true })
    await mkdir(folder)
    await chmod(folder, 0o777)
    const pod: Pod = { name, ip, folder }
    await this.#fabric.do(`ip addr replace ${ip}/24 dev far-near`)
    const command = await application.server(pod, this.shared)
    const server = new Lines(this.#fabric.in([...container, ...command]))
    this.pods.set(name, { pod, cluster, server, state: 'ready' })
    const early = server.exited.then(code => {
      throw new Error(`the server of ${application.name} exited with ${code}: ${server.errors}`)
    })
    early.catch(() => {})
    const answersItself = eventually(async () => {
      await this.#listening(pod)
      await application.ready?.(pod, this.fabric)
      const answer = await application.once(this.fabric, { host: ip, port: application.port }, this.shared)
      if (answer !== name) throw new Error(`${ip} answers as ${answer}, not as ${name}`)
    }, patienceMs)
    await Promise.race([early, answersItself])
  }

  /** The endpoints of both clusters, as they are from now on. */
  async declare(states: Readonly<Record<string, PodState>> = {}): Promise<void> {
    for (const [name, state] of Object.entries(states)) this.#running(name).state = state
    // One after the other, or an older list could replace a newer one.
    this.#declared = this.#declared.then(() => this.#write())
    await this.#declared
  }

  async #write(): Promise<void> {
    for (const cluster of [1, 2]) {
      const pods = [...this.pods.values()].filter(running => running.cluster === cluster)
      const path = join(this.folder, `cluster-${cluster}`, 'service.yaml')
      const next = join(this.folder, `service-${++this.#made}`)
      await writeFile(
        next,
        objects(this.given.application, cluster, pods)
          .map(o => stringify(o))
          .join('---\n'),
      )
      await rename(next, path)
    }
  }

  /** Waits until Starlane has what was declared of a pod. */
  knows(name: string, selected: boolean): Promise<void> {
    const what = selected ? 'used' : 'left'
    return this.#shows(name, what, backend => backend.selected === selected)
  }

  async #shows(name: string, what: string, isSo: (backend: ShownBackend) => boolean): Promise<void> {
    const { ip } = this.#running(name).pod
    const url = `http://127.0.0.1:9911/v1/services/default/${this.given.application.name}`
    const ask = `fetch('${url}').then(answer => answer.text()).then(console.log)`
    await eventually(async () => {
      const { backends } = JSON.parse(await run(this.#node.in([process.execPath, '-e', ask]))) as {
        backends: ShownBackend[]
      }
      const own = backends.filter(({ address }) => address === ip)
      if (own.length === 0 || !own.every(isSo)) throw new Error(`${name} is not yet ${what}`)
    }, patienceMs)
  }

  /**
   * Ends a pod as Kubernetes does: it is terminating from the moment of its deletion, its preStop hook waits until others know
   * and calls that came before are answered, then it is asked to stop, and killed after the grace period; its endpoint goes last.
   */
  async endPod(name: string, graceMs = 5000): Promise<void> {
    const { server } = this.#running(name)
    await this.declare({ [name]: 'terminating' })
    await this.#shows(name, 'terminating', ({ state }) => state === 'terminating')
    await Promise.all([sleep(1500), ...this.#loads.map(load => load.settled())])
    const [, main] = this.#server(name)
    if (main !== undefined) signal(main, this.given.application.stopSignal ?? 'SIGTERM')
    await Promise.race([server.exited, sleep(graceMs)])
    await server.kill()
    this.pods.delete(name)
    await this.declare()
  }

  /** To all processes of a pod, at once. */
  signalPod(name: string, what: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): void {
    for (const id of this.#server(name)) signal(id, what)
  }

  /** Kills all processes of a pod; resolves when the kernel has closed their sockets. */
  async killPod(name: string): Promise<void> {
    this.signalPod(name, 'SIGKILL')
    await this.#running(name).server.exited
  }

  /** Starts a killed pod again, at its address. */
  async restartPod(name: string): Promise<void> {
    const { pod, cluster, server } = this.#running(name)
    await server.kill()
    await this.startPod(name, cluster as 1 | 2, pod.ip)
  }

  /** Another configuration and SIGHUP; resolves when it is in use. */
  async reload(options: object): Promise<void> {
    this.#options = options
    await this.#configure()
    const since = this.#log.length
    const [main] = family(this.#starlane?.child.pid)
    if (main !== undefined) signal(main, 'SIGHUP')
    await eventually(() => {
      if (!this.#log.slice(since).includes('"reload.done"')) throw new Error('it has not reloaded')
    }, patienceMs)
  }

  async close(): Promise<void> {
    const stopped = this.#loads.map(load => load.stop())
    await Promise.all(this.#opened.map(process => process.kill()))
    await this.#exec?.kill()
    if (this.#starlane) {
      for (const id of family(this.#starlane.child.pid)) signal(id, 'SIGTERM')
      await Promise.race([this.#starlane.exited, sleep(3000)])
      await this.#starlane.kill()
    }
    await Promise.all([...this.pods.values()].map(({ server }) => server.kill()))
    await Promise.all([this.#node, this.#fabric, this.#behind].map(machine => machine.stop()))
    await Promise.all(stopped)
    await rm(this.folder, { recursive: true, force: true })
  }

  async #prepare(): Promise<void> {
    const { application, deployment } = this.given
    await this.#node.link(this.#fabric, 'near', '10.200.0.1', '10.200.0.2')
    await this.#node.link(this.#behind, 'pods', '10.244.0.1', '10.244.0.2')
    await this.#behind.do('ip route add default via 10.244.0.1')
    await this.#node.do('sysctl -qw net.ipv4.ip_forward=1 net.ipv4.ip_unprivileged_port_start=53')
    for (const name of ['shared', 'cluster-1', 'cluster-2']) await mkdir(join(this.folder, name))
    await application.prepare?.(this.shared)
    await Promise.all([this.startPod('one', 1), this.startPod('two', 2)])
    await this.declare()
    await this.#start()
    if (deployment === 'exec') {
      const cli = [
        process.execPath,
        join(root, 'bin/starlane.js'),
        'exec',
        '--',
        'sh',
        '-c',
        'echo $$; exec sleep infinity',
      ]
      this.#exec = new Lines(this.#node.in(cli))
      this.#execId = (await this.#exec.hear(/^\d+$/))[0]
    }
    if (deployment === 'sidecar') {
      const file = join(this.folder, 'resolv.conf')
      await writeFile(
        file,
        'nameserver 127.0.0.1\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n',
      )
      await this.#node.do(`mount --bind ${file} ${answers}`)
    }
    await eventually(() => this.call(), patienceMs)
  }

  async #start(): Promise<void> {
    await this.#configure()
    const command = [process.execPath, join(root, 'bin/starlane.js'), 'run', '-c', join(this.folder, 'starlane.yaml')]
    const user = ['--reuid=65532', '--regid=65532', '--clear-groups', '--inh-caps=-all', '--bounding-set=-all']
    const { deployment } = this.given
    this.#starlane = new Lines(this.#node.in(deployment === 'sidecar' ? ['setpriv', ...user, ...command] : command))
    this.#starlane.child.stderr?.on('data', text => {
      this.#log += text
    })
    const early = this.#starlane.exited.then(code => {
      throw new Error(`Starlane exited with ${code}: ${this.#log.slice(-3000)}`)
    })
    early.catch(() => {})
    const ready = eventually(() => {
      if (!this.#log.includes('"ready"')) throw new Error(`Starlane is not ready: ${this.#log.slice(-3000)}`)
    }, patienceMs)
    await Promise.race([early, ready])
  }

  async #configure(): Promise<void> {
    const { deployment, engine } = this.given
    const proxy = {
      exec: { vips: { cidr: '127.96.0.0/16' } },
      sidecar: { vips: { cidr: '127.96.0.0/16' } },
      'node-agent': { vips: 'clusterIP', anyip: true, nftables: 'redirect' },
    }[deployment]
    const file = join(this.folder, 'starlane.yaml')
    const config = {
      cluster: 'cluster-1',
      clusters: [1, 2].map(id => ({ name: `cluster-${id}`, id, source: { manifests: `./cluster-${id}` } })),
      dns: { listen: deployment === 'sidecar' ? '127.0.0.1:53' : '127.0.0.1:5353', upstream: [] },
      proxy: { engine, ...proxy, ...this.#options },
      health: { active: { interval: '500ms', timeout: '300ms', fall: 2 } },
      log: { format: 'json' },
    }
    await writeFile(file, stringify(config))
  }

  #inside(command: readonly string[]): string[] {
    const id = this.given.deployment === 'exec' ? this.#execId : this.#node.id
    return ['nsenter', '-t', id, '-n', '-m', '--', ...command]
  }

  #placeOf(inside: (command: readonly string[]) => string[]): Place {
    return {
      run: (command, options) => run(inside(command), options),
      open: command => {
        const opened = new Lines(inside(command))
        this.#opened.push(opened)
        return opened
      },
    }
  }

  #running(name: string): Running {
    const running = this.pods.get(name)
    if (!running) throw new Error(`there is no pod ${name}`)
    return running
  }

  /** The processes of a pod: the one that holds its namespace, its main one, and what that has started. */
  #server(name: string): number[] {
    return family(this.#running(name).server.child.pid)
  }

  async #listening(pod: Pod): Promise<void> {
    const { port, protocols } = this.given.application
    if (!protocols.includes('TCP')) return
    await run(this.#fabric.in(['bash', '-c', `exec 3<>/dev/tcp/${pod.ip}/${port}`]), { timeoutMs: 2000 })
  }
}

/** The Service and the EndpointSlice of one cluster. */
function objects({ name, port, protocols }: Application, cluster: number, pods: readonly Running[]): object[] {
  const named = protocols.map(protocol => ({ name: protocol.toLowerCase(), port, protocol }))
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace: 'default', annotations: { 'service.cilium.io/global': 'true' } },
      spec: { clusterIP: cluster === 1 ? clusterIP : '10.97.0.10', ports: named },
    },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: `${name}-1`, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: named,
      endpoints: pods.map(({ pod, state }) => ({
        addresses: [pod.ip],
        conditions: { ready: state === 'ready', serving: state !== 'unready', terminating: state === 'terminating' },
      })),
    },
  ]
}
