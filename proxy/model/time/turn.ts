/**
 * Turns on the main thread, for work that comes in bulk: lists, pages and watch events of the sources. One turn of some length is given per
 * round of the event loop, whoever asks, so that DNS and connections are served between any two; turns that take little share a round.
 */

/** How long a turn lasts. The next one follows as soon as waiting sockets have been served. */
const turnMs = 8
/** Until then others are given their turn in the same round: hundreds of clusters that have a little to do each do not wait for as many rounds. */
const sharedMs = 4

const waiting: (() => void)[] = []
let isGiving = false

/** Resolves when the caller may work for a turn. */
function turn(): Promise<void> {
  return new Promise(resolve => {
    waiting.push(resolve)
    if (isGiving) return
    isGiving = true
    setImmediate(round)
  })
}

function round(): void {
  give(performance.now() + sharedMs)
}

function give(end: number): void {
  waiting.shift()?.()
  // A tick runs after all promises that are settled: when the turn is over, or its owner waits for something.
  void Promise.resolve().then(() => process.nextTick(goOn, end))
}

function goOn(end: number): void {
  if (waiting.length === 0) isGiving = false
  else if (performance.now() < end) give(end)
  else setImmediate(round)
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
