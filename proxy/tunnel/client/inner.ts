/**
 * The inner layer of double HBONE, as ztunnel speaks it through the gateway of another network: over the stream that the gateway has
 * opened, a TLS session and one HTTP/2 CONNECT of its own with the workload, whose bytes the gateway passes on without reading them.
 * It is not pooled: each connection may reach another workload.
 */
import { type ClientHttp2Session, connect, constants, type OutgoingHttpHeaders } from 'node:http2'
import type { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { messageOf } from '../../model/error.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { ClusterIdentity, PeerIdentity, SpiffeId } from '../../model/tunnel/identity.ts'
import type { Credentials } from '../certificates/credentials.ts'
import { examine, presentedBy } from '../certificates/examine.ts'
import { dialError } from '../wire/answers.ts'
import { clientSettings, sessionMemory, sessionWindow } from '../wire/settings.ts'
import { NodeStream } from './node-link.ts'
import type { Asking } from './route.ts'

export interface InnerParts {
  readonly identity: ClusterIdentity
  readonly credentials: Credentials
  readonly clock: Clock
  readonly headers: OutgoingHttpHeaders
  /** Where the tunnel that `outer` is in comes from, as far as it is known. */
  readonly localAddress: string | undefined
}

/** TLS with the workload, and its answer, take no longer; the dial's own limit may come first. */
const innerMs = 10_000

/** Calls `asking` once, unless the function returned is called before. */
export function openInner(outer: Duplex, parts: InnerParts, asking: Asking): () => void {
  const { identity, credentials, clock, headers, localAddress } = parts
  let isOver = false
  let session: ClientHttp2Session | undefined
  const end = (): boolean => {
    if (isOver) return false
    isOver = true
    cancel()
    return true
  }
  const fail = (why: string) => {
    if (!end()) return
    abandon()
    asking.failed(Object.assign(new Error(`the workload behind the gateway: ${why}`), { code: 'EHOSTUNREACH' }))
  }
  const abandon = () => {
    session?.destroy(undefined, constants.NGHTTP2_CANCEL)
    outer.destroy()
  }
  const cancel = clock.after(innerMs, () => fail(`no answer within ${innerMs / 1000} s`))
  const { material } = credentials
  const secureContext = credentials.contextFor(identity.cluster)
  if (!material || !secureContext) {
    queueMicrotask(() => fail('there is no usable certificate to show to it'))
    return () => void (end() && abandon())
  }
  const socket = connectTls({
    socket: outer,
    secureContext,
    ALPNProtocols: ['h2'],
    servername: '',
    checkServerIdentity: () => undefined,
    rejectUnauthorized: false,
  })
  socket.on('error', error => fail(messageOf(error)))
  socket.once('close', () => fail('the stream was closed'))
  socket.once('secureConnect', () => {
    if (isOver) return
    if (socket.alpnProtocol !== 'h2') return fail('it does not speak HTTP/2 (ALPN h2)')
    const found = examine(presentedBy(socket), material, id => workloadOf(id, identity), clock.wall())
    if (found.why !== undefined) return fail(found.why)
    const inner = connect('https://workload', {
      createConnection: () => socket,
      settings: clientSettings,
      maxSessionMemory: sessionMemory,
    })
    session = inner
    inner.on('error', error => fail(messageOf(error)))
    inner.once('close', () => fail('it closed the session'))
    inner.once('connect', () => inner.setLocalWindowSize(sessionWindow))
    const stream = inner.request(headers, { endStream: false })
    stream.on('error', () => {})
    // The session is for this connection alone. It ends once the last bytes are on their way.
    stream.once('close', () => inner.close())
    stream.once('response', answer => {
      if (answer[':status'] !== 200) {
        const said = answer['proxy-status']
        const error = dialError(answer[':status'] ?? 0, Array.isArray(said) ? said.join(', ') : said)
        if (!end()) return
        abandon()
        return asking.failed(error)
      }
      if (end()) asking.answered(new NodeStream(stream, localAddress))
    })
    stream.once('close', () => fail('it ended the stream without an answer'))
  })
  return () => void (end() && abandon())
}

function workloadOf(
  id: SpiffeId,
  { cluster, workloads = [] }: ClusterIdentity,
): PeerIdentity | { readonly why: string } {
  if (workloads.includes(id.id)) return { id: id.id, trustDomain: id.trustDomain, cluster }
  return { why: `it is not one of the workloads of ${cluster}: ${workloads.join(' or ') || 'none is configured'}` }
}
