/**
 * TypeScript's side of the memory shared with the pump's thread: a ring of events to read, a ring of commands to write, and
 * two flags that say who sleeps. `native/src/pump/ring.h` is the other side; a test compares the names and the numbers.
 */
import { addressText } from '../../model/address.ts'
import { holdTime, releaseTime } from '../../model/time/clock.ts'
import type { NativePump } from './addon.ts'

export const Event = {
  accepted: 1,
  connected: 2,
  failed: 3,
  gone: 4,
  fault: 5,
  listenerClosed: 6,
  asked: 7,
  answered: 8,
  unlinked: 9,
  quiet: 10,
  dropped: 11,
  frontendClosed: 12,
  carried: 13,
  turnedAway: 14,
  handedOver: 15,
  frontendPaused: 16,
  passed: 17,
  adopted: 18,
  moved: 19,
  mute: 20,
  tunnelSecured: 21,
  tunnelReady: 22,
  tunnelPong: 23,
  tunnelLeaving: 24,
  tunnelEnded: 25,
  streamAnswered: 26,
  streamEnded: 27,
  streamAsked: 28,
  streamCarried: 29,
  streamGone: 30,
  arrived: 32,
} as const

export const Command = {
  connect: 1,
  hangUp: 2,
  refuse: 3,
  cut: 4,
  sweep: 5,
  closeListener: 6,
  link: 7,
  unlink: 8,
  forget: 9,
  closeFrontend: 10,
  configure: 11,
  handOver: 12,
  passListener: 13,
  pauseFrontend: 14,
  passFrontend: 15,
  adopt: 16,
  resumeFrontend: 17,
  startTunnel: 18,
  closeTunnel: 19,
  pingTunnel: 20,
  setTunnelWindow: 21,
  resetStream: 22,
  join: 23,
  attach: 24,
} as const

/** Why a TCP connection ended, in the event `gone`. */
export const Reason = {
  done: 0,
  clientReset: 1,
  backendReset: 2,
  idle: 3,
  halfClosed: 4,
  cut: 5,
  refused: 6,
  backendLost: 7,
} as const

/** Records in each ring. */
export const records = 4096
export const wordsOfRecord = 16
/** Offsets in the memory, in words of 4 bytes. Each counter has a cache line of its own. */
export const at = {
  eventHead: 0,
  eventTail: 16,
  scriptAsleep: 32,
  commandHead: 48,
  commandTail: 64,
  pumpAsleep: 80,
  events: 96,
  commands: 96 + records * wordsOfRecord,
} as const

/** Offsets in a record, in words. Names that share one are fields of different kinds; those from 8 on but `address` are doubles. */
export const field = {
  kind: 0,
  slot: 1,
  generation: 2,
  listener: 3,
  frontend: 3,
  error: 3,
  reason: 3,
  limitMs: 3,
  window: 3,
  tunnel: 3,
  firstByteMs: 3,
  port: 4,
  descriptors: 4,
  token: 4,
  details: 4,
  streams: 4,
  family: 5,
  descriptor: 6,
  pump: 6,
  reportMoved: 5,
  served: 5,
  halfClosed: 5,
  frontendPort: 7,
  address: 8,
  now: 8,
  idleMs: 8,
  sent: 8,
  received: 10,
  halfClosedMs: 10,
  frontendAddress: 12,
} as const

/** The event that is being read. Which fields it has depends on its kind; ring.h lists them. */
export interface EventRecord {
  readonly kind: number
  readonly slot: number
  readonly generation: number
  /** Id of a TCP listener. */
  readonly listener: number
  /** Id of a UDP frontend. */
  readonly frontend: number
  /** An errno, 0 for none; in `handedOver` a descriptor; of tunnels and streams a status or a code, see ring.h. */
  readonly error: number
  /** Whose stream is asked for. */
  readonly tunnel: number
  /** One of {@link Reason}. */
  readonly reason: number
  readonly port: number
  /** Of the command that the event answers. */
  readonly token: number
  /** Of an event of a tunnel, for `NativePump.details`; 0: none. */
  readonly details: number
  /** That a tunnel's other end takes. */
  readonly streams: number
  /** Negative: none. */
  readonly descriptor: number
  /** One side has ended and all its bytes are passed on. */
  readonly halfClosed: boolean
  /** 4 or 6. */
  readonly family: number
  /** Canonical. */
  address(): string
  /** In milliseconds. */
  now(): number
  sent(): number
  received(): number
}

/** Events that happen at one time, and whose room the pump gets back at once. */
const inRow = 32
const knownTexts = 256

/** The texts of IPv4 addresses that came lately, by their four bytes as a number: flows of one client share one text. */
class AddressTexts {
  readonly #numbers = new Int32Array(knownTexts)
  readonly #texts: string[] = new Array(knownTexts).fill('0.0.0.0')

  of(number: number, bytes: Uint8Array, start: number): string {
    const place = Math.imul(number, 0x9e3779b1) >>> 24
    if (this.#numbers[place] !== number) {
      this.#numbers[place] = number
      this.#texts[place] = `${bytes[start]}.${bytes[start + 1]}.${bytes[start + 2]}.${bytes[start + 3]}`
    }
    return this.#texts[place] as string
  }
}

export class Rings implements EventRecord {
  readonly #pump: NativePump
  readonly #texts = new AddressTexts()
  readonly #words: Int32Array
  readonly #doubles: Float64Array
  readonly #bytes: Uint8Array
  /** The pump learns of it in steps. */
  #eventTail: number
  #inRead = false
  #isDue = false
  #closed = false
  #reading = 0
  #writing = 0

  constructor(pump: NativePump) {
    this.#pump = pump
    this.#words = new Int32Array(pump.memory)
    this.#eventTail = this.#words[at.eventTail] as number
    this.#doubles = new Float64Array(pump.memory)
    this.#bytes = new Uint8Array(pump.memory)
  }

  /** Passes on at most `most` events. The pump is woken once, at the end, for all commands sent meanwhile. True when there may be more. */
  read(most: number, take: (event: EventRecord) => void): boolean {
    this.#inRead = true
    try {
      return this.#read(most, take)
    } finally {
      this.#inRead = false
      if (this.#isDue || this.#commandsWait()) this.#wake()
    }
  }

  #commandsWait(): boolean {
    return Atomics.load(this.#words, at.commandTail) !== this.#words[at.commandHead]
  }

  #read(most: number, take: (event: EventRecord) => void): boolean {
    const words = this.#words
    let head = this.#eventTail
    try {
      for (let taken = 0; taken < most; taken++) {
        const tail = this.#eventTail
        if (tail === head) {
          head = Atomics.load(words, at.eventHead)
          if (tail === head) return false
        }
        if (taken % inRow === 0) {
          Atomics.store(words, at.eventTail, tail)
          holdTime()
        }
        this.#reading = at.events + (tail & (records - 1)) * wordsOfRecord
        this.#eventTail = (tail + 1) | 0
        take(this)
      }
      return true
    } finally {
      releaseTime()
      Atomics.store(words, at.eventTail, this.#eventTail)
    }
  }

  /** The pump has stopped: commands are discarded, and a full ring no longer waits for it. */
  close(): void {
    this.#closed = true
  }

  /** From now on the pump calls when there are events. False when there are some already: read again. */
  sleep(): boolean {
    Atomics.store(this.#words, at.scriptAsleep, 1)
    if (Atomics.load(this.#words, at.eventHead) === this.#eventTail) return true
    // Only one side gets the flag: either we do, and read again now, or the pump did, and its call is on the way.
    return Atomics.exchange(this.#words, at.scriptAsleep, 0) === 0
  }

  /** We are awake, and the pump need not call. */
  rouse(): void {
    Atomics.store(this.#words, at.scriptAsleep, 0)
  }

  /** Begins a command; {@link send} ends it. */
  command(kind: number, slot = 0, generation = 0): this {
    const words = this.#words
    const head = words[at.commandHead] as number
    // The pump never blocks, so there is room again after one of its turns.
    while (((head - Atomics.load(words, at.commandTail)) | 0) >= records && !this.#closed) this.#pump.kick()
    const record = at.commands + (head & (records - 1)) * wordsOfRecord
    this.#writing = record
    words[record + field.kind] = kind
    words[record + field.slot] = slot
    words[record + field.generation] = generation
    return this
  }

  setAddress(family: number, address: Uint8Array, port: number): this {
    this.#words[this.#writing + field.family] = family
    this.#words[this.#writing + field.port] = port
    this.#bytes.set(address, (this.#writing + field.address) * 4)
    return this
  }

  /** The backend is told the client and this frontend first, by the PROXY protocol. */
  setAnnounced(address: Uint8Array, port: number): this {
    this.#words[this.#writing + field.frontendPort] = port
    this.#bytes.set(address, (this.#writing + field.frontendAddress) * 4)
    return this
  }

  setUnannounced(): this {
    this.#words[this.#writing + field.frontendPort] = 0
    return this
  }

  setListener(id: number): this {
    this.#words[this.#writing + field.listener] = id
    return this
  }

  setFrontend(id: number): this {
    this.#words[this.#writing + field.frontend] = id
    return this
  }

  setDescriptor(descriptor: number): this {
    this.#words[this.#writing + field.descriptor] = descriptor
    return this
  }

  setWindow(bytes: number): this {
    this.#words[this.#writing + field.window] = bytes
    return this
  }

  /** That the other end of a tunnel may have. */
  setStreams(most: number): this {
    this.#words[this.#writing + field.streams] = most
    return this
  }

  /** Whether the socket is a backend's. */
  setServed(isServed: boolean): this {
    this.#words[this.#writing + field.served] = isServed ? 1 : 0
    return this
  }

  setError(code: number): this {
    this.#words[this.#writing + field.error] = code
    return this
  }

  setToken(token: number): this {
    this.#words[this.#writing + field.token] = token
    return this
  }

  setLimit(ms: number): this {
    this.#words[this.#writing + field.limitMs] = ms
    return this
  }

  /** The index of the pump that has the stream. */
  setPump(index: number): this {
    this.#words[this.#writing + field.pump] = index
    return this
  }

  /** How many flows may hold; negative: no limit. */
  setDescriptors(most: number): this {
    this.#words[this.#writing + field.descriptors] = most
    return this
  }

  /** Whether each UDP session in use is to be reported; otherwise at most once a second. */
  setReportMoved(wanted: boolean): this {
    this.#words[this.#writing + field.reportMoved] = wanted ? 1 : 0
    return this
  }

  setNow(ms: number): this {
    this.#doubles[(this.#writing + field.now) / 2] = ms
    return this
  }

  /** Of TCP connections; 0: no limit, or not looked at. */
  setIdle(idleMs: number, halfClosedMs: number, firstByteMs: number): this {
    this.#words[this.#writing + field.firstByteMs] = firstByteMs
    this.#doubles[(this.#writing + field.idleMs) / 2] = idleMs
    this.#doubles[(this.#writing + field.halfClosedMs) / 2] = halfClosedMs
    return this
  }

  send(): void {
    const words = this.#words
    Atomics.store(words, at.commandHead, ((words[at.commandHead] as number) + 1) | 0)
    if (!this.#inRead) this.#wake()
  }

  /** Something waits for the pump that is not in the ring. */
  wake(): void {
    if (this.#inRead) this.#isDue = true
    else this.#wake()
  }

  /** Only the one that gets the flag wakes the pump, so that many commands cost one call. */
  #wake(): void {
    this.#isDue = false
    if (Atomics.exchange(this.#words, at.pumpAsleep, 0) === 1) this.#pump.kick()
  }

  get kind(): number {
    return this.#word(field.kind)
  }

  get slot(): number {
    return this.#word(field.slot)
  }

  get generation(): number {
    return this.#word(field.generation)
  }

  get listener(): number {
    return this.#word(field.listener)
  }

  get frontend(): number {
    return this.#word(field.frontend)
  }

  get error(): number {
    return this.#word(field.error)
  }

  get tunnel(): number {
    return this.#word(field.tunnel)
  }

  get halfClosed(): boolean {
    return this.#word(field.halfClosed) !== 0
  }

  get reason(): number {
    return this.#word(field.reason)
  }

  get port(): number {
    return this.#word(field.port)
  }

  get token(): number {
    return this.#word(field.token)
  }

  get details(): number {
    return this.#word(field.details)
  }

  get streams(): number {
    return this.#word(field.streams)
  }

  get descriptor(): number {
    return this.#word(field.descriptor)
  }

  get family(): number {
    return this.#word(field.family)
  }

  address(): string {
    const start = (this.#reading + field.address) * 4
    if (this.family === 4) return this.#texts.of(this.#word(field.address), this.#bytes, start)
    return addressText(this.#bytes.subarray(start, start + 16))
  }

  now(): number {
    return this.#doubles[(this.#reading + field.now) / 2] as number
  }

  sent(): number {
    return this.#doubles[(this.#reading + field.sent) / 2] as number
  }

  received(): number {
    return this.#doubles[(this.#reading + field.received) / 2] as number
  }

  #word(offset: number): number {
    return this.#words[this.#reading + offset] as number
  }
}

/** How many commands the pump has not looked at yet. */
export function pending(memory: ArrayBuffer): number {
  const words = new Int32Array(memory)
  return (Atomics.load(words, at.commandHead) - Atomics.load(words, at.commandTail)) | 0
}
