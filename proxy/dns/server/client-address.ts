/**
 * The canonical text of addresses that are bytes in a socket's memory. Most questions of a moment come from few clients, so the
 * last texts are kept, each address in the one place that its bits give it: so many and no more, and no string on the way.
 */
import { addressText } from '../../model/address.ts'

const places = 1024
const wordsOfAddress = 4
/** The third word of an IPv4 address within IPv6, `::ffff:10.0.0.1`, as this machine reads it. */
const mapped = new Int32Array(Uint8Array.of(0, 0, 0xff, 0xff).buffer)[0] as number

export class AddressTexts {
  readonly #words: Int32Array
  readonly #bytes: Uint8Array
  readonly #kept = new Int32Array(places * wordsOfAddress)
  readonly #texts: (string | undefined)[] = Array.from({ length: places }, () => undefined)

  /** `words` is the memory that the addresses stand in. */
  constructor(words: Int32Array) {
    this.#words = words
    this.#bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength)
  }

  /** Of the address that begins with a word: of four bytes, or of sixteen. */
  at(word: number, isIpv6: boolean): string {
    const words = this.#words
    // An IPv4 client is the same one in a socket that knows it as IPv6.
    const a = isIpv6 ? (words[word] as number) : 0
    const b = isIpv6 ? (words[word + 1] as number) : 0
    const c = isIpv6 ? (words[word + 2] as number) : mapped
    const d = words[isIpv6 ? word + 3 : word] as number
    const place = Math.imul(a ^ Math.imul(b, 31) ^ Math.imul(c, 961) ^ Math.imul(d, 29_791), 0x9e3779b1) >>> 22
    const kept = this.#kept
    const i = place * wordsOfAddress
    const known = this.#texts[place]
    if (known !== undefined && kept[i] === a && kept[i + 1] === b && kept[i + 2] === c && kept[i + 3] === d)
      return known
    const text = addressText(this.#bytes.subarray(word * 4, word * 4 + (isIpv6 ? 16 : 4)))
    kept[i] = a
    kept[i + 1] = b
    kept[i + 2] = c
    kept[i + 3] = d
    this.#texts[place] = text
    return text
  }
}
