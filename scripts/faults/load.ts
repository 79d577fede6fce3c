/** Load of all kinds, and what became of it. Each kind counts what it asked, what was answered, and what went wrong by its error. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { get } from 'node:http'
import { connect, type Socket } from 'node:net'

export interface Tally {
  readonly kind: string
  asked: number
  answered: number
  /** By error. */
  readonly failed: Record<string, number>
  /** Datagrams that were sent again, since no answer had come. */
  repeated: number
  /** Not asked when it was their turn, since so many were open already: this machine cannot keep up. */
  unasked: number
  /** Each that failed, up to {@link mostLosses}. */
  readonly losses: Loss[]
  /** Of answers, in milliseconds; the longest. */
  slowest: number
}

/** One that failed: begun at `since`, failed at `at`, in milliseconds since the epoch by the clock that never jumps. */
export interface Loss {
  readonly since: number
  readonly at: number
  readonly error: string
}

interface Address {
  readonly host: string
  readonly port: number
}

/** Stops asking and waits for the answers that are due. */
export interface Load {
  readonly tally: Tally
  stop(): Promise<Tally>
}

const answerMs = 10_000
/** A machine that cannot keep up would end without descriptors: beyond this nothing new is asked, and that is counted. */
const mostOpen = 4000
const datagramMs = 3000
const mostLosses = 1000

function tallyOf(kind: string): Tally {
  return { kind, asked: 0, answered: 0, failed: {}, repeated: 0, unasked: 0, losses: [], slowest: 0 }
}

function note(tally: Tally, error: unknown, since: number): void {
  const { code, message } = error as NodeJS.ErrnoException
  const name = code ?? message
  tally.failed[name] = (tally.failed[name] ?? 0) + 1
  const { timeOrigin } = performance
  if (tally.losses.length < mostLosses)
    tally.losses.push({ since: timeOrigin + since, at: timeOrigin + performance.now(), error: name })
}

/** Asks so many times a second, each in its own time. `ask` resolves when it is answered. */
function steady(kind: string, perSecond: number, ask: (n: number) => Promise<void>): Load {
  const tally = tallyOf(kind)
  const open = new Set<Promise<void>>()
  const began = performance.now()
  const timer = setInterval(() => {
    for (const due = ((performance.now() - began) / 1000) * perSecond; tally.asked + tally.unasked < due; ) {
      if (open.size >= mostOpen) {
        tally.unasked++
        continue
      }
      const since = performance.now()
      const one = ask(tally.asked++).then(
        () => {
          tally.answered++
          tally.slowest = Math.max(tally.slowest, performance.now() - since)
        },
        error => note(tally, error, since),
      )
      open.add(one)
      void one.then(() => open.delete(one))
    }
  }, 2)
  const stop = async () => {
    clearInterval(timer)
    await Promise.all(open)
    return tally
  }
  return { tally, stop }
}

/** A connection each: connect, one request, its answer, an orderly end. */
export function connections(to: Address, perSecond: number, withinMs = answerMs): Load {
  return steady('tcp', perSecond, n => exchange(to, `request ${n}\n`, withinMs))
}

function exchange(to: Address, request: string, withinMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...to, allowHalfOpen: false })
    let answer = ''
    socket.setTimeout(withinMs, () => socket.destroy(new Error(socket.connecting ? 'no connection' : 'no answer')))
    socket.on('error', reject)
    socket.on('connect', () => socket.write(request))
    socket.on('data', data => {
      answer += data
      if (answer === request) socket.end()
    })
    socket.on('close', () => (answer === request ? resolve() : reject(new Error(`closed after "${answer}"`))))
  })
}

/** Connections that stay and say something now and then; each ends by itself after `lifeMs` and begins anew. */
export function longLived(to: Address, count: number, everyMs: number, lifeMs: number, withinMs = answerMs): Load {
  const tally = tallyOf('long-lived tcp')
  let stopped = false
  const live = async (i: number): Promise<void> => {
    while (!stopped) {
      const life = lifeMs * (0.5 + i / count / 2)
      const since = performance.now()
      await conversation(to, { everyMs, lifeMs: life, withinMs }, () => stopped, tally).catch(error =>
        note(tally, error, since),
      )
    }
  }
  const all = Array.from({ length: count }, (_, i) => live(i))
  return {
    tally,
    stop: async () => {
      stopped = true
      await Promise.all(all)
      return tally
    },
  }
}

function conversation(
  to: Address,
  { everyMs, lifeMs, withinMs }: { readonly everyMs: number; readonly lifeMs: number; readonly withinMs: number },
  isOver: () => boolean,
  tally: Tally,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect(to)
    const end = performance.now() + lifeMs
    let since: number | undefined
    const timer = setInterval(() => {
      if (since !== undefined) return
      if (isOver() || performance.now() > end) return void socket.end()
      since = performance.now()
      tally.asked++
      socket.write('.')
    }, everyMs)
    socket.setTimeout(withinMs, () => socket.destroy(new Error('no answer')))
    socket.on('data', () => {
      if (since !== undefined) tally.slowest = Math.max(tally.slowest, performance.now() - since)
      since = undefined
      tally.answered++
    })
    socket.on('error', reject)
    socket.on('close', () => {
      clearInterval(timer)
      resolve()
    })
  })
}

/** Datagrams of several clients, each a session; every datagram is to be answered. With `againMs` clients send it again after so long. */
export function datagrams(
  to: Address,
  clients: number,
  perSecond: number,
  withinMs = datagramMs,
  againMs = Number.POSITIVE_INFINITY,
): Load {
  const waiting = Array.from({ length: clients }, () => new Map<string, () => void>())
  const sockets: UdpSocket[] = waiting.map(answers => {
    const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 })
    socket.on('message', message => {
      answers.get(String(message))?.()
      answers.delete(String(message))
    })
    socket.on('error', () => {})
    return socket
  })
  const load = steady('udp', perSecond, n => {
    const client = n % clients
    return new Promise((resolve, reject) => {
      const send = () => sockets[client]?.send(String(n), to.port, to.host)
      const since = performance.now()
      const lapsed = () => {
        if (performance.now() - since >= withinMs - 1) return reject(new Error('lost'))
        load.tally.repeated++
        send()
        timer = setTimeout(lapsed, Math.min(againMs, withinMs))
      }
      let timer = setTimeout(lapsed, Math.min(againMs, withinMs))
      waiting[client]?.set(String(n), () => {
        clearTimeout(timer)
        resolve()
      })
      send()
    })
  })
  return {
    tally: load.tally,
    stop: async () => {
      const tally = await load.stop()
      for (const socket of sockets) socket.close()
      return tally
    },
  }
}

/**
 * DNS questions over UDP; an answer with an address counts. Several sockets ask in turn: libuv reads 32 datagrams of one in a turn of the loop, and
 * answers would wait in this process when its turns are long.
 */
export function questions(to: Address, name: string, perSecond: number, withinMs = datagramMs): Load {
  const waiting = new Map<number, (rcode: number, answers: number) => void>()
  const sockets = Array.from({ length: 16 }, () => {
    const socket = createSocket({ type: 'udp4', recvBufferSize: 1 << 20 })
    socket.on('message', message => {
      const id = message.readUInt16BE(0)
      waiting.get(id)?.(message.readUInt16BE(2) & 15, message.readUInt16BE(6))
      waiting.delete(id)
    })
    return socket.on('error', () => {})
  })
  const load = steady('dns', perSecond, n => {
    const id = n & 0xffff
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('lost')), withinMs)
      waiting.set(id, (rcode, answers) => {
        clearTimeout(timer)
        if (rcode === 0 && answers > 0) resolve()
        else reject(new Error(`rcode ${rcode}, ${answers} answers`))
      })
      sockets[n % sockets.length]?.send(question(id, name), to.port, to.host)
    })
  })
  return {
    tally: load.tally,
    stop: async () => {
      const tally = await load.stop()
      for (const socket of sockets) socket.close()
      return tally
    },
  }
}

/** RFC 1035, 4.1: one question for an A record. */
function question(id: number, name: string): Buffer {
  const labels = name.split('.').flatMap(label => [label.length, ...Buffer.from(label)])
  return Buffer.from([id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, 1, 0, 1])
}

/** Requests to the admin server; 200 counts. */
export function probes(to: Address, path: string, perSecond: number, withinMs = answerMs): Load {
  return steady(
    'admin',
    perSecond,
    () =>
      new Promise((resolve, reject) => {
        const request = get({ ...to, path, agent: false, timeout: withinMs }, response => {
          response.resume()
          response.on('end', () =>
            response.statusCode === 200 ? resolve() : reject(new Error(`status ${response.statusCode}`)),
          )
        })
        request.on('error', reject)
      }),
  )
}

export function failures({ failed }: Tally): number {
  return Object.values(failed).reduce((sum, count) => sum + count, 0)
}

/** `1200 asked, 1200 answered` and the errors. */
export function tallyText({ kind, asked, answered, failed, repeated, unasked, slowest }: Tally): string {
  const errors = Object.entries(failed).map(([error, count]) => `${count} ${error}`)
  const late = unasked > 0 ? `, ${unasked} not asked, since this machine could not keep up` : ''
  const again = repeated > 0 ? `, ${repeated} asked again` : ''
  return `${kind}: ${asked} asked, ${answered} answered, ${errors.join(', ') || '0 failed'}, slowest ${Math.round(slowest)} ms${again}${late}`
}
