/**
 * Whether packets reach a node through the underlay, how long they take, and whether the largest ones do. A datagram goes to a port
 * where nothing listens, and the kernel of the node answers "port unreachable" (RFC 1122 section 4.1.3.1, RFC 4443 section 3.1): that
 * needs no process there, so a node whose Starlane has ended is still seen to be reached.
 */
import { createSocket } from 'node:dgram'
import { familyOf } from '../model/address.ts'
import type { Clock } from '../model/time/clock.ts'
import { nodeText } from './node.ts'
import type { Peer } from './plan.ts'

/** What is known of the way to a node. */
export interface Reach {
  /** `narrow`: small packets arrive, those as large as the MTU do not. */
  readonly state: 'unknown' | 'reached' | 'narrow' | 'silent'
  /** Since when, monotonic milliseconds. */
  readonly since: number
  /** Of the last answer. */
  readonly roundTripMs?: number
}

/** Sends a datagram of so many bytes of payload; resolves with the time until the answer, undefined if none came. */
export type Probe = (address: string, bytes: number, timeoutMs: number) => Promise<number | undefined>

interface ProberParts {
  readonly clock: Clock
  readonly probe?: Probe
  readonly onChange?: (peer: Peer, reach: Reach, before: Reach['state']) => void
}

/** Where traceroute expects nobody either. */
const port = 33_434
const intervalMs = 5000
const timeoutMs = 1000
/** Packets get lost: so many rounds without an answer are silence. */
const silentAfter = 2
const smallBytes = 64
/** A round of a thousand nodes takes less than its interval. */
const maxInFlight = 256

export class Prober {
  readonly #parts: ProberParts
  readonly #ask: Probe
  #peers: readonly Peer[] = []
  #known = new Map<string, Reach & { readonly missed: number; readonly probe: string }>()
  #cancel: (() => void) | undefined
  #round: Promise<void> = Promise.resolve()
  #isClosed = false

  constructor(parts: ProberParts) {
    this.#parts = parts
    this.#ask = parts.probe ?? sendProbe
  }

  /** Asks these from now on. What is known of others is forgotten. */
  follow(peers: readonly Peer[]): void {
    const before = this.#known
    this.#peers = peers
    this.#known = new Map(
      peers.map(peer => {
        const known = before.get(nodeText(peer))
        const isSame = known?.probe === peer.probe
        const fresh = { state: 'unknown' as const, since: this.#parts.clock.now(), missed: 0, probe: peer.probe }
        return [nodeText(peer), isSame ? known : fresh]
      }),
    )
    const isNew = peers.some(peer => this.#known.get(nodeText(peer))?.state === 'unknown')
    if (this.#isClosed) return
    this.#cancel ??= this.#parts.clock.every(intervalMs, () => void this.round())
    if (isNew) void this.round()
  }

  reachOf(node: string): Reach | undefined {
    return this.#known.get(node)
  }

  /** Asks every node once; rounds follow each other. */
  round(): Promise<void> {
    this.#round = this.#round.then(async () => {
      const waiting = [...this.#peers]
      const worker = async () => {
        for (let peer = waiting.shift(); peer && !this.#isClosed; peer = waiting.shift()) await this.#askPeer(peer)
      }
      await Promise.all(Array.from({ length: Math.min(maxInFlight, waiting.length) }, worker))
    })
    return this.#round
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#cancel?.()
    await this.#round
  }

  async #askPeer(peer: Peer): Promise<void> {
    const header = familyOf(peer.probe) === 4 ? 28 : 48
    const large = await this.#ask(peer.probe, peer.mtu - header, timeoutMs)
    const small = large ?? (await this.#ask(peer.probe, smallBytes, timeoutMs))
    const known = this.#known.get(nodeText(peer))
    if (!known || known.probe !== peer.probe) return
    const missed = large === undefined ? known.missed + 1 : 0
    const found = large !== undefined ? 'reached' : small === undefined ? 'silent' : 'narrow'
    // One round may be a lost packet.
    const state = found === 'reached' || missed >= silentAfter ? found : known.state
    const isSame = state === known.state
    const roundTripMs = small ?? (state === 'silent' ? undefined : known.roundTripMs)
    const reach = {
      ...{ state, missed, probe: peer.probe, since: isSame ? known.since : this.#parts.clock.now() },
      ...(roundTripMs === undefined ? {} : { roundTripMs }),
    }
    this.#known.set(nodeText(peer), reach)
    if (!isSame) this.#parts.onChange?.(peer, reach, known.state)
  }
}

/** The error that the socket reports is the answer. */
const sendProbe: Probe = (address, bytes, timeoutMs) => {
  const { promise, resolve } = Promise.withResolvers<number | undefined>()
  const socket = createSocket(familyOf(address) === 4 ? 'udp4' : 'udp6').unref()
  let sentAt = 0
  const timer = setTimeout(() => resolve(undefined), timeoutMs)
  socket.on('error', ({ code }: NodeJS.ErrnoException) =>
    resolve(code === 'ECONNREFUSED' && sentAt > 0 ? performance.now() - sentAt : undefined),
  )
  // Somebody listens there after all.
  socket.on('message', () => resolve(performance.now() - sentAt))
  socket.connect(port, address, () => {
    sentAt = performance.now()
    socket.send(Buffer.alloc(bytes))
  })
  return promise.finally(() => {
    clearTimeout(timer)
    socket.close()
  })
}
