/** An HTTP client for one Kubernetes API server. */
import type { Socket } from 'node:net'
import type { buildConnector, Dispatcher } from 'undici'
import { type ErrorCode, MeshError, messageOf } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import type { Clock } from '../../model/time/clock.ts'
import { type FileWatch, watchFiles } from '../file-watch.ts'
import { type TlsFault, tlsFaultOf, withoutAdvice } from '../tls-fault.ts'
import type { Access } from './access.ts'
import { apiErrorOf, retryAfterMs } from './api-error.ts'
import { type Login, LoginReader } from './login.ts'

export interface ClientOptions {
  /** Called again from time to time, and when one of `files` has changed. */
  readonly access: () => Promise<Access>
  /** The files that `access` reads. */
  readonly files?: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
  readonly log: Log
  /** The timeout for the headers, and between chunks of any body but a watch's. */
  readonly timeoutMs?: number
}

export interface ApiRequest {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** `/api/v1/services` */
  readonly path: string
  readonly query?: Readonly<Record<string, string>>
  readonly accept?: string
  readonly body?: { readonly type: string; readonly value: unknown }
}

/** Loaded by the first login: the library takes 26 MiB. */
type Undici = typeof import('undici')

type Body = Dispatcher.ResponseData['body']

/** An answer while it arrives. */
export interface Answer {
  /** The server that gave it, which may not be the server of the next one. */
  readonly server: string
  /** When it was given by the server's clock, in milliseconds since 1970; NaN where it does not say. */
  readonly sentAt: number
  /** Rejects with a MeshError if it is cut. */
  readonly chunks: AsyncIterable<Buffer>
  /** Ends it, if it has not ended: until then it has a connection. */
  cancel(): void
}

/** The request was ended since the kubeconfig names another server: it can be made there at once. */
export class ServerReplaced extends MeshError {}

/** One connection pool with one set of TLS credentials. Tokens may change without a new pool. */
interface Session {
  readonly login: Login
  readonly connection: string
  readonly dispatcher: Dispatcher
  /** When to read the credentials again, by the monotonic clock. */
  readAgainAt: number
}

const readAgainMs = 60_000
const connectMs = 10_000
/** Detects a dead peer within half a minute: the kernel then sends ten probes, one second apart. */
const keepAliveMs = 15_000
/** Each watch uses a connection; lists and writes need some more. */
const maxConnections = 32
/** For single objects and the lists of our own ones; a list of any size is read in pieces. */
const maxBodyBytes = 32 << 20
const maxErrorBytes = 64 << 10

/** Credentials are read again every minute, when one of their files changes, and immediately after a 401. */
export class KubernetesClient {
  readonly #options: ClientOptions
  readonly #reader: LoginReader
  readonly #dispatchers = new Set<Dispatcher>()
  readonly #sockets = new Set<Socket>()
  readonly #closing = new AbortController()
  #session: Session | undefined
  #renewing: Promise<Session> | undefined
  #server = ''
  #fileWatch: FileWatch | undefined
  /** As last read, when the files that it names may not have been read yet. */
  #access: Access | undefined

  constructor(options: ClientOptions) {
    this.#options = options
    this.#reader = new LoginReader({ env: options.env, clock: options.clock, signal: this.#closing.signal })
  }

  /** The server of the last login, for messages. */
  get server(): string {
    return this.#session?.login.access.server ?? 'the API server'
  }

  /** Whether the server's certificate is not verified; undefined before the first request. */
  get insecure(): boolean | undefined {
    return this.#session?.login.access.insecure
  }

  /** The complete answer, parsed as JSON. */
  async json(request: ApiRequest, signal: AbortSignal): Promise<unknown> {
    const { chunks } = await this.#open(request, signal, this.#timeoutMs)
    return parseJson(await readText(chunks, maxBodyBytes, request), request)
  }

  /** The answer in pieces, which may be of any number and size. */
  async list(request: ApiRequest, signal: AbortSignal): Promise<Answer> {
    return this.#open(request, signal, this.#timeoutMs)
  }

  /** The answer in pieces, without a timeout; only the signal ends it. */
  async stream(request: ApiRequest, signal: AbortSignal): Promise<Answer> {
    return this.#open(request, signal, 0)
  }

  /** Aborts all requests. */
  async close(): Promise<void> {
    this.#closing.abort()
    this.#fileWatch?.stop()
    await this.#renewing?.catch(() => {})
    await Promise.all([...this.#dispatchers].map(dispatcher => dispatcher.destroy()))
    this.#dispatchers.clear()
    for (const socket of this.#sockets) socket.destroy()
  }

  get #timeoutMs(): number {
    return this.#options.timeoutMs ?? 60_000
  }

  async #open(request: ApiRequest, signal: AbortSignal, bodyTimeout: number): Promise<Answer> {
    let session = await this.#current()
    let response = await this.#send(session, request, signal, bodyTimeout)
    if (response.statusCode === 401) {
      await response.body.dump()
      session = await this.#renew(session, true)
      response = await this.#send(session, request, signal, bodyTimeout)
    }
    const body = await this.#body(request, response)
    const { server } = session.login.access
    const cancel = () => void body.on('error', () => {}).destroy()
    const sentAt = Date.parse(String(response.headers.date))
    return { server, sentAt, chunks: this.#chunks(body, server, request, signal), cancel }
  }

  async *#chunks(body: Body, server: string, request: ApiRequest, signal: AbortSignal): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of body as AsyncIterable<Buffer>) yield chunk
    } catch (error) {
      throw signal.aborted ? error : this.#failure(server, error, request)
    }
  }

  async #send(session: Session, request: ApiRequest, signal: AbortSignal, bodyTimeout: number) {
    const { method = 'GET', path, query, accept = 'application/json', body } = request
    const { server } = session.login.access
    const url = new URL(server)
    try {
      return await session.dispatcher.request({
        origin: url.origin,
        path: `${url.pathname.replace(/\/$/, '')}${path}${query ? `?${new URLSearchParams(query)}` : ''}`,
        method,
        headers: {
          accept,
          'user-agent': 'starlane',
          ...session.login.headers,
          ...(body && { 'content-type': body.type }),
        },
        ...(body && { body: JSON.stringify(body.value) }),
        signal: AbortSignal.any([signal, this.#closing.signal]),
        headersTimeout: this.#timeoutMs,
        bodyTimeout,
      })
    } catch (error) {
      if (signal.aborted || this.#closing.signal.aborted) throw error
      // The kubeconfig or a file may have been corrected by now.
      session.readAgainAt = 0
      throw this.#failure(server, error, request)
    }
  }

  async #body(request: ApiRequest, { statusCode, headers, body }: Dispatcher.ResponseData): Promise<Body> {
    if (statusCode >= 200 && statusCode < 300) return body
    // A date is relative to the server's clock, which is in the Date header.
    const sentAt = Date.parse(String(headers.date))
    const wait = retryAfterMs(headers['retry-after'], Number.isNaN(sentAt) ? this.#options.clock.wall() : sentAt)
    const text = await readText(body as AsyncIterable<Buffer>, maxErrorBytes, request).catch(() => '')
    throw apiErrorOf(codeOf(request), subjectOf(request), parseLoosely(text), statusCode, wait)
  }

  /** If the credentials cannot be read again, the old ones stay in use until the server refuses them. */
  async #current(): Promise<Session> {
    const session = this.#session
    if (!session) return this.#renew(undefined, false)
    const now = this.#options.clock.now()
    const expired = session.login.goodUntil !== undefined && session.login.goodUntil <= now
    if (session.readAgainAt > now && !expired) return session
    return this.#renew(session, false).catch(error => {
      if (expired) throw error
      this.#options.log.warn('kubernetes.credentials', { server: session.login.access.server, why: messageOf(error) })
      session.readAgainAt = now + readAgainMs
      return session
    })
  }

  /** Concurrent requests share one renewal. */
  #renew(old: Session | undefined, refused: boolean): Promise<Session> {
    if (this.#session && this.#session !== old) return Promise.resolve(this.#session)
    this.#renewing ??= this.#login(refused).finally(() => {
      this.#renewing = undefined
    })
    return this.#renewing
  }

  async #login(refused: boolean): Promise<Session> {
    this.#fileWatch ??= watchFiles(
      () => this.#files(),
      this.#options.clock,
      () => this.#readAgain(),
    )
    const access = await this.#options.access()
    this.#access = access
    this.#fileWatch.pathsChanged()
    const login = await this.#reader.read(access, refused)
    const undici = await import('undici')
    this.#closing.signal.throwIfAborted()
    this.#server = access.server
    const connection = JSON.stringify([access.server, login.proxy, login.tls])
    const same = this.#session?.connection === connection
    if (!same && access.insecure)
      this.#options.log.warn('kubernetes.insecure', { server: access.server, why: access.name })
    const dispatcher = same && this.#session ? this.#session.dispatcher : this.#connect(undici, login)
    if (!same && this.#session) this.#retire(this.#session)
    const readAgainAt = this.#options.clock.now() + readAgainMs
    this.#session = { login, connection, dispatcher, readAgainAt }
    return this.#session
  }

  #connect({ Agent, ProxyAgent, buildConnector }: Undici, { proxy, tls, access }: Login): Dispatcher {
    const keepAlive = { keepAlive: true, keepAliveInitialDelay: keepAliveMs }
    const connect = { ...tls, ...keepAlive, timeout: connectMs }
    const limits = { connections: maxConnections, connectTimeout: connectMs }
    const dispatcher =
      proxy === undefined
        ? new Agent({ ...limits, connect: this.#connector(buildConnector({ ...connect, allowH2: true })) })
        : new ProxyAgent({ ...limits, uri: proxy, requestTls: connect, ...proxyCredentials(proxy) })
    this.#options.log.debug('kubernetes.connect', { server: access.server, proxy: proxy !== undefined })
    this.#dispatchers.add(dispatcher)
    return dispatcher
  }

  /** An agent that is destroyed while it connects leaves its socket open, so they are kept here. */
  #connector(connect: buildConnector.connector): buildConnector.connector {
    return (to, done) => {
      const socket = connect(to, done) as unknown as Socket
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
      if (this.#closing.signal.aborted) socket.destroy()
    }
  }

  /** Running watches may finish on the old pool, unless the server is another: they would go on to show its objects. */
  #retire({ dispatcher, login }: Session): void {
    const forget = () => this.#dispatchers.delete(dispatcher)
    const isOther = login.access.server !== this.#server
    const closing = isOther ? dispatcher.destroy() : dispatcher.close()
    closing.then(forget, forget)
  }

  #failure(server: string, error: unknown, request: ApiRequest): MeshError {
    if (server === this.#server) return unreachable(server, error, codeOf(request))
    return new ServerReplaced(codeOf(request), `the kubeconfig now names ${this.#server} and no longer ${server}`)
  }

  #files(): string[] {
    const { ca, certificate, credential } = this.#access ?? {}
    const pems = [ca, certificate?.cert, certificate?.key].flatMap(pem => (pem && 'file' in pem ? [pem.file] : []))
    const token = credential?.by === 'token-file' ? [credential.file] : []
    return [...(this.#options.files ?? []), ...pems, ...token]
  }

  /** Not left to the next request, which may be minutes away while watches run. */
  #readAgain(): void {
    const session = this.#session
    if (!session || this.#closing.signal.aborted) return
    session.readAgainAt = 0
    this.#current().catch(() => {})
  }
}

function proxyCredentials(proxy: string): { token?: string } {
  const { username, password, protocol } = new URL(proxy)
  if (username === '' || protocol === 'socks5:') return {}
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  return { token: `Basic ${Buffer.from(pair).toString('base64')}` }
}

async function readText(chunks: AsyncIterable<Buffer>, maxBytes: number, request: ApiRequest): Promise<string> {
  const parts: Buffer[] = []
  let size = 0
  for await (const chunk of chunks) {
    size += chunk.length
    if (size > maxBytes)
      throw new MeshError(codeOf(request), `${subjectOf(request)}: the answer is longer than ${maxBytes} bytes`)
    parts.push(chunk)
  }
  return Buffer.concat(parts, size).toString('utf8')
}

function parseJson(text: string, request: ApiRequest): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new MeshError(codeOf(request), `${subjectOf(request)}: the answer is not JSON; is this an API server?`, {
      cause: error,
    })
  }
}

function parseLoosely(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

const remedies: Readonly<Record<TlsFault, string>> = {
  name: '; set tls-server-name to the name in its certificate',
  untrusted: '; set certificate-authority to the CA that signed it',
  expired: '; renew the certificate, or correct the clock',
  client: '; set client-certificate and client-key to a pair that it accepts',
}

function methodOf({ method = 'GET' }: ApiRequest): string {
  return method
}

/** `GET /api/v1/services`, for messages. */
function subjectOf(request: ApiRequest): string {
  return `${methodOf(request)} ${request.path}`
}

function codeOf(request: ApiRequest): ErrorCode {
  return methodOf(request) === 'GET' ? 'SOURCE_READ' : 'SOURCE_WRITE'
}

function unreachable(server: string, error: unknown, errorCode: ErrorCode): MeshError {
  const { code = '' } = error as { code?: string }
  const why = withoutAdvice(messageOf(error)) || code
  const fault = tlsFaultOf(why)
  return new MeshError(errorCode, `${server} does not answer: ${why}${fault ? remedies[fault] : ''}`, { cause: error })
}
