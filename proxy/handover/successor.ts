/** The side that starts: takes over from a process that runs with the same configuration. */
import { connect, type Socket } from 'node:net'
import { MeshError, messageOf } from '../model/error.ts'
import { descriptorOf, type PassedSocket, type PassingCalls } from '../model/sockets/passing.ts'
import type { Json } from '../model/text/json.ts'
import { Channel, type Hello, parse, protocol, type SocketText } from './messages.ts'

/** What the predecessor knows. */
export interface Knowledge {
  /** Virtual addresses by service. */
  readonly addresses: Readonly<Record<string, string>>
  readonly memories: readonly Remembered[]
}

export interface Remembered {
  readonly cluster: string
  readonly source: string
  readonly since: number
  readonly lines: readonly string[]
}

const receiveMs = 10_000
const answerMs = 30_000
/** How long a process waits for its turn while others take over. */
const turnMs = 60_000
const againMs = 100
/** Of a line: an object of a cluster, or all sockets with their sessions. */
const longestLine = 256 << 20

export class Predecessor {
  /** Its version and process. */
  readonly hello: Hello
  readonly #path: string
  readonly #calls: PassingCalls
  readonly #channel: Channel

  private constructor(path: string, calls: PassingCalls, channel: Channel, hello: Hello) {
    this.#path = path
    this.#calls = calls
    this.#channel = channel
    this.hello = hello
  }

  /**
   * Undefined when none runs. Waits while another process is taking over, which is the predecessor then. Rejects when it belongs to somebody
   * else, or refuses.
   */
  static async find(
    path: string,
    calls: PassingCalls,
    own: { readonly version: string; readonly cluster: string },
  ): Promise<Predecessor | undefined> {
    for (const end = performance.now() + turnMs; ; ) {
      const found = await Predecessor.#ask(path, calls, own, performance.now() < end)
      if (found !== 'again') return found
      await new Promise(resolve => setTimeout(resolve, againMs))
    }
  }

  static async #ask(
    path: string,
    calls: PassingCalls,
    own: { readonly version: string; readonly cluster: string },
    isPatient: boolean,
  ): Promise<Predecessor | 'again' | undefined> {
    const socket = await reach(path)
    if (!socket) return undefined
    const user = calls.peerUser(descriptorOf(socket) ?? -1)
    if (user !== (process.getuid?.() ?? user)) {
      socket.destroy()
      throw new MeshError('STATE', `${path} belongs to a process of user ${user}; stop it, or run as that user`)
    }
    const channel = new Channel(socket, longestLine)
    socket.setTimeout(answerMs, () => socket.destroy())
    channel.send({ hello: { starlane: 'handover', protocol, pid: process.pid, ...own } })
    try {
      const answer = parse(await channel.line())
      if (isPatient && 'refused' in answer && answer.again) {
        channel.close()
        return 'again'
      }
      return new Predecessor(path, calls, channel, channel.expect(answer, 'hello'))
    } catch (error) {
      channel.close()
      throw error
    }
  }

  async knowledge(): Promise<Knowledge> {
    const addresses = await this.#channel.receive('addresses')
    const memories: (Remembered & { readonly lines: string[] })[] = []
    for (;;) {
      const line = await this.#channel.line()
      if (line.startsWith('[')) {
        memories.at(-1)?.lines.push(line)
        continue
      }
      const message = parse(line)
      if ('end' in message) return { addresses, memories }
      memories.push({ ...this.#channel.expect(message, 'memory'), lines: [] })
    }
  }

  /** From here on clients wait, until {@link serving}. */
  async take(): Promise<{ sockets: PassedSocket[]; state: Json }> {
    this.#channel.send({ take: true })
    const { sockets, state } = await this.#channel.receive('passed')
    const count = sockets.reduce((sum, { sessions }) => sum + 1 + sessions.filter(({ linked }) => linked).length, 0)
    const { token = '' } = this.hello
    const descriptors = count === 0 ? [] : this.#calls.receive(this.#path, `${token}\n`, count, receiveMs)
    if (typeof descriptors === 'number') {
      throw new MeshError('STATE', `the sockets have not come (errno ${-descriptors})`)
    }
    return { sockets: withDescriptors(sockets, descriptors), state }
  }

  /** Tells the predecessor to drain, which it does once `done` has been called. Resolves when its path is free. */
  async serving(done: () => void = () => {}): Promise<void> {
    this.#channel.send({ serving: true })
    await this.#channel.receive('done')
    done()
    this.#channel.close()
  }

  /** It goes on with its sockets, unless `serving` was called. */
  abandon(): void {
    this.#channel.close()
  }
}

async function reach(path: string): Promise<Socket | undefined> {
  const socket = connect(path)
  try {
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject))
    return socket
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return undefined
    throw new MeshError('STATE', `${path} cannot be reached: ${messageOf(error)}`, { cause: error })
  }
}

function withDescriptors(sockets: readonly SocketText[], descriptors: readonly number[]): PassedSocket[] {
  let next = 0
  return sockets.map(({ sessions, ...socket }) => ({
    ...socket,
    descriptor: descriptors[next++] as number,
    sessions: sessions.map(({ linked, ...session }) => ({
      ...session,
      descriptor: linked ? descriptors[next++] : undefined,
    })),
  }))
}
