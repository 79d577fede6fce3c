/**
 * One resolver outside: how it is asked, and whether it is worth asking. Health is learnt from the questions themselves;
 * only after failures in a row is the server probed, with growing pauses, until it says anything at all.
 */
import { randomInt } from 'node:crypto'
import { endpointText } from '../model/address.ts'
import type { Clock, Random } from '../model/clock.ts'
import { messageOf } from '../model/error.ts'
import type { Log } from '../model/log.ts'
import { askTcp, askUdp } from './exchange.ts'
import { type Question, queryMessage, questionNamed } from './question.ts'
import type { Endpoint } from './udp.ts'
import { rcodes, types } from './wire.ts'

export interface UpstreamParts {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** After so many failures in a row it counts as down; 0 means never. */
  readonly maxFails: number
}

const firstProbeMs = 500
const lastProbeMs = 10_000
const probeTimeoutMs = 1000
/** A server that does not know EDNS is not asked with it again for so long (RFC 6891 6.2.2). */
const plainMs = 600_000
/** A server that sent our question back to us is left alone for so long. */
const loopMs = 60_000

export class Upstream {
  readonly endpoint: Endpoint
  readonly name: string
  readonly #parts: UpstreamParts
  readonly #closing = new AbortController()
  /** Ids of messages on their way, for the question coming back to us. */
  readonly #ids = new Map<string, number>()
  #fails = 0
  #lastError = ''
  #stopProbe: (() => void) | undefined
  #plainUntil = 0
  #loopUntil = 0
  #requests = 0
  #failures = 0

  constructor(endpoint: Endpoint, parts: UpstreamParts) {
    this.endpoint = endpoint
    this.name = endpointText(endpoint.address, endpoint.port)
    this.#parts = parts
  }

  get state(): 'up' | 'down' | 'loop' {
    if (this.#loopUntil > this.#parts.clock.now()) return 'loop'
    return this.#stopProbe ? 'down' : 'up'
  }

  get lastError(): string {
    return this.#lastError
  }

  get requests(): number {
    return this.#requests
  }

  get failures(): number {
    return this.#failures
  }

  /** The reply, whatever its rcode; over TCP when it did not fit. Rejects when there is none in time. */
  async ask(asked: Question, ms: number): Promise<Buffer> {
    this.#requests++
    try {
      const reply = await this.#exchange(asked, ms)
      this.#succeeded()
      return reply
    } catch (error) {
      if (!this.#closing.signal.aborted) this.#failed(messageOf(error))
      throw error
    }
  }

  /** Whether a message with this id and question is one that we have sent there ourselves. */
  sent(asked: Question, id: number): boolean {
    return this.#ids.get(asked.key) === id
  }

  looped(): void {
    if (this.state !== 'loop') this.#parts.log.warn('dns upstream loops', { upstream: this.name })
    this.#loopUntil = this.#parts.clock.now() + loopMs
    this.#lastError = 'sends our questions back to us'
  }

  close(): void {
    this.#closing.abort()
    this.#stopProbe?.()
  }

  async #exchange(asked: Question, ms: number): Promise<Buffer> {
    const { clock } = this.#parts
    const deadline = clock.now() + ms
    const patience = () => ({ clock, ms: Math.max(1, deadline - clock.now()), signal: this.#closing.signal })
    let edns = this.#plainUntil <= clock.now()
    for (;;) {
      const message = queryMessage(asked, randomInt(0x10000), edns)
      this.#ids.set(asked.key, message.readUInt16BE(0))
      try {
        const reply = await askUdp(this.endpoint, message, patience())
        if (edns && knowsNoEdns(reply)) {
          edns = false
          this.#plainUntil = clock.now() + plainMs
          continue
        }
        const isCut = ((reply[2] as number) & 0x02) !== 0
        return isCut ? await askTcp(this.endpoint, message, patience()) : reply
      } finally {
        this.#ids.delete(asked.key)
      }
    }
  }

  #succeeded(): void {
    this.#fails = 0
    if (!this.#stopProbe) return
    this.#stopProbe()
    this.#stopProbe = undefined
    this.#parts.log.info('dns upstream is up', { upstream: this.name })
  }

  #failed(why: string): void {
    this.#failures++
    this.#fails++
    this.#lastError = why
    const { maxFails } = this.#parts
    if (maxFails === 0 || this.#fails < maxFails || this.#stopProbe) return
    this.#parts.log.warn('dns upstream is down', { upstream: this.name, why })
    this.#probeAfter(firstProbeMs)
  }

  #probeAfter(ms: number): void {
    const { clock, random } = this.#parts
    const jitter = 0.75 + random() / 2
    this.#stopProbe = clock.after(ms * jitter, async () => {
      try {
        await this.#exchange(questionNamed('', types.NS), probeTimeoutMs)
        this.#succeeded()
      } catch {
        if (!this.#closing.signal.aborted && this.#stopProbe) this.#probeAfter(Math.min(ms * 2, lastProbeMs))
      }
    })
  }
}

function knowsNoEdns(reply: Buffer): boolean {
  const rcode = (reply[3] as number) & 0x0f
  return (rcode === rcodes.FORMERR || rcode === rcodes.NOTIMP) && reply.readUInt16BE(10) === 0
}
