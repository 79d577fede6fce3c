/**
 * Fair turns for the messages of TCP connections. Clients take turns, and the connections of a client take its turns: one that
 * pipelines thousands of questions, over one connection or many, delays the others by a few milliseconds at most.
 */

/** A connection with whole messages to answer. */
export interface TurnTaker {
  readonly clientKey: string
  /** Answers messages for as long as `take` allows it. */
  continue(): void
}

/** Messages answered in one iteration of the event loop, so that datagrams and timers are not kept waiting. */
const perIteration = 64
const perTurn = 16

export class Turns {
  readonly #queue = new Map<string, TurnTaker[]>()
  readonly #queued = new Set<TurnTaker>()
  #credit = perIteration
  #scheduled = false
  #current: TurnTaker | undefined
  #left = 0

  /** Whether a connection may answer its next message now. If not, it is queued, and `continue` is called in its turn. */
  take(taker: TurnTaker): boolean {
    this.#schedule()
    if (this.#current === taker) {
      if (this.#left-- > 0) return true
    } else if (this.#queue.size === 0 && this.#credit > 0) {
      this.#credit--
      return true
    }
    this.#enqueue(taker)
    return false
  }

  isQueued(taker: TurnTaker): boolean {
    return this.#queued.has(taker)
  }

  #enqueue(taker: TurnTaker): void {
    if (this.#queued.has(taker)) return
    this.#queued.add(taker)
    const waiting = this.#queue.get(taker.clientKey)
    if (waiting) waiting.push(taker)
    else this.#queue.set(taker.clientKey, [taker])
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => this.#run())
  }

  #run(): void {
    this.#scheduled = false
    this.#credit = perIteration
    for (let budget = perIteration; budget > 0; ) {
      const taker = this.#next()
      if (!taker) return
      this.#current = taker
      this.#left = perTurn
      taker.continue()
      this.#current = undefined
      budget -= Math.max(1, perTurn - Math.max(0, this.#left))
    }
    if (this.#queue.size > 0) this.#schedule()
  }

  /** The first connection of the client that has waited longest; the client goes to the end. */
  #next(): TurnTaker | undefined {
    const [first] = this.#queue
    if (!first) return undefined
    const [key, waiting] = first
    const taker = waiting.shift()
    this.#queue.delete(key)
    if (waiting.length > 0) this.#queue.set(key, waiting)
    if (taker) this.#queued.delete(taker)
    return taker
  }
}
