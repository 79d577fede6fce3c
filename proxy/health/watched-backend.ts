/** What health keeps for a backend, and the pools and check targets it belongs to. */
import type { Backend, Health } from '../model/backend.ts'
import type { EarlyResets } from '../model/flows/early-resets.ts'
import type { ServiceKey } from '../model/service.ts'
import type { Due, DueQueue } from './due-queue.ts'
import type { CheckState } from './rise-fall.ts'
import type { Silences } from './silences.ts'

/** A destination under watch. It outlives the backends that are there, and is kept for a while after they left. */
export interface WatchedBackend {
  /** The backends' destination. */
  readonly key: string
  /** One of them as it is now: that of the local cluster if it lists the destination too. Checks count for its cluster. */
  backend: Backend
  /** The pools it is in; empty after it left. Those that are in one pool alone share its list. */
  pools: readonly Pool[]
  /** The check target; undefined when it is not checked. */
  target: Target | undefined
  /** State of outlier detection; undefined until the first failure. */
  outlier: OutlierState | undefined
  /** When it came, in whole milliseconds of the monotonic clock: V8 keeps no number of its own for those. */
  since: number
  /** See `HealthMonitor.isUntested`. */
  untested: boolean
  /** The health shown in the directory. */
  shown: Health
  /** Why the last check failed, or live traffic ejected it; undefined after a check has passed. */
  lastError: string | undefined
}

/** The backends of one frontend that can get new flows; `maxPercent` is a share of these. */
export interface Pool {
  readonly service: ServiceKey
  /** Whether its connections begin with a header of the PROXY protocol. */
  readonly sendProxy: boolean
  readonly watched: readonly WatchedBackend[]
  /** The list of this pool alone. */
  readonly alone: readonly Pool[]
}

/** The checks of one destination. All times are whole milliseconds of the monotonic clock, or {@link never}. */
export interface Target extends Due {
  readonly watched: WatchedBackend
  checks: CheckState
  /** When the last check was started. */
  checkedAt: number
  /** Consecutive passes while it is up. */
  passes: number
  /** When live traffic last connected to it or heard from it. */
  heardAt: number
  /** Checks in a row that nothing has answered. */
  unanswered: number
  /** Where it is scheduled; undefined once it has left. */
  lane: Lane | undefined
}

/** Before any time; a small integer, which takes no memory of its own. */
export const never = -(2 ** 30)

/** The targets of one cluster. */
export interface Lane {
  readonly local: boolean
  readonly steady: DueQueue<Target>
  /**
   * Targets whose last check failed, and those of another cluster that have had none: each is likely to run into the timeout. They
   * have at most half of the checks in flight, so that they do not delay those of live targets.
   */
  readonly doubtful: DueQueue<Target>
  targets: number
  inFlight: number
  doubtfulInFlight: number
}

/**
 * `ejections`: the multiplier of the last ejection, before decay. `accuser`: the only client there was, if the connections of no
 * other ejected the backend. `silences`: it was ejected since it answers nothing, which a check that only connects does not disprove.
 */
export type OutlierState =
  | {
      readonly state: 'in'
      failures: number
      resets: EarlyResets
      readonly silences: Silences
      readonly ejections: number
      readonly since: number
    }
  | {
      readonly state: 'ejected'
      passes: number
      readonly accuser: string | undefined
      readonly silences: Silences | undefined
      readonly ejections: number
      readonly until: number
    }
