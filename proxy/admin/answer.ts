/** The response of a route. */
export interface Answer {
  readonly status: number
  readonly type: string
  readonly body: string
  readonly headers?: Readonly<Record<string, string>>
}

export function text(status: number, body: string, type = 'text/plain; charset=utf-8'): Answer {
  return { status, type, body }
}

export function json(status: number, value: unknown): Answer {
  return {
    status,
    type: 'application/json',
    body: `${JSON.stringify(value)}\n`,
  }
}

export function fault(status: number, code: string, message: string, headers: Answer['headers'] = {}): Answer {
  return { ...json(status, { error: { code, message } }), headers }
}

/** An answer that goes on: events as they come, until the client has gone. */
export interface EventStream {
  /** Calls `send` with lines of `text/event-stream` (HTML standard 9.2), until the returned function is called. */
  readonly start: (sink: EventSink) => () => void
}

export interface EventSink {
  send(text: string): void
  /** True while the client does not keep up; what is sent then is kept in memory. */
  readonly isFull: boolean
}
