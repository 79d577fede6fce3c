/** Runs the narrowing steps of a service for one flow: candidates of each plugin, then what is usable. */
import type { Backends } from '../model/backend.ts'
import type { Flow } from '../model/flow.ts'
import type { ServiceChain } from './compile.ts'

/** What all narrowing leaves of a list for a flow: the usable backends, or none. */
export function narrowed(chain: ServiceChain, flow: Flow, backends: Backends): Backends {
  let left = backends
  for (const step of chain.narrowing) {
    if (left.length === 0) return left
    left = step.narrow(flow, left)
  }
  return chain.usable(flow, left)
}
