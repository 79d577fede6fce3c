/** What all sessions and flows of one gateway share. */

import type { Chooser } from '../../model/flow.ts'
import type { Log } from '../../model/log.ts'
import type { Clock } from '../../model/time/clock.ts'
import type { Issuer } from '../enrolment/issuer.ts'
import type { FairLimit, Held } from './fair-limit.ts'
import type { Offers } from './offers.ts'

/** Durations in milliseconds. Replaced as a whole, never changed. */
export interface GatewayOptions {
  readonly dial: { readonly timeoutMs: number; readonly attempts: number }
  readonly idle: { readonly tcpMs: number; readonly halfClosedMs: number; readonly udpMs: number }
  readonly drainMs: number
  readonly limits: { readonly sessions: number; readonly streams: number }
}

export interface GatewayContext {
  /** Read at each use, since a reload replaces them. */
  readonly options: GatewayOptions
  readonly chooser: Chooser
  readonly offers: Offers
  /** Of a gateway that has the authority. */
  readonly issuer: Issuer | undefined
  readonly streams: FairLimit<Held>
  readonly clock: Clock
  readonly log: Log
  readonly draining: boolean
  /** For a new flow. */
  nextId(): number
}
