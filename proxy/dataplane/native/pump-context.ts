/** What the flows of one pump share. */
import type { FlowContext } from '../flow/flow-context.ts'
import type { Rings } from './rings.ts'

export interface PumpContext {
  readonly flows: FlowContext
  readonly rings: Rings
  /** Connections that the pump has handed over: their idleness is looked for in TypeScript. */
  readonly handed: Set<{ tick(now: number): void }>
}
