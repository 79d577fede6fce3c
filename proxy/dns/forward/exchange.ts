/**
 * One question to one server and its reply. A new socket each time, so that the source port is as random as the id and
 * a forger has to guess both (RFC 5452 9.2); connected, so that the kernel drops what comes from elsewhere and tells us
 * at once when nobody listens there.
 */
import { createSocket } from 'node:dgram'
import { connect } from 'node:net'
import { familyOf } from '../../model/address.ts'
import type { Clock } from '../../model/time/clock.ts'
import { isReplyTo } from '../message/question.ts'
import { headerBytes } from '../message/wire.ts'
import type { Endpoint } from '../server/udp.ts'

/** Ends an exchange early, in time or by a call. */
export interface Patience {
  readonly clock: Clock
  readonly ms: number
  readonly signal: AbortSignal
}

export class TimeoutError extends Error {
  constructor(to: Endpoint, ms: number) {
    super(`no reply from ${to.address} port ${to.port} within ${Math.round(ms)} ms`)
    this.name = 'TimeoutError'
  }
}

export function askUdp(to: Endpoint, message: Buffer, patience: Patience): Promise<Buffer> {
  return limited(to, patience, (resolve, reject) => {
    const family = familyOf(to.address)
    const socket = createSocket({
      type: family === 4 ? 'udp4' : 'udp6',
      lookup: (host, _options, done) => done(null, host, family),
    })
    socket.on('error', reject)
    // What is no reply to our question is not looked at: the real one may still come.
    socket.on('message', reply => isReplyTo(message, reply) && resolve(reply))
    // Without a route there it is no event that says so, but the callback, whose type forgets it.
    socket.connect(to.port, to.address, (error?: Error) => (error ? reject(error) : socket.send(message)))
    return () => socket.close()
  })
}

export function askTcp(to: Endpoint, message: Buffer, patience: Patience): Promise<Buffer> {
  return limited(to, patience, (resolve, reject) => {
    const socket = connect({ host: to.address, port: to.port, noDelay: true })
    let pending: Buffer = Buffer.alloc(0)
    socket.on('error', reject)
    socket.on('close', () => reject(new Error(`${to.address} port ${to.port} closed the connection without a reply`)))
    socket.on('data', bytes => {
      pending = Buffer.concat([pending, bytes])
      if (pending.length < 2 || pending.length < 2 + pending.readUInt16BE(0)) return
      const reply = pending.subarray(2, 2 + pending.readUInt16BE(0))
      if (reply.length >= headerBytes && isReplyTo(message, reply)) resolve(Buffer.from(reply))
      else reject(new Error(`${to.address} port ${to.port} replied to something else`))
    })
    const length = Buffer.alloc(2)
    length.writeUInt16BE(message.length)
    socket.write(Buffer.concat([length, message]))
    return () => socket.destroy()
  })
}

/** Whatever ends it first, the socket is closed and the timer called off. */
function limited(
  to: Endpoint,
  { clock, ms, signal }: Patience,
  begin: (resolve: (reply: Buffer) => void, reject: (error: Error) => void) => () => void,
): Promise<Buffer> {
  if (signal.aborted) return Promise.reject(new Error('called off'))
  let end = () => {}
  const ended = new Promise<Buffer>((resolve, reject) => {
    const close = begin(resolve, reject)
    const stopTimer = clock.after(ms, () => reject(new TimeoutError(to, ms)))
    const callOff = () => reject(new Error('called off'))
    signal.addEventListener('abort', callOff, { once: true })
    end = () => {
      stopTimer()
      signal.removeEventListener('abort', callOff)
      close()
    }
  })
  return ended.finally(() => end())
}
