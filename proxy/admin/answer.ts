/** The response of a route. */
import { createHash, type Hash } from 'node:crypto'

export interface Answer {
  readonly status: number
  readonly type: string
  readonly body: string | Buffer
  /** Of the body (RFC 9110, 8.8.3), where it is known already. */
  readonly tag?: string
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

/** So much text is encoded at a time. */
const pieceLength = 64 << 10

/**
 * JSON with a long list whose items are JSON already, encoded as they come: all of a mesh of 5,000 services are 11 MB, which take half a second of
 * the main thread in one go. `around`: the JSON before and after them.
 */
export async function jsonList(
  items: AsyncIterable<string>,
  around: readonly [string, string] = ['[', ']'],
): Promise<Answer> {
  const pieces: Buffer[] = []
  const hash = createHash('sha1')
  let text = around[0]
  let between = ''
  const encode = () => {
    const piece = Buffer.from(text)
    pieces.push(piece)
    hash.update(piece)
    text = ''
  }
  for await (const item of items) {
    text += `${between}${item}`
    between = ','
    if (text.length >= pieceLength) encode()
  }
  text += `${around[1]}\n`
  encode()
  return { status: 200, type: 'application/json', body: Buffer.concat(pieces), tag: tagFrom(hash) }
}

/** Weak: the same tag whether the body is compressed or not. */
export function tagFrom(hash: Hash): string {
  return `W/"${hash.digest('base64url')}"`
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
