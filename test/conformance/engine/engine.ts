/**
 * What any engine must do; what needs a network of its own is in namespace/.
 * `create` is the engine under test, and `source` where a process of its own finds it:
 *
 *     engineConformance(t, { create: createStreamsEngine, source: new URL(…), export: 'createStreamsEngine', … })
 */
import type { Test } from 'tap'
import { drainSuite } from './drain.ts'
import { fairnessSuite } from './fairness.ts'
import { faultSuite } from './faults.ts'
import { passingSuite } from './passing.ts'
import { pressureSuite } from './pressure.ts'
import type { EngineUnderTest } from './rig.ts'
import { sharesSuite } from './shares.ts'
import { streamSuite } from './stream.ts'
import { udpSuite } from './udp.ts'
import { urgentSuite } from './urgent.ts'

export function engineConformance(t: Test, engine: EngineUnderTest): void {
  t.test('bytes', async t => streamSuite(t, engine.create))
  t.test('urgent bytes', async t => urgentSuite(t, engine))
  t.test('pressure', async t => pressureSuite(t, engine))
  t.test('fairness', async t => fairnessSuite(t, engine))
  t.test('dials and faults', async t => faultSuite(t, engine))
  t.test('drain', async t => drainSuite(t, engine.create))
  t.test('shares', async t => sharesSuite(t, engine.create))
  t.test('udp', async t => udpSuite(t, engine))
  t.test('passing', async t => passingSuite(t, engine))
}
