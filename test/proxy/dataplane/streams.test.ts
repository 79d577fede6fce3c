/** The conformance tests with the engine streams. */
import t from 'tap'
import { createStreamsEngine } from '../../../proxy/dataplane/streams/engine.ts'
import { engineConformance } from '../../conformance/engine/engine.ts'

engineConformance(t, {
  create: createStreamsEngine,
  source: new URL('../../../proxy/dataplane/streams/engine.ts', import.meta.url),
  export: 'createStreamsEngine',
  urgentBytes: 'lost',
  accepts: 'always',
})
