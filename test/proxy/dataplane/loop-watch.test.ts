/** What tells a ring from an ordinary client whose backends are silent. */
import t, { type Test } from 'tap'
import { type Holdable, LoopWatch } from '../../../proxy/dataplane/flow/limits/loop-watch.ts'
import { FakeClock } from '../../support/clock.ts'
import { backend, clusterService, globalService } from '../../support/model.ts'

const [b, pod] = [backend({ address: '10.2.0.1' }), backend({ address: '10.2.0.2' })]
const service = globalService({ local: clusterService({}), backends: [b, pod] })
const [frontend] = service.frontends

/** Flows of one client; those that go on are passed to `dialled`. */
function rig(t: Test, dialled: (flow: Holdable) => void = () => {}) {
  const clock = new FakeClock()
  const watch = new LoopWatch(clock)
  t.teardown(() => watch.close())
  const seen = { gone: 0, held: 0, refused: 0 }
  const come = (address = '10.9.0.1'): Holdable => {
    if (!frontend) throw new Error('no frontend')
    let held = false
    const flow: Holdable = {
      ...{ id: 0, client: { address, port: 1 }, service, frontend, tried: [], backend: b, watch: undefined },
      release: () => {
        if (!held) return
        held = false
        goes()
      },
      refuseLoop: () => {
        seen.refused++
      },
    }
    const goes = () => {
      seen.gone++
      dialled(flow)
    }
    held = watch.holds(flow, clock.now())
    if (held) seen.held++
    else goes()
    return flow
  }
  return { clock, watch, seen, come }
}

for (const tokens of [1, 5]) {
  t.test(`a ring with ${tokens} flows in it is found, whichever way it is delayed`, async t => {
    const { clock, watch, seen, come } = rig(t, () => void clock.after(20 + ((seen.gone * 7) % 900), () => come()))
    for (let i = 0; i < tokens; i++) come()
    await clock.advance(200_000)
    t.same(
      watch.loops().map(({ backend, client }) => [backend.key, client]),
      [[b.key, '10.9.0.1']],
    )
    t.equal(seen.refused, tokens)
    t.match(watch.objection({ client: { address: '10.9.0.1', port: 2 } } as Holdable, b)?.message, /leads back/)
    t.notOk(
      watch.objection({ client: { address: '10.9.0.1', port: 2 } } as Holdable, pod),
      'other backends are not meant',
    )
    t.notOk(watch.objection({ client: { address: '10.9.0.2', port: 2 } } as Holdable, b), 'nor other clients')
    await clock.advance(300_001)
    t.same(watch.loops(), [])
  })
}

t.test('a fast ring is slowed down before it is tried', async t => {
  const { clock, seen, come, watch } = rig(t, () => void clock.after(0.1, () => come()))
  come()
  await clock.advance(2400)
  t.ok(seen.gone < 128 + 2400 / 5, `${seen.gone} flows`)
  await clock.advance(20_000)
  t.equal(watch.loops().length, 1)
  t.ok(seen.gone < 700, `${seen.gone} flows`)
})

t.test('a client whose backends answer waits for milliseconds at most, even while they are slow', async t => {
  const { clock, watch, seen, come } = rig(t, flow => void clock.after(500, () => watch.answered(flow)))
  for (let i = 0; i < 5000; i++) {
    come()
    if (i % 5 === 0) await clock.advance(10)
  }
  t.ok(seen.held < 10, `${seen.held} flows were held`)
  await clock.advance(5)
  t.equal(seen.gone, 5000)
})

t.test('a burst of silent flows goes on', async t => {
  const { seen, come, clock } = rig(t)
  for (let i = 0; i < 5000; i++) come()
  t.equal(seen.held, 1)
  await clock.advance(5)
  t.equal(seen.gone, 5000)
})

t.test('silent flows that keep coming are let go', async t => {
  const { clock, watch, seen, come } = rig(t)
  for (let i = 0; i < 3000; i++) {
    come()
    await clock.advance(37 + ((i * 13) % 40))
  }
  t.same(watch.loops(), [])
  t.ok(seen.held < 400, `${seen.held} of 3000 were held at first`)
  await clock.advance(5000)
  t.equal(seen.gone, 3000)
})

for (const everyMs of [700, 1100, 2000, 3400, 9000]) {
  t.test(`a silent connection every ${everyMs} ms, as of a checker, is no ring`, async t => {
    const { clock, watch, seen, come } = rig(t)
    for (let i = 0; i < 1000; i++) {
      come()
      await clock.advance(everyMs)
    }
    t.same(watch.loops(), [])
    t.equal(seen.refused, 0)
  })
}

t.test('its memory is bounded', t => {
  const { come, watch } = rig(t)
  for (let i = 0; i < 20_000; i++) come(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`)
  t.ok(watch.size <= 8192)
  if (frontend) watch.forget(frontend.key)
  t.equal(watch.size, 0)
  t.end()
})

t.test('a client that comes again because its flows have failed is no ring', async t => {
  const { clock, watch, seen, come } = rig(t, flow => {
    // Its backend refuses, and it has one connection at a time.
    void clock.after(5, () => watch.left(flow))
    void clock.after(6, () => come())
  })
  come()
  await clock.advance(200_000)
  t.same(watch.loops(), [])
  t.equal(seen.refused, 0)
  t.ok(seen.held > 0, 'it was looked at')
})

t.test('a process that had no time for what came does not take its client for a ring', async t => {
  const behind: (() => void)[] = []
  const { clock, watch, come, seen } = rig(t, () => void behind.push(come))
  // What comes is taken after the timers, whenever the process gets a turn: for seconds it gets none.
  for (let i = 0; i < 200; i++) come()
  for (let turn = 0; turn < 100; turn++) {
    clock.skip(5000)
    await clock.advance(0)
    for (const next of behind.splice(0, 50)) next()
    await clock.advance(10)
  }
  t.same(watch.loops(), [])
  t.equal(seen.refused, 0)
})
