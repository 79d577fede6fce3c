/** Open watch requests and the events sent to them. */
import type { ServerResponse } from 'node:http'
import { groupVersion, type ResourceType } from '../types.ts'
import type { Selector } from './selectors.ts'
import { type Form, shapeObject } from './shape.ts'
import type { Store, StoreEvent } from './store.ts'

export interface WatchRequest {
  readonly type: ResourceType
  readonly namespace: string | undefined
  readonly selector: Selector
  readonly form: Form
  readonly bookmarks: boolean
  /** 0 sends all existing objects first, as a real server does. */
  readonly since: number
  readonly response: ServerResponse
}

/** The open watches, and ways to make them fail. */
export class Watches {
  readonly #store: Store
  readonly #open = new Set<WatchRequest>()
  /** While true no watch receives anything and no connection ends, as in a network that drops packets. */
  muted = false

  constructor(store: Store) {
    this.#store = store
    store.onEvent(event => this.#tell(event))
  }

  open(request: WatchRequest): void {
    const { response, since } = request
    response.writeHead(200, { 'content-type': 'application/json', 'transfer-encoding': 'chunked' })
    response.flushHeaders()
    this.#open.add(request)
    response.once('close', () => this.#open.delete(request))
    if (since === 0) this.#sendAll(request)
    else for (const event of this.#store.since(since)) send(request, event)
  }

  /** Number of watches of a resource, or of all. */
  count(plural?: string): number {
    return this.#of(plural).length
  }

  /** Resets the connections, as when a server is killed. */
  cut(plural?: string): void {
    for (const { response } of this.#of(plural)) response.socket?.resetAndDestroy()
  }

  /** Ends the watches, as a server does after their timeout. */
  end(plural?: string): void {
    for (const request of this.#of(plural)) this.#finish(request)
  }

  /** Sends bytes that are not valid in a watch. */
  garble(text: string, plural?: string): void {
    for (const { response } of this.#of(plural)) response.write(text)
  }

  bookmark(plural?: string): void {
    for (const request of this.#of(plural))
      if (request.bookmarks && !this.muted) sendBookmark(request, this.#store.revision)
  }

  /** Sends 410 Gone as an event of the watch, as a real server does. */
  expire(plural?: string): void {
    const status = { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'Expired', code: 410 }
    const object = { ...status, message: 'too old resource version' }
    for (const request of this.#of(plural)) this.#finish(request, `${JSON.stringify({ type: 'ERROR', object })}\n`)
  }

  #finish(request: WatchRequest, lastWords = ''): void {
    this.#open.delete(request)
    request.response.end(lastWords)
  }

  #of(plural: string | undefined): WatchRequest[] {
    return [...this.#open].filter(({ type }) => plural === undefined || type.plural === plural)
  }

  #tell(event: StoreEvent): void {
    if (this.muted) return
    for (const request of this.#open) send(request, event)
  }

  #sendAll(request: WatchRequest): void {
    for (const object of this.#store.list(request.type)) {
      send(request, {
        type: 'ADDED',
        resource: request.type,
        object,
        before: undefined,
        revision: this.#store.revision,
      })
    }
  }
}

/** For a watch with a selector, an object that stops matching is DELETED and one that begins to match is ADDED. */
function send(request: WatchRequest, { type, resource, object, before }: StoreEvent): void {
  if (resource !== request.type) return
  if (request.namespace !== undefined && object.metadata.namespace !== request.namespace) return
  const matched = before !== undefined && request.selector(before)
  const matches = type !== 'DELETED' && request.selector(object)
  if (!matched && !matches) return
  const change = matches ? (matched ? 'MODIFIED' : 'ADDED') : 'DELETED'
  request.response.write(`${JSON.stringify({ type: change, object: shapeObject(request.form, resource, object) })}\n`)
}

function sendBookmark({ type, response }: WatchRequest, revision: number): void {
  const metadata = { resourceVersion: String(revision), creationTimestamp: null }
  const object = { kind: type.kind, apiVersion: groupVersion(type), metadata }
  response.write(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`)
}
