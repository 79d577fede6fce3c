import { definePlugin } from '../../proxy/plugin.ts'
import { inOrder, isReadyLocal, ofSide, sideOf } from './sides.ts'
import { missingLocals, spill } from './spill.ts'

/** Which clusters a service prefers: local or remote as Cilium has it, a least number of local backends, an order of clusters. */
export default definePlugin({
  name: 'affinity',
  options: {},
  onError: 'skip',
  decides: 'change',
  appliesTo: ({ settings }) => sideOf(settings) !== 'none' || settings.clusterOrder.length > 0,
  create: (_options, host) => ({
    candidates: (flow, backends) => {
      const { settings } = flow.service
      const missing = missingLocals(flow, backends)
      const left =
        missing > 0
          ? spill(backends, missing, host.cluster.name, settings.clusterOrder)
          : inOrder(settings.clusterOrder, ofSide(sideOf(settings), backends))
      // Where Cilium's rule leaves nothing at all, the rest is tried: the checks are the likelier liars when all is bad.
      return left.length > 0 ? left : backends
    },
    why: ({ service: { settings }, frontend }, { remote }) => {
      const side = sideOf(settings)
      if (side === 'remote' && !remote) return 'remote backends are preferred, and there are healthy ones'
      if (side === 'local' && remote && (settings.clusterOrder.length === 0 || frontend.backends.some(isReadyLocal))) {
        return 'local backends are preferred, and there are enough healthy ones'
      }
      return `its cluster comes later in starlane.dev/affinity (${settings.clusterOrder.join(', ')})`
    },
  }),
})
