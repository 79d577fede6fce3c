/** The latest DNS questions, in records of fixed size as in flow-ring.ts. */
import type { Question } from '../model/flows/question.ts'

/** Words of a record: the time in two, the duration, type and size of the reply, and port, rcode and protocol. */
const words = 6
const texts = 3
const rcodeShift = 16
const tcpBit = 1 << 31
const none: readonly string[] = Object.freeze([])

export class QuestionRing {
  /** A power of two. */
  readonly size: number
  next = 1
  readonly #doubles: Float64Array
  readonly #floats: Float32Array
  readonly #words: Uint32Array
  /** Grows with the records of the first round. */
  readonly #texts: string[]
  readonly #addresses: (readonly string[])[]

  constructor(size: number) {
    this.size = 2 ** Math.ceil(Math.log2(Math.max(size, 2)))
    this.#words = new Uint32Array(this.size * words)
    this.#floats = new Float32Array(this.#words.buffer)
    this.#doubles = new Float64Array(this.#words.buffer)
    this.#texts = new Array<string>(2 * texts).fill('')
    this.#addresses = [none, none]
  }

  get oldest(): number {
    return Math.max(1, this.next - this.size)
  }

  has(record: number): boolean {
    return record >= this.next - this.size && record > 0 && record < this.next
  }

  add({ client, name, type, transport, zone, rcode, addresses, bytes, at, ms }: Question): number {
    const record = this.next++
    const slot = record & (this.size - 1)
    const word = slot * words
    this.#doubles[word / 2] = at
    this.#floats[word + 2] = ms
    this.#words[word + 3] = type | (bytes << 16)
    this.#words[word + 4] = client.port | (rcode << rcodeShift) | (transport === 'tcp' ? tcpBit : 0)
    const text = slot * texts
    this.#texts[text] = client.address
    this.#texts[text + 1] = name
    this.#texts[text + 2] = zone
    this.#addresses[slot] = addresses
    return record
  }

  /** Only of a record that it {@link has}. */
  timeOf(record: number): number {
    return this.#doubles[((record & (this.size - 1)) * words) / 2] as number
  }

  /** Only of a record that it {@link has}. */
  read(record: number): Question {
    const slot = record & (this.size - 1)
    const at = slot * words
    const sizes = this.#words[at + 3] as number
    const word = this.#words[at + 4] as number
    const [address = '', name = '', zone = ''] = this.#texts.slice(slot * texts, (slot + 1) * texts)
    return {
      client: { address, port: word & 0xffff },
      name,
      type: sizes & 0xffff,
      transport: (word & tcpBit) === 0 ? 'udp' : 'tcp',
      zone,
      rcode: (word >>> rcodeShift) & 0xff,
      addresses: this.#addresses[slot] ?? none,
      bytes: sizes >>> 16,
      at: this.#doubles[at / 2] as number,
      ms: this.#floats[at + 2] as number,
    }
  }
}
