/** A client in a network namespace of its own: does what lines of JSON ask of it, `{ "id": 1, "call": "ask", "args": ["10.96.0.10"] }`. */
import { createSocket, type Socket as Datagrams, type RemoteInfo } from 'node:dgram'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { endpointText } from '../../../../proxy/model/address.ts'

const kept: Socket[] = []
const datagrams: Datagrams[] = []

const calls = {
  /** Who answers, and the peer's address as a program sees it; or the error. `from`: the own address. */
  async ask(host: string, port = 80, from?: string): Promise<string[]> {
    const socket = connect({ host, port, ...(from === undefined ? {} : { localAddress: from }) })
    try {
      await once(socket, 'connect')
      socket.write('who?')
      const [answer] = await once(socket, 'data')
      return [String(answer), endpointText(socket.remoteAddress ?? '', socket.remotePort ?? 0)]
    } catch (error) {
      return [(error as NodeJS.ErrnoException).code ?? String(error)]
    } finally {
      socket.destroy()
    }
  },

  /** How often who answers. */
  async count(host: string, times: number): Promise<Record<string, number>> {
    const counts: Record<string, number> = {}
    for (let i = 0; i < times; i++) {
      const [answer = ''] = await calls.ask(host)
      counts[answer] = (counts[answer] ?? 0) + 1
    }
    return counts
  },

  /** Opens a connection that stays, and says who answers. */
  async open(host: string): Promise<string> {
    const socket = connect({ host, port: 80 })
    socket.write('who?')
    const [answer] = await once(socket, 'data')
    kept.push(socket)
    return String(answer)
  },

  /** How the last one ends. */
  async ended(): Promise<string> {
    const socket = kept.at(-1) as Socket
    const [error] = await once(socket, 'error', { signal: AbortSignal.timeout(10_000) })
    return error.code
  },

  /** A UDP socket that stays, connected or not. */
  async socket(host?: string, port = 53): Promise<void> {
    const socket = createSocket('udp4').on('error', () => {})
    datagrams.push(socket)
    if (host === undefined) return
    socket.connect(port, host)
    await once(socket, 'connect')
  },

  /** Who answers so many datagrams of that socket, and from where. */
  async exchange(times: number, host?: string, port = 53): Promise<string[]> {
    const socket = datagrams.at(-1) as Datagrams
    const seen = new Set<string>()
    for (let i = 0; i < times; i++) {
      const answer = once(socket, 'message', { signal: AbortSignal.timeout(3000) })
      if (host === undefined) socket.send('who?')
      else socket.send('who?', port, host)
      try {
        const [message, peer] = (await answer) as [Buffer, RemoteInfo]
        seen.add(`${message} ${endpointText(peer.address, peer.port)}`)
      } catch (error) {
        seen.add((error as NodeJS.ErrnoException).code ?? String(error))
      }
    }
    return [...seen]
  },

  /** The error that such a socket gets. */
  async failure(): Promise<string> {
    const [error] = await once(datagrams.at(-1) as Datagrams, 'error', { signal: AbortSignal.timeout(10_000) })
    return error.code
  },
}

export type Calls = typeof calls

if (import.meta.main) {
  createInterface({ input: process.stdin }).on('line', async line => {
    const { id, call, args } = JSON.parse(line)
    const run = calls[call as keyof Calls] as (...args: unknown[]) => Promise<unknown>
    const answer = await run(...args).catch((error: Error) => `failed: ${error.message}`)
    console.log(JSON.stringify({ id, answer }))
  })
  process.stdin.on('end', () => process.exit(0))
}
