/** Scriptable TCP and UDP backends on loopback, and clients for them. All are closed with the test that made them. */
import { createHash } from 'node:crypto'
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { Test } from 'tap'
import { familyOf } from '../../proxy/model/address.ts'
import type { Backend } from '../../proxy/model/backend.ts'
import { backend } from './model.ts'

export interface TcpBackend {
  readonly backend: Backend
  /** Every connection so far, oldest first. */
  readonly sockets: Socket[]
  close(): Promise<void>
}

/** `serve` gets each connection; neither direction ends by itself. */
export async function tcpBackend(
  t: Test,
  serve: (socket: Socket) => void,
  at: { host?: string; given?: Partial<Backend> } = {},
): Promise<TcpBackend> {
  const host = at.host ?? '127.0.0.1'
  const sockets: Socket[] = []
  const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => {
    sockets.push(socket)
    socket.on('error', () => {})
    serve(socket)
  })
  await listening(server, host)
  const close = async () => {
    for (const socket of sockets) socket.destroy()
    if (server.listening) await new Promise(resolve => server.close(resolve))
  }
  t.teardown(close)
  return { backend: backend({ address: host, port: portOf(server), ...at.given }), sockets, close }
}

/** Sends everything back, and a FIN after the client's. */
export function echo(socket: Socket): void {
  socket.pipe(socket)
}

/** Sends a text and ends. */
export function says(text: string): (socket: Socket) => void {
  return socket => {
    socket.resume()
    socket.end(text)
  }
}

/** Accepts and does nothing, not even read. */
export function silent(): void {}

export interface UdpBackend {
  readonly backend: Backend
  /** Every message received, with its sender. */
  readonly heard: { readonly message: Buffer; readonly from: RemoteInfo }[]
  close(): Promise<void>
}

export async function udpBackend(
  t: Test,
  answer: (message: Buffer, reply: (message: Buffer | string) => void) => void,
  host = '127.0.0.1',
  at = 0,
): Promise<UdpBackend> {
  const heard: UdpBackend['heard'] = []
  const socket = await udpSocket(t, host, at)
  socket.on('message', (message, from) => {
    heard.push({ message, from })
    answer(message, reply => socket.send(reply, from.port, from.address))
  })
  const port = socket.address().port
  return {
    backend: backend({ address: host, port, protocol: 'UDP' }),
    heard,
    close: () => closed(socket),
  }
}

/** A bound UDP socket that collects the messages it receives. */
export async function udpClient(t: Test, host = '127.0.0.1'): Promise<{ socket: UdpSocket; got: Buffer[] }> {
  const socket = await udpSocket(t, host)
  const got: Buffer[] = []
  socket.on('message', message => got.push(message))
  return { socket, got }
}

/** A connected client that may half-close. */
export async function client(t: Test, to: { ip: string; port: number }): Promise<Socket> {
  const socket = clientOf(t, to)
  await once(socket, 'connect')
  return socket
}

/** A client that may be refused; observe it with {@link ending}. */
export function clientOf(t: Test, to: { ip: string; port: number }): Socket {
  const socket = connect({ host: to.ip, port: to.port, allowHalfOpen: true, noDelay: true })
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  return socket
}

export interface Ending {
  readonly end: 'fin' | 'reset'
  readonly length: number
  readonly hash: string
  readonly text: string
}

/** Reads to the end; resolves with the kind of end and the content. */
export function ending(socket: Socket): Promise<Ending> {
  const chunks: Buffer[] = []
  socket.on('data', chunk => chunks.push(chunk))
  return new Promise(resolve => {
    const done = (end: Ending['end']) => {
      const all = Buffer.concat(chunks)
      resolve({ end, length: all.length, hash: hashOf(all), text: all.length < 4096 ? all.toString() : '' })
    }
    socket.on('end', () => done('fin'))
    socket.on('error', () => done('reset'))
  })
}

export function hashOf(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex')
}

/** Pseudorandom bytes, so that lost, repeated or swapped bytes change the hash. */
export function pattern(length: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  let state = seed
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    bytes[i] = state >>> 24
  }
  return bytes
}

/** Value for the `skip` option of a test that needs ::1. */
export const noIPv6 = Object.values(networkInterfaces())
  .flat()
  .some(found => found?.address === '::1')
  ? false
  : 'no IPv6 on loopback'

/** A port free at this moment, below the kernel's range of ephemeral ports. */
export async function freePort(host: string): Promise<number> {
  const server = createServer()
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000)
    const free = await new Promise<boolean>(resolve => {
      server.once('error', () => resolve(false))
      server.listen(port, host, () => resolve(true))
    })
    if (!free) continue
    await new Promise(resolve => server.close(resolve))
    return port
  }
}

async function listening(server: Server, host: string): Promise<void> {
  server.listen({ host, port: 0, backlog: 4096 })
  await once(server, 'listening')
}

function portOf(server: Server): number {
  const address = server.address()
  return typeof address === 'object' && address ? address.port : 0
}

async function udpSocket(t: Test, host: string, port = 0): Promise<UdpSocket> {
  const socket = createSocket(familyOf(host) === 4 ? 'udp4' : 'udp6')
  socket.bind(port, host)
  await once(socket, 'listening')
  t.teardown(() => closed(socket))
  return socket
}

async function closed(socket: UdpSocket): Promise<void> {
  try {
    socket.close()
    await once(socket, 'close')
  } catch {} // already closed
}
