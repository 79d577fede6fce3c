/**
 * The part of the Protocol Buffers wire format that etcd and Cilium use. A message is declared as a table of fields, from
 * which its type, decoder and encoder are derived. Unknown fields are skipped; truncated or overlong input throws.
 */

/** One field of a message: its number, its default, and how it is read and written. */
export interface Field<T> {
  readonly number: number
  readonly wire: Wire
  /** The default value; a new list or map for each message. */
  initial(): T
  /** `before` is the value from earlier occurrences of the field. */
  read(reader: Reader, before: T): T
  /** Writes nothing for the default value. */
  write(writer: Writer, value: T): void
}

export type Shape = Readonly<Record<string, Field<unknown>>>
export type Values<S extends Shape> = { -readonly [K in keyof S]: S[K] extends Field<infer T> ? T : never }
export type MessageOf<M> = M extends Message<infer S> ? Readonly<Values<S>> : never

export interface Message<S extends Shape> {
  decode(bytes: Uint8Array): Readonly<Values<S>>
  encode(values: Partial<Values<S>>): Buffer
}

export function message<S extends Shape>(shape: S): Message<S> {
  const fields = Object.entries(shape)
  const byNumber = new Map(fields.map(([name, field]) => [field.number, { name, field }]))
  return {
    decode(bytes) {
      const values: Record<string, unknown> = {}
      for (const [name, field] of fields) values[name] = field.initial()
      const reader = new Reader(bytes)
      while (!reader.done) {
        const tag = reader.uint()
        const known = byNumber.get(Math.floor(tag / 8))
        if (known && known.field.wire === tag % 8) values[known.name] = known.field.read(reader, values[known.name])
        else reader.skip(tag % 8)
      }
      return values as Values<S>
    },
    encode(values) {
      const writer = new Writer()
      const given: Partial<Record<string, unknown>> = values
      for (const [name, field] of fields) if (given[name] !== undefined) field.write(writer, given[name])
      return writer.bytes()
    },
  }
}

const varint = 0
const fixed64 = 1
const chunk = 2
const fixed32 = 5
type Wire = typeof varint | typeof chunk

/** An int64 or uint32 that is exact as a number; a larger one throws. */
export function int(number: number): Field<number> {
  return {
    number,
    wire: varint,
    initial: () => 0,
    read: reader => reader.int(),
    write: (writer, value) => value !== 0 && writer.uint(number, value),
  }
}

/** A uint64 with full precision: ids of clusters and leases. */
export function id(number: number): Field<bigint> {
  return {
    number,
    wire: varint,
    initial: () => 0n,
    read: reader => reader.big(),
    write: (writer, value) => value !== 0n && writer.big(number, value),
  }
}

export function flag(number: number): Field<boolean> {
  return {
    number,
    wire: varint,
    initial: () => false,
    read: reader => reader.big() !== 0n,
    write: (writer, value) => value && writer.uint(number, 1),
  }
}

/** A boolean that may be absent (proto2 `optional`). */
export function maybe(number: number): Field<boolean | undefined> {
  return {
    ...flag(number),
    initial: () => undefined,
    write: (writer, value) => value !== undefined && writer.uint(number, value ? 1 : 0),
  }
}

export function text(number: number): Field<string> {
  return stringOf(number, 'utf8')
}

/** Bytes as a latin1 string: lossless, and usable as the key of a map. */
export function binary(number: number): Field<string> {
  return stringOf(number, 'latin1')
}

function stringOf(number: number, encoding: 'utf8' | 'latin1'): Field<string> {
  return {
    number,
    wire: chunk,
    initial: () => '',
    read: reader => reader.chunk().toString(encoding),
    write: (writer, value) => value !== '' && writer.chunk(number, Buffer.from(value, encoding)),
  }
}

const empty = Buffer.alloc(0)

export function bytes(number: number): Field<Uint8Array> {
  return {
    number,
    wire: chunk,
    initial: () => empty,
    read: reader => reader.chunk(),
    write: (writer, value) => value.length > 0 && writer.chunk(number, value),
  }
}

/** Undefined when absent. An empty message is written, since it differs from an absent one. */
export function nested<S extends Shape>(number: number, of: Message<S>): Field<Readonly<Values<S>> | undefined> {
  return {
    number,
    wire: chunk,
    initial: () => undefined,
    read: reader => of.decode(reader.chunk()),
    write: (writer, value) => value !== undefined && writer.chunk(number, of.encode(value)),
  }
}

export function many<S extends Shape>(number: number, of: Message<S>): Field<readonly Readonly<Values<S>>[]> {
  return repeated(
    number,
    piece => of.decode(piece),
    item => of.encode(item),
  )
}

export function texts(number: number): Field<readonly string[]> {
  return repeated(
    number,
    piece => piece.toString('utf8'),
    item => Buffer.from(item),
  )
}

function repeated<T>(number: number, decode: (piece: Buffer) => T, encode: (item: T) => Buffer): Field<readonly T[]> {
  return {
    number,
    wire: chunk,
    initial: () => [],
    read: (reader, before) => {
      ;(before as T[]).push(decode(reader.chunk()))
      return before
    },
    write: (writer, items) => {
      for (const item of items) writer.chunk(number, encode(item))
    },
  }
}

const pair = message({ key: text(1), value: text(2) })

/** `map<string, string>`; a key given twice keeps its last value. */
export function dictionary(number: number): Field<ReadonlyMap<string, string>> {
  return {
    number,
    wire: chunk,
    initial: () => new Map(),
    read: (reader, before) => {
      const { key, value } = pair.decode(reader.chunk())
      return (before as Map<string, string>).set(key, value)
    },
    write: (writer, entries) => {
      for (const [key, value] of entries) writer.chunk(number, pair.encode({ key, value }))
    },
  }
}

class Reader {
  #bytes: Buffer
  #at = 0

  constructor(source: Uint8Array) {
    this.#bytes = Buffer.from(source.buffer, source.byteOffset, source.byteLength)
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length
  }

  /** An unsigned varint up to 2^53. */
  uint(): number {
    let value = 0
    for (let scale = 1; scale < 2 ** 56; scale *= 128) {
      const byte = this.#byte()
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return sure(value)
    }
    throw new RangeError('a number is too large')
  }

  /** A signed varint of 64 bits. */
  int(): number {
    const start = this.#at
    for (let length = 0; length < 8; length++) {
      if (this.#byte() >= 0x80) continue
      this.#at = start
      return this.uint()
    }
    this.#at = start
    return sure(Number(BigInt.asIntN(64, this.big())))
  }

  big(): bigint {
    // 49 bits and the rest, each exact as a number: a bigint for each byte would be garbage of every message.
    let low = 0
    let high = 0
    for (let place = 0, scale = 1; place < 10; place++, scale = place === 7 ? 1 : scale * 128) {
      const byte = this.#byte()
      if (place < 7) low += (byte & 0x7f) * scale
      else high += (byte & 0x7f) * scale
      if (byte < 0x80) return high === 0 ? BigInt(low) : BigInt.asUintN(64, (BigInt(high) << 49n) + BigInt(low))
    }
    throw new RangeError('a number has more than 64 bits')
  }

  chunk(): Buffer {
    const length = this.uint()
    return this.#bytes.subarray(this.#at, this.#advance(length))
  }

  skip(wire: number): void {
    if (wire === varint) this.big()
    else if (wire === chunk) this.chunk()
    else if (wire === fixed64) this.#advance(8)
    else if (wire === fixed32) this.#advance(4)
    else throw new RangeError(`wire type ${wire} is not supported`)
  }

  #byte(): number {
    const byte = this.#bytes[this.#at++]
    if (byte === undefined) throw new RangeError('ends in the middle of a number')
    return byte
  }

  #advance(length: number): number {
    if (length > this.#bytes.length - this.#at) throw new RangeError('ends in the middle of a field')
    this.#at += length
    return this.#at
  }
}

function sure(value: number): number {
  if (!Number.isSafeInteger(value)) throw new RangeError('a number is too large')
  return value
}

class Writer {
  #parts: Buffer[] = []

  uint(number: number, value: number): void {
    this.big(number, BigInt(value))
  }

  big(number: number, value: bigint): void {
    this.#parts.push(varintOf(BigInt(number * 8 + varint)), varintOf(BigInt.asUintN(64, value)))
  }

  chunk(number: number, value: Uint8Array): void {
    this.#parts.push(varintOf(BigInt(number * 8 + chunk)), varintOf(BigInt(value.length)), Buffer.from(value))
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts)
  }
}

function varintOf(value: bigint): Buffer {
  const out: number[] = []
  let left = value
  for (; left >= 0x80n; left >>= 7n) out.push(Number(left & 0x7fn) | 0x80)
  out.push(Number(left))
  return Buffer.from(out)
}
