/**
 * The latest connections and sessions, in records of fixed size: the numbers of a record lie side by side in one buffer, its texts
 * in one array, so a flow touches few cache lines and costs no object. Most texts are the directory's own. A record is known by
 * its number, which counts from 1 and never comes again; the oldest is overwritten.
 */
import type { CloseReason, Flow, Refusal, Result } from '../model/flow.ts'

/** A record keeps the place of a name in these lists. The first is none. */
const outcomes = ['', 'connected', 'refused', 'timeout', 'unreachable', 'local', 'cancelled'] as const
const reasons = [
  '',
  'done',
  'client-reset',
  'backend-reset',
  'idle',
  'half-closed',
  'drained',
  'backend-lost',
  'removed',
  'evicted',
  'shutdown',
] as const

const outcomeIndex = indexOf<Result['outcome']>(outcomes)
const reasonIndex = indexOf<CloseReason>(reasons)

function indexOf<T extends string>(names: readonly string[]): Readonly<Record<T, number>> {
  return Object.fromEntries(names.map((name, i) => [name, i])) as Record<T, number>
}

/** Doubles of a record: time, sent, received; then two floats, dial and duration; then a word of small numbers. */
const doubles = 5
const floatsAt = 6
const wordAt = 8
/** In the word: 16 bits of port, 8 of attempts, 3 of outcome, 1 for UDP, 4 of reason. */
const attemptsShift = 16
const outcomeShift = 24
const udpBit = 1 << 27
const reasonShift = 28
const texts = 5

/** What a record says. Read, not kept: it is made at each call. */
export interface FlowEntry {
  /** Monotonic milliseconds of the first attempt. */
  readonly time: number
  readonly client: string
  readonly port: number
  readonly udp: boolean
  readonly service: string
  readonly frontend: string
  readonly backend: string | undefined
  readonly attempts: number
  /** Of the last attempt; empty if there was none. */
  readonly outcome: Result['outcome'] | ''
  readonly dialMs: number
  readonly refusal: Refusal | undefined
  /** Empty until the flow has ended, and for a flow that was never connected. */
  readonly reason: CloseReason | ''
  /** Bytes until now. */
  readonly sent: number
  readonly received: number
  readonly durationMs: number
}

export class FlowRing {
  /** Records that are kept; a power of two. */
  readonly size: number
  /** The number that the next record gets. */
  next = 1
  readonly #doubles: Float64Array
  readonly #floats: Float32Array
  readonly #words: Uint32Array
  /** Grows with the records of the first round. */
  readonly #texts: (string | Refusal | undefined)[]

  /** `size` is rounded up to a power of two. */
  constructor(size: number) {
    this.size = 2 ** Math.ceil(Math.log2(Math.max(size, 2)))
    this.#doubles = new Float64Array(this.size * doubles)
    this.#floats = new Float32Array(this.#doubles.buffer)
    this.#words = new Uint32Array(this.#doubles.buffer)
    this.#texts = new Array<undefined>(2 * texts).fill(undefined)
  }

  /** The number of the oldest record that is kept. */
  get oldest(): number {
    return Math.max(1, this.next - this.size)
  }

  has(record: number): boolean {
    return record >= this.next - this.size && record > 0 && record < this.next
  }

  /** A new record of a flow, of which nothing has happened yet. */
  claim(flow: Flow, time: number): number {
    const record = this.next++
    const slot = record & (this.size - 1)
    const at = slot * doubles
    this.#doubles[at] = time
    this.#doubles[at + 1] = 0
    this.#doubles[at + 2] = 0
    this.#words[slot * 2 * doubles + wordAt] = flow.client.port | (flow.frontend.protocol === 'UDP' ? udpBit : 0)
    const text = slot * texts
    this.#texts[text] = flow.client.address
    this.#texts[text + 1] = flow.service.key
    this.#texts[text + 2] = flow.frontend.key
    this.#texts[text + 3] = undefined
    this.#texts[text + 4] = undefined
    return record
  }

  attempt(record: number, backend: string, attempts: number, outcome: Result['outcome'], ms: number): void {
    const slot = record & (this.size - 1)
    const at = slot * 2 * doubles
    const word = this.#words[at + wordAt] as number
    const kept = word & (0xffff | udpBit)
    this.#words[at + wordAt] = kept | (attempts << attemptsShift) | (outcomeIndex[outcome] << outcomeShift)
    this.#floats[at + floatsAt] = ms
    this.#texts[slot * texts + 3] = backend
  }

  /** Of a flow that goes on. */
  carry(record: number, sent: number, received: number): void {
    const at = (record & (this.size - 1)) * doubles
    this.#doubles[at + 1] = sent
    this.#doubles[at + 2] = received
  }

  end(record: number, sent: number, received: number, ms: number, reason: CloseReason): void {
    const slot = record & (this.size - 1)
    const at = slot * 2 * doubles
    this.#words[at + wordAt] = (this.#words[at + wordAt] as number) | (reasonIndex[reason] << reasonShift)
    this.#floats[at + floatsAt + 1] = ms
    this.carry(record, sent, received)
  }

  refuse(record: number, refusal: Refusal): void {
    this.#texts[(record & (this.size - 1)) * texts + 4] = refusal
  }

  /** Only of a record that it {@link has}. */
  timeOf(record: number): number {
    return this.#doubles[(record & (this.size - 1)) * doubles] as number
  }

  /** Only of a record that it {@link has}. */
  read(record: number): FlowEntry {
    const slot = record & (this.size - 1)
    const at = slot * 2 * doubles
    const word = this.#words[at + wordAt] as number
    const [client, service, frontend, backend, refusal] = this.#texts.slice(slot * texts, (slot + 1) * texts)
    const reason = reasons[word >>> reasonShift] ?? ''
    const isEnded = reason !== ''
    return {
      time: this.#doubles[slot * doubles] as number,
      client: client as string,
      port: word & 0xffff,
      udp: (word & udpBit) !== 0,
      service: service as string,
      frontend: frontend as string,
      backend: backend as string | undefined,
      attempts: (word >>> attemptsShift) & 0xff,
      outcome: outcomes[(word >>> outcomeShift) & 7] ?? '',
      dialMs: backend === undefined ? 0 : (this.#floats[at + floatsAt] as number),
      refusal: refusal as Refusal | undefined,
      reason,
      sent: this.#doubles[slot * doubles + 1] as number,
      received: this.#doubles[slot * doubles + 2] as number,
      durationMs: isEnded ? (this.#floats[at + floatsAt + 1] as number) : 0,
    }
  }
}
