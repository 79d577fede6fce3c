/**
 * What a process and its successor say to each other over a unix socket: lines of JSON.
 *
 *     successor                                   predecessor
 *     hello: protocol, version, cluster      ──▶
 *                                            ◀──  hello, with a token; or refused, with why, and whether to ask again
 *                                            ◀──  addresses; for each cluster: memory, its objects as lines
 *     take                                   ──▶  stops reading from its sockets
 *                                            ◀──  passed: names of the sockets, sessions, state
 *     a second connection with the token     ──▶  the descriptors, by SCM_RIGHTS
 *     serving                                ──▶
 *                                            ◀──  done
 *     tells the service manager, and closes  ──▶  drains
 *
 * If the connection ends before `serving`, the predecessor goes on with its sockets. The socket that these connections come to is passed with
 * the others, so that there is no moment in which a further process would find nobody.
 */
import type { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { MeshError } from '../model/error.ts'
import type { PassedSession } from '../model/sockets/passing.ts'
import type { Json } from '../model/text/json.ts'

/** The name by which the unix socket itself is passed; its address is the path. */
export const socketName = 'handover/UNIX'

/** Raise it when an older or newer side could not go on. */
export const protocol = 1

export interface Hello {
  readonly starlane: 'handover'
  readonly protocol: number
  readonly version: string
  readonly pid: number
  /** The local cluster. */
  readonly cluster: string
  readonly token?: string
}

export type Message =
  | { readonly hello: Hello }
  /** `again`: another handover is under way, and this one's turn comes after it. */
  | { readonly refused: string; readonly again?: boolean }
  /** Virtual addresses by service. */
  | { readonly addresses: Readonly<Record<string, string>> }
  /** The lines that follow are objects of this cluster, until the next message. */
  | { readonly memory: { readonly cluster: string; readonly source: string; readonly since: number } }
  | { readonly end: 'memories' }
  | { readonly take: true }
  | { readonly passed: { readonly sockets: readonly SocketText[]; readonly state: Json } }
  | { readonly serving: true }
  | { readonly done: true }

/** A socket as text. Its descriptors come beside, in this order: its own, then those of its sessions that have one. */
export interface SocketText {
  readonly name: string
  readonly address: string
  readonly port: number
  readonly sessions: readonly SessionText[]
}

export interface SessionText extends Omit<PassedSession, 'descriptor'> {
  readonly linked: boolean
}

/** Of a line of a successor, which says little. */
const longestLine = 64 << 10

/** A connection that carries messages, and lines between them. One whose lines are longer than `mostBytes` is ended. */
export class Channel {
  readonly #socket: Socket
  readonly #lines: AsyncIterator<string>

  constructor(socket: Socket, mostBytes = longestLine) {
    this.#socket = socket
    socket.on('error', () => socket.destroy())
    let length = 0
    socket.on('data', (chunk: Buffer) => {
      const end = chunk.lastIndexOf('\n')
      length = end < 0 ? length + chunk.length : chunk.length - end - 1
      if (length > mostBytes) socket.destroy()
    })
    const lines = createInterface({ input: socket })
    // It ends by itself where the other side ends the connection, and not where this one does.
    socket.once('close', () => lines.close())
    this.#lines = lines[Symbol.asyncIterator]()
  }

  get closed(): boolean {
    return this.#socket.destroyed
  }

  send(message: Message): void {
    this.#socket.write(`${JSON.stringify(message)}\n`)
  }

  /** Resolves when there is room for more. */
  async sendLine(line: string): Promise<void> {
    if (this.#socket.write(`${line}\n`) || this.#socket.destroyed) return
    await new Promise<void>(resolve => this.#socket.once('drain', resolve).once('close', resolve))
  }

  /** Rejects when the connection has ended. */
  async line(): Promise<string> {
    const ended = 'the other process has ended the handover'
    const { value, done } = await this.#lines.next().catch(cause => {
      throw new MeshError('STATE', ended, { cause })
    })
    if (done) throw new MeshError('STATE', ended)
    return value
  }

  /** The next message. Rejects when the other side refuses, or says something else. */
  async receive<K extends string>(kind: K): Promise<Extract<Message, { readonly [key in K]: unknown }>[K]> {
    return this.expect(parse(await this.line()), kind)
  }

  expect<K extends string>(message: Message, kind: K): Extract<Message, { readonly [key in K]: unknown }>[K] {
    if ('refused' in message)
      throw new MeshError('STATE', `the running Starlane refuses to hand over: ${message.refused}`)
    if (kind in message) return (message as unknown as Record<string, unknown>)[kind] as never
    throw new MeshError('STATE', `the other process says ${Object.keys(message).join()} where ${kind} was expected`)
  }

  close(): void {
    this.#socket.destroy()
  }
}

/** Throws for a hello that lacks something. */
export function checked(hello: Hello): Hello {
  const { starlane, protocol, version, pid, cluster } = { ...hello }
  const isWhole = Number.isInteger(protocol) && Number.isInteger(pid) && isShort(version) && isShort(cluster)
  if (starlane === 'handover' && isWhole) return { starlane, protocol, version, pid, cluster }
  throw new MeshError('STATE', 'the other process does not speak the protocol of a handover')
}

function isShort(text: unknown): boolean {
  return typeof text === 'string' && text.length <= 100
}

/** Throws for what is not a message. */
export function parse(line: string): Message {
  const message: unknown = JSON.parse(line)
  if (typeof message === 'object' && message !== null && !Array.isArray(message)) return message as Message
  throw new MeshError('STATE', 'the other process does not speak the protocol of a handover')
}
