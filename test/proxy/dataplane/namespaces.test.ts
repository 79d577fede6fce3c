/** The conformance tests of both engines that need a network of their own. */
import t from 'tap'
import { findAddon } from '../../../proxy/dataplane/native/addon.ts'
import { burstSuite } from '../../conformance/namespace/bursts.ts'
import { handshakeSuite } from '../../conformance/namespace/handshake.ts'
import { lostSuite } from '../../conformance/namespace/lost.ts'
import { narrowSuite } from '../../conformance/namespace/narrow.ts'
import { pacingSuite } from '../../conformance/namespace/pacing.ts'
import { portSuite } from '../../conformance/namespace/ports.ts'

// Most of the time they wait.
t.jobs = 2

const engineIn = (folder: string, name: string) => ({
  source: new URL(`../../../proxy/dataplane/${folder}/engine.ts`, import.meta.url),
  export: name,
})
const streams = engineIn('streams', 'createStreamsEngine')
const native = engineIn('native', 'createNativeEngine')

t.test('streams', async t => {
  t.jobs = 2
  portSuite(t, streams)
  burstSuite(t, streams)
  narrowSuite(t, streams)
  lostSuite(t, streams, 'silent')
})

t.test(
  'native',
  { skip: 'addon' in findAddon() ? false : 'the addon was not built here: npm run build:native' },
  async t => {
    t.jobs = 2
    portSuite(t, native)
    burstSuite(t, native)
    narrowSuite(t, native)
    lostSuite(t, native, 'unacknowledged')
    pacingSuite(t, native)
    handshakeSuite(t, native)
  },
)
