/**
 * TypeScript's end of the memory shared with the pump's thread: a ring of events to read, a ring of commands to write, and
 * flags that tell who sleeps. `native/src/ring.h` is the other end and has the same numbers.
 */
import { addressText } from '../../model/address.ts'
import type { NativePump } from './addon.ts'

export const Event = {
  accepted: 1,
  connected: 2,
  failed: 3,
  gone: 4,
  fault: 5,
  unlistened: 6,
  asked: 7,
  answered: 8,
  unlinked: 9,
  quiet: 10,
  dropped: 11,
  doorClosed: 12,
} as const
export const Command = {
  connect: 1,
  hangUp: 2,
  refuse: 3,
  cut: 4,
  sweep: 5,
  unlisten: 6,
  link: 7,
  unlink: 8,
  forget: 9,
  closeDoor: 10,
} as const

const records = 4096
const wordsOfRecord = 16
/** Words; each counter has a cache line of its own. */
const at = { eventHead: 0, eventTail: 16, asleep: 32, commandHead: 48, commandTail: 64, pumpAsleep: 80, events: 96 }
const commandsAt = at.events + records * wordsOfRecord

/** Offsets in a record, in words. The last four hold an address, or a time, or two totals, as doubles. */
const field = { kind: 0, slot: 1, generation: 2, number: 3, port: 4, family: 5, payload: 8 }

/** The record that is being read. */
export interface Incoming {
  readonly kind: number
  readonly slot: number
  readonly generation: number
  readonly number: number
  readonly port: number
  readonly family: number
  /** Canonical. */
  address(): string
  sent(): number
  received(): number
}

export class Rings implements Incoming {
  readonly #pump: NativePump
  readonly #words: Int32Array
  readonly #doubles: Float64Array
  readonly #bytes: Uint8Array
  #answering = false
  #closed = false
  #reading = 0
  #writing = 0

  constructor(pump: NativePump) {
    this.#pump = pump
    this.#words = new Int32Array(pump.memory)
    this.#doubles = new Float64Array(pump.memory)
    this.#bytes = new Uint8Array(pump.memory)
  }

  /** Hands over what has come, at most `most` records; the commands meanwhile ring once, at the end. True when there may be more. */
  read(most: number, take: (record: Incoming) => void): boolean {
    this.#answering = true
    try {
      return this.#read(most, take)
    } finally {
      this.#answering = false
      if (this.#unheard()) this.#wake()
    }
  }

  #unheard(): boolean {
    return Atomics.load(this.#words, at.commandTail) !== this.#words[at.commandHead]
  }

  #read(most: number, take: (record: Incoming) => void): boolean {
    const words = this.#words
    let tail = words[at.eventTail] as number
    for (let taken = 0; taken < most; taken++) {
      if (Atomics.load(words, at.eventHead) === tail) return false
      this.#reading = at.events + (tail & (records - 1)) * wordsOfRecord
      try {
        take(this)
      } finally {
        tail = (tail + 1) | 0
        Atomics.store(words, at.eventTail, tail)
      }
    }
    return true
  }

  /** The pump has stopped: commands go nowhere, and wait for nobody. */
  close(): void {
    this.#closed = true
  }

  /** From now on the pump calls when there is something. False when there is something already. */
  sleep(): boolean {
    Atomics.store(this.#words, at.asleep, 1)
    if (Atomics.load(this.#words, at.eventHead) === this.#words[at.eventTail]) return true
    // Whoever takes the flag back acts on it: either we, now, or the pump, whose call is on its way.
    return Atomics.exchange(this.#words, at.asleep, 0) === 0
  }

  /** Begins a command; {@link send} ends it. */
  command(kind: number, slot: number, generation: number): this {
    const words = this.#words
    const head = words[at.commandHead] as number
    // The pump never waits for anything, so there is room again after one of its turns.
    while (((head - Atomics.load(words, at.commandTail)) | 0) >= records && !this.#closed) this.#pump.kick()
    const record = commandsAt + (head & (records - 1)) * wordsOfRecord
    this.#writing = record
    words[record + field.kind] = kind
    words[record + field.slot] = slot
    words[record + field.generation] = generation
    return this
  }

  to(family: number, address: Uint8Array, port: number): this {
    this.#words[this.#writing + field.family] = family
    this.#words[this.#writing + field.port] = port
    this.#bytes.set(address, (this.#writing + field.payload) * 4)
    return this
  }

  about(value: number): this {
    this.#words[this.#writing + field.number] = value
    return this
  }

  when(now: number): this {
    this.#doubles[(this.#writing + field.payload) / 2] = now
    return this
  }

  send(): void {
    const words = this.#words
    Atomics.store(words, at.commandHead, ((words[at.commandHead] as number) + 1) | 0)
    if (!this.#answering) this.#wake()
  }

  /** Whoever takes the flag back rings, so that many commands cost one ring. */
  #wake(): void {
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

  get number(): number {
    return this.#word(field.number)
  }

  get port(): number {
    return this.#word(field.port)
  }

  get family(): number {
    return this.#word(field.family)
  }

  address(): string {
    const bytes = this.#bytes
    const at = (this.#reading + field.payload) * 4
    if (this.family === 4) return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`
    return addressText(bytes.subarray(at, at + 16))
  }

  sent(): number {
    return this.#doubles[(this.#reading + field.payload) / 2] as number
  }

  received(): number {
    return this.#doubles[(this.#reading + field.payload) / 2 + 1] as number
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
