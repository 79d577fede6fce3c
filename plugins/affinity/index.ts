/** Service affinity: prefers local or remote backends, clusters in an order, or what is near. */
import { type Backends, definePlugin, type Flow, integer, oneOf } from '../../proxy/plugin.ts'
import { inOrder, isReadyLocal, ofSide, sideOf } from './sides.ts'
import { missingLocals, spill } from './spill.ts'
import { nearest, nearnessOf } from './topology.ts'

export default definePlugin({
  name: 'affinity',
  options: {
    topology: oneOf(
      'Which services prefer backends of the same zone, then of the same region, in all clusters: those that ask for it by `trafficDistribution` (`service`), all (`zone`), or none.',
      ['service', 'zone', 'none'],
      'service',
    ),
    minHealthyNear: integer(
      'The minimum of healthy backends in the zone (or the region, if the zone has none); below it, others are added. `starlane.dev/min-healthy-local` of a service takes its place.',
      { min: 1, max: 10_000 },
      1,
    ),
  },
  onError: 'skip',
  decides: 'change',
  appliesTo: (service, { topology }) =>
    sideOf(service.settings) !== 'none' ||
    service.settings.clusterOrder.length > 0 ||
    nearnessOf(service, topology) !== undefined,
  create: ({ topology, minHealthyNear }, host) => {
    const bySide = (flow: Flow, backends: Backends): Backends => {
      const { settings } = flow.service
      const missing = missingLocals(flow, backends)
      const left =
        missing > 0
          ? spill(backends, missing, host.cluster.name, settings.clusterOrder)
          : inOrder(settings.clusterOrder, ofSide(sideOf(settings), backends))
      // If Cilium's rule leaves nothing, use all: assume the checks are wrong rather than every backend.
      return left.length > 0 ? left : backends
    }
    return {
      candidates: (flow, backends) => {
        const left = bySide(flow, backends)
        const nearness = nearnessOf(flow.service, topology)
        if (nearness === undefined) return left
        return nearest(flow, left, host.location, nearness, minHealthyNear, host.cluster.name)
      },
      why: (flow, backend) => {
        const { settings } = flow.service
        const { frontend, tried } = flow
        const untried = frontend.backends.filter(({ key }) => !tried.includes(key))
        if (bySide(flow, untried).includes(backend)) return 'it is farther away than others that are healthy'
        const side = sideOf(settings)
        if (side === 'remote' && !backend.remote) return 'remote backends are preferred, and some are healthy'
        if (
          side === 'local' &&
          backend.remote &&
          (settings.clusterOrder.length === 0 || frontend.backends.some(isReadyLocal))
        ) {
          return 'local backends are preferred, and enough are healthy'
        }
        return `its cluster comes later in starlane.dev/affinity (${settings.clusterOrder.join(', ')})`
      },
    }
  },
})
