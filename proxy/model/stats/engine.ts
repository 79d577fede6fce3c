/** Counters of the data path, as engines report them and as metrics and status show them. */
export interface EngineStats {
  /** Open TCP connections. */
  readonly connections: number
  /** Open UDP sessions. */
  readonly udpSessions: number
}
