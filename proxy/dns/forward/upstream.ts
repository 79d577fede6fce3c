/**
 * One upstream resolver: asks it and tracks its health. Health comes from the questions themselves; only after consecutive
 * failures is the server probed, with growing pauses, until it sends any reply.
 */
import { randomBytes, randomInt } from 'node:crypto'
import { endpointText, type SocketAddress } from '../../model/address.ts'
import { messageOf } from '../../model/error.ts'
import type { Log } from '../../model/log.ts'
import type { UpstreamStats } from '../../model/stats/dns.ts'
import { doubled } from '../../model/time/backoff.ts'
import type { Clock, Random } from '../../model/time/clock.ts'
import { Histogram } from '../histogram.ts'
import { keepsCase, type Question, queryMessage, questionFor } from '../message/question.ts'
import { headerBytes, rcodeName, rcodes, types } from '../message/wire.ts'
import { askTcp, askUdp, type ExchangeLimits } from './exchange.ts'

export interface UpstreamParts {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Consecutive failures after which it is down; 0 means never. */
  readonly maxFails: number
  /** Whether the letters of a name are sent in random case (0x20). */
  readonly mixCase: boolean
  /** Called when it was down and answers again. */
  onUp(): void
}

const probe = { firstMs: 500, longestMs: 10_000 }
const probeTimeoutMs = 1000
/** How long a server without EDNS, or one that changes the case of names, is treated as such (RFC 6891 6.2.2). */
const traitMs = 600_000
/** A server is tested for EDNS at most this often. */
const ednsTestMs = 10_000
/** Consecutive replies in another case after which the server is known to change it. */
const alteredReplies = 3
/** The part of the time left that a reply in another case is asked for again over TCP. */
const confirmShare = 1 / 3
/** How long a server that sent our query back is not asked. */
const loopMs = 60_000

export class Upstream {
  readonly server: SocketAddress
  readonly name: string
  readonly #parts: UpstreamParts
  readonly #closing = new AbortController()
  /** The random name of the loop probe in flight. */
  #probeName: string | undefined
  #fails = 0
  #lastError = ''
  #stopProbe: (() => void) | undefined
  /** Until when the server is known not to have EDNS. */
  #plainUntil = 0
  #nextEdnsTest = 0
  /** Until when the server is known to change the case of names. */
  #foldsUntil = 0
  #altered = 0
  #loopUntil = 0
  #stopLoopCheck: () => void = () => {}
  #requests = 0
  #failures = 0
  #probeFailures = 0
  readonly #duration = Histogram.ofSeconds()
  readonly #rcodes: Record<string, number> = {}

  constructor(server: SocketAddress, parts: UpstreamParts) {
    this.server = server
    this.name = endpointText(server.address, server.port)
    this.#parts = parts
  }

  get state(): 'up' | 'down' | 'loop' {
    if (this.#loopUntil > this.#parts.clock.now()) return 'loop'
    return this.#stopProbe ? 'down' : 'up'
  }

  get lastError(): string {
    return this.#lastError
  }

  stats(): UpstreamStats {
    return {
      name: this.name,
      state: this.state,
      requests: this.#requests,
      failures: this.#failures,
      probeFailures: this.#probeFailures,
      duration: this.#duration.snapshot(),
      rcodes: { ...this.#rcodes },
    }
  }

  /** The reply, whatever its rcode; asked again over TCP when it was truncated. Rejects when none comes in `ms`. */
  async ask(asked: Question, ms: number): Promise<Buffer> {
    const { clock } = this.#parts
    this.#requests++
    const start = clock.now()
    try {
      const reply = await this.#exchange(asked, ms)
      this.#count((reply[3] as number) & 0x0f, (clock.now() - start) / 1000)
      this.#succeeded()
      return reply
    } catch (error) {
      if (!this.#closing.signal.aborted && !isLocal(error)) this.#failed(messageOf(error))
      throw error
    }
  }

  /**
   * Asks for a random name. If a question for it arrives here, the upstream forwards to us, directly or through others, and
   * every query would circulate until it times out. CoreDNS's plugin `loop` does the same.
   */
  async checkLoop(): Promise<void> {
    const name = `${randomBytes(8).toString('hex')}.${randomBytes(8).toString('hex')}`
    this.#probeName = name
    await this.#exchange(questionFor(name, types.HINFO), probeTimeoutMs).catch(() => {})
    if (this.#probeName === name) this.#probeName = undefined
  }

  /** Whether the name is that of our probe; then this upstream is not asked for a while, and probed again after it. */
  detectLoop(name: string): boolean {
    if (name !== this.#probeName) return false
    const { clock, log } = this.#parts
    if (this.state !== 'loop') log.warn('dns.upstream.loop', { upstream: this.name })
    this.#probeName = undefined
    this.#lastError = 'sends our queries back to us'
    this.#loopUntil = clock.now() + loopMs
    this.#stopLoopCheck()
    this.#stopLoopCheck = clock.after(loopMs - probeTimeoutMs, () => void this.checkLoop())
    return true
  }

  close(): void {
    this.#closing.abort()
    this.#stopProbe?.()
    this.#stopLoopCheck()
  }

  async #exchange(asked: Question, ms: number): Promise<Buffer> {
    const { clock } = this.#parts
    const deadline = clock.now() + ms
    const limits = (share = 1) => ({
      clock,
      ms: Math.max(1, (deadline - clock.now()) * share),
      signal: this.#closing.signal,
    })
    let edns = this.#plainUntil <= clock.now()
    let message = this.#message(asked, edns)
    let reply = await askUdp(this.server, message, limits())
    if (edns && rejectsEdns(reply)) {
      // The fault may be the server's or this question's: ask without EDNS, and test the server.
      void this.#testEdns()
      edns = false
      message = this.#message(asked, edns)
      reply = await askUdp(this.server, message, limits())
    }
    if (!keepsCase(message, reply)) return this.#confirm(asked, message, edns, limits)
    if (message.compare(asked.wire, 0, asked.wire.length, headerBytes, headerBytes + asked.wire.length) !== 0)
      this.#altered = 0
    const isTruncated = ((reply[2] as number) & 0x02) !== 0
    return isTruncated ? askTcp(this.server, message, limits()) : reply
  }

  #message(asked: Question, edns: boolean): Buffer {
    const mixCase = this.#parts.mixCase && this.#foldsUntil <= this.#parts.clock.now()
    return queryMessage(asked, randomInt(0x10000), edns, mixCase)
  }

  /**
   * For a reply with the question in another case: either the server does not keep it, or the reply is forged. Over TCP
   * nobody else can answer; where the server has no TCP, it is asked again with a new id, port and case.
   */
  async #confirm(
    asked: Question,
    message: Buffer,
    edns: boolean,
    limits: (share?: number) => ExchangeLimits,
  ): Promise<Buffer> {
    let sent = message
    let reply = await askTcp(this.server, message, limits(confirmShare)).catch(() => undefined)
    if (!reply) {
      sent = this.#message(asked, edns)
      reply = await askUdp(this.server, sent, limits())
    }
    this.#altered = keepsCase(sent, reply) ? 0 : this.#altered + 1
    if (this.#altered >= alteredReplies) {
      this.#altered = 0
      this.#foldsUntil = this.#parts.clock.now() + traitMs
    }
    return reply
  }

  /** The proof that a server has no EDNS: a question that every server answers, with EDNS and without it. */
  async #testEdns(): Promise<void> {
    const { clock } = this.#parts
    if (clock.now() < this.#nextEdnsTest) return
    this.#nextEdnsTest = clock.now() + ednsTestMs
    const ask = (edns: boolean) => {
      const limits = { clock, ms: probeTimeoutMs, signal: this.#closing.signal }
      return askUdp(this.server, queryMessage(questionFor('', types.NS), randomInt(0x10000), edns), limits)
    }
    try {
      if (rejectsEdns(await ask(true)) && !rejectsEdns(await ask(false))) this.#plainUntil = clock.now() + traitMs
    } catch {
      // Nothing is proved without both replies.
    }
  }

  #count(rcode: number, seconds: number): void {
    this.#duration.add(seconds)
    const name = rcodeName(rcode)
    this.#rcodes[name] = (this.#rcodes[name] ?? 0) + 1
  }

  #succeeded(): void {
    this.#fails = 0
    if (!this.#stopProbe) return
    this.#stopProbe()
    this.#stopProbe = undefined
    // It may have been upgraded meanwhile.
    this.#plainUntil = 0
    this.#foldsUntil = 0
    this.#parts.log.info('dns.upstream.up', { upstream: this.name })
    this.#parts.onUp()
  }

  #failed(why: string): void {
    this.#failures++
    this.#fails++
    this.#lastError = why
    const { maxFails } = this.#parts
    if (maxFails === 0 || this.#fails < maxFails || this.#stopProbe) return
    this.#parts.log.warn('dns.upstream.down', { upstream: this.name, why })
    void this.checkLoop()
    this.#probeAfter(probe.firstMs)
  }

  #probeAfter(ms: number): void {
    const { clock, random } = this.#parts
    const jitter = 0.75 + random() / 2
    this.#stopProbe = clock.after(ms * jitter, async () => {
      try {
        await this.#exchange(questionFor('', types.NS), probeTimeoutMs)
        this.#succeeded()
      } catch {
        this.#probeFailures++
        if (!this.#closing.signal.aborted && this.#stopProbe) this.#probeAfter(doubled(ms, probe))
      }
    })
  }
}

/** Errors of this machine, out of sockets, ports or memory, do not count against the upstream. */
function isLocal(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code !== undefined && localErrors.includes(code)
}

const localErrors = ['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EADDRNOTAVAIL', 'EADDRINUSE', 'EAGAIN']

/** FORMERR or NOTIMP without OPT: what a server without EDNS replies to a query that has it (RFC 6891 7). */
function rejectsEdns(reply: Buffer): boolean {
  const rcode = (reply[3] as number) & 0x0f
  return (rcode === rcodes.FORMERR || rcode === rcodes.NOTIMP) && reply.readUInt16BE(10) === 0
}
