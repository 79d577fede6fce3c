/** The native engine with every backend behind a gateway: the conformance suite of engines, over tunnels. */
import t from 'tap'
import { findAddon } from '../../../proxy/dataplane/native/addon.ts'
import { engineConformance } from '../../conformance/engine/engine.ts'
import { closeTunnels, createTunnelledNative, tunnelledEngine } from '../../support/tunnel/engines.ts'

t.teardown(closeTunnels)
const found = findAddon()
if ('why' in found) t.pass(`not tested: ${found.why}`)
else
  engineConformance(t, {
    create: createTunnelledNative,
    export: 'createTunnelledNative',
    accepts: 'when it can',
    // The pump has handed it to the tunnel, and does not keep it.
    resends: false,
    ...tunnelledEngine,
  })
