/** Questions and connections of `starlane connectivity test`, with the time that each took. */
import { createSocket } from 'node:dgram'
import { Resolver } from 'node:dns/promises'
import { connect } from 'node:net'
import { messageOf } from '../../model/error.ts'

export interface Probe {
  readonly ok: boolean
  /** Milliseconds. */
  readonly ms: number
  /** Why it failed. */
  readonly why?: string
}

export interface Connection extends Probe {
  /** Of this side: the flow has it as its source. */
  readonly localPort?: number
}

/** The addresses of a name by a responder, of the families that it has. */
export async function askName(
  server: string,
  name: string,
  timeoutMs: number,
): Promise<Probe & { readonly addresses: readonly string[] }> {
  const resolver = new Resolver({ timeout: timeoutMs, tries: 2 })
  resolver.setServers([server])
  const began = performance.now()
  const answers = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)])
  const ms = performance.now() - began
  const addresses = answers.flatMap(answer => (answer.status === 'fulfilled' ? answer.value : []))
  if (addresses.length > 0) return { ok: true, ms, addresses }
  const [first] = answers.flatMap(answer => (answer.status === 'rejected' ? [messageOf(answer.reason)] : []))
  return { ok: false, ms, addresses, why: first ?? 'no address' }
}

/**
 * Connects. With `settleMs` the connection must stay open for so long: a proxy accepts before it has reached a backend, and resets
 * the connection when it reaches none.
 */
export function tryConnect(
  host: string,
  port: number,
  { timeoutMs, settleMs = 0 }: { readonly timeoutMs: number; readonly settleMs?: number },
): Promise<Connection> {
  return new Promise(resolve => {
    const began = performance.now()
    const socket = connect({ host, port })
    let ms = Number.NaN
    let localPort: number | undefined
    const end = (why?: string) => {
      clearTimeout(timer)
      socket.destroy()
      const rest = localPort === undefined ? {} : { localPort }
      resolve({
        ok: why === undefined,
        ms: Number.isNaN(ms) ? performance.now() - began : ms,
        ...rest,
        ...(why !== undefined && { why }),
      })
    }
    let timer = setTimeout(() => end(`no answer within ${timeoutMs} ms`), timeoutMs)
    socket.once('connect', () => {
      ms = performance.now() - began
      localPort = socket.localPort
      clearTimeout(timer)
      timer = setTimeout(() => end(), settleMs)
    })
    // A backend that speaks first has been reached.
    socket.once('data', () => end())
    socket.once('end', () => end('closed at once'))
    socket.on('error', error => end(messageOf(error)))
  })
}

/**
 * Sends an empty datagram and waits, until `settleMs` are over, for an answer or for a refusal (ICMP port unreachable). Silence is no
 * fault: few protocols answer an empty datagram.
 */
export function tryDatagram(
  host: string,
  port: number,
  { timeoutMs, settleMs }: { readonly timeoutMs: number; readonly settleMs: number },
): Promise<Connection & { readonly answered: boolean }> {
  return new Promise(resolve => {
    const began = performance.now()
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
    let localPort: number | undefined
    let timer: NodeJS.Timeout | undefined
    const end = (answered: boolean, why?: string) => {
      clearTimeout(timer)
      socket.removeAllListeners()
      socket.on('error', () => {})
      socket.close()
      const rest = { ...(localPort === undefined ? {} : { localPort }), ...(why !== undefined && { why }) }
      resolve({ ok: why === undefined, ms: performance.now() - began, answered, ...rest })
    }
    socket.once('message', () => end(true))
    socket.once('error', error => end(false, messageOf(error)))
    socket.connect(port, host, () => {
      localPort = socket.address().port
      timer = setTimeout(() => end(false), Math.min(timeoutMs, settleMs))
      socket.send('', error => error && end(false, messageOf(error)))
    })
  })
}
