/** The DNS responder of the runtime: binds its address and tries again while that fails. */
import { isDeepStrictEqual } from 'node:util'
import type { DnsOptions } from '../dns/options.ts'
import { createDnsResponder, type DnsParts, type DnsResponder } from '../dns/responder.ts'
import { endpointText } from '../model/address.ts'
import { MeshError, messageOf, type Problem } from '../model/error.ts'
import type { Inherited, PassedSocket, PassingCalls } from '../model/sockets/passing.ts'

const retryMs = 5000
/** A client that waits for an answer asks again, as a rule, within a few seconds; one that resolves at each call within less. */
const quietMs = 1000
/** A client that goes on asking at a former address is answered for so long. */
const leaveMs = 30_000

/** A failed bind, such as a port in use, is a problem to report and to retry, not a reason to stop. */
export class NameService {
  #parts: DnsParts
  #responder: DnsResponder
  #failure: MeshError | undefined
  #stopRetry: () => void = () => {}
  #closed = false
  #hurried = false
  /** Ends of waits for silence. */
  readonly #waits = new Set<() => void>()
  /** Responders at former addresses, which answer whoever asks there still. */
  readonly #leaving = new Map<DnsResponder, DnsOptions['listen']>()

  constructor(parts: DnsParts) {
    this.#parts = parts
    this.#responder = createDnsResponder(parts)
  }

  get responder(): DnsResponder {
    return this.#responder
  }

  /** Why the last bind failed; undefined when it succeeded or was not tried yet. */
  get failure(): MeshError | undefined {
    return this.#failure
  }

  /** Resolves after the first attempt, failed or not. */
  async start(inherited?: Inherited): Promise<void> {
    const { clock, log } = this.#parts
    try {
      await this.#responder.start(inherited)
      const { address } = this.#responder
      if (this.#failure && address) log.info('dns.listening', { address: endpointText(address.address, address.port) })
      this.#failure = undefined
      this.#leave()
    } catch (error) {
      if (!this.#failure) log.error('dns.listen.failed', { why: messageOf(error) })
      this.#failure = error instanceof MeshError ? error : new MeshError('LISTEN', messageOf(error), { cause: error })
      if (!this.#closed) this.#stopRetry = clock.after(retryMs, () => void this.start())
    }
  }

  /**
   * Other options from now on. Binds again only where the address has changed: the sockets at the old one answer until those at the new
   * one do, and then until nobody asks there any more.
   */
  async configure(options: DnsOptions): Promise<void> {
    const before = this.#parts.options.listen
    this.#parts = { ...this.#parts, options }
    if (isDeepStrictEqual(before, options.listen)) return this.#responder.configure(options)
    this.#stopRetry()
    this.#leaving.set(this.#responder, before)
    const known = [...this.#leaving].find(([, listen]) => isDeepStrictEqual(listen, options.listen))
    for (const [old, listen] of this.#leaving) {
      if (
        known?.[0] !== old &&
        listen.port === options.listen.port &&
        (isWildcard(listen) || isWildcard(options.listen))
      ) {
        // Only one of them can have the port.
        this.#leaving.delete(old)
        await old.close()
      }
    }
    if (known && this.#leaving.delete(known[0])) {
      this.#responder = known[0]
      await this.#responder.configure(options)
    } else this.#responder = createDnsResponder(this.#parts)
    if (this.#responder.address) this.#leave()
    else await this.start()
  }

  /** Those at former addresses end when they are not asked any more. */
  #leave(): void {
    for (const [old] of this.#leaving) {
      void this.#quiet(old, leaveMs).then(async () => {
        if (this.#leaving.delete(old)) await old.close()
      })
    }
  }

  /** Resolves when nobody has asked for a second, or after `mostMs`; at once if nobody has ever asked. */
  async quiet(mostMs: number): Promise<void> {
    await Promise.all([this.#responder, ...this.#leaving.keys()].map(one => this.#quiet(one, mostMs)))
  }

  async #quiet(responder: DnsResponder, mostMs: number): Promise<void> {
    const { clock } = this.#parts
    const end = clock.now() + mostMs
    let before = 0
    while (responder.asked !== before && clock.now() < end && !this.#hurried) {
      before = responder.asked
      await new Promise<void>(resolve => {
        const wake = () => {
          stop()
          this.#waits.delete(wake)
          resolve()
        }
        const stop = clock.after(Math.min(quietMs, end - clock.now()), wake)
        this.#waits.add(wake)
      })
    }
  }

  /** Ends the wait of {@link quiet}. */
  hurry(): void {
    this.#hurried = true
    for (const end of this.#waits) end()
  }

  /** Gives the sockets away; `start` takes them back. */
  pass(calls: PassingCalls): PassedSocket[] {
    return this.#responder.pass(calls)
  }

  problems(): Problem[] {
    const { address, port } = this.#parts.options.listen
    const failed = this.#failure
      ? [{ code: this.#failure.code, where: `dns.listen ${address}:${port}`, message: this.#failure.message }]
      : []
    return [...failed, ...this.#responder.problems()]
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#stopRetry()
    this.hurry()
    await Promise.all([this.#responder, ...this.#leaving.keys()].map(responder => responder.close()))
  }
}

function isWildcard({ address }: DnsOptions['listen']): boolean {
  return address === '0.0.0.0' || address === '::'
}
