import type { ServerResponse } from 'node:http'

export interface Trouble {
  /** `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`; any where it is left out. */
  readonly verb?: string
  readonly resource?: string
  /** How often; 1 where it is left out. */
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
  /** Sent as the body of an answer of 200. */
  | { readonly text: string }
  /** Goes on as usual once it is resolved. */
  | { readonly after: Promise<unknown> }
  /** The connection is cut. */
  | { readonly reset: true }

/** What is to go wrong next. */
export class Faults {
  #queue: { trouble: Trouble; left: number }[] = []

  add(trouble: Trouble): void {
    this.#queue.push({ trouble, left: trouble.times ?? 1 })
  }

  clear(): void {
    this.#queue = []
  }

  /** Whether the request has been answered by it. */
  async strike(verb: string, resource: string, response: ServerResponse): Promise<boolean> {
    const entry = this.#queue.find(
      ({ trouble }) => (trouble.verb ?? verb) === verb && (trouble.resource ?? resource) === resource,
    )
    if (!entry) return false
    entry.left--
    if (entry.left <= 0) this.#queue.splice(this.#queue.indexOf(entry), 1)
    return answer(entry.trouble.answer, response)
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
