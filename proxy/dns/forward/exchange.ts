/**
 * Sends one question to one server and waits for its reply. Every question has a new socket, so that the source port is as
 * random as the id and a forger has to guess both (RFC 5452 9.2). The socket is connected, so that the kernel drops
 * datagrams of other senders and reports a closed port at once.
 */
import { createSocket } from 'node:dgram'
import { connect } from 'node:net'
import { familyOf, type SocketAddress } from '../../model/address.ts'
import type { Clock } from '../../model/time/clock.ts'
import { isReplyTo } from '../message/question.ts'
import { headerBytes } from '../message/wire.ts'

/** When to give up waiting. */
export interface ExchangeLimits {
  readonly clock: Clock
  readonly ms: number
  readonly signal: AbortSignal
}

export class TimeoutError extends Error {
  constructor(to: SocketAddress, ms: number) {
    super(`no reply from ${to.address} port ${to.port} within ${Math.round(ms)} ms`)
    this.name = 'TimeoutError'
  }
}

export function askUdp(to: SocketAddress, message: Buffer, limits: ExchangeLimits): Promise<Buffer> {
  return limited(to, limits, (resolve, reject) => {
    const family = familyOf(to.address)
    const socket = createSocket({
      type: family === 4 ? 'udp4' : 'udp6',
      lookup: (host, _options, done) => done(null, host, family),
    })
    socket.on('error', reject)
    // Messages that are not a reply to our question are ignored: the real one may still come.
    socket.on('message', reply => isReplyTo(message, reply) && resolve(reply))
    let isClosed = false
    // Bound first: a socket whose connect has to bind it, and finds no port free, can no longer be closed.
    socket.bind({ port: 0, exclusive: true }, () => {
      if (isClosed) return
      // A missing route is reported to the callback and not as an event; its type does not have the parameter.
      socket.connect(to.port, to.address, (error?: Error) => {
        if (error) reject(error)
        else if (!isClosed) socket.send(message)
      })
    })
    return () => {
      isClosed = true
      socket.close()
    }
  })
}

export function askTcp(to: SocketAddress, message: Buffer, limits: ExchangeLimits): Promise<Buffer> {
  return limited(to, limits, (resolve, reject) => {
    const socket = connect({ host: to.address, port: to.port, noDelay: true })
    let pending: Buffer = Buffer.alloc(0)
    socket.on('error', reject)
    socket.on('close', () => reject(new Error(`${to.address} port ${to.port} closed the connection without a reply`)))
    socket.on('data', bytes => {
      pending = Buffer.concat([pending, bytes])
      if (pending.length < 2 || pending.length < 2 + pending.readUInt16BE(0)) return
      const reply = pending.subarray(2, 2 + pending.readUInt16BE(0))
      if (reply.length >= headerBytes && isReplyTo(message, reply)) resolve(Buffer.from(reply))
      else reject(new Error(`${to.address} port ${to.port} replied to another question`))
    })
    const length = Buffer.alloc(2)
    length.writeUInt16BE(message.length)
    socket.write(Buffer.concat([length, message]))
    return () => socket.destroy()
  })
}

/** Settles at the first reply, error, timeout or abort, then closes the socket and stops the timer. */
function limited(
  to: SocketAddress,
  { clock, ms, signal }: ExchangeLimits,
  begin: (resolve: (reply: Buffer) => void, reject: (error: Error) => void) => () => void,
): Promise<Buffer> {
  if (signal.aborted) return Promise.reject(new Error('the exchange was cancelled'))
  let end = () => {}
  const ended = new Promise<Buffer>((resolve, reject) => {
    const close = begin(resolve, reject)
    const stopTimer = clock.after(ms, () => reject(new TimeoutError(to, ms)))
    const cancel = () => reject(new Error('the exchange was cancelled'))
    signal.addEventListener('abort', cancel, { once: true })
    end = () => {
      stopTimer()
      signal.removeEventListener('abort', cancel)
      close()
    }
  })
  return ended.finally(() => end())
}
