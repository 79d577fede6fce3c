/**
 * What any engine must do; what needs a network of its own is in namespace/.
 * `create` is the engine under test, and `source` where a process of its own finds it:
 *
 *     engineConformance(t, { create: createStreamsEngine, source: new URL(…), export: 'createStreamsEngine', … })
 */
import type { Test } from 'tap'
import { drainSuite } from './engine-drain.ts'
import { fairnessSuite } from './engine-fairness.ts'
import { faultSuite } from './engine-faults.ts'
import { pressureSuite } from './engine-pressure.ts'
import type { EngineUnderTest } from './engine-rig.ts'
import { sharesSuite } from './engine-shares.ts'
import { streamSuite } from './engine-stream.ts'
import { udpSuite } from './engine-udp.ts'
import { urgentSuite } from './engine-urgent.ts'

export function engineConformance(t: Test, engine: EngineUnderTest): void {
  t.test('bytes', async t => streamSuite(t, engine.create))
  t.test('urgent bytes', async t => urgentSuite(t, engine))
  t.test('pressure', async t => pressureSuite(t, engine.create))
  t.test('fairness', async t => fairnessSuite(t, engine.create))
  t.test('dials and faults', async t => faultSuite(t, engine))
  t.test('drain', async t => drainSuite(t, engine.create))
  t.test('shares', async t => sharesSuite(t, engine.create))
  t.test('udp', async t => udpSuite(t, engine.create))
}
