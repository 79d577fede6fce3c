/** Service affinity: prefers local or remote backends, or clusters in an order. */
import { definePlugin } from '../../proxy/plugin.ts'
import { inOrder, isReadyLocal, ofSide, sideOf } from './sides.ts'
import { missingLocals, spill } from './spill.ts'

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
      // If Cilium's rule leaves nothing, use all: assume the checks are wrong rather than every backend.
      return left.length > 0 ? left : backends
    },
    why: ({ service: { settings }, frontend }, { remote }) => {
      const side = sideOf(settings)
      if (side === 'remote' && !remote) return 'remote backends are preferred, and some are healthy'
      if (side === 'local' && remote && (settings.clusterOrder.length === 0 || frontend.backends.some(isReadyLocal))) {
        return 'local backends are preferred, and enough are healthy'
      }
      return `its cluster comes later in starlane.dev/affinity (${settings.clusterOrder.join(', ')})`
    },
  }),
})
