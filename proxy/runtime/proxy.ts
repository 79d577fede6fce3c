import type { Engine, EngineOptions } from '../dataplane/engine.ts'
import { createEngine } from '../dataplane/engines.ts'
import { Listeners } from '../dataplane/frontends/listeners.ts'
import { LocalRoutes } from '../dataplane/frontends/local-routes.ts'
import type { BatchSockets } from '../model/batch-socket.ts'
import type { Change, Directory } from '../model/directory.ts'
import { messageOf, type Problem } from '../model/error.ts'
import type { Chooser } from '../model/flow.ts'
import type { Log } from '../model/log.ts'
import type { EngineStats } from '../model/stats/engine.ts'
import type { Clock, Random } from '../model/time/clock.ts'

export interface TrafficParts {
  readonly directory: Directory
  readonly chooser: Chooser
  readonly engine: 'auto' | 'streams' | 'native'
  readonly options: EngineOptions
  readonly services: 'global' | 'all'
  readonly anyip: boolean
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly env: Readonly<Record<string, string | undefined>>
}

/** An engine and the listeners that feed it: what carries flows, and is replaced whole when it is configured otherwise. */
export class Traffic {
  /** What the engine's addon has for DNS; undefined with `streams`. */
  readonly sockets: BatchSockets | undefined
  readonly #engine: Engine
  readonly #whyNotNative: string | undefined
  readonly #listeners: Listeners
  readonly #directory: Directory
  readonly #log: Log
  readonly #routes: LocalRoutes | undefined
  readonly #unwatch: () => void

  constructor(parts: TrafficParts) {
    const { directory, services, clock, log, anyip } = parts
    this.#directory = directory
    this.#log = log
    const { engine, whyNotNative, sockets } = createEngine(parts.engine, parts, parts.env)
    this.#engine = engine
    this.#whyNotNative = whyNotNative
    this.sockets = sockets
    this.#routes = anyip ? new LocalRoutes({ log }) : undefined
    this.#unwatch = this.#routes ? directory.onChange(change => this.#dropRoutes(change)) : () => {}
    const prepare = this.#routes && { prepare: (ips: readonly string[]) => this.#routes?.add(ips) ?? Promise.resolve() }
    this.#listeners = new Listeners({ directory, engine: this.#engine, services, clock, log, ...prepare })
  }

  /** Its name; where `auto` could not have the faster one, also why. */
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

  /** Frontends that cannot be listened on. */
  failures(): Problem[] {
    return this.#listeners.failures()
  }

  start(): Promise<void> {
    return this.#listeners.start()
  }

  /** Frees all addresses; flows in progress stay. */
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

  /** An address goes when the last frontend on it has gone. */
  #dropRoutes(change: Change): void {
    const gone = new Set(change.flatMap(({ before }) => before?.frontends.map(({ ip }) => ip) ?? []))
    for (const { after } of change) for (const { ip } of after?.frontends ?? []) gone.delete(ip)
    if (gone.size === 0) return
    for (const { frontends } of this.#directory.services()) for (const { ip } of frontends) gone.delete(ip)
    if (gone.size > 0)
      this.#routes?.remove([...gone]).catch(error => this.#log.warn('routes.left', { why: messageOf(error) }))
  }
}
