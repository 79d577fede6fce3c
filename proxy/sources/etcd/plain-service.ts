/**
 * Reads a service record as clusters usually write it straight from its bytes: in a fraction of the time that JSON.parse and a schema take,
 * and without what they leave to the collector. Anything unusual is left to `decode-service.ts`, which finds the same in what is read here.
 */
import { canonicalAddress } from '../../model/address.ts'
import type { EndpointPort } from '../../model/service.ts'
import { backslash, close, colon, comma, open, quote } from '../../model/text/json-bytes.ts'
import { commonPorts, commonText } from '../common.ts'
import { distinctPorts, labelPattern, type Owner, portsFrom } from './records.ts'

export interface PlainService {
  readonly namespace: string
  readonly name: string
  readonly frontends: readonly PlainEntry[]
  readonly backends: readonly PlainEntry[]
  readonly labels: Readonly<Record<string, string>>
}

/** An address, which no other entry has. */
export interface PlainEntry {
  readonly address: string
  readonly ports: readonly EndpointPort[]
  hostname: string | undefined
  /** As the record says it: empty, or absent. */
  zone: string | undefined
  forZones: readonly { readonly name: string }[] | undefined
}

/** Undefined for a record that has a fault, or anything unusual: escapes, spaces, other members or another order than Cilium's. */
export function plainService(suffix: string, value: Uint8Array, owner: Owner): PlainService | undefined {
  try {
    return new PlainReader(value).service(suffix, owner)
  } catch (error) {
    if (error === unusual) return undefined
    throw error
  }
}

/** Where the reader stops. Nobody sees it, so it is made once: a stack takes time. */
const unusual = new Error('not a plain record')

const noTexts: Readonly<Record<string, string>> = Object.freeze({})

/** Names that a schema leaves out, or that mean something else in an object. */
const reserved = /^(?:__|constructor$|prototype$)/
/** Names that come first in an object, wherever they are written. */
const numeric = /^\d/

class PlainReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(value: Uint8Array) {
    this.#bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  }

  service(suffix: string, owner: Owner): PlainService {
    this.#word('{"cluster":')
    if (!this.#takesText(owner.cluster)) throw unusual
    this.#word(',"namespace":')
    const namespace = this.#text()
    this.#word(',"name":')
    const name = this.#text()
    if (`${namespace}/${name}` !== suffix || !labelPattern.test(namespace) || !labelPattern.test(name)) throw unusual
    this.#word(',"frontends":')
    const frontends = this.#entries()
    this.#word(',"backends":')
    const backends = this.#entries()
    if (this.#takes(',"hostnames":')) this.#hostnames(backends)
    if (this.#takes(',"zones":')) this.#zones(backends)
    this.#word(',"labels":')
    const labels = this.#texts()
    this.#word(',"selector":')
    this.#texts()
    this.#word(',"includeExternal":')
    if (!this.#takes('true')) this.#word('false')
    this.#word(',"shared":true,"clusterID":')
    if (this.#number(511) !== owner.clusterId) throw unusual
    this.#expect(close.brace)
    if (this.#at !== this.#bytes.length) throw unusual
    return { namespace, name, frontends, backends, labels }
  }

  /** Ports by address. */
  #entries(): readonly PlainEntry[] {
    const entries: PlainEntry[] = []
    let ports: readonly EndpointPort[] = []
    /** The text of the ports of the entry before. */
    let [from, to] = [0, 0]
    /** As they usually are, in Go's order of a map's keys: then none is there twice. */
    let isAscending = true
    let last = ''
    if (this.#isNothing()) return entries
    do {
      const address = this.#key()
      if (canonicalAddress(address) !== address) throw unusual
      isAscending &&= address > last
      last = address
      if (to > from && this.#repeats(from, to)) this.#at += to - from
      else {
        from = this.#at
        ports = commonPorts(distinctPorts(portsFrom(this.#ports())))
        to = this.#at
      }
      entries.push({ address, ports, hostname: undefined, zone: undefined, forZones: undefined })
    } while (this.#more())
    if (!isAscending && new Set(entries.map(({ address }) => address)).size < entries.length) throw unusual
    return entries
  }

  /** Whether a part that has been read follows again. */
  #repeats(from: number, to: number): boolean {
    const bytes = this.#bytes
    const at = this.#at
    for (let i = from; i < to; i++) if (bytes[i] !== bytes[at + i - from]) return false
    return true
  }

  #ports(): [name: string, protocol: string, port: number][] {
    const ports: [string, string, number][] = []
    if (this.#isNothing()) return ports
    do {
      const name = this.#name()
      if (numeric.test(name) || ports.some(([other]) => other === name)) throw unusual
      this.#word('{"Protocol":')
      const protocol = this.#text()
      this.#word(',"Port":')
      ports.push([name, protocol, this.#number(65_535)])
      this.#expect(close.brace)
    } while (this.#more())
    return ports
  }

  #hostnames(backends: readonly PlainEntry[]): void {
    if (this.#isNothing()) return
    let next = 0
    do {
      const place = this.#backend(backends, next)
      const backend = backends[place] as PlainEntry
      if (backend.hostname !== undefined) throw unusual
      backend.hostname = this.#text()
      next = place + 1
    } while (this.#more())
  }

  #zones(backends: readonly PlainEntry[]): void {
    if (this.#isNothing()) return
    /** Most backends share a few. */
    const zones: string[] = []
    let next = 0
    do {
      const place = this.#backend(backends, next)
      const backend = backends[place] as PlainEntry
      if (backend.zone !== undefined) throw unusual
      backend.zone = ''
      this.#expect(open.brace)
      const hasZone = this.#takes('"zone":')
      if (hasZone) {
        const known = zones.find(zone => this.#takesText(zone))
        backend.zone = known ?? commonText(this.#text())
        if (known === undefined) zones.push(backend.zone)
      }
      if (this.#takes(hasZone ? ',"forZones":' : '"forZones":')) backend.forZones = this.#forZones()
      this.#expect(close.brace)
      next = place + 1
    } while (this.#more())
  }

  #forZones(): { name: string }[] {
    const zones: { name: string }[] = []
    if (this.#takes('null') || this.#takes('[]')) return zones
    this.#expect(open.bracket)
    do {
      this.#word('{"name":')
      zones.push({ name: this.#text() })
      this.#expect(close.brace)
    } while (this.#takes(','))
    this.#expect(close.bracket)
    return zones
  }

  /** The place of the backend whose address is the next key: mostly the next one. */
  #backend(backends: readonly PlainEntry[], next: number): number {
    const expected = backends[next]
    let place = next
    if (!expected || !this.#takesText(expected.address)) {
      const address = this.#text()
      place = backends.findIndex(entry => entry.address === address)
      if (place < 0) throw unusual
    }
    this.#expect(colon)
    return place
  }

  #texts(): Readonly<Record<string, string>> {
    if (this.#isNothing()) return noTexts
    const texts: Record<string, string> = {}
    do {
      const name = this.#name()
      if (Object.hasOwn(texts, name)) throw unusual
      texts[name] = this.#text()
    } while (this.#more())
    return texts
  }

  /** Begins a mapping. True if it is null or has no entries, and so is over. */
  #isNothing(): boolean {
    if (this.#takes('null') || this.#takes('{}')) return true
    this.#expect(open.brace)
    return false
  }

  /** Another entry follows, or the mapping is over. */
  #more(): boolean {
    const byte = this.#bytes[this.#at++]
    if (byte === comma) return true
    if (byte === close.brace) return false
    throw unusual
  }

  #name(): string {
    const name = this.#key()
    if (reserved.test(name)) throw unusual
    return name
  }

  #key(): string {
    const key = this.#text()
    this.#expect(colon)
    return key
  }

  /** ASCII without escapes. */
  #text(): string {
    const bytes = this.#bytes
    const start = this.#at + 1
    this.#expect(quote)
    let at = start
    for (;;) {
      const byte = bytes[at] ?? 0
      if (byte === quote) break
      if (byte < 0x20 || byte > 0x7e || byte === backslash) throw unusual
      at++
    }
    this.#at = at + 1
    return bytes.toString('latin1', start, at)
  }

  /** Passes this string, in quotes, if it is next. It needs no escapes. */
  #takesText(text: string): boolean {
    const bytes = this.#bytes
    const start = this.#at + 1
    const end = start + text.length
    if (bytes[start - 1] !== quote || bytes[end] !== quote) return false
    for (let i = 0; i < text.length; i++) if (bytes[start + i] !== text.charCodeAt(i)) return false
    this.#at = end + 1
    return true
  }

  /** Passes these characters if they are next. */
  #takes(word: string): boolean {
    const bytes = this.#bytes
    const start = this.#at
    for (let i = 0; i < word.length; i++) if (bytes[start + i] !== word.charCodeAt(i)) return false
    this.#at = start + word.length
    return true
  }

  #word(word: string): void {
    if (!this.#takes(word)) throw unusual
  }

  /** Digits alone, without a zero before others. */
  #number(most: number): number {
    const start = this.#at
    let value = 0
    for (let digit = this.#digit(); digit >= 0 && value <= most; digit = this.#digit()) {
      value = 10 * value + digit
      this.#at++
    }
    const length = this.#at - start
    if (length === 0 || value > most || (this.#bytes[start] === 0x30 && length > 1)) throw unusual
    return value
  }

  /** Negative if none is next. */
  #digit(): number {
    const digit = (this.#bytes[this.#at] ?? 0) - 0x30
    return digit <= 9 ? digit : -1
  }

  #expect(byte: number): void {
    if (this.#bytes[this.#at++] !== byte) throw unusual
  }
}
