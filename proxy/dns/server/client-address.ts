/**
 * The canonical text of client addresses that are bytes in a socket's memory. Most queries come from few clients, so recent
 * texts are kept in a direct-mapped cache: a hash gives each address its one place, and a hit builds no string.
 */
import { addressText, unmapped } from '../../model/address.ts'
import type { Client } from '../../model/flow.ts'

const places = 1024
const wordsOfAddress = 4
/** The third word of an IPv4-mapped IPv6 address, `::ffff:10.0.0.1`, in this machine's byte order. */
const mapped = new Int32Array(Uint8Array.of(0, 0, 0xff, 0xff).buffer)[0] as number

export class ClientAddresses {
  readonly #words: Int32Array
  readonly #bytes: Uint8Array
  readonly #kept = new Int32Array(places * wordsOfAddress)
  readonly #texts: (string | undefined)[] = Array.from({ length: places }, () => undefined)

  /** `words` is the memory that holds the addresses. */
  constructor(words: Int32Array) {
    this.#words = words
    this.#bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength)
  }

  /** The address at a word offset: of sixteen bytes with `isIpv6`, else of four. */
  textAt(word: number, isIpv6: boolean): string {
    const words = this.#words
    // An IPv4 client has the same text on an IPv6 socket, where its address is IPv4-mapped.
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

/** A peer of a node socket with its address in canonical spelling: no `::ffff:`, no zone (`%eth0`). */
export function clientOf(address: string, port: number): Client {
  const zone = address.indexOf('%')
  return { address: unmapped(zone < 0 ? address : address.slice(0, zone)), port }
}
