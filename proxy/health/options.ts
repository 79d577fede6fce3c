/** What an operator decides about health. Times in milliseconds; the defaults stand in conf/starlane.yaml. */

export interface HealthOptions {
  readonly active: ActiveOptions
  readonly passive: PassiveOptions
  /** Checks in flight at most, all services together; 100 when absent. Raise it when `health.behind` is logged. */
  readonly maxInFlight?: number
  /** Whose backends are watched: those of global services, or of every service that is proxied. */
  readonly services: 'global' | 'all'
}

export type ActiveOptions = { readonly type: 'none' } | TcpCheck | HttpCheck

export interface TcpCheck extends Thresholds {
  readonly type: 'tcp'
}

export interface HttpCheck extends Thresholds {
  readonly type: 'http'
  /** Begins with a slash; `/healthz`. */
  readonly path: string
  /** Statuses that pass, both ends included; 200 to 299. */
  readonly status: { readonly min: number; readonly max: number }
}

/** HAProxy's `inter`, `rise` and `fall`. */
export interface Thresholds {
  /** From one check of an address to its next; 2000. Each wait is drawn 10 % longer or shorter. */
  readonly intervalMs: number
  /** For a whole check, from the dial to the last byte that is read; 1000. */
  readonly timeoutMs: number
  /** Checks passed in a row that bring a backend back; 2. The very first check that passes counts at once. */
  readonly rise: number
  /** Checks failed in a row that take a backend out; 3. */
  readonly fall: number
}

/** Envoy's outlier detection by consecutive failures. */
export interface PassiveOptions {
  /** Attempts of live traffic failed in a row that eject a backend; 5. 0 switches ejection off. */
  readonly consecutive: number
  /** The first ejection; the n-th in a row lasts n times as long, give or take 10 %; 30000. */
  readonly ejectMs: number
  /** Where that growth ends; 300000. Not below `ejectMs`. */
  readonly maxEjectMs: number
  /** Of a frontend's backends, how many may be ejected at a time, 0 to 100; one always may; 50. */
  readonly maxPercent: number
}
