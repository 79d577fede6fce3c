import { EventEmitter } from 'node:events'
import CircuitBreaker from 'opossum'
import type { Clock } from '../../proxy/plugin.ts'

export interface WindowOptions {
  /** From 0 to 1. */
  readonly errorRate: number
  readonly minimum: number
  readonly windowMs: number
}

/** As opossum's own recommendation for few, coarse slices: the window moves on in thirds. */
const slices = 3

/**
 * opossum counts the dials of one backend and says when it is enough. It is told of dials that are over, and of nothing else:
 *
 * - It knows success and failure only; what blames nobody (a client that left, descriptors that ran out) is never told to it.
 * - `fire` with a promise of ours would leave that promise without a `catch` once it is open, and a promise that never settles
 *   would keep it half-open for ever. So a dial is told when it is over, by an action that settles at once.
 * - It has no timer: percentiles and snapshots are off, the slices move when something is told, by our clock.
 * - Its own rest runs on the wall's time and is the same for all. The breaker rests instead, and begins again with a fresh
 *   window: one for the trial, which starts half-open, so that what was under way before cannot close it.
 * - A good dial counts in the rate by its 'fire' alone, as long as there is nothing to close. To fire it in earnest takes three
 *   promises, 2 us for each connection, and leaves its latency in a list that nobody reads.
 * - `capacity` would count our own limit as the backend's failure, and its error filter would close it in half-open. Unused.
 */
export class Window {
  #circuit: CircuitBreaker<[good: boolean], void>
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
    this.#circuit = new CircuitBreaker(settle, {
      name: 'dial',
      timeout: false,
      // It opens above its threshold; a rate that is reached counts here, or 100% would never open.
      errorThresholdPercentage: options.errorRate * 100 - 1e-6,
      volumeThreshold: options.minimum,
      resetTimeout: 2 ** 31 - 1,
      rollingCountTimeout: options.windowMs,
      rollingCountBuckets: slices,
      rollingPercentilesEnabled: false,
      enableSnapshots: false,
      rotateBucketController: this.#turn,
      ...(trial ? { state: { ...halfOpen } } : {}),
    })
    this.#circuit.on('open', opened)
    this.#circuit.on('close', closed)
  }

  /** The verdict comes a microtask later, through `opened` or `closed`. */
  tell(good: boolean): void {
    const passed = Math.floor((this.#clock.now() - this.#turnedAt) / this.#sliceMs)
    this.#turnedAt += passed * this.#sliceMs
    for (let i = 0; i < Math.min(passed, slices); i++) this.#turn.emit('rotate')
    if (good && !this.#circuit.halfOpen) this.#circuit.emit('fire')
    else this.#circuit.fire(good).catch(() => {})
  }

  /** Opens it whatever the counts say. */
  trip(): void {
    this.#circuit.open()
  }

  /** Its listeners and its timer end with it; what is told later changes nothing. */
  close(): void {
    this.#circuit.shutdown()
  }
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
