/**
 * Keeps a listener for every TCP and UDP frontend of the proxied services, and tells the engine which backends have left. Follows the directory change by change: the cost of a change depends on its services, not on all.
 */

import { type Change, changeOf, type Directory, type ServiceChange } from '../../model/directory.ts'
import { messageOf, type Problem } from '../../model/error.ts'
import { inPieces } from '../../model/lists/in-pieces.ts'
import type { Log } from '../../model/log.ts'
import type { Frontend, GlobalService, ServiceKey } from '../../model/service.ts'
import { Inherited, type PassedSocket } from '../../model/sockets/passing.ts'
import type { Clock } from '../../model/time/clock.ts'
import { Turns } from '../../model/time/turn.ts'
import type { Engine } from '../engine.ts'
import { Departures } from './departures.ts'
import { FrontendListener, type FrontendListenerParts } from './frontend-listener.ts'
import type { RuleInput } from './packet-rules.ts'
import type { Steer } from './steer.ts'

export interface ListenersParts {
  readonly directory: Directory
  readonly engine: Engine
  /** `global`: only services with the annotation. `all`: every service that has frontends. */
  readonly services: 'global' | 'all'
  /** How long TCP connections may stay on a backend that a list without conditions no longer names. */
  readonly unlistedMs: number
  readonly clock: Clock
  readonly log: Log
  /** Makes the addresses of new frontends bindable, before they are opened. A failure shows when they are bound. */
  readonly prepare?: (ips: readonly string[]) => Promise<void>
  /** Whether listeners take private ports, to which packet rules redirect clients. */
  readonly redirects?: () => boolean
  /** The kernel leads clients to listeners that are bound elsewhere. */
  readonly steer?: Steer | undefined
  /** Takes keys of backends that have left. */
  readonly onRetire?: (backends: readonly string[]) => void
  /** A frontend was opened or closed, or has come or gone. */
  readonly onChange?: () => void
  /** None of the frontends of these addresses could be opened. Another socket of the machine must not answer for them. */
  readonly release?: (ips: readonly string[]) => Promise<void>
}

/** So many services are opened between two looks at the clock: each may have hundreds of backends. */
const atOnce = 8

export class Listeners {
  readonly #parts: ListenersParts
  readonly #listeners = new Map<string, FrontendListener>()
  readonly #closing = new Map<string, Promise<void>>()
  readonly #departures: Departures
  /** One for all listeners: a function made beside a service would keep that service as long as its listener is there. */
  readonly #forListeners: FrontendListenerParts
  #unsubscribe: (() => void) | undefined
  #stopped = false
  #inherited = new Inherited()

  constructor(parts: ListenersParts) {
    this.#parts = parts
    const { clock, directory, engine, unlistedMs, onRetire } = parts
    const retire = (backends: readonly string[]) => {
      engine.retire(backends)
      onRetire?.(backends)
    }
    this.#departures = new Departures({
      ...{ clock, unlistedMs, retire },
      service: key => this.#proxied(directory.service(key)),
      servicesAt: address => directory.servicesAt(address),
    })
    this.#forListeners = {
      ...parts,
      onRetry: listener => void this.#open([listener]),
      onChange: () => parts.onChange?.(),
    }
  }

  /** See `unlistedMs`. */
  setUnlisted(ms: number): void {
    this.#departures.setUnlisted(ms)
  }

  /**
   * Opens the frontends of the directory, in turns, and follows it from now on. Resolves when each has been tried once. A socket that is
   * inherited is not bound again.
   */
  async start(inherited = new Inherited()): Promise<void> {
    const { directory } = this.#parts
    this.#inherited = inherited
    // A service that changes before its turn is new until then. There may be thousands: they are not copied, but looked up again.
    const begun = new Set<ServiceKey>()
    let isWhole = false
    const isNew = (key: ServiceKey) => {
      if (isWhole || begun.has(key)) return false
      begun.add(key)
      return true
    }
    const follow = (change: Change) =>
      this.#follow(change.map(one => (isNew(one.key) ? changeOf(one.key, undefined, one.after) : one)))
    this.#unsubscribe = directory.onChange(change => void follow(change))
    const turns = new Turns()
    const tried: Promise<void>[] = []
    for (const some of inPieces(directory.services(), atOnce)) {
      if (begun.size > 0) await turns.next()
      if (this.#stopped) break
      const waiting = some.flatMap(({ key }) => (begun.has(key) ? [] : (directory.service(key) ?? [])))
      tried.push(follow(waiting.map(after => changeOf(after.key, undefined, after))))
    }
    isWhole = true
    begun.clear()
    await Promise.all(tried)
  }

  /** Frontends that cannot be bound now; each is tried again, first after 1 s, in the end every 30 s. */
  failures(): Problem[] {
    return [...this.#listeners.values()].flatMap(listener => listener.problem ?? [])
  }

  /** How many listen now. Every probe asks. */
  get open(): number {
    let open = 0
    for (const { listening } of this.#listeners.values()) if (listening) open++
    return open
  }

  listening(): { key: string; service: ServiceKey }[] {
    return [...this.#listeners.values()]
      .filter(listener => listener.listening)
      .map(listener => ({ key: listener.key, service: listener.service.key }))
  }

  /** Keys of the frontends that are closed on purpose, because they have no backend that could be chosen. */
  refusing(): string[] {
    return [...this.#listeners.values()].filter(({ refusing }) => refusing).map(({ key }) => key)
  }

  /** What packet rules need to know. */
  ruleInput(): RuleInput {
    const listeners = [...this.#listeners.values()]
    return {
      addresses: new Set(listeners.map(({ ip }) => ip)),
      open: listeners.flatMap(({ openFrontend }) => openFrontend ?? []),
    }
  }

  /** Frontends that are closed now, for whatever reason. */
  closed(): Frontend[] {
    return [...this.#listeners.values()].filter(({ listening }) => !listening).map(({ frontend }) => frontend)
  }

  isRefusing(frontendKey: string): boolean {
    return this.#listeners.get(frontendKey)?.refusing ?? false
  }

  /** Gives the sockets of all open frontends away. Nothing is opened or closed until `takeBack`. */
  async pass(): Promise<PassedSocket[]> {
    this.#unsubscribe?.()
    const passed = await Promise.all([...this.#listeners.values()].map(listener => listener.pass()))
    return passed.flatMap(socket => socket ?? [])
  }

  /** The successor has failed: goes on with the sockets, and with what has changed meanwhile. An engine that is closing takes none. */
  async takeBack(inherited: Inherited): Promise<void> {
    if (this.#stopped) return
    const { directory } = this.#parts
    const wanted = new Set([...directory.services()].flatMap(({ frontends }) => frontends.map(({ key }) => key)))
    for (const key of [...this.#listeners.keys()]) if (!wanted.has(key)) this.#shut(key)
    await Promise.all(
      [...this.#listeners.values()].map(listener =>
        listener.takeBack(inherited.takeFrontend(listener.key, bound => listener.fits(bound))),
      ),
    )
    await this.start(inherited)
  }

  /** Opens and closes nothing from now on: the engine is closing. */
  stop(): void {
    this.#stopped = true
    this.#unsubscribe?.()
    this.#departures.close()
  }

  /** Stops following and frees all addresses; the engine ends the flows. */
  async close(): Promise<void> {
    this.stop()
    for (const key of [...this.#listeners.keys()]) this.#shut(key)
    await Promise.all(this.#closing.values())
  }

  /** A frontend that goes from one service to another in the same change keeps its socket. */
  async #follow(change: Change): Promise<void> {
    const proxied = change.map(one => this.#proxiedPart(one))
    const shut = withoutFrontend(proxied)
    for (const key of shut) this.#shut(key)
    const opened = proxied.flatMap(({ before, after }) => (after ? this.#place(after, before) : []))
    if (opened.length > 0 || shut.length > 0) this.#parts.onChange?.()
    this.#departures.follow(proxied)
    await this.#open(opened)
  }

  /** The change as if there were only the services that have listeners. */
  #proxiedPart(change: ServiceChange): ServiceChange {
    const [before, after] = [this.#proxied(change.before), this.#proxied(change.after)]
    return before === change.before && after === change.after ? change : changeOf(change.key, before, after)
  }

  #proxied(service: GlobalService | undefined): GlobalService | undefined {
    return service && (this.#parts.services === 'all' || service.settings.global) ? service : undefined
  }

  /** Passes the service to its listeners, and returns those to open: new ones, and those that have refused until now. */
  #place(service: GlobalService, before: GlobalService | undefined): FrontendListener[] {
    return service.frontends.flatMap(frontend => {
      if (frontend.protocol === 'SCTP') {
        this.#notCarried(frontend, before)
        return []
      }
      const held = this.#listeners.get(frontend.key)
      if (held) {
        held.update(frontend, service)
        return held.needsOpening ? [held] : []
      }
      const listener = new FrontendListener(this.#forListeners, frontend, service)
      this.#listeners.set(frontend.key, listener)
      return [listener]
    })
  }

  async #open(listeners: readonly FrontendListener[]): Promise<void> {
    if (listeners.length === 0 || this.#stopped) return
    try {
      await this.#parts.prepare?.([...new Set(listeners.map(listener => listener.ip))])
    } catch (error) {
      this.#parts.log.warn('listener.unprepared', { why: messageOf(error) })
    }
    await Promise.all(
      listeners.map(async listener => {
        await this.#closing.get(listener.key)
        await listener.open(this.#inherited.takeFrontend(listener.key, bound => listener.fits(bound)))
      }),
    )
    await this.#release(listeners)
  }

  async #release(tried: readonly FrontendListener[]): Promise<void> {
    const { release, log } = this.#parts
    const failed = new Set(tried.flatMap(({ ip, problem }) => (problem ? [ip] : [])))
    if (!release || failed.size === 0) return
    for (const { ip, problem } of this.#listeners.values()) if (!problem) failed.delete(ip)
    try {
      await release([...failed])
    } catch (error) {
      log.warn('listener.unreleased', { why: messageOf(error) })
    }
  }

  #shut(key: string): void {
    const listener = this.#listeners.get(key)
    if (!listener) return
    this.#listeners.delete(key)
    const closing = listener.close().finally(() => {
      if (this.#closing.get(key) === closing) this.#closing.delete(key)
    })
    this.#closing.set(key, closing)
  }

  #notCarried(frontend: Frontend, before: GlobalService | undefined): void {
    if (before?.frontends.some(known => known.key === frontend.key)) return
    this.#parts.log.warn('listener.skipped', {
      frontend: frontend.key,
      service: frontend.service,
      why: 'SCTP is not carried, only TCP and UDP',
    })
  }
}

/** Keys of the frontends that no service has after the change. */
function withoutFrontend(change: Change): readonly string[] {
  const lost = change.flatMap(({ before, after }) => (before ? lostFrontends(before, after) : []))
  if (lost.length === 0) return lost
  const wanted = new Set(change.flatMap(({ after }) => after?.frontends.map(({ key }) => key) ?? []))
  return lost.filter(key => !wanted.has(key))
}

function lostFrontends(before: GlobalService, after: GlobalService | undefined): string[] {
  const isKept = ({ key }: Frontend) => after?.frontends.some(frontend => frontend.key === key)
  return before.frontends.every(isKept) ? [] : before.frontends.filter(one => !isKept(one)).map(({ key }) => key)
}
