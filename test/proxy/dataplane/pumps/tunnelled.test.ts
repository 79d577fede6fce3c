/**
 * Three pumps with every backend behind a tunnel in one of them: connections go on in its pump. With STARLANE_THREADS=1
 * (`npm run test:threads`) the conformance suite too.
 */
import t from 'tap'
import { findAddon } from '../../../../proxy/dataplane/native/addon.ts'
import { whyNotInPump } from '../../../../proxy/dataplane/native/tunnels.ts'
import { engineConformance } from '../../../conformance/engine/engine.ts'
import { Rig } from '../../../conformance/engine/rig.ts'
import { echo, ending, hashOf, pattern, tcpBackend } from '../../../support/backend.ts'
import { eventually } from '../../../support/eventually.ts'
import { closeTunnels, createTunnelledPumps, tunnelledEngine } from '../../../support/tunnel/engines.ts'

t.teardown(closeTunnels)
const found = findAddon()
const why = 'why' in found ? found.why : whyNotInPump(found.addon.tunnels)
if (why !== undefined) t.pass(`not tested: ${why}`)
else {
  t.test('connections of all pumps go through, and end, as those of one', async t => {
    const { backend, sockets } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, createTunnelledPumps, { backends: [backend] })
    const data = pattern(300_000)
    const ends = Array.from({ length: 9 }, () => {
      const socket = rig.knock()
      const end = ending(socket)
      socket.end(data)
      return end
    })
    for (const { end, hash } of await Promise.all(ends)) t.same({ end, hash }, { end: 'fin', hash: hashOf(data) })
    const clients = await Promise.all([
      rig.client(),
      rig.client(),
      rig.client(),
      rig.client(),
      rig.client(),
      rig.client(),
    ])
    // Cut as soon as they are connected: some may still be on their way to the pump of the tunnel.
    const cut = clients.slice(0, 3).map(ending)
    rig.engine.lose([backend.destination])
    t.same(
      (await Promise.all(cut)).map(({ end }) => end),
      ['reset', 'reset', 'reset'],
    )
    t.same(await rig.settled(), { served: 15, refused: 0, failed: 0 })
    await eventually(() => {
      if (sockets.some(({ closed }) => !closed)) throw new Error('a backend still has a connection')
    })
    t.ok(rig.chooser.totals.slice(0, 9).every(({ sent, received }) => sent === data.length && received === data.length))
  })

  if (process.env.STARLANE_THREADS === '1')
    engineConformance(t, {
      create: createTunnelledPumps,
      export: 'createTunnelledPumps',
      accepts: 'when it can',
      ...tunnelledEngine,
      linksOutlive: false,
      // The gateway in this process is node:http2, which reads nothing while it writes.
      perRoundTrip: 128 << 20,
    })
}
