/** The nouns of this folder: what is remembered of a backend, and what it shares with others. */
import type { Protocol } from '../model/address.ts'
import type { Health } from '../model/backend.ts'
import type { ServiceKey } from '../model/service.ts'
import type { Due } from './due-queue.ts'
import type { Checks } from './rise-fall.ts'

/** A backend under watch. It outlives the frozen `Backend` values of its key, and for a while its absence. */
export interface Watched {
  /** The backend's key. */
  readonly key: string
  readonly address: string
  readonly port: number
  readonly protocol: Protocol
  /** Where it stands now; empty while it is away. */
  readonly pools: Set<Pool>
  /** Whose checks speak for it; undefined when nothing checks it. */
  target: Target | undefined
  /** What live traffic found; undefined as long as that was nothing bad. */
  standing: Standing | undefined
  /** The health that the directory shows. */
  shown: Health
}

/** The backends of one frontend that can get new flows: what a ceiling on ejections counts. */
export interface Pool {
  readonly service: ServiceKey
  readonly watched: readonly Watched[]
}

/** One address and port to check, for however many services and clusters it stands. */
export interface Target extends Due {
  readonly address: string
  readonly port: number
  readonly watched: Set<Watched>
  checks: Checks
}

/** `times` is how many ejections in a row the next one builds on. */
export type Standing =
  | { readonly state: 'in'; failures: number; readonly times: number; readonly since: number }
  | { readonly state: 'ejected'; passes: number; readonly times: number; readonly until: number }
