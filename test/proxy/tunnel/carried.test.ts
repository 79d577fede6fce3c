/** Certificates and HTTP proxies once more, with both ends of tunnels in pumps. */
import { Socket } from 'node:net'
import t from 'tap'
import { findAddon } from '../../../proxy/dataplane/native/addon.ts'
import { whyNotInPump } from '../../../proxy/dataplane/native/tunnels.ts'
import type { Backend } from '../../../proxy/model/backend.ts'
import { echo, tcpBackend } from '../../support/backend.ts'
import { eventually } from '../../support/eventually.ts'
import { carryInPump, serveInPump, tunnelRig } from '../../support/tunnel/rig.ts'

const found = findAddon()
const why = 'why' in found ? found.why : whyNotInPump(found.addon.tunnels)
if (why !== undefined) t.pass(`not tested: ${why}`)
else {
  carryInPump()
  serveInPump()
  t.test('a stream is in the pump, and its bytes are not for JavaScript', async t => {
    const { backend } = await tcpBackend(t, echo)
    const { client, server, backends } = await tunnelRig(t, [backend])
    const [behind] = backends
    const stream = await client.dial(behind as Backend)
    t.type(stream.carried?.token, 'number')
    t.throws(() => stream.carry(new Socket(), () => {}))
    stream.reset()
    await eventually(() => {
      const { streams } = server.gateway.view()
      if (streams !== 0) throw new Error(`${streams} streams`)
    })
  })
  await import('./certificates.test.ts')
  await import('./http-proxy.test.ts')
}
