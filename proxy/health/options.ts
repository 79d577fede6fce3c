/** Health options. Times in milliseconds; the defaults are in conf/starlane.yaml. */

export interface HealthOptions {
  readonly active: ActiveOptions
  readonly passive: PassiveOptions
  /** Most checks in flight, over all services; 100 by default. Raise it when `health.behind` is logged. */
  readonly maxInFlight?: number
  /** Watch the backends of global services only, or of every proxied service. */
  readonly services: 'global' | 'all'
}

export type ActiveOptions = { readonly type: 'none' } | TcpCheck | HttpCheck

export interface TcpCheck extends Thresholds {
  readonly type: 'tcp'
  /** A connection made by live traffic, or bytes from the backend, within `intervalMs` replace a check; true. */
  readonly traffic: boolean
}

export interface HttpCheck extends Thresholds {
  readonly type: 'http'
  /** Begins with a slash; `/healthz`. */
  readonly path: string
  /** Range of passing statuses, inclusive; 200 to 299. */
  readonly status: { readonly min: number; readonly max: number }
}

/** HAProxy's `inter`, `rise` and `fall`. */
export interface Thresholds {
  /** Time between two checks of an address; 2000, with a jitter of 10 %. */
  readonly intervalMs: number
  /** While an address passes, the time between its checks grows to at most so many times `intervalMs`; 4. 1: never. */
  readonly relax: number
  /** Limit for a whole check, from the dial to the last byte read; 1000. */
  readonly timeoutMs: number
  /** Consecutive passes that bring a backend up; 2. An unchecked backend needs one. */
  readonly rise: number
  /** Consecutive failures that take a backend down; 3. */
  readonly fall: number
}

/** Envoy's outlier detection by consecutive failures. */
export interface PassiveOptions {
  /** Consecutive failed dials of live traffic that eject a backend; 5. 0 turns ejection off. */
  readonly consecutive: number
  /** Duration of the first ejection; the n-th in a row lasts n times as long, with a jitter of 10 %; 30000. */
  readonly ejectMs: number
  /** Longest ejection; 300000. Not below `ejectMs`. */
  readonly maxEjectMs: number
  /** Largest share of a frontend's backends that may be ejected at a time, 0 to 100; one always may; 50. */
  readonly maxPercent: number
}
