/** The native engine with tunnels of node:http2, which its pump hands clients to: the conformance suite of engines. */
import t from 'tap'
import { findAddon } from '../../../proxy/dataplane/native/addon.ts'
import { engineConformance } from '../../conformance/engine/engine.ts'
import { closeTunnels, createTunnelledNative, tunnelledEngine } from '../../support/tunnel/engines.ts'

t.teardown(closeTunnels)
const found = findAddon()
// A minute and a half, for what `tunnel.engine: node` alone has.
if (process.env.STARLANE_TUNNEL !== '1') t.pass('not tested: npm run test:tunnel')
else if ('why' in found) t.pass(`not tested: ${found.why}`)
else
  engineConformance(t, {
    create: createTunnelledNative,
    export: 'createTunnelledNative',
    accepts: 'when it can',
    ...tunnelledEngine,
  })
