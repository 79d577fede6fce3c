/** Gives each frontend a port of its own on the address that all listeners share. */

/** Above the ports that Linux gives to clients by default (net.ipv4.ip_local_port_range), then those below, where some may be taken. */
const usual: Ranges = [
  [61_000, 65_500],
  [20_000, 61_000],
]

/** Each with its first port and the one after its last. */
type Ranges = readonly (readonly [from: number, to: number])[]

export class PortBook {
  readonly #ranges: Ranges
  readonly #byKey = new Map<string, number>()
  readonly #taken = new Set<number>()
  /** What a process before this one had given. */
  readonly #before = new Map<string, number>()
  readonly #owed = new Set<number>()

  constructor(ranges = usual) {
    this.#ranges = ranges
  }

  /** The frontend had this port in a process before this one, and clients may hold on to it. */
  prefer(key: string, port: number): void {
    this.#before.set(key, port)
    this.#owed.add(port)
  }

  /** Its port, the same until it is released. With `refused` another one: that one is in use. Undefined when none is left. */
  take(key: string, refused?: number): number | undefined {
    const held = this.#byKey.get(key)
    if (held !== undefined && held !== refused) return held
    const before = this.#before.get(key)
    const wish = before !== undefined && before !== refused && !this.#taken.has(before) ? before : undefined
    const port = wish ?? this.#free(key, refused)
    if (port === undefined) return undefined
    this.#byKey.set(key, port)
    this.#taken.add(port)
    return port
  }

  /** It is bound to this port. */
  set(key: string, port: number): void {
    this.release(key)
    this.#byKey.set(key, port)
    this.#taken.add(port)
  }

  release(key: string): void {
    const port = this.#byKey.get(key)
    if (port === undefined) return
    this.#byKey.delete(key)
    this.#taken.delete(port)
    this.#before.delete(key)
    this.#owed.delete(port)
  }

  /** What nobody has asked for until now is free. */
  forgetBefore(): void {
    this.#before.clear()
    this.#owed.clear()
  }

  /** Begins at a place that depends on the key, so that a restart finds the same one. */
  #free(key: string, refused: number | undefined): number | undefined {
    for (const [from, to] of this.#ranges) {
      const count = to - from
      const start = hash(key) % count
      const skip = refused !== undefined && refused >= from && refused < to ? refused - from - start + count + 1 : 0
      for (let i = 0; i < count; i++) {
        const port = from + ((start + skip + i) % count)
        if (port !== refused && !this.#taken.has(port) && !this.#owed.has(port)) return port
      }
    }
    return undefined
  }
}

/** FNV-1a. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  return value >>> 0
}
