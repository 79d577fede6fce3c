/** Faults that a test injects into the answers of the API server. */
import type { ServerResponse } from 'node:http'

export interface Fault {
  /** `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`; any by default. */
  readonly verb?: string
  readonly resource?: string
  /** Number of requests it applies to; 1 by default. */
  readonly times?: number
  readonly answer: Answer
}

export type Answer =
  | {
      readonly status: number
      readonly reason?: string
      readonly message?: string
      readonly retryAfter?: number | string
    }
  /** Body of an answer with status 200. */
  | { readonly text: string }
  /** Delays the normal answer until the promise resolves. */
  | { readonly after: Promise<unknown> }
  /** Resets the connection. */
  | { readonly reset: true }

/** The faults still to be applied, in order. */
export class Faults {
  #queue: { fault: Fault; left: number }[] = []

  add(fault: Fault): void {
    this.#queue.push({ fault, left: fault.times ?? 1 })
  }

  clear(): void {
    this.#queue = []
  }

  /** Applies the first matching fault; resolves with whether it answered the request. */
  async strike(verb: string, resource: string, response: ServerResponse): Promise<boolean> {
    const entry = this.#queue.find(
      ({ fault }) => (fault.verb ?? verb) === verb && (fault.resource ?? resource) === resource,
    )
    if (!entry) return false
    entry.left--
    if (entry.left <= 0) this.#queue.splice(this.#queue.indexOf(entry), 1)
    return answer(entry.fault.answer, response)
  }
}

async function answer(how: Answer, response: ServerResponse): Promise<boolean> {
  if ('after' in how) {
    await how.after
    return false
  }
  if ('reset' in how) response.socket?.resetAndDestroy()
  else if ('text' in how) response.writeHead(200, { 'content-type': 'application/json' }).end(how.text)
  else {
    const { status, reason = '', message = reason, retryAfter } = how
    response.writeHead(status, {
      'content-type': 'application/json',
      ...(retryAfter !== undefined && { 'retry-after': String(retryAfter) }),
    })
    response.end(JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', message, reason, code: status }))
  }
  return true
}
