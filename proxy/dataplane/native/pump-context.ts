/** What the flows of one pump need of it and of its engine. */
import type { FlowContext } from '../flow/flow-context.ts'
import type { TcpConnection } from '../flow/tcp-connection.ts'
import type { Rings } from './rings.ts'

export interface PumpContext {
  readonly flows: FlowContext
  /** Its place among the pumps of the engine; the first is 0. */
  readonly index: number
  readonly rings: Rings
  /** Connections that pumps have handed over: their idleness is looked for in TypeScript. */
  readonly handed: Set<{ tick(now: number): void }>
  /** The connection is sent to the pump that has the stream with this token. */
  sent(token: number, connection: TcpConnection): void
  /** It has ended before. */
  notSent(token: number): void
}
