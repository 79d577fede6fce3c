/** The native engine with every backend behind a tunnel in its pump, and the gateway in another: the conformance suite of engines. */
import t from 'tap'
import { findAddon } from '../../../proxy/dataplane/native/addon.ts'
import { whyNotInPump } from '../../../proxy/dataplane/native/tunnels.ts'
import { engineConformance } from '../../conformance/engine/engine.ts'
import { closeTunnels, createTunnelledPump, tunnelledEngine } from '../../support/tunnel/engines.ts'

t.teardown(closeTunnels)
const found = findAddon()
const why = 'why' in found ? found.why : whyNotInPump(found.addon.tunnels)
if (why !== undefined) t.pass(`not tested: ${why}`)
else
  engineConformance(t, {
    create: createTunnelledPump,
    export: 'createTunnelledPump',
    accepts: 'when it can',
    ...tunnelledEngine,
    perRoundTrip: 16 << 20,
    linksOutlive: false,
  })
