/** What the connections of one engine share. */
import type { FlowContext } from '../flow/flow-context.ts'
import type { Buffers } from './buffers.ts'
import type { Turns } from './turns.ts'

export interface StreamsContext {
  readonly flows: FlowContext
  readonly buffers: Buffers
  readonly turns: Turns
}
