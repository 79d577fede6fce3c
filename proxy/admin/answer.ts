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
