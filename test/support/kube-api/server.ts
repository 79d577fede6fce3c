/**
 * A small Kubernetes API server for tests: in memory, with enough of the protocol for kubectl and watches, and with faults to
 * inject. It shows how a client handles faults, not what a real server would answer.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { type Attempt, allows, forbidden, review, reviewsPath, type User } from './authorize.ts'
import { discover } from './http/discovery.ts'
import { Faults } from './http/faults.ts'
import { contentTypeOf, readBody, type Target, targetOf } from './http/request.ts'
import { StatusError } from './http/status-error.ts'
import { createsByApply, getObject, listObjects, writeObject } from './store/objects.ts'
import { selectorOf } from './store/selectors.ts'
import { formOf } from './store/shape.ts'
import { Store } from './store/store.ts'
import { Watches } from './store/watches.ts'
import { issueToken, tokenUser } from './tokens.ts'
import { builtIn, groupVersion, type KubeObject, type ResourceType } from './types.ts'

export interface KubeApiOptions {
  /** PEM; plain HTTP without. With `ca`, client certificates are requested and their CN is the user. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca?: string }
  /** By bearer token. Without users every request is allowed. */
  readonly users?: Record<string, User>
  /** By the CN of the client certificate. */
  readonly certificateUsers?: Record<string, User>
  readonly types?: readonly ResourceType[]
  readonly port?: number
  readonly historyLimit?: number
}

export interface SeenRequest {
  readonly verb: string
  /** Plural name of the resource, or the path of any other request. */
  readonly resource: string
  readonly query: URLSearchParams
  readonly user: string
  readonly headers: IncomingMessage['headers']
}

const maxSeen = 10_000
const anonymous: User = { name: 'system:anonymous' }

export class KubeApi {
  readonly store: Store
  readonly watches: Watches
  readonly faults = new Faults()
  /** The requests so far, oldest first. */
  readonly seen: SeenRequest[] = []
  readonly #options: KubeApiOptions
  readonly #sockets = new Set<Socket>()
  #types: readonly ResourceType[]
  #server: Server | undefined
  #port: number

  constructor(options: KubeApiOptions = {}) {
    this.#options = options
    this.#types = options.types ?? builtIn
    this.#port = options.port ?? 0
    this.store = new Store(options.historyLimit)
    this.watches = new Watches(this.store)
    this.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'default' }, status: { phase: 'Active' } })
  }

  get url(): string {
    return `${this.#options.tls ? 'https' : 'http'}://127.0.0.1:${this.#port}`
  }

  /** Listens; after `stop`, on the same port again. */
  async start(): Promise<void> {
    const handle = (request: IncomingMessage, response: ServerResponse) => this.#handle(request, response)
    const { tls } = this.#options
    const mutual = tls?.ca === undefined ? {} : { requestCert: true, rejectUnauthorized: false }
    const server = tls ? createTlsServer({ ...tls, ...mutual }, handle) : createServer(handle)
    // With TLS too: a connection whose handshake is not over would keep the server open for two minutes.
    server.on('connection', (socket: Socket) => this.#keep(socket))
    server.keepAliveTimeout = 60_000
    await new Promise<void>(resolve => server.listen(this.#port, '127.0.0.1', resolve))
    this.#port = (server.address() as AddressInfo).port
    this.#server = server
  }

  /** As when the machine fails: closes every connection and refuses new ones. Objects stay. */
  async stop(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    for (const socket of this.#sockets) socket.destroy()
    if (server) await new Promise(resolve => server.close(resolve))
  }

  /** Creates or replaces the object. */
  put(object: KubeObject): KubeObject {
    const type = this.typeOf(object)
    const placed = type.namespaced
      ? { ...object, metadata: { ...object.metadata, namespace: object.metadata.namespace ?? 'default' } }
      : object
    const { resourceVersion: _, ...metadata } = placed.metadata
    return this.store.get(type, placed.metadata)
      ? this.store.update(type, { ...placed, metadata })
      : this.store.create(type, { ...placed, metadata })
  }

  remove(kind: string, name: string, namespace = 'default'): void {
    const type = this.#types.find(known => known.kind === kind)
    if (!type) throw new TypeError(`no kind ${kind}`)
    this.store.delete(type, type.namespaced ? { namespace, name } : { name })
  }

  get(kind: string, name: string, namespace = 'default'): KubeObject | undefined {
    const type = this.#types.find(known => known.kind === kind)
    return type && this.store.get(type, type.namespaced ? { namespace, name } : { name })
  }

  list(kind: string): KubeObject[] {
    const type = this.#types.find(known => known.kind === kind)
    return type ? this.store.list(type) : []
  }

  /** As when a custom resource definition is created. */
  install(types: readonly ResourceType[]): void {
    this.#types = [...this.#types, ...types]
  }

  uninstall(types: readonly ResourceType[]): void {
    this.#types = this.#types.filter(type => !types.includes(type))
    for (const type of types) this.watches.end(type.plural)
  }

  count(verb: string, resource: string): number {
    return this.seen.filter(request => request.verb === verb && request.resource === resource).length
  }

  typeOf({ apiVersion, kind }: Pick<KubeObject, 'apiVersion' | 'kind'>): ResourceType {
    const type = this.#types.find(known => groupVersion(known) === apiVersion && known.kind === kind)
    if (!type) throw new TypeError(`no kind ${kind} in ${apiVersion}`)
    return type
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    socket.on('error', () => {})
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#answer(request, response)
    } catch (error) {
      const answer = error instanceof StatusError ? error : new StatusError(500, 'InternalError', String(error))
      if (!response.headersSent) reply(response, answer.code, answer, answer.headers)
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://kubernetes')
    const user = this.#authenticate(request)
    const target = targetOf(request.method ?? 'GET', url, this.#types)
    this.#see(request, url, target, user)
    if (await this.faults.strike(target?.verb ?? 'get', target?.type.plural ?? url.pathname, response)) return
    if (!target && url.pathname === reviewsPath)
      return reply(response, 201, review(user, (await readBody(request)) as KubeObject))
    if (!target) return this.#discover(request, response, url)
    this.#authorize(user, target)
    if (createsByApply(this.store, target, contentTypeOf(request))) this.#authorize(user, { ...target, verb: 'create' })
    await this.#serve(target, request, response)
  }

  #authenticate(request: IncomingMessage): User {
    const { users, certificateUsers, tls } = this.#options
    const socket = request.socket as TLSSocket
    if (certificateUsers && tls?.ca && socket.authorized) {
      const user = certificateUsers[String(socket.getPeerCertificate().subject?.CN)]
      if (user) return user
    }
    if (!users && !certificateUsers) return anonymous
    const [, token = ''] = /^Bearer (.+)$/.exec(request.headers.authorization ?? '') ?? []
    const user = users?.[token] ?? tokenUser(this, token)
    if (!user) throw new StatusError(401, 'Unauthorized', 'Unauthorized')
    return user
  }

  #authorize(user: User, target: Target): void {
    const attempt = attemptOf(target)
    if (!allows(user, attempt)) throw forbidden(user, attempt)
  }

  #see({ headers, method = 'GET' }: IncomingMessage, url: URL, target: Target | undefined, user: User): void {
    if (this.seen.length >= maxSeen) this.seen.shift()
    const verb = target?.verb ?? method.toLowerCase()
    this.seen.push({
      verb,
      resource: target?.type.plural ?? url.pathname,
      query: url.searchParams,
      user: user.name,
      headers,
    })
  }

  #discover(request: IncomingMessage, response: ServerResponse, url: URL): void {
    const found = request.method === 'GET' ? discover(url.pathname, this.#types) : undefined
    if (found === undefined) throw new StatusError(404, 'NotFound', 'the server could not find the requested resource')
    reply(response, 200, found)
  }

  async #serve(target: Target, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const accept = request.headers.accept ?? ''
    if (target.verb === 'watch') return this.#watch(target, accept, response)
    if (target.verb === 'list') return reply(response, 200, listObjects(this.store, target, accept))
    if (target.verb === 'get') return reply(response, 200, getObject(this.store, target, accept))
    if (target.subresource === 'token') return reply(response, 201, issueToken(this, target, await readBody(request)))
    const { status, body } = writeObject(this.store, target, contentTypeOf(request), await readBody(request))
    reply(response, status, body)
  }

  #watch({ type, namespace, query }: Target, accept: string, response: ServerResponse): void {
    const since = Number(query.get('resourceVersion') ?? 0)
    if (since > 0 && since < this.store.oldest)
      throw new StatusError(410, 'Expired', `too old resource version: ${since}`)
    if (since > this.store.revision) throw new StatusError(504, 'Timeout', `Too large resource version: ${since}`)
    const bookmarks = query.get('allowWatchBookmarks') === 'true'
    this.watches.open({
      type,
      namespace,
      selector: selectorOf(query),
      form: formOf(accept),
      bookmarks,
      since,
      response,
    })
  }
}

export async function startKubeApi(options?: KubeApiOptions): Promise<KubeApi> {
  const api = new KubeApi(options)
  await api.start()
  return api
}

function attemptOf({ verb, type, subresource, namespace }: Target): Attempt {
  const resource = subresource === undefined ? type.plural : `${type.plural}/${subresource}`
  return { verb, group: type.group, resource, namespace }
}

function reply(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(text)
}
