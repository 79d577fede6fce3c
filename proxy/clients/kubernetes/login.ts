import { readFile } from 'node:fs/promises'
import { MeshError, messageOf } from '../../model/error.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { Access, ExecPlugin, Pem } from './access.ts'
import { type ExecCredential, runExecPlugin } from './exec-credential.ts'
import { proxyFor } from './proxy.ts'

/** All that a connection and a request need, read at one moment. */
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
  /** Milliseconds of the clock that only grows; undefined while nothing says that it ends. */
  readonly goodUntil: number | undefined
}

export interface LoginOptions {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
  readonly signal?: AbortSignal
}

/** A credential is renewed this long before it expires, since requests take their time. */
const marginMs = 10_000
/**
 * What a plugin has just given is used this long at least, or until it is refused: that it has expired already is the word of
 * a clock that is wrong, and asking again would bring the same.
 */
const leastMs = 30_000

interface Remembered {
  readonly plugin: string
  readonly credential: ExecCredential
  readonly goodUntil: number | undefined
}

/**
 * Reads certificates and tokens, and asks the credential plugin. Files are read each time; a plugin is asked again only
 * when what it gave has expired or has been refused, since it may open a browser or call a cloud.
 */
export class LoginReader {
  readonly #options: LoginOptions
  #remembered: Remembered | undefined

  constructor(options: LoginOptions) {
    this.#options = options
  }

  /** `refused`: the server did not take the last one. */
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

  /** Measured once, so that a wall clock that jumps afterwards changes nothing. */
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
  if (trimmed === '') throw new MeshError('SOURCE_READ', `${file} is empty; it should hold a token`)
  return trimmed
}

/** A line break in a token would end the header it is put in. */
function bearer(token: string): string {
  const trimmed = token.trim()
  if (/[^\x21-\x7e]/.test(trimmed))
    throw new MeshError('SOURCE_READ', 'the token has characters that no header can carry')
  return `Bearer ${trimmed}`
}

async function readPem(pem: Pem | undefined): Promise<string | undefined> {
  if (!pem) return undefined
  return 'data' in pem ? pem.data : readText(pem.file)
}

async function readText(file: string): Promise<string> {
  return readFile(file, 'utf8').catch(error => {
    throw new MeshError('SOURCE_READ', `a credential cannot be read: ${messageOf(error)}`, { cause: error })
  })
}
