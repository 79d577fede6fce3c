/**
 * Finds sockets of this machine on all addresses (0.0.0.0, ::) that answer, or would answer, on addresses of frontends: where a
 * frontend is closed, and on every other port of a ClusterIP that is local only for Starlane. Packet rules prevent both.
 */
import type { Problem } from '../../model/error.ts'
import type { Frontend } from '../../model/service.ts'
import type { Clock } from '../../model/time/clock.ts'
import { type WildcardSocket, wildcardSockets } from './wildcard-sockets.ts'

const everyMs = 30_000
const soonMs = 1000
/** Ports named in one message. */
const maxNamed = 8
const remedy = 'set proxy.nftables to guard or redirect, which needs nft and NET_ADMIN'

export interface ExposureParts {
  /** Frontends without a listener now. */
  readonly closed: () => readonly Frontend[]
  /** Packet rules stand, so nothing is exposed. */
  readonly guarded: () => boolean
  /** The addresses are made local by `proxy.anyip`, and every socket on all addresses can be reached on them. */
  readonly anyip: boolean
  readonly clock: Clock
  readonly sockets?: () => Promise<readonly WildcardSocket[]>
}

export class Exposure {
  readonly #parts: ExposureParts
  #problems: readonly Problem[] = []
  #started = false
  #cancel: () => void = () => {}
  #cancelSoon: (() => void) | undefined

  constructor(parts: ExposureParts) {
    this.#parts = parts
  }

  /** What is unsafe, as of the last look, at most 30 s ago. */
  problems(): readonly Problem[] {
    return this.#parts.guarded() ? [] : this.#problems
  }

  /** Looks now, and every 30 s until `close`. */
  start(): Promise<void> {
    this.#started = true
    this.#cancel()
    this.#cancel = this.#parts.clock.every(everyMs, () => void this.look())
    return this.look()
  }

  /** A frontend was opened or closed: looks within a second, if it has been started. */
  lookSoon(): void {
    if (!this.#started || this.#cancelSoon) return
    this.#cancelSoon = this.#parts.clock.after(soonMs, () => {
      this.#cancelSoon = undefined
      void this.look()
    })
  }

  async look(): Promise<void> {
    const { anyip, closed, guarded, sockets = wildcardSockets } = this.#parts
    if (guarded() || (!anyip && closed().length === 0)) {
      this.#problems = []
      return
    }
    this.#problems = exposures(await sockets(), closed(), anyip)
  }

  close(): void {
    this.#started = false
    this.#cancel()
    this.#cancelSoon?.()
  }
}

function exposures(sockets: readonly WildcardSocket[], closed: readonly Frontend[], anyip: boolean): Problem[] {
  const held = new Set(sockets.map(({ protocol, port }) => `${protocol} ${port}`))
  const answered = closed.filter(({ protocol, port }) => held.has(`${protocol} ${port}`))
  const problems = answered.map(({ key, port, protocol, service }) => ({
    where: key,
    message: `${service} has no listener, and a socket of this machine on all addresses (${protocol} port ${port}) may answer its clients; ${remedy}, or stop that socket`,
  }))
  if (anyip && sockets.length > 0) {
    const message = `sockets of this machine on all addresses (${named(sockets)}) can be reached on every ClusterIP; ${remedy}`
    problems.push({ where: 'proxy.anyip', message })
  }
  return problems.map(problem => ({ code: 'EXPOSED', ...problem }))
}

function named(sockets: readonly WildcardSocket[]): string {
  const names = sockets.slice(0, maxNamed).map(({ protocol, port }) => `${protocol} ${port}`)
  const more = sockets.length - names.length
  return more > 0 ? `${names.join(', ')} and ${more} more` : names.join(', ')
}
