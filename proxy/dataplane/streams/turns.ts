/**
 * Lets small flows pass between the pieces of large transfers. libuv reads up to 2 MiB from a socket before it looks at the next
 * one; a direction that has moved its share pauses here instead, and a few of those that wait go on in each turn of the
 * event loop.
 */

/** Bytes after which a direction waits until the others have had their turn, unless no other has moved anything meanwhile. */
const share = 128 * 1024
/** Directions that go on in one turn of the event loop. */
const perTurn = 4

/** The directions that wait, of all connections of an engine. */
export class Turns {
  #waiting: Share[] = []
  #planned = false
  #last: Share | undefined
  #changes = 0

  /** Notes that this one has moved bytes. Returns a number that stays the same while no other does. */
  moved(one: Share): number {
    if (this.#last !== one) {
      this.#last = one
      this.#changes++
    }
    return this.#changes
  }

  add(one: Share): void {
    this.#waiting.push(one)
    this.#plan()
  }

  #plan(): void {
    if (this.#planned) return
    this.#planned = true
    setImmediate(() => this.#next())
  }

  #next(): void {
    this.#planned = false
    for (const one of this.#waiting.splice(0, perTurn)) one.goOn()
    if (this.#waiting.length > 0) this.#plan()
  }
}

/** Whether one direction of a connection may read on: the other side takes more, and its share is not used up. */
export class Share {
  readonly #turns: Turns
  readonly #resume: () => void
  #moved = 0
  #seen = 0
  #waits = false
  #full = false

  /** `resume` may be called after the connection has ended. */
  constructor(turns: Turns, resume: () => void) {
    this.#turns = turns
    this.#resume = resume
  }

  /** Counts bytes that were read; `more` says whether the other side takes more. Returns whether to read on. */
  moved(bytes: number, more: boolean): boolean {
    const changes = this.#turns.moved(this)
    this.#moved += bytes
    this.#full = !more
    if (this.#moved >= share && !this.#waits) {
      this.#moved = 0
      this.#waits = changes !== this.#seen
      this.#seen = changes
      if (this.#waits) this.#turns.add(this)
    }
    return more && !this.#waits
  }

  /** The other side takes more again. */
  drained(): void {
    this.#full = false
    if (!this.#waits) this.#resume()
  }

  /** For {@link Turns}: it is this direction's turn. */
  goOn(): void {
    this.#waits = false
    if (!this.#full) this.#resume()
  }
}
