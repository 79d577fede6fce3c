/** A network namespace for one command, with the services of the mesh at their own ports and a way out for everything else. */
import { type ChildProcess, spawn } from 'node:child_process'
import type { Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import type { Server } from 'node:net'
import type { Protocol } from '../../model/address.ts'
import { MeshError, messageOf } from '../../model/error.ts'
import { ownCommand } from '../../model/program/package-files.ts'
import type { ServiceView } from '../../model/views.ts'
import type { Io } from '../terminal/io.ts'
import { InsideAddresses, type InsideFrontend } from './addresses.ts'
import { type CarrierName, hasDefaultRoute, installedCarrier, startCarrier } from './carrier.ts'
import { type Answer, insideName, type Request } from './inside.ts'
import { noNamespace, privateMounts, type Wrap } from './mounts.ts'
import { type Asked, type Names, namesByHosts, reachable, resolverCover } from './names.ts'
import { type Relay, relayTcp, relayUdp } from './relay.ts'

export interface Network {
  /** Runs a command in it. */
  readonly wrap: Wrap
  /** The services as the command sees them. */
  services(): readonly ServiceView[]
  close(): void
}

/** Where the command's resolv.conf finds the responder: inside only this process has this address. */
const resolver = '127.53.0.53'

/** `asked` and the running Starlane's services; they are asked for again every two seconds. */
export async function openNetwork(
  asked: Asked,
  services: () => Promise<readonly ServiceView[]>,
  io: Io,
): Promise<Network> {
  const name = requiredCarrier(io)
  const closers: (() => void)[] = []
  const close = () => {
    for (const closer of closers.splice(0).reverse()) closer()
  }
  try {
    const inside = await Inside.start()
    closers.push(() => inside.close())
    const carrier = hasDefaultRoute() ? await startCarrier(name, inside.pid, io) : undefined
    if (carrier) {
      closers.push(() => carrier.close())
      inside.send({ carrier: carrier.pid })
    } else io.stderr.write(alone)
    const frontends = new Frontends(inside, io)
    closers.push(() => frontends.close())
    if (asked.dns.listening) await frontends.serveDns(asked)
    const hosts = await namesByHosts(asked, async () => frontends.take(await services()), io)
    closers.push(() => hosts.close())
    const wrap = privateMounts(coversOf(asked, hosts), { pid: inside.pid })
    return { wrap, services: () => frontends.views, close }
  } catch (error) {
    close()
    throw error
  }
}

function coversOf(asked: Asked, hosts: Names) {
  return [...(asked.dns.listening ? [resolverCover(asked, resolver)] : []), ...hosts.covers]
}

const alone =
  'starlane: this machine has no default route; the command reaches the services of the mesh and nothing else\n'

function requiredCarrier({ env }: Io): CarrierName {
  const name = installedCarrier(env)
  if (name) return name
  const remedy = 'install passt (or slirp4netns), or use --network host'
  throw new MeshError('EXEC_NETWORK', `neither pasta nor slirp4netns is on the PATH: ${remedy}`)
}

/** The process in the namespace, which makes sockets there. */
class Inside {
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, (answer: Answer, socket: unknown) => void>()
  #next = 1

  private constructor(child: ChildProcess) {
    this.#child = child
    child.on('message', (answer, socket) => {
      const { id } = answer as Answer
      const settle = this.#waiting.get(id)
      this.#waiting.delete(id)
      settle?.(answer as Answer, socket)
    })
    child.on('error', () => {})
    child.once('exit', () => {
      for (const [id, settle] of this.#waiting)
        settle({ id, failed: 'the process in the namespace has ended' }, undefined)
    })
  }

  static async start(): Promise<Inside> {
    const [program, ...args] = [
      '--user',
      '--map-root-user',
      '--net',
      '--',
      'sh',
      '-c',
      'ip link set lo up && exec "$@"',
      'starlane',
    ]
    const command = ['unshare', program as string, ...args, ...ownCommand([insideName])]
    const child = spawn(command[0] as string, command.slice(1), { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
    let said = ''
    child.stderr?.on('data', chunk => {
      said = `${said}${chunk}`.slice(-1000)
    })
    const failed = new Promise<string>(resolve => {
      child.once('error', error =>
        resolve((error as NodeJS.ErrnoException).code === 'ENOENT' ? 'unshare is not installed' : error.message),
      )
      child.once('close', code => resolve(said.trim().replaceAll('\n', '; ') || `unshare exited with ${code}`))
    })
    const why = await Promise.race([failed, once(child, 'message').then(() => undefined)])
    if (why !== undefined) throw noNamespace('network', why)
    return new Inside(child)
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  send(request: Request): void {
    this.#child.send(request)
  }

  /** The socket, listening in the namespace; or why there is none. */
  listen(ip: string, port: number, protocol: Protocol): Promise<Server | UdpSocket | string> {
    const id = this.#next++
    return new Promise(resolve => {
      this.#waiting.set(id, ({ failed }, socket) => resolve(failed ?? (socket as Server | UdpSocket)))
      this.#child.send({ id, listen: { ip, port, protocol } } satisfies Request, error => {
        if (error) this.#waiting.get(id)?.({ id, failed: messageOf(error) }, undefined)
      })
    })
  }

  close(): void {
    if (this.#child.connected) this.#child.disconnect()
    this.#child.kill()
  }
}

/** A socket takes a descriptor of this process. */
const maxFrontends = 4096

/** The sockets of the services, and what carries their traffic. */
class Frontends {
  readonly #inside: Inside
  readonly #io: Io
  readonly #addresses = new InsideAddresses()
  readonly #open = new Map<string, Relay | undefined>()
  readonly #told = new Set<string>()
  #closed = false
  views: readonly ServiceView[] = []

  constructor(inside: Inside, io: Io) {
    this.#inside = inside
    this.#io = io
  }

  /** The responder at port 53 of an address of the namespace. */
  async serveDns({ dns }: Asked): Promise<void> {
    const { address: ip, port } = reachable(dns.address)
    for (const protocol of ['UDP', 'TCP'] as const)
      await this.#add('dns', { ip: resolver, port: 53, protocol, outside: { ip, port } })
  }

  /** Opens what is new and closes what is gone. Returns the services as the command sees them. */
  async take(services: readonly ServiceView[]): Promise<readonly ServiceView[]> {
    const { views, frontends } = this.#addresses.translate(services)
    this.views = views
    const wanted = new Map(frontends.map(frontend => [keyOf(frontend), frontend]))
    for (const [key, relay] of this.#open) {
      if (key.startsWith('dns ') || wanted.has(key)) continue
      relay?.close()
      this.#open.delete(key)
    }
    for (const [key, frontend] of wanted) if (!this.#open.has(key)) await this.#add(key, frontend)
    return views
  }

  close(): void {
    this.#closed = true
    for (const relay of this.#open.values()) relay?.close()
    this.#open.clear()
  }

  async #add(key: string, { ip, port, protocol, outside }: InsideFrontend): Promise<void> {
    if (this.#open.size >= maxFrontends)
      return this.#tell(`more than ${maxFrontends} frontends; the others are not in this network`)
    const name = key === 'dns' ? `dns ${protocol}` : key
    // In the table before the answer, so that it is asked for once.
    this.#open.set(name, undefined)
    const socket = await this.#inside.listen(ip, port, protocol)
    if (typeof socket === 'string') {
      this.#open.delete(name)
      return this.#tell(`${ip}:${port}/${protocol} is not in this network: ${socket}`)
    }
    const relay =
      protocol === 'UDP' ? relayUdp(socket as UdpSocket, outside, this.#io.clock) : relayTcp(socket as Server, outside)
    if (this.#closed || !this.#open.has(name)) relay.close()
    else this.#open.set(name, relay)
  }

  /** Once each. */
  #tell(text: string): void {
    if (this.#told.has(text) || this.#told.size >= 100 || this.#closed) return
    this.#told.add(text)
    this.#io.stderr.write(`starlane: ${text}\n`)
  }
}

function keyOf({ ip, port, protocol, outside }: InsideFrontend): string {
  return `${ip} ${port} ${protocol} ${outside.ip} ${outside.port}`
}
