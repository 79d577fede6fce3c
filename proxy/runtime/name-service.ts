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

/** A failed bind, such as a port in use, is a problem to report and to retry, not a reason to stop. */
export class NameService {
  #parts: DnsParts
  #responder: DnsResponder
  #failure: MeshError | undefined
  #stopRetry: () => void = () => {}
  #closed = false
  #hurried = false
  #hurry: () => void = () => {}

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
    } catch (error) {
      if (!this.#failure) log.error('dns.listen.failed', { why: messageOf(error) })
      this.#failure = error instanceof MeshError ? error : new MeshError('LISTEN', messageOf(error), { cause: error })
      if (!this.#closed) this.#stopRetry = clock.after(retryMs, () => void this.start())
    }
  }

  /** Other options from now on. Binds again only where the address has changed. */
  async configure(options: DnsOptions): Promise<void> {
    const { listen } = this.#parts.options
    this.#parts = { ...this.#parts, options }
    if (isDeepStrictEqual(listen, options.listen)) return this.#responder.configure(options)
    this.#stopRetry()
    await this.#responder.close()
    this.#responder = createDnsResponder(this.#parts)
    await this.start()
  }

  /** Resolves when nobody has asked for a second, or after `mostMs`; at once if nobody has ever asked. */
  async quiet(mostMs: number): Promise<void> {
    const { clock } = this.#parts
    const end = clock.now() + mostMs
    let before = 0
    while (this.#responder.asked !== before && clock.now() < end && !this.#hurried) {
      before = this.#responder.asked
      await new Promise<void>(resolve => {
        const stop = clock.after(Math.min(quietMs, end - clock.now()), resolve)
        this.#hurry = () => {
          stop()
          resolve()
        }
      })
    }
  }

  /** Ends the wait of {@link quiet}. */
  hurry(): void {
    this.#hurried = true
    this.#hurry()
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
    await this.#responder.close()
  }
}
