/** The engine streams with every backend behind a gateway: the conformance suite of engines, over tunnels. */
import t from 'tap'
import { engineConformance } from '../../conformance/engine/engine.ts'
import { closeTunnels, createTunnelledStreams, tunnelledEngine } from '../../support/tunnel/engines.ts'

t.teardown(closeTunnels)
engineConformance(t, {
  create: createTunnelledStreams,
  export: 'createTunnelledStreams',
  accepts: 'always',
  ...tunnelledEngine,
})
