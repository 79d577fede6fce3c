/** Turns an Access into TLS options and headers: reads files, and runs the credential plugin. */
import { MeshError, messageOf } from '../../model/error.ts'
import { readRegularText } from '../../model/text/regular-file.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { Access, ExecPlugin, Pem } from './access.ts'
import { type ExecCredential, runExecPlugin } from './exec-credential.ts'
import { proxyFor } from './proxy.ts'

/** What a connection and its requests need. */
export interface Login {
  readonly access: Access
  readonly proxy: string | undefined
  readonly tls: {
    readonly ca?: string
    readonly cert?: string
    readonly key?: string
    readonly servername?: string
    readonly rejectUnauthorized: boolean
  }
  readonly headers: Readonly<Record<string, string | string[]>>
  /** By the monotonic clock, in milliseconds; undefined: no known expiry. */
  readonly goodUntil: number | undefined
}

export interface LoginOptions {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
  readonly signal?: AbortSignal
}

/** A credential is renewed this long before it expires. */
const marginMs = 10_000
/**
 * A new credential is used for at least this long, or until it is refused: if it seems to have expired already, a clock is
 * wrong, and running the plugin again would give the same.
 */
const leastMs = 30_000

interface Remembered {
  readonly plugin: string
  readonly credential: ExecCredential
  readonly goodUntil: number | undefined
}

/**
 * Files are read each time. A plugin runs again only when its credential has expired or was refused, since it may open a
 * browser or call a cloud.
 */
export class LoginReader {
  readonly #options: LoginOptions
  #remembered: Remembered | undefined

  constructor(options: LoginOptions) {
    this.#options = options
  }

  /** `refused`: the server has refused the last credential. */
  async read(access: Access, refused: boolean): Promise<Login> {
    const ca = await readPem(access.ca)
    const plugin = access.credential.by === 'exec' ? access.credential.plugin : undefined
    const { credential: exec = {} as ExecCredential, goodUntil } = plugin
      ? await this.#exec(plugin, access, ca, refused)
      : {}
    const [cert, key] = exec.certificate
      ? [exec.certificate.cert, exec.certificate.key]
      : await Promise.all([readPem(access.certificate?.cert), readPem(access.certificate?.key)])
    const authorization = exec.token === undefined ? await authorizationOf(access) : bearer(exec.token)
    return {
      access,
      proxy: proxyFor(access, this.#options.env),
      tls: {
        ...(ca !== undefined && { ca }),
        ...(cert !== undefined && key !== undefined && { cert, key }),
        ...(access.servername !== undefined && { servername: access.servername }),
        rejectUnauthorized: !access.insecure,
      },
      headers: { ...(authorization !== undefined && { authorization }), ...access.impersonate },
      goodUntil,
    }
  }

  async #exec(plugin: ExecPlugin, access: Access, ca: string | undefined, refused: boolean): Promise<Remembered> {
    const key = JSON.stringify(plugin)
    const known = this.#remembered
    const { env, clock, signal } = this.#options
    const isGood = (known?.goodUntil ?? Number.POSITIVE_INFINITY) > clock.now()
    if (known?.plugin === key && isGood && !refused) return known
    const credential = await runExecPlugin(plugin, { access, ca }, env, signal)
    const goodUntil = credential.expiresAt === undefined ? undefined : this.#ending(credential.expiresAt)
    this.#remembered = { plugin: key, credential, goodUntil }
    return this.#remembered
  }

  /** Converted once, so that later jumps of the wall clock have no effect. */
  #ending(expiresAt: number): number {
    const { clock } = this.#options
    return clock.now() + Math.max(expiresAt - clock.wall() - marginMs, leastMs)
  }
}

async function authorizationOf({ credential }: Access): Promise<string | undefined> {
  switch (credential.by) {
    case 'token':
      return bearer(credential.token)
    case 'token-file':
      return bearer(await readToken(credential.file, credential.token))
    case 'password':
      return `Basic ${Buffer.from(`${credential.username}:${credential.password}`).toString('base64')}`
    default:
      return undefined
  }
}

async function readToken(file: string, fallback: string | undefined): Promise<string> {
  const token = await readText(file).catch(error => {
    if (fallback !== undefined) return fallback
    throw error
  })
  const trimmed = token.trim()
  if (trimmed === '') throw new MeshError('SOURCE_READ', `${file} is empty; it should contain a token`)
  return trimmed
}

/** A line break in a token would end the header. */
function bearer(token: string): string {
  const trimmed = token.trim()
  if (/[^\x21-\x7e]/.test(trimmed))
    throw new MeshError('SOURCE_READ', 'the token has characters that are not allowed in a header')
  return `Bearer ${trimmed}`
}

async function readPem(pem: Pem | undefined): Promise<string | undefined> {
  if (!pem) return undefined
  return 'data' in pem ? pem.data : readText(pem.file)
}

async function readText(file: string): Promise<string> {
  return readRegularText(file).catch(error => {
    throw new MeshError('SOURCE_READ', `a credential cannot be read: ${messageOf(error)}`, { cause: error })
  })
}
