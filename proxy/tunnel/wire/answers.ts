/** The answers of a gateway, and what a client makes of them. The reasons travel as RFC 9209 has them (`proxy-status`). */

export type Status = 200 | 400 | 401 | 405 | 503

/** Why a gateway did not connect, in the words of RFC 9209, 2.3. */
export type ProxyError =
  | 'connection_refused'
  | 'connection_timeout'
  | 'connection_limit_reached'
  | 'destination_ip_prohibited'
  | 'destination_unavailable'
  | 'http_request_error'
  | 'http_request_denied'
  | 'proxy_internal_error'

/** `starlane; error=connection_refused; details="…"` */
export function proxyStatus(error: ProxyError, details: string): string {
  const quoted = details
    .replace(/[^\x20-\x7e]/g, '?')
    .replace(/["\\]/g, "'")
    .slice(0, 300)
  return `starlane; error=${error}; details="${quoted}"`
}

/** The error that a dial fails with for such an answer; its code is one of connect(2). */
export function dialError(status: number, proxyStatusText: string | undefined): Error {
  const { error = '', details = '' } = parse(proxyStatusText ?? '')
  const code = codes[error] ?? (status === 503 ? 'ECONNREFUSED' : 'EACCES')
  const why = details || error || reasons[status] || 'it does not speak HBONE'
  return Object.assign(new Error(`the gateway answers ${status}: ${why}`), { code })
}

/** What a refusal says of the backend: a policy or a mistake makes it unreachable from here, not dead. */
const codes: Readonly<Record<string, string>> = {
  connection_refused: 'ECONNREFUSED',
  connection_timeout: 'ETIMEDOUT',
  destination_unavailable: 'EHOSTUNREACH',
  connection_limit_reached: 'EAGAIN',
  destination_ip_prohibited: 'EACCES',
  http_request_denied: 'EACCES',
  http_request_error: 'EACCES',
}

const reasons: Readonly<Record<number, string>> = {
  400: 'it does not understand the request, or knows no such backend',
  401: 'its policy refuses this cluster',
  503: 'it cannot connect to the backend',
}

function parse(text: string): { readonly error?: string; readonly details?: string } {
  const error = /;\s*error=([a-z_]+)/.exec(text)?.[1]
  const details = /;\s*details="([^"]*)"/.exec(text)?.[1]
  return { ...(error === undefined ? {} : { error }), ...(details === undefined ? {} : { details }) }
}
