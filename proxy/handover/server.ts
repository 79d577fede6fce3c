/** The side that runs: waits for a successor, gives it what it needs, and takes everything back if it fails. */
import { randomBytes } from 'node:crypto'
import { closeSync } from 'node:fs'
import { chmod, mkdir, rename, rm, stat } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { MeshError, messageOf } from '../model/error.ts'
import type { Log } from '../model/log.ts'
import { descriptorOf, type PassedSocket, type PassingCalls } from '../model/sockets/passing.ts'
import type { Json } from '../model/text/json.ts'
import { Channel, checked, type Hello, protocol, type SocketText, socketName } from './messages.ts'

/** What there is to hand over. */
export interface Estate {
  readonly version: string
  readonly cluster: string
  /** Virtual addresses by service. */
  addresses(): Readonly<Record<string, string>>
  /** The last known objects of every cluster, as lines. */
  memories(): Iterable<{ cluster: string; source: string; since: number; lines: Iterable<string> }>
  /** Why nothing can be handed over now. */
  obstacle(): string | undefined
  /** Stops reading from all sockets. */
  pass(): Promise<{ readonly sockets: readonly PassedSocket[]; readonly state: Json }>
  /** The successor has failed: goes on with the sockets. */
  takeBack(sockets: readonly PassedSocket[]): Promise<void>
  /** The successor serves. */
  handedOver(to: Hello): void
}

export interface HandoverServerParts {
  /** The unix socket; its folder is private. */
  readonly path: string
  readonly calls: PassingCalls
  readonly estate: Estate
  readonly log: Log
  readonly patience?: Patience
}

export interface Patience {
  /** How long a successor may take to read what there is to know and to begin. Others are refused meanwhile. */
  readonly takeMs: number
  /** From `take` to `serving`. */
  readonly servingMs: number
}

const firstLineMs = 5000
const ordinary: Patience = { takeMs: 60_000, servingMs: 10_000 }
/** Connections at a time; a successor has two. */
const maxConnections = 8
/** From `done` to the end of the connection. */
const closingMs = 2000

export class HandoverServer {
  readonly #parts: HandoverServerParts
  readonly #server: Server
  readonly #connections = new Set<Socket>()
  /** The handover that is under way. */
  #busy: Promise<void> | undefined
  /** Whether no further one may begin. */
  #isFinished = false
  /** Of the file at the path, while it is ours. */
  #inode: number | undefined
  /** Who is waited for on a second connection. */
  #awaited: { readonly token: string; readonly came: (socket: Socket) => void } | undefined

  constructor(parts: HandoverServerParts) {
    this.#parts = parts
    this.#server = createServer(socket => this.#accept(socket)).unref()
    this.#server.maxConnections = maxConnections
  }

  /**
   * Listens at the path, in place of what an earlier process has left there; or goes on with the socket of a predecessor. Rejects with the error
   * of the system.
   */
  async start(passed?: PassedSocket): Promise<void> {
    const { path } = this.#parts
    if (passed) await this.#listen({ fd: passed.descriptor })
    else {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 })
      // Closing a socket removes the name that it was bound to: by then the path may be a successor's.
      const bound = join(dirname(path), `.${randomBytes(5).toString('hex')}`)
      await this.#listen({ path: bound })
      await chmod(bound, 0o600)
      await rename(bound, path)
    }
    this.#inode = await inodeOf(path)
  }

  #listen(at: { readonly fd: number } | { readonly path: string }): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(at, () => {
        this.#server.off('error', reject)
        resolve()
      })
    })
  }

  /** Resolves when no handover is under way, after so long at most. */
  async settled(mostMs: number): Promise<void> {
    if (!this.#busy) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, mostMs)
    await Promise.race([this.#busy, promise])
    clearTimeout(timer)
  }

  /** As {@link settled}; no further one begins. */
  async finish(mostMs: number): Promise<void> {
    this.#isFinished = true
    await this.settled(mostMs)
  }

  /** Removes the socket, unless a successor has it. */
  async close(): Promise<void> {
    for (const socket of this.#connections) socket.destroy()
    if (this.#server.listening) await new Promise<void>(resolve => this.#server.close(() => resolve()))
    const { path } = this.#parts
    if (this.#inode !== undefined && (await inodeOf(path)) === this.#inode) await rm(path, { force: true })
    this.#inode = undefined
  }

  #accept(socket: Socket): void {
    const { calls, log } = this.#parts
    const user = calls.peerUser(descriptorOf(socket) ?? -1)
    const own = process.getuid?.() ?? user
    if (user !== own) {
      log.warn('handover.refused', { why: `user ${user} asks, and this is ${own}` })
      socket.destroy()
      return
    }
    this.#connections.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => this.#connections.delete(socket))
    socket.setTimeout(firstLineMs, () => socket.destroy())
    // The first bytes say which connection it is; nothing else may read them, since the descriptors go out by this socket.
    socket.once('readable', () => {
      const head = String(socket.read() ?? '')
      const awaited = this.#awaited
      if (awaited && head === `${awaited.token}\n`) {
        socket.setTimeout(0)
        return awaited.came(socket)
      }
      socket.unshift(Buffer.from(head))
      void this.#serve(socket)
    })
  }

  async #serve(socket: Socket): Promise<void> {
    const { estate, log } = this.#parts
    const channel = new Channel(socket)
    try {
      const hello = checked(await channel.receive('hello'))
      socket.setTimeout(0)
      const why = this.#objection(hello)
      if (why !== undefined) {
        log.warn('handover.refused', { pid: hello.pid, version: hello.version, why })
        channel.send({ refused: why })
        socket.end()
        return
      }
      if (this.#busy) {
        channel.send({ refused: 'another process is taking over already', again: true })
        socket.end()
        return
      }
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#busy = promise
      try {
        log.info('handover.began', { pid: hello.pid, version: hello.version })
        await this.#handOver(socket, channel, hello)
        // The path is the successor's from here on. Who comes before it listens waits in the socket.
        this.#inode = undefined
        this.#server.close()
        channel.send({ done: true })
        socket.end()
        // It tells the service manager first: once this process ends without that, the service has ended.
        await closed(socket, closingMs)
        estate.handedOver(hello)
      } finally {
        this.#busy = undefined
        resolve()
      }
    } catch (error) {
      log.warn('handover.failed', { why: messageOf(error), remedy: 'this process goes on' })
      channel.close()
    }
  }

  #objection(hello: Hello): string | undefined {
    const { estate } = this.#parts
    if (hello.protocol !== protocol) {
      return `version ${hello.version} speaks protocol ${hello.protocol} of the handover, and this one (${estate.version}) ${protocol}: stop it first`
    }
    if (hello.cluster !== estate.cluster)
      return `the local cluster is ${estate.cluster} here, and ${hello.cluster} there`
    return this.#isFinished ? 'it has stopped' : estate.obstacle()
  }

  async #handOver(socket: Socket, channel: Channel, { pid }: Hello): Promise<void> {
    const { estate, patience = ordinary } = this.#parts
    const token = randomBytes(16).toString('hex')
    const { version, cluster } = estate
    await within(patience.takeMs, [socket], async () => {
      channel.send({ hello: { starlane: 'handover', protocol, version, pid: process.pid, cluster, token } })
      channel.send({ addresses: estate.addresses() })
      for (const { lines, ...memory } of estate.memories()) {
        channel.send({ memory })
        for (const line of lines) await channel.sendLine(line)
      }
      channel.send({ end: 'memories' })
      await channel.receive('take')
    })
    const { sockets: passed, state } = await estate.pass()
    const own = this.#own()
    const sockets = [...passed, ...own]
    const connections = [socket]
    try {
      // Clients wait from here on: a successor that takes too long has failed.
      await within(patience.servingMs, connections, async () => {
        const came = this.#secondConnection(token)
        channel.send({ passed: { sockets: sockets.map(textOf), state } })
        const serving = channel.receive('serving')
        const descriptors = sockets.flatMap(descriptorsOf)
        if (descriptors.length > 0) {
          // Whichever comes first: the second connection, or the end of the successor.
          const second = await Promise.race([came, serving.then(() => undefined)])
          if (!second) throw new MeshError('STATE', `process ${pid} has not taken the sockets`)
          connections.push(second)
          await this.#send(second, descriptors)
        }
        await serving
      })
    } catch (error) {
      for (const { descriptor } of own) closeSync(descriptor)
      await estate.takeBack(passed)
      throw error
    } finally {
      this.#awaited = undefined
    }
    for (const descriptor of sockets.flatMap(descriptorsOf)) closeSync(descriptor)
  }

  /** The socket that successors come to. */
  #own(): PassedSocket[] {
    const { calls, path } = this.#parts
    const descriptor = calls.duplicate(descriptorOf(this.#server) ?? -1)
    return descriptor < 0 ? [] : [{ name: socketName, address: path, port: 0, descriptor, sessions: [] }]
  }

  #secondConnection(token: string): Promise<Socket> {
    return new Promise(came => {
      this.#awaited = { token, came }
    })
  }

  async #send(socket: Socket, descriptors: readonly number[]): Promise<void> {
    const { calls } = this.#parts
    for (let sent = 0; sent < descriptors.length; ) {
      if (socket.destroyed) throw new MeshError('STATE', 'the successor has gone before it had all sockets')
      const count = calls.send(descriptorOf(socket) ?? -1, descriptors.slice(sent))
      if (count > 0) sent += count
      // Full: the successor is still reading. Any other error shows as its end.
      else await new Promise(resolve => setTimeout(resolve, 1))
    }
    socket.end()
  }
}

/** Undefined where there is no file. */
async function inodeOf(path: string): Promise<number | undefined> {
  return (await stat(path).catch(() => undefined))?.ino
}

/** Ends the connections if the work takes longer, so that whoever waits for one of them goes on. */
async function within(ms: number, connections: readonly Socket[], work: () => Promise<void>): Promise<void> {
  const late = setTimeout(() => {
    for (const connection of connections) connection.destroy()
  }, ms)
  try {
    await work()
  } finally {
    clearTimeout(late)
  }
}

function closed(socket: Socket, mostMs: number): Promise<void> {
  if (socket.destroyed) return Promise.resolve()
  return new Promise(resolve => {
    socket.once('close', resolve)
    setTimeout(resolve, mostMs).unref()
  })
}

function textOf({ name, address, port, sessions }: PassedSocket): SocketText {
  return {
    name,
    address,
    port,
    sessions: sessions.map(({ client, backend, answered, descriptor }) => ({
      client,
      backend,
      answered,
      linked: descriptor !== undefined,
    })),
  }
}

/** In the order of {@link SocketText}. */
function descriptorsOf({ descriptor, sessions }: PassedSocket): number[] {
  return [descriptor, ...sessions.flatMap(session => session.descriptor ?? [])]
}
