/** Leaves out the backends of clusters that have been lost for too long, while other clusters have any for the flow. */
import { type Backends, takesFlows } from '../model/backend.ts'
import type { Flow } from '../model/flow.ts'
import type { ServiceChain } from './compile.ts'
import { narrowed } from './narrow.ts'

/**
 * The list that the chain starts from, of the `untried` backends of a flow, after `spread` has left out the places where it has
 * failed: those that are not demoted, if the chain leaves one of them that is ready; else all. Laws run as always: a tenant whose
 * only cluster is lost uses what is known of it.
 */
export function fresh(chain: ServiceChain, flow: Flow, untried: Backends): Backends {
  const { frontend } = flow
  if (frontend.fresh === undefined) return untried
  // The frontend's own list is always the same array, so that decisions about it are remembered.
  const list = untried === frontend.backends ? frontend.fresh : untried.filter(({ demoted }) => !demoted)
  const [first] = narrowed(chain, flow, list)
  return first !== undefined && takesFlows(first) ? list : untried
}
