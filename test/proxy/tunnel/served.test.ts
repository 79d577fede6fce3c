/** What a gateway serves once more, with its sessions in the pump; with `npm run test:tunnel` also enrolment and double HBONE. */
import t from 'tap'
import { findAddon } from '../../../proxy/dataplane/native/addon.ts'
import { whyNotInPump } from '../../../proxy/dataplane/native/tunnels.ts'
import { serveInPump } from '../../support/tunnel/rig.ts'

const found = findAddon()
const why = 'why' in found ? found.why : whyNotInPump(found.addon.tunnels)
if (why !== undefined) t.pass(`not tested: ${why}`)
else {
  serveInPump()
  await import('./gateway.test.ts')
  if (process.env.STARLANE_TUNNEL === '1') {
    await import('./enrolment.test.ts')
    await import('./double.test.ts')
  }
}
