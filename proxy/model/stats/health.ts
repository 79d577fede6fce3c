/** Counters of the health monitor, as it reports them and as metrics and status show them. */
export interface HealthStats {
  /** Backends under watch. */
  readonly backends: number
  /** Distinct addresses checked. */
  readonly targets: number
  /** Checks done so far by outcome; `local` is a fault of this machine, `traffic` a check that live traffic has replaced. */
  readonly checks: Readonly<Record<'passed' | 'failed' | 'local' | 'traffic', number>>
  readonly inFlight: number
  /** How late the latest check started; when this approaches the interval, `maxInFlight` is too low. */
  readonly lateMs: number
  /** Backends that are down by their checks now. */
  readonly down: number
  /** Backends ejected now. */
  readonly ejected: number
  /** Ejections so far. */
  readonly ejections: number
  /** Ejections prevented so far by `maxPercent` of a pool. */
  readonly heldBack: number
}
