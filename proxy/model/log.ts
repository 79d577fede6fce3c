/** The log. A line is an event, such as `cluster.lost`, with fields; not a formatted sentence. */
export interface Log {
  debug(event: string, fields?: LogFields): void
  info(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
  error(event: string, fields?: LogFields): void
}

export type LogFields = Readonly<Record<string, unknown>>

/** Discards everything; for tests and probes. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }
