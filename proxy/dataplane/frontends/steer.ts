/** What listeners need of the steering by the kernel: clients that connect to a frontend reach its listener elsewhere. */
import type { SocketAddress } from '../../model/address.ts'
import type { Frontend } from '../../model/service.ts'

export interface Steer {
  /** Whether listeners are bound to places of its own. */
  readonly active: boolean
  /**
   * Where the frontend's listener is to be bound, the same each time. `refused`: the port of the last answer is in use. Throws
   * `MeshError` LISTEN when there is none.
   */
  placeOf(frontend: Frontend, refused?: number): SocketAddress
  /** Whether a socket of another process is where a listener of this one may be. */
  fits(frontend: Frontend, bound: SocketAddress): boolean
  /** Its listener is open there: clients go to it from now on. */
  opened(frontend: Frontend, bound: SocketAddress): void
  /** It has gone: clients go where they ask for. */
  gone(frontend: Frontend): void
}
