/** Time limits of one length: when each expires, and when it does not. */
import t from 'tap'
import { Deadlines, type Expiring, notWaiting } from '../../../proxy/dataplane/flow/deadlines.ts'
import { FakeClock } from '../../support/clock.ts'

/** Records when it expires. */
function entry(clock: FakeClock, then: () => void = () => {}) {
  const one = {
    ...{ previous: undefined as Expiring | undefined, next: undefined as Expiring | undefined },
    dueAt: notWaiting,
    expiredAt: undefined as number | undefined,
    expire: () => {
      one.expiredAt = clock.now()
      then()
    },
  }
  return one
}

t.test('each expires after its own time, whether or not others were stopped', async t => {
  const clock = new FakeClock()
  const deadlines = new Deadlines(clock, 1000)
  const start = clock.now()
  const [a, b, c] = [entry(clock), entry(clock), entry(clock)]
  deadlines.start(a, clock.now())
  await clock.advance(300)
  deadlines.start(b, clock.now())
  await clock.advance(300)
  deadlines.start(c, clock.now())
  deadlines.stop(a)
  await clock.advance(699)
  t.same([a.expiredAt, b.expiredAt, c.expiredAt], [undefined, undefined, undefined])
  await clock.advance(1)
  t.equal(b.expiredAt, start + 1300)
  await clock.advance(1000)
  t.same([a.expiredAt, c.expiredAt], [undefined, start + 1600])
})

t.test('one that begins while another expires has its whole time, and delays no other', async t => {
  const clock = new FakeClock()
  const deadlines = new Deadlines(clock, 1000)
  const start = clock.now()
  const again = entry(clock)
  const first = entry(clock, () => deadlines.start(again, clock.now()))
  const second = entry(clock)
  deadlines.start(first, clock.now())
  await clock.advance(100)
  deadlines.start(second, clock.now())
  await clock.advance(3000)
  t.same(
    [first, second, again].map(({ expiredAt }) => expiredAt),
    [start + 1000, start + 1100, start + 2000],
  )
})

t.test('after close nothing expires', async t => {
  const clock = new FakeClock()
  const deadlines = new Deadlines(clock, 1000)
  const one = entry(clock)
  deadlines.start(one, clock.now())
  deadlines.close()
  await clock.advance(5000)
  t.equal(one.expiredAt, undefined)
})

t.test('another length applies to those that have begun, in their order', async t => {
  const clock = new FakeClock()
  const deadlines = new Deadlines(clock, 1000)
  const start = clock.now()
  const [a, b, c] = [entry(clock), entry(clock), entry(clock)]
  deadlines.start(a, clock.now())
  await clock.advance(300)
  deadlines.start(b, clock.now())
  deadlines.change(2000)
  await clock.advance(1699)
  t.equal(a.expiredAt, undefined)
  await clock.advance(1)
  t.equal(a.expiredAt, start + 2000)
  deadlines.start(c, clock.now())
  deadlines.change(100)
  await clock.advance(0)
  t.equal(b.expiredAt, start + 2000, 'its time is over already')
  await clock.advance(100)
  t.equal(c.expiredAt, start + 2100)
  deadlines.change(5000)
  const last = entry(clock)
  deadlines.start(last, clock.now())
  await clock.advance(5000)
  t.equal(last.expiredAt, start + 7100)
})
