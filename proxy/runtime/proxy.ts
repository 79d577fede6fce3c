/** The L4 proxy: an engine and the listeners that feed it. A reload with other engine options replaces it as a whole. */
import type { Engine, EngineOptions } from '../dataplane/engine.ts'
import { createEngine } from '../dataplane/engines.ts'
import { Listeners } from '../dataplane/frontends/listeners.ts'
import { LocalRoutes } from '../dataplane/frontends/local-routes.ts'
import type { Backend } from '../model/backend.ts'
import type { BatchSocketClass } from '../model/batch-socket.ts'
import type { Change, Directory } from '../model/directory.ts'
import { messageOf, type Problem } from '../model/error.ts'
import type { Chooser } from '../model/flow.ts'
import type { Log } from '../model/log.ts'
import type { EngineStats } from '../model/stats/engine.ts'
import type { Clock, Random } from '../model/time/clock.ts'

export interface L4ProxyParts {
  readonly directory: Directory
  readonly chooser: Chooser
  /** A flow has got bytes from its backend. */
  readonly onHeard: (backend: Backend) => void
  readonly engine: 'auto' | 'streams' | 'native'
  readonly options: EngineOptions
  readonly services: 'global' | 'all'
  readonly anyip: boolean
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly env: Readonly<Record<string, string | undefined>>
}

export class L4Proxy {
  /** Class of the native addon's batch sockets, for DNS; undefined with `streams`. */
  readonly BatchSocket: BatchSocketClass | undefined
  readonly #engine: Engine
  readonly #whyNotNative: string | undefined
  readonly #listeners: Listeners
  readonly #directory: Directory
  readonly #log: Log
  readonly #routes: LocalRoutes | undefined
  readonly #unwatch: () => void

  constructor(parts: L4ProxyParts) {
    const { directory, services, clock, log, anyip } = parts
    this.#directory = directory
    this.#log = log
    const { engine, whyNotNative, BatchSocket } = createEngine(parts.engine, parts, parts.env)
    this.#engine = engine
    this.#whyNotNative = whyNotNative
    this.BatchSocket = BatchSocket
    this.#routes = anyip ? new LocalRoutes({ log }) : undefined
    this.#unwatch = this.#routes ? directory.onChange(change => this.#dropRoutes(change)) : () => {}
    const routes = this.#routes
    const prepare = routes && {
      prepare: (ips: readonly string[]) => routes.add(ips),
      release: (ips: readonly string[]) => routes.remove(ips),
    }
    this.#listeners = new Listeners({ directory, engine: this.#engine, services, clock, log, ...prepare })
  }

  /** The engine's name; if `auto` could not load the native one, also why. */
  get engine(): string {
    return this.#whyNotNative === undefined
      ? this.#engine.name
      : `${this.#engine.name} (not native: ${this.#whyNotNative})`
  }

  get listening(): number {
    return this.#listeners.listening().length
  }

  stats(): EngineStats & { readonly listeners: number } {
    return { ...this.#engine.stats(), listeners: this.listening }
  }

  /** Frontends whose address cannot be bound. */
  failures(): Problem[] {
    return this.#listeners.failures()
  }

  /** Whether the frontend is closed on purpose, since it has no backend that could be chosen. */
  isRefusing(frontendKey: string): boolean {
    return this.#listeners.isRefusing(frontendKey)
  }

  get refusing(): number {
    return this.#listeners.refusing().length
  }

  start(): Promise<void> {
    return this.#listeners.start()
  }

  /** Closes all listeners; flows in progress continue. */
  async release(): Promise<void> {
    await this.#listeners.close()
  }

  async close(): Promise<void> {
    this.#unwatch()
    await this.#listeners.close()
    await this.#engine.close()
    await this.#routes?.close()
  }

  destroy(): void {
    this.#engine.destroy()
  }

  /** Removes the route of an address when its last frontend is gone. */
  #dropRoutes(change: Change): void {
    const gone = new Set(change.flatMap(({ before }) => before?.frontends.map(({ ip }) => ip) ?? []))
    for (const { after } of change) for (const { ip } of after?.frontends ?? []) gone.delete(ip)
    if (gone.size === 0) return
    for (const { frontends } of this.#directory.services()) for (const { ip } of frontends) gone.delete(ip)
    if (gone.size > 0)
      this.#routes?.remove([...gone]).catch(error => this.#log.warn('routes.remove-failed', { why: messageOf(error) }))
  }
}
