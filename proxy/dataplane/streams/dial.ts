import { type OnReadOpts, Socket } from 'node:net'
import type { Backend } from '../../model/backend.ts'
import type { Result } from '../../model/flow.ts'
import type { Clock } from '../../model/time/clock.ts'

export interface DialOptions {
  readonly backend: Backend
  readonly timeoutMs: number
  readonly onread: OnReadOpts
  readonly clock: Clock
}

/** How a dial ended; the socket comes only with `connected` and is the receiver's from then on. */
export type Dialled = (result: Result, socket: Socket | undefined) => void

/** Connects within a time limit and tells the outcome exactly once, never before it returns. The returned function calls it off. */
export function dial({ backend, timeoutMs, onread, clock }: DialOptions, done: Dialled): () => void {
  const since = clock.now()
  let settled = false
  const socket = new Socket({ allowHalfOpen: true, onread })
  socket.setNoDelay(true)
  const stopTimer = clock.after(timeoutMs, () => fail('timeout'))
  socket.on('error', failed)
  socket.once('connect', () => {
    settled = true
    stopTimer()
    socket.off('error', failed)
    done({ outcome: 'connected', ms: clock.now() - since }, socket)
  })
  try {
    socket.connect({ host: backend.address, port: backend.port, autoSelectFamily: false })
  } catch (error) {
    socket.destroy(error as Error) // an address or a port that cannot be
  }
  return () => fail('cancelled')

  function failed(error: Error): void {
    fail(outcomeOf(error), error)
  }

  function fail(outcome: Failure, error?: Error): void {
    if (settled) return
    settled = true
    stopTimer()
    // What the destroyed socket may still say is of no interest; without a listener it would end the process.
    socket.off('error', failed)
    socket.on('error', () => {})
    socket.destroy()
    const ms = clock.now() - since
    done(error ? { outcome, ms, error } : { outcome, ms }, undefined)
  }
}

type Failure = Exclude<Result['outcome'], 'connected'>

/** What an error of connect(2) says of the backend; whatever is unknown is about the way to it. */
export function outcomeOf(error: Error): Failure {
  return outcomes[codeOf(error)] ?? 'unreachable'
}

/** Whether this machine has run out of something that another backend would need as well. */
export function isExhausted(error: Error | undefined): boolean {
  return error !== undefined && exhausted.has(codeOf(error))
}

export function codeOf(error: Error): string {
  return 'code' in error ? String(error.code) : ''
}

const outcomes: Readonly<Record<string, Failure>> = {
  ECONNREFUSED: 'refused',
  ECONNRESET: 'refused',
  ETIMEDOUT: 'timeout',
  EADDRNOTAVAIL: 'local',
  EADDRINUSE: 'local',
  EMFILE: 'local',
  ENFILE: 'local',
  ENOBUFS: 'local',
  ENOMEM: 'local',
}

/** Not EADDRNOTAVAIL: the ports towards one backend may be used up while those towards another are free. */
const exhausted: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM'])
