/**
 * Turns on the main thread, for work that comes in bulk: lists, pages and watch events of the sources, and what follows from them. One turn of
 * some length is given per round of the event loop, whoever asks, so that DNS and connections are served between any two; turns that take
 * little share a round.
 */

/** How long a turn lasts. The next one follows as soon as waiting sockets have been served. */
const turnMs = 5
/** Until then others are given their turn in the same round: hundreds of clusters that have a little to do each do not wait for as many rounds. */
const sharedMs = 4

type Waiting = (() => void)[]

const many: Waiting = []
/** The work that all the others make: see {@link Turns}. */
const common: Waiting = []
/** Which of them this round begins with. */
let first = many
let isGiving = false

/** Resolves when the caller may work for a turn. */
function turn(waiting: Waiting): Promise<void> {
  return new Promise(resolve => {
    waiting.push(resolve)
    if (isGiving) return
    isGiving = true
    setImmediate(round)
  })
}

function round(): void {
  first = first === many ? common : many
  give(performance.now() + sharedMs)
}

function give(end: number): void {
  const next = first.shift() ?? many.shift() ?? common.shift()
  next?.()
  // A tick runs after all promises that are settled: when the turn is over, or its owner waits for something.
  void Promise.resolve().then(() => process.nextTick(goOn, end))
}

function goOn(end: number): void {
  if (many.length + common.length === 0) isGiving = false
  else if (performance.now() < end) give(end)
  else setImmediate(round)
}

/**
 * Cuts one piece of work into turns: `begin`, and before each step `next`. `common`: there is one of it in the process, which goes on with
 * what all the others do; it comes first in every other round, however many they are.
 */
export class Turns {
  readonly #waiting: Waiting
  #end = 0

  constructor(kind?: 'common') {
    this.#waiting = kind === 'common' ? common : many
  }

  async begin(): Promise<void> {
    await turn(this.#waiting)
    this.#end = performance.now() + turnMs
  }

  get isOver(): boolean {
    return performance.now() >= this.#end
  }

  /** Undefined while the turn lasts, so that a step costs no wait. */
  next(): Promise<void> | undefined {
    return this.isOver ? this.begin() : undefined
  }
}

/** Work that may be asked for again and again, and is done once, in a turn that follows. */
export class TurnWork {
  readonly #run: () => void
  readonly #turns = new Turns()
  #isAsked = false

  constructor(run: () => void) {
    this.#run = run
  }

  ask(): void {
    if (this.#isAsked) return
    this.#isAsked = true
    void this.#turns.begin().then(() => {
      this.#isAsked = false
      this.#run()
    })
  }

  /** Whether its turn is: the rest may be asked for again. */
  get isOver(): boolean {
    return this.#turns.isOver
  }
}

/** One after the other, in turns. */
export async function* inTurns<T>(all: Iterable<T>): AsyncGenerator<T, void> {
  const turns = new Turns()
  for (const one of all) {
    await turns.next()
    yield one
  }
}
