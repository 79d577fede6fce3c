/**
 * The admin API over HTTP, for people, probes and Prometheus. It changes nothing and has no authentication, so it listens on
 * loopback by default.
 *
 *   /                                       the web page
 *   /healthz                                200 as long as the process answers
 *   /readyz[?instance=POD_NAME]             200 once everything is up, and what is unsafe; else 503 and what is missing, or that it
 *                                           is another instance
 *   /metrics                                Prometheus metrics
 *   /v1/status                              components, clusters, plugins, problems
 *   /v1/services[/{namespace}/{name}]       services with frontends and backends
 *   /v1/rows?since=REVISION                 services as the page lists them: only those that have changed
 *   /v1/explain/{namespace}/{name}?from=IP  which backends a client would get, step by step
 *   /v1/dns?name=NAME&type=TYPE&from=IP     the DNS answer for a client, step by step
 *   /v1/flows?service=NS/NAME&last=N        recorded flows; with follow=true as they pass (server-sent events)
 *   /v1/traffic[?since=REVISION]            rates by service, cluster and client; of the services only those that have changed
 *   /v1/config                              the current configuration
 *   /v1/rehearse                            POST: what other policies, or the loss of a cluster, would do to recorded flows
 *
 * With `admin.metrics`, a second address serves the first three after the page alone, for kubelets and Prometheus, which do not
 * reach the loopback addresses of a Pod.
 */
import { createHash } from 'node:crypto'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { type AddressInfo, Server as NetServer } from 'node:net'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { canonicalAddress, endpointText, type SocketAddress } from '../model/address.ts'
import { MeshError, messageOf } from '../model/error.ts'
import type { Log } from '../model/log.ts'
import { createServer } from '../model/program/http.ts'
import { descriptorOf, Inherited, type PassedSocket, type PassingCalls } from '../model/sockets/passing.ts'
import type { Clock } from '../model/time/clock.ts'
import { type Answer, type EventStream, fault, tagFrom } from './answer.ts'
import { Connections } from './http/connections.ts'
import { EventStreams } from './http/event-streams.ts'
import { loadPage } from './page.ts'
import { answer, rehearsePath } from './routes.ts'
import type { Views } from './views.ts'

export interface AdminParts {
  /** With port 0 the kernel chooses a port. */
  readonly listen: SocketAddress
  /** Only probes and metrics, under any name. */
  readonly narrow?: boolean
  /** How many may be open at a time, the reserved ones included: 80 unless given. */
  readonly connections?: number
  readonly views: Views
  readonly log: Log
  readonly clock: Clock
}

/** Enough for browsers and scrapers, and too little to exhaust the process. */
const limits = {
  connections: 80,
  /** Of these, for requests that come while so many are in progress: a fifth. */
  reserved: 1 / 5,
  headerBytes: 8192,
  bodyBytes: 32 << 20,
  requestMs: 5000,
  idleMs: 10_000,
  closeMs: 1000,
}

/** The name by which the socket is passed. */
const socketName = 'admin/TCP'

const busy = fault(503, 'BUSY', 'too many requests are in progress; try again', { connection: 'close' })

/** Answered however many requests are in progress. */
const probes: ReadonlySet<string | undefined> = new Set(['/healthz', '/readyz'])

export class Admin {
  readonly #parts: AdminParts
  readonly #page: Answer = loadPage()
  readonly #server: Server
  readonly #streams: EventStreams
  #isPassed = false
  readonly #connections: Connections

  constructor(parts: AdminParts) {
    const { connections = limits.connections } = parts
    const reserved = Math.ceil(connections * limits.reserved)
    this.#parts = parts
    this.#streams = new EventStreams(parts.clock)
    this.#connections = new Connections({ connections: connections - reserved, reserved })
    this.#server = createServer(
      {
        maxHeaderSize: limits.headerBytes,
        headersTimeout: limits.requestMs,
        requestTimeout: limits.requestMs,
        keepAliveTimeout: limits.requestMs,
        connectionsCheckingInterval: 1000,
      },
      (request, response) => void this.#handle(request, response),
    )
    this.#server.on('connection', socket => this.#connections.opened(socket))
    this.#server.setTimeout(limits.idleMs)
  }

  /** Binds. Rejects with a `MeshError` LISTEN that has the address, the cause and the remedy. */
  start(inherited = new Inherited()): Promise<void> {
    const { address, port } = this.#parts.listen
    const passed = inherited.take(socketName, { address, port })
    this.#isPassed = false
    return new Promise((resolve, reject) => {
      this.#server.once('error', error => reject(listenError(endpointText(address, port), this.#option, error)))
      this.#server.listen(passed ? { fd: passed.descriptor } : { port, host: address }, () => {
        this.#server.removeAllListeners('error')
        this.#server.on('error', error => this.#parts.log.error('admin.socket-failed', { error: messageOf(error) }))
        resolve()
      })
    })
  }

  /** `127.0.0.1:9911`, with the port that was bound; undefined before `start` and after `close`. */
  get address(): string | undefined {
    const bound = this.#server.address() as AddressInfo | null
    return bound ? endpointText(bound.address, bound.port) : undefined
  }

  /** Gives the socket away. Connections are closed after their next answer; `start` takes the socket back. */
  pass(calls: PassingCalls): PassedSocket[] {
    const bound = this.#server.address() as AddressInfo | null
    const descriptor = calls.duplicate(descriptorOf(this.#server) ?? -1)
    if (!bound || descriptor < 0) return []
    this.#isPassed = true
    // That of node:http would close idle connections, on which a request may be on its way.
    NetServer.prototype.close.call(this.#server)
    return [{ name: socketName, address: bound.address, port: bound.port, descriptor, sessions: [] }]
  }

  /** How many are open. */
  get connections(): number {
    return this.#connections.size
  }

  /** Finishes requests in progress, for at most one second. */
  async close(): Promise<void> {
    if (this.#isPassed) return this.#server.closeAllConnections()
    if (!this.#server.listening) return
    this.#streams.close()
    const cut = this.#parts.clock.after(limits.closeMs, () => this.#server.closeAllConnections())
    await new Promise<void>(resolve => this.#server.close(() => resolve()))
    cut()
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const hasRoom = this.#connections.asked(request.socket, response)
    if (this.#isPassed) response.setHeader('connection', 'close')
    try {
      if (!hasRoom && !probes.has(request.url)) return write(response, busy)
      const reply = this.#objection(request) ?? (await this.#answer(request))
      if (!('start' in reply)) {
        const tag = tagOf(reply)
        if (tag !== undefined && request.headers['if-none-match'] === tag) return unchanged(response, reply, tag)
        return write(response, reply, { compressed: await compressed(reply, request), tag })
      }
      if (this.#streams.full) return write(response, busy)
      response.writeHead(200, headersOf('text/event-stream'))
      this.#streams.run(reply, request, response)
    } catch (error) {
      this.#parts.log.error('admin.request-failed', {
        path: request.url,
        error: messageOf(error),
      })
      write(response, fault(500, 'INTERNAL', 'the request failed; see the log'))
    }
  }

  async #answer(request: IncomingMessage): Promise<Answer | EventStream> {
    const { url = '/', method, headers } = request
    const { accept = '' } = headers
    const body = method === 'POST' ? await text(request) : undefined
    return answer(this.#parts.views, this.#page, url, { narrow: this.#parts.narrow, accept, body })
  }

  get #option(): string {
    return this.#parts.narrow ? 'admin.metrics' : 'admin.listen'
  }

  /** Why a request is rejected before routing; undefined if it is not. */
  #objection(request: IncomingMessage): Answer | undefined {
    const { method, headers } = request
    const connection = 'close'
    const isPost = method === 'POST' && request.url === rehearsePath && !this.#parts.narrow
    if (method !== 'GET' && method !== 'HEAD' && !isPost) {
      return fault(405, 'METHOD', `${method} is not supported; use GET`, {
        allow: 'GET, HEAD',
        connection,
      })
    }
    if (!this.#parts.narrow && !isAllowedHost(headers.host)) {
      const message = `the Host header "${headers.host}" is not an address; use http://${this.address}/`
      return fault(403, 'HOST', message, { connection })
    }
    if (isPost) return objectionToBody(headers)
    if (headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0) {
      return fault(413, 'BODY', 'requests must have no body', { connection })
    }
    return undefined
  }
}

/** A page of another origin cannot send this type without asking first, which is never allowed. */
function objectionToBody(headers: IncomingMessage['headers']): Answer | undefined {
  const connection = 'close'
  if (headers['content-type'] !== 'application/json')
    return fault(415, 'BODY', 'the body must be of type application/json', { connection })
  const length = headers['transfer-encoding'] === undefined ? Number(headers['content-length']) : Number.NaN
  if (length <= limits.bodyBytes) return undefined
  return fault(413, 'BODY', `the body must have a content-length of at most ${limits.bodyBytes}`, { connection })
}

export function createAdmin(parts: AdminParts): Admin {
  return new Admin(parts)
}

/**
 * Protects against DNS rebinding: a malicious page can make its own name resolve to this address and would then have our
 * origin, but its name is not an address. So only addresses and `localhost` are allowed. A request without the header is an
 * HTTP/1.0 probe, never a browser.
 */
function isAllowedHost(host: string | undefined): boolean {
  if (host === undefined) return true
  const name = host
    .replace(/:\d*$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .toLowerCase()
  return name === 'localhost' || canonicalAddress(name) !== undefined
}

/** Shorter bodies are not worth it. */
const compressedBytes = 2048
const compress = promisify(gzip)

/** The body in gzip, if that is worth it and the client takes it. */
async function compressed({ body }: Answer, { headers }: IncomingMessage): Promise<Buffer | undefined> {
  if (
    body.length < compressedBytes ||
    !/\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/.test(String(headers['accept-encoding'] ?? ''))
  )
    return undefined
  // The fastest level: it is a quarter of the time of the usual one, for a tenth more bytes.
  return compress(body, { level: 1 })
}

/** Of JSON, for clients that ask again: the same body has the same tag. */
function tagOf({ status, type, body, tag }: Answer): string | undefined {
  if (tag !== undefined || status !== 200 || type !== 'application/json') return tag
  return tagFrom(createHash('sha1').update(body))
}

function unchanged(response: ServerResponse, { type }: Answer, etag: string): void {
  response.writeHead(304, { ...headersOf(type), etag })
  response.end()
}

function write(
  response: ServerResponse,
  answer: Answer,
  { compressed, tag }: { readonly compressed?: Buffer | undefined; readonly tag?: string | undefined } = {},
): void {
  response.writeHead(answer.status, {
    ...headersOf(answer.type),
    'content-length': compressed?.length ?? Buffer.byteLength(answer.body),
    ...(compressed ? { 'content-encoding': 'gzip' } : {}),
    ...(tag === undefined ? {} : { etag: tag }),
    vary: 'accept-encoding',
    ...answer.headers,
  })
  // Node omits the body of a response to HEAD by itself.
  response.end(compressed ?? answer.body)
}

function headersOf(type: string) {
  return {
    'content-type': type,
    'cache-control': 'no-store',
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    'cross-origin-resource-policy': 'same-origin',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
  }
}

function listenError(where: string, option: string, error: NodeJS.ErrnoException): MeshError {
  const cause: Record<string, string> = {
    EADDRINUSE: `is in use, perhaps by another Starlane: stop it, or set ${option} to another port`,
    EACCES: `needs privileges: set ${option} to a port from 1024 up`,
    EADDRNOTAVAIL: `is not an address of this machine: set ${option} to one, such as 127.0.0.1:9911`,
  }
  const why = cause[error.code ?? ''] ?? `cannot be bound (${error.message})`
  return new MeshError('LISTEN', `admin address ${where} ${why}`, {
    cause: error,
  })
}
