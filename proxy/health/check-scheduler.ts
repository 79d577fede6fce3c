/**
 * Schedules health checks: the first soon after a target is added, then one per interval, with jitter so that targets
 * added together spread out. The interval of a target that passes grows, step by step, up to `relax` times. Limits the checks in
 * flight and the rate of new ones, so that traffic has the CPU it needs. Each cluster has a lane, and the local one goes first: however
 * many dead backends a cluster lists, those of others are checked in time.
 */
import type { Clock, Random } from '../model/time/clock.ts'
import { DueQueue } from './due-queue.ts'
import type { Lane, Target } from './watched-backend.ts'

/** Shortest time between two bursts. With 100 checks in flight that is at most 6,600 a second, about two thirds of a core. */
const paceMs = 15
/** A new target gets its first check within this share of the interval, and within `ms`. */
const firstWithin = { share: 0.1, ms: 1000 }
/** So many passes in a row add one interval to the time between two checks. */
const passesPerStep = 5

export interface CheckSchedulerParts {
  readonly intervalMs: number
  /** Most intervals between two checks of a target that passes. */
  readonly relax: number
  readonly maxInFlight: number
  readonly clock: Clock
  readonly random: Random
  /** Never rejects. True when the check failed: the next one is likely to take the whole timeout. */
  readonly check: (target: Target) => Promise<boolean>
  /** Called once, when `maxInFlight` has delayed checks by more than an interval. */
  readonly onBehind: () => void
}

interface Next {
  readonly lane: Lane
  readonly queue: DueQueue<Target>
  readonly target: Target
}

export class CheckScheduler {
  readonly #parts: CheckSchedulerParts
  #targets = 0
  readonly #lanes = new Map<string, Lane>()
  readonly #inFlight = new Set<Promise<void>>()
  /** Of the lanes of other clusters. */
  #remote = { lanes: 0, inFlight: 0, doubtfulInFlight: 0 }
  #wakeAt = Number.POSITIVE_INFINITY
  #wokeAt = Number.NEGATIVE_INFINITY
  #cancel: () => void = () => {}
  #behindSince: number | undefined
  #loggedBehind = false
  #lateMs = 0
  #closed = false

  constructor(parts: CheckSchedulerParts) {
    this.#parts = parts
  }

  stats(): { targets: number; inFlight: number; lateMs: number } {
    return { targets: this.#targets, inFlight: this.#inFlight.size, lateMs: this.#lateMs }
  }

  add(target: Target): void {
    const { clock, random, intervalMs } = this.#parts
    const lane = this.#laneOf(target)
    lane.targets++
    this.#targets++
    target.lane = lane
    target.due = Math.round(clock.now() + random() * Math.min(intervalMs * firstWithin.share, firstWithin.ms))
    const isDoubtful = !lane.local && target.checks.health !== 'up'
    if (isDoubtful) lane.doubtful.add(target)
    else lane.steady.add(target)
    this.#arm()
  }

  /** Something is wrong with the target: its next check is due an interval after the last one, at the latest. */
  hasten(target: Target): void {
    const { clock, intervalMs } = this.#parts
    const soonest = Math.ceil(Math.max(clock.now(), target.checkedAt + intervalMs))
    const steady = target.lane?.steady
    if (target.due <= soonest || !steady?.has(target)) return
    steady.remove(target)
    target.due = soonest
    steady.add(target)
    this.#arm()
  }

  /** A check in flight is not cancelled. */
  remove(target: Target): void {
    const { lane } = target
    if (!lane) return
    target.lane = undefined
    this.#targets--
    lane.steady.remove(target)
    lane.doubtful.remove(target)
    lane.targets--
    this.#forget(lane)
  }

  /** Starts no more checks; resolves when none is in flight. */
  async close(): Promise<void> {
    this.#closed = true
    this.#cancel()
    await Promise.all(this.#inFlight)
  }

  #wake(): void {
    const now = this.#parts.clock.now()
    this.#wakeAt = Number.POSITIVE_INFINITY
    this.#wokeAt = now
    for (let next = this.#next(now); next && next.target.due <= now; next = this.#next(now)) {
      next.queue.remove(next.target)
      this.#lateMs = now - next.target.due
      this.#start(next)
    }
    this.#watchBacklog(now)
    this.#arm()
  }

  /**
   * Of the targets that may start now: one of the local cluster if it is due, else one of the cluster with the fewest checks in
   * flight, else the one that is due first of all. Undefined when too many checks are in flight.
   */
  #next(now: number): Next | undefined {
    if (this.#inFlight.size >= this.#parts.maxInFlight) return undefined
    let best: Next | undefined
    for (const lane of this.#lanes.values()) {
      const next = this.#nextOf(lane)
      if (next && (!best || goesBefore(next, best, now))) best = next
    }
    return best
  }

  /** Half of the checks at most are of doubtful targets; of others' and the local cluster's, a quarter is kept for each. */
  #nextOf(lane: Lane): Next | undefined {
    const { maxInFlight } = this.#parts
    const half = Math.max(1, maxInFlight >> 1)
    const most = Math.max(1, maxInFlight - Math.max(1, maxInFlight >> 2))
    const all = lane.local ? lane : this.#remote
    const isShared = lane.local ? this.#remote.lanes > 0 : this.#lanes.size > this.#remote.lanes
    if (isShared && all.inFlight >= most) return undefined
    if (!lane.local && this.#remote.lanes > 1 && lane.inFlight >= half) return undefined
    const steady = lane.steady.first
    const doubtful = all.doubtfulInFlight < half ? lane.doubtful.first : undefined
    if (doubtful && !(steady && steady.due <= doubtful.due)) return { lane, queue: lane.doubtful, target: doubtful }
    return steady && { lane, queue: lane.steady, target: steady }
  }

  #start({ lane, queue, target }: Next): void {
    const { check, clock, random, intervalMs, relax } = this.#parts
    target.checkedAt = Math.round(clock.now())
    const jitter = 0.9 + 0.2 * random()
    const isDoubtful = queue === lane.doubtful
    this.#count(lane, isDoubtful, 1)
    const run = check(target).then(fails => {
      this.#inFlight.delete(run)
      this.#count(lane, isDoubtful, -1)
      if (target.lane) {
        const waitMs = intervalMs * Math.min(relax, 1 + target.passes / passesPerStep) * jitter
        target.due = target.checkedAt + Math.round(waitMs)
        const home = this.#moved(target, lane)
        if (fails) home.doubtful.add(target)
        else home.steady.add(target)
      }
      this.#arm()
    })
    this.#inFlight.add(run)
  }

  #count(lane: Lane, isDoubtful: boolean, more: 1 | -1): void {
    const counted = lane.local ? [lane] : [lane, this.#remote]
    for (const each of counted) {
      each.inFlight += more
      if (isDoubtful) each.doubtfulInFlight += more
    }
  }

  #laneOf({ watched: { backend } }: Target): Lane {
    const { cluster, remote } = backend
    const local = !remote
    const known = this.#lanes.get(cluster)
    if (known) return known
    const counts = { targets: 0, inFlight: 0, doubtfulInFlight: 0 }
    const lane: Lane = { local, steady: new DueQueue(), doubtful: new DueQueue(), ...counts }
    this.#lanes.set(cluster, lane)
    if (!local) this.#remote.lanes++
    return lane
  }

  /** The lane of a target that another cluster may list now. */
  #moved(target: Target, from: Lane): Lane {
    const lane = this.#laneOf(target)
    if (lane === from) return lane
    lane.targets++
    from.targets--
    target.lane = lane
    this.#forget(from)
    return lane
  }

  #forget(lane: Lane): void {
    if (lane.targets > 0) return
    for (const [cluster, each] of this.#lanes) if (each === lane) this.#lanes.delete(cluster)
    if (!lane.local) this.#remote.lanes--
  }

  #watchBacklog(now: number): void {
    const isLate = [...this.#lanes.values()].some(({ steady, doubtful }) =>
      [steady, doubtful].some(({ first }) => first !== undefined && first.due <= now),
    )
    this.#behindSince = isLate ? (this.#behindSince ?? now) : undefined
    if (this.#loggedBehind || now - (this.#behindSince ?? now) <= this.#parts.intervalMs) return
    this.#loggedBehind = true
    this.#parts.onBehind()
  }

  #arm(): void {
    const next = this.#closed ? undefined : this.#next(this.#parts.clock.now())
    if (!next) return
    const at = Math.max(next.target.due, this.#wokeAt + paceMs)
    if (at >= this.#wakeAt) return
    this.#cancel()
    this.#wakeAt = at
    this.#cancel = this.#parts.clock.after(Math.max(0, at - this.#parts.clock.now()), () => this.#wake())
  }
}

function goesBefore(a: Next, b: Next, now: number): boolean {
  if (a.target.due > now || b.target.due > now) return a.target.due < b.target.due
  if (a.lane.local !== b.lane.local) return a.lane.local
  return a.lane.inFlight - b.lane.inFlight < 0 || (a.lane.inFlight === b.lane.inFlight && a.target.due < b.target.due)
}
