/** The error rate of one backend over a sliding window, counted by opossum. */
import { EventEmitter } from 'node:events'
import CircuitBreaker from 'opossum'
import type { Clock } from '../../proxy/plugin.ts'

export interface WindowOptions {
  /** From 0 to 1. */
  readonly errorRate: number
  readonly minimum: number
  readonly windowMs: number
}

/** The window moves in thirds: few, coarse slices, as opossum recommends. */
const slices = 3

/**
 * opossum counts the dials of one backend and opens when the error rate is reached. Only results of finished dials are
 * recorded in it:
 *
 * - It knows only success and failure. Neutral results (the client left, this machine ran out of descriptors) are not recorded.
 * - `fire` with the promise of a dial would leave that promise without a `catch` when it is open, and a promise that never
 *   settles would keep it half-open forever. So a dial is recorded when it has ended, by an action that settles at once.
 * - It runs no timer: percentiles and snapshots are off, and the slices move when a result is recorded, by our clock.
 * - Its own reset timeout uses wall-clock time and is the same for all. The breaker waits instead, and starts a fresh window:
 *   one that is half-open for the trial, so that dials from before cannot close it.
 * - A good dial is counted by emitting 'fire', unless there is something to close. A real `fire` takes three promises, 2 us per
 *   connection, and keeps the latency in a list that is never read.
 * - `capacity` would count our own limit as a failure of the backend, and the error filter would close it in half-open. Unused.
 */
export class Window {
  #circuit: CircuitBreaker<[good: boolean], void>
  readonly #opened: () => void
  readonly #closed: () => void
  #turn = new EventEmitter()
  #clock: Clock
  #sliceMs: number
  #turnedAt: number

  constructor(
    options: WindowOptions,
    clock: Clock,
    { trial, opened, closed }: { trial: boolean; opened: () => void; closed: () => void },
  ) {
    this.#clock = clock
    this.#sliceMs = options.windowMs / slices
    this.#turnedAt = clock.now()
    this.#opened = opened
    this.#closed = closed
    this.#circuit = this.#create(options, trial ? { state: { ...halfOpen } } : {})
  }

  /** `opened` or `closed` is called a microtask later. */
  record(good: boolean): void {
    const passed = Math.floor((this.#clock.now() - this.#turnedAt) / this.#sliceMs)
    this.#turnedAt += passed * this.#sliceMs
    for (let i = 0; i < Math.min(passed, slices); i++) this.#turn.emit('rotate')
    if (good && !this.#circuit.halfOpen) this.#circuit.emit('fire')
    else this.#circuit.fire(good).catch(() => {})
  }

  /** Other options from now on, also for the dials that are counted: opossum takes over the counts of another circuit. */
  configure(options: WindowOptions): void {
    const { status, halfOpen: trial } = this.#circuit
    this.#circuit.removeAllListeners()
    this.#sliceMs = options.windowMs / slices
    this.#circuit = this.#create(options, { status, ...(trial ? { state: { ...halfOpen } } : {}) })
  }

  /** Opens it regardless of the counts. */
  trip(): void {
    this.#circuit.open()
  }

  /** Removes its listeners and its timer. Results that are recorded later have no effect. */
  close(): void {
    this.#circuit.shutdown()
  }

  #create(options: WindowOptions, kept: object): CircuitBreaker<[good: boolean], void> {
    const circuit = new CircuitBreaker(settle, {
      name: 'dial',
      timeout: false,
      errorThresholdPercentage: threshold(options.errorRate),
      volumeThreshold: options.minimum,
      resetTimeout: 2 ** 31 - 1,
      rollingCountTimeout: options.windowMs,
      rollingCountBuckets: slices,
      rollingPercentilesEnabled: false,
      enableSnapshots: false,
      rotateBucketController: this.#turn,
      ...kept,
    })
    circuit.on('open', this.#opened)
    circuit.on('close', this.#closed)
    return circuit
  }
}

/** opossum opens above its threshold. Here reaching the rate is enough, or 100% would never open. */
function threshold(errorRate: number): number {
  return errorRate * 100 - 1e-6
}

const halfOpen = {
  enabled: true,
  closed: false,
  halfOpen: true,
  open: false,
  warmUp: false,
  shutdown: false,
  name: 'dial',
}

const succeeded = Promise.resolve()

function settle(good: boolean): Promise<void> {
  return good ? succeeded : Promise.reject(new Error('the dial failed'))
}
