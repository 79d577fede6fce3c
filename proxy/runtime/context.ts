/** What every part that talks to the outside gets from the runtime. */
import type { Log } from '../model/log.ts'
import type { Clock, Random } from '../model/time/clock.ts'

export interface RuntimeContext {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly env: Readonly<Record<string, string | undefined>>
}
