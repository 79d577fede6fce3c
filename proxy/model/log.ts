/** A log line is an event name and fields, not a sentence with holes. pino satisfies this with `bind` for `child`. */
export interface Log {
  debug(event: string, fields?: LogFields): void
  info(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
  error(event: string, fields?: LogFields): void
}

export type LogFields = Readonly<Record<string, unknown>>

/** For tests and for parts that nobody listens to. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }
