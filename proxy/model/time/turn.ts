/**
 * Turns on the main thread, for work that comes in bulk: lists, pages and watch events of the sources. One turn is given per
 * round of the event loop, whoever asks, so that DNS and connections are served between any two.
 */

/** How long a turn lasts. The next one follows as soon as waiting sockets have been served. */
const turnMs = 8

const waiting: (() => void)[] = []

/** Resolves when the caller may work for a turn. */
function turn(): Promise<void> {
  return new Promise(resolve => {
    waiting.push(resolve)
    if (waiting.length === 1) setImmediate(next)
  })
}

function next(): void {
  waiting.shift()?.()
  if (waiting.length > 0) setImmediate(next)
}

/** Cuts one piece of work into turns: `begin`, and before each step `next`. */
export class Turns {
  #end = 0

  async begin(): Promise<void> {
    await turn()
    this.#end = performance.now() + turnMs
  }

  /** Undefined while the turn lasts, so that a step costs no wait. */
  next(): Promise<void> | undefined {
    return performance.now() < this.#end ? undefined : this.begin()
  }
}
