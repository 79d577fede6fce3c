/** Errors from the Kubernetes API. */
import * as v from 'valibot'
import { type ErrorCode, MeshError } from '../../model/error.ts'

/** An error status from the API server. */
export class ApiError extends MeshError {
  /** The HTTP status, or the code of a Status object in a watch. */
  readonly status: number
  /** The reason in the API's terms: `Expired`, `Forbidden`, `Conflict`. Empty when it gives none. */
  readonly reason: string
  /** How long the server asks to wait before the next request. */
  readonly retryAfterMs: number | undefined

  constructor(code: ErrorCode, status: number, reason: string, message: string, retryAfterMs?: number) {
    super(code, message)
    this.name = 'ApiError'
    this.status = status
    this.reason = reason
    this.retryAfterMs = retryAfterMs
  }

  /**
   * The requested resource version is too old or too new, so a new list is needed. Versions are too new after a server was
   * restored from a backup.
   */
  get isGone(): boolean {
    return this.status === 410 || this.reason === 'Expired' || /Too large resource version/i.test(this.message)
  }
}

const statusObject = v.object({
  message: v.nullish(v.string(), ''),
  reason: v.nullish(v.string(), ''),
  code: v.nullish(v.number()),
  details: v.nullish(v.object({ retryAfterSeconds: v.nullish(v.number()) })),
})

const loginRemedy = '; the token or certificate has expired or is not of this cluster: renew it in the kubeconfig'

/** From a Status object in a response or in an ERROR event. Any other body becomes the message. */
export function apiErrorOf(
  code: ErrorCode,
  subject: string,
  body: unknown,
  httpStatus?: number,
  retryAfterMs?: number,
): ApiError {
  const parsed = v.safeParse(statusObject, body)
  const { message, reason, code: statusCode, details } = parsed.success ? parsed.output : { message: '', reason: '' }
  const status = httpStatus ?? statusCode ?? 500
  const said = (message || (typeof body === 'string' ? body : '')).trim().slice(0, 300)
  const seconds = details?.retryAfterSeconds
  return new ApiError(
    code,
    status,
    reason,
    `${subject}: ${status}${said ? ` ${said}` : ''}${status === 401 ? loginRemedy : ''}`,
    retryAfterMs ?? (seconds ? seconds * 1000 : undefined),
  )
}

/** `Retry-After` (RFC 9110, 10.2.3): seconds or a date. At most five minutes. */
export function retryAfterMs(header: string | string[] | undefined, wallMs: number): number | undefined {
  const text = Array.isArray(header) ? header[0] : header
  if (text === undefined) return undefined
  const ms = /^\d+$/.test(text.trim()) ? Number(text) * 1000 : Date.parse(text) - wallMs
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), 300_000)
}
