/**
 * One connection to one etcd server. It never reconnects: when the connection ends, so does the client. A caller that needs
 * another opens a new one, so that certificates are read again and no state is carried over to a different server.
 */
import { randomBytes } from 'node:crypto'
import type { Client, ServiceError } from '@grpc/grpc-js'
import { type ErrorCode, MeshError, messageOf } from '../../model/error.ts'
import { durationText } from '../../model/text/duration.ts'
import { tame } from '../../model/text/spelling.ts'
import type { Clock } from '../../model/time/clock.ts'
import { Semaphore } from '../../model/time/semaphore.ts'
import { Turns } from '../../model/time/turn.ts'
import { type Grpc, loadGrpc } from '../grpc.ts'
import { type TlsFault, tlsFaultOf, withoutAdvice } from '../tls-fault.ts'
import type { Shape, Values } from './protobuf.ts'
import { type Entry, type Header, kv, lease, type Method, rangeEndOf, watch } from './rpc.ts'
import { type Access, credentialsFor, nameToAskFor, type Server, targetOf } from './server.ts'
import { ChannelSockets } from './sockets.ts'
import { Watches, type WatchListener, type WatchRange } from './watches.ts'

/** `status` is the gRPC status code. */
export class EtcdError extends MeshError {
  readonly status: number

  constructor(code: ErrorCode, message: string, status: number, options?: { cause?: unknown }) {
    super(code, message, options)
    this.status = status
  }
}

export const statusCode = { cancelled: 1, unknown: 2, denied: 7, tooMuch: 8, compacted: 11, broken: 13 } as const

/** A unary method, or one whose answer is decoded in another way. */
interface Question<Q extends Shape, T> extends Pick<Method<Q, Shape>, 'path' | 'isWrite' | 'request'> {
  readonly answer: { decode(bytes: Uint8Array): T }
}

/** A list whose answer is decoded later. */
const undecoded = { ...kv.range, answer: { decode: (bytes: Uint8Array) => bytes } }
type Range = Parameters<typeof kv.range.request.encode>[0]
type Listed = ReturnType<typeof kv.range.answer.decode>

export interface Page {
  readonly entries: readonly Entry[]
  /** The revision of the store that was read: the same for all pages of a list. */
  readonly revision: number
}

/** Writes or deletes one key. */
export type Write = { readonly key: string; readonly value: Uint8Array } | { readonly key: string; readonly gone: true }

/** Writes only while the key has this create revision; 0 means that it does not exist. */
export interface Condition {
  readonly key: string
  readonly createRevision: number
}

interface OpenOptions {
  readonly probe: string
  readonly clock: Clock
  readonly signal?: AbortSignal
}

/** etcd scans the rest of the range for each page, so many small pages are slow: the page size grows. */
const firstPageSize = 1000
const largestPageSize = 8000
/** Of one connection: a page has up to 16 MiB, and those that arrive together are put together in one round of the event loop. */
const pagesAtOnce = 8
/** Fits any value (at most 1.5 MiB). A page that does not fit is requested in smaller pieces. */
const maxMessageBytes = 16 * 1024 * 1024
const callTimeoutMs = 10_000
const connectTimeoutMs = 5000

/** What following a cluster takes: a client, or one that shares its connection with others. */
export type EtcdReader = Pick<EtcdClient, 'server' | 'clusterId' | 'pages' | 'watch' | 'onEnd' | 'close'>

/** What reading and writing keys takes; tests put another implementation in its place. */
export type EtcdStore = Pick<
  EtcdClient,
  'clusterId' | 'get' | 'pages' | 'write' | 'grant' | 'keepAlive' | 'revoke' | 'onEnd' | 'close'
>

export class EtcdClient {
  readonly server: Server
  /** The id of the etcd cluster, in hex. An answer from another cluster ends the client. */
  readonly clusterId: string
  #grpc: Grpc
  #channel: Client
  #sockets: ChannelSockets
  #clock: Clock
  #watches: Watches
  #closing = new AbortController()
  #ended: MeshError | undefined
  #listeners = new Set<(error: MeshError) => void>()
  readonly #paging = new Semaphore(pagesAtOnce)

  /** Connects and reads `probe`, a key that the user may read. Rejects with the reason. */
  static connect(access: Access, options: OpenOptions): Promise<EtcdClient> {
    const sockets = new ChannelSockets()
    return sockets.collect(() => EtcdClient.#open(access, options, sockets))
  }

  static async #open(
    access: Access,
    { probe, clock, signal }: OpenOptions,
    sockets: ChannelSockets,
  ): Promise<EtcdClient> {
    const { server } = access
    const grpc = await loadGrpc('etcd', 'SOURCE_READ')
    const credentials = credentialsFor(access, grpc)
    // All clusters of a mesh connect at the start, and a connection takes half a millisecond to make.
    await new Turns().begin()
    const channel = new grpc.Client(targetOf(server), credentials, {
      'grpc.keepalive_time_ms': 15_000,
      'grpc.keepalive_timeout_ms': 25_000,
      'grpc.keepalive_permit_without_calls': 1,
      'grpc.max_receive_message_length': maxMessageBytes,
      // A page is larger than HTTP/2's default window of 64 KiB; waiting for window updates cost 40 ms a page.
      'grpc-node.flow_control_window': 1024 * 1024,
      'grpc.enable_http_proxy': 0,
      'grpc.service_config_disable_resolution': 1,
      // Otherwise a connection that was made with an old certificate could be reused.
      'grpc.use_local_subchannel_pool': 1,
      ...(server.tls ? { 'grpc.ssl_target_name_override': nameToAskFor(server) } : {}),
    })
    const giveUp = (): void => channel.close()
    signal?.addEventListener('abort', giveUp)
    try {
      signal?.throwIfAborted()
      const asked = { key: probe, keysOnly: true }
      const { header } = await call(channel, clock, server, kv.range, asked, connectTimeoutMs, signal)
      if (!header) throw new EtcdError('SOURCE_READ', `${server.url} answers, but it is not etcd`, statusCode.unknown)
      sockets.seal()
      return new EtcdClient(grpc, channel, server, header, clock, sockets)
    } catch (error) {
      channel.close()
      sockets.destroy()
      throw error
    } finally {
      signal?.removeEventListener('abort', giveUp)
    }
  }

  private constructor(
    grpc: Grpc,
    channel: Client,
    server: Server,
    first: Header,
    clock: Clock,
    sockets: ChannelSockets,
  ) {
    this.#sockets = sockets
    this.#grpc = grpc
    this.#channel = channel
    this.#clock = clock
    this.server = server
    this.clusterId = first.clusterId.toString(16)
    this.#watches = new Watches(() => this.#stream(watch), {
      check: header => this.#check(header),
      fail: (why, status) => this.#end(new EtcdError('SOURCE_READ', `${server.url}: ${why}`, status)),
      where: server.url,
    })
    this.#followConnection()
  }

  /** Called once, immediately if the client has already ended. The returned function takes it back. */
  onEnd(listener: (error: MeshError) => void): () => void {
    if (this.#ended) listener(this.#ended)
    else this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  async get(key: string): Promise<Entry | undefined> {
    const { kvs } = await this.call(kv.range, { key })
    return kvs[0]
  }

  /** All keys under a prefix, in order, in pages that are all read at one revision. With an empty `rangeEnd`, one key. */
  async *pages(prefix: string, rangeEnd = rangeEndOf(prefix)): AsyncGenerator<Page> {
    let key = prefix
    let revision = 0
    let limit = firstPageSize
    let largest = largestPageSize
    for (;;) {
      const page = await this.#page({ key, rangeEnd, revision, limit }).catch((error: unknown) => {
        if (!(error instanceof EtcdError && error.status === statusCode.tooMuch) || limit === 1) throw error
        limit = largest = Math.ceil(limit / 4)
        return undefined
      })
      if (!page) continue
      revision ||= page.header?.revision ?? 0
      yield { entries: page.kvs, revision }
      const last = page.kvs.at(-1)
      if (!page.more || !last) return
      key = `${last.key}\0`
      limit = Math.min(2 * limit, largest)
    }
  }

  /** Some pages at a time for all who list, each decoded in a turn of its own: hundreds of clusters list at the same time. */
  #page(asked: Range): Promise<Listed> {
    return this.#paging.run(async () => {
      const bytes = await this.call(undecoded, asked)
      await new Turns().begin()
      return this.#checked(this.#decoded(bytes))
    })
  }

  #decoded(bytes: Uint8Array): Listed {
    try {
      return kv.range.answer.decode(bytes)
    } catch (error) {
      const message = `${this.server.url} Range failed: the answer cannot be read (${messageOf(error)})`
      throw new EtcdError('SOURCE_READ', message, statusCode.broken, { cause: error })
    }
  }

  /** The number of keys under a prefix. */
  async count(prefix: string): Promise<number> {
    const { count } = await this.call(kv.range, { key: prefix, rangeEnd: rangeEndOf(prefix), keysOnly: true, limit: 1 })
    return count
  }

  /** Reports changes from `range.revision` on. The returned function stops the watch. */
  watch(range: WatchRange, listener: WatchListener): () => void {
    // The end of the client is reported by `onEnd`.
    return this.#ended ? () => {} : this.#watches.add(range, listener)
  }

  /** One transaction of at most 128 writes (etcd's limit), under one lease (0: none). False when the condition does not hold. */
  async write(writes: readonly Write[], leaseId: bigint, condition?: Condition): Promise<boolean> {
    const { succeeded } = await this.call(kv.txn, {
      compare: condition ? [{ ...condition, result: 0, target: 1 }] : [],
      success: writes.map(write =>
        'gone' in write
          ? { put: undefined, delete: { key: write.key, rangeEnd: '' } }
          : { put: { ...write, lease: leaseId }, delete: undefined },
      ),
    })
    return succeeded
  }

  /** Deletes everything under a prefix. */
  async clear(prefix: string): Promise<void> {
    const range = { key: prefix, rangeEnd: rangeEndOf(prefix) }
    await this.call(kv.txn, { compare: [], success: [{ put: undefined, delete: range }] })
  }

  /**
   * The id is random, chosen here. etcd makes its own from the member id, the millisecond of its start and a count: two etcds
   * with default names that started in the same millisecond would give the same one, and a lease tells stores apart.
   */
  async grant(ttlMs: number): Promise<bigint> {
    const granted = await this.call(lease.grant, { ttl: Math.ceil(ttlMs / 1000), id: randomLease() })
    return granted.id
  }

  /** Renews the lease. False when it has expired. The stream for it ends with the answer, after 10 s, or with the client. */
  keepAlive(id: bigint): Promise<boolean> {
    if (this.#ended) return Promise.reject(this.#ended)
    const { keepAlive } = lease
    return new Promise((resolve, reject) => {
      const stream = this.#stream(keepAlive)
      const cancel = (): void => stream.cancel()
      const cancelTimeout = this.#clock.after(callTimeoutMs, cancel)
      const { signal } = this.#closing
      const fail = (error: ServiceError | null): void => {
        reject(this.#ended ?? failure(this.server, keepAlive, error, callTimeoutMs))
      }
      signal.addEventListener('abort', cancel)
      stream.on('data', answer => {
        this.#check(answer.header)
        if (this.#ended) reject(this.#ended)
        else resolve(answer.ttl > 0)
        stream.end()
      })
      stream.on('error', fail)
      // A stream may end well without any answer. Only now is it over, so only now does its timeout go.
      stream.on('status', () => {
        cancelTimeout()
        signal.removeEventListener('abort', cancel)
        fail(null)
      })
      stream.write({ id })
    })
  }

  /** Deletes the lease and all of its keys. */
  async revoke(id: bigint): Promise<void> {
    await this.call(lease.revoke, { id })
  }

  async call<Q extends Shape, T extends object>(method: Question<Q, T>, request: Partial<Values<Q>>): Promise<T> {
    if (this.#ended) throw this.#ended
    const { signal } = this.#closing
    const answer = await call(this.#channel, this.#clock, this.server, method, request, callTimeoutMs, signal).catch(
      (error: unknown) => {
        throw this.#ended ?? error
      },
    )
    return this.#checked(answer)
  }

  /** The answer, unless it is another cluster's. */
  #checked<T extends object>(answer: T): T {
    this.#check((answer as { header?: Header }).header)
    if (this.#ended) throw this.#ended
    return answer
  }

  close(): void {
    this.#end(new MeshError('SOURCE_READ', `the connection to ${this.server.url} was closed`))
  }

  #check(header: Header | undefined): void {
    const found = header?.clusterId.toString(16)
    if (found === undefined || found === this.clusterId) return
    this.#end(
      new MeshError(
        'SOURCE_READ',
        `${this.server.url} now answers as etcd cluster ${found}, before it was ${this.clusterId}: everything is read again`,
      ),
    )
  }

  #end(error: MeshError): void {
    if (this.#ended) return
    this.#ended = error
    this.#closing.abort()
    this.#watches.close()
    this.#channel.close()
    this.#sockets.destroy()
    for (const listener of this.#listeners) listener(error)
    this.#listeners.clear()
  }

  /** gRPC would reconnect silently; here the end of the connection ends the client. */
  #followConnection(): void {
    const { READY } = this.#grpc.connectivityState
    const channel = this.#channel.getChannel()
    if (channel.getConnectivityState(false) === READY) {
      channel.watchConnectivityState(READY, Number.POSITIVE_INFINITY, () => this.#ended ?? this.#followConnection())
    } else {
      this.#end(new MeshError('SOURCE_READ', `the connection to ${this.server.url} is lost`))
    }
  }

  #stream<Q extends Shape, A extends Shape>({ path, request, answer }: Method<Q, A>) {
    const metadata = new this.#grpc.Metadata()
    // Otherwise a member without a quorum would keep the stream open and send nothing.
    metadata.set('hasleader', 'true')
    return this.#channel.makeBidiStreamRequest(
      path,
      (values: Partial<Values<Q>>) => request.encode(values),
      (bytes: Buffer) => answer.decode(bytes),
      metadata,
    )
  }
}

/** A unary call with a timeout. An aborted signal cancels it, so that no call outlives its client. */
function call<Q extends Shape, T extends object>(
  channel: Client,
  clock: Clock,
  server: Server,
  method: Question<Q, T>,
  values: Partial<Values<Q>>,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<T> {
  const { path, request, answer } = method
  return new Promise((resolve, reject) => {
    const done = (error: ServiceError | null, given?: T): void => {
      stop()
      if (given) resolve(given)
      else reject(failure(server, method, error, timeoutMs))
    }
    const cancel = (): void => asked.cancel()
    const cancelTimeout = clock.after(timeoutMs, cancel)
    const stop = (): void => {
      cancelTimeout()
      signal?.removeEventListener('abort', cancel)
    }
    signal?.addEventListener('abort', cancel)
    const asked = channel.makeUnaryRequest(
      path,
      (question: Partial<Values<Q>>) => request.encode(question),
      (bytes: Buffer) => answer.decode(bytes),
      values,
      done,
    )
  })
}

function failure(
  server: Server,
  { path, isWrite }: { readonly path: string; readonly isWrite: boolean },
  error: ServiceError | null,
  timeoutMs: number,
): EtcdError {
  const status = error?.code ?? statusCode.unknown
  const what = path.slice(path.lastIndexOf('/') + 1)
  const why =
    status === statusCode.cancelled
      ? `did not answer within ${durationText(timeoutMs)}`
      : `${what} failed: ${whyOf(error?.details ?? 'no answer')}`
  return new EtcdError(isWrite ? 'SOURCE_WRITE' : 'SOURCE_READ', `${server.url} ${why}`, status, { cause: error })
}

function whyOf(details: string): string {
  const why = withoutAdvice(causeOf(details))
  const fault = tlsFaultOf(why)
  return `${tame(why)}${fault ? remedies[fault] : ''}`
}

/** With the names in the configuration, and those in a client file of Cilium. */
const remedies: Readonly<Record<TlsFault, string>> = {
  untrusted: '; set ca (trusted-ca-file) to the CA that signed its certificate',
  name: '; give the endpoint by a name that is in its certificate',
  expired: '; renew the certificate of the server, or correct the clock',
  client: '; set cert and key (cert-file, key-file) to a client certificate that it accepts',
}

/** The socket's own error, without gRPC's text around it. */
function causeOf(details: string): string {
  return /Last error: (?:Error: )?(.+?)\.? Resolution note:/.exec(details)?.[1] ?? details
}

/** Positive and of 63 bits, as etcd asks; 0 would let etcd choose. */
function randomLease(): bigint {
  return (randomBytes(8).readBigUInt64BE() >> 1n) | 1n
}
