/** The reader of the ring of events: in which steps the pump gets room back, and which time events have. */
import t from 'tap'
import type { NativePump } from '../../../../proxy/dataplane/native/addon.ts'
import { at, Rings, records, wordsOfRecord } from '../../../../proxy/dataplane/native/rings.ts'
import { systemClock } from '../../../../proxy/model/time/clock.ts'

/** The pump's side: a memory, and who was woken. */
function opened() {
  const memory = new SharedArrayBuffer((at.commands + records * wordsOfRecord) * 4)
  const words = new Int32Array(memory)
  const rings = new Rings({ memory, kick: () => {} } as unknown as NativePump)
  const add = (count: number) => {
    for (let i = 0; i < count; i++) {
      const head = words[at.eventHead] as number
      words[at.events + (head & (records - 1)) * wordsOfRecord + 1] = head
      words[at.eventHead] = (head + 1) | 0
    }
  }
  return { rings, words, add, room: () => words[at.eventTail] as number }
}

function busyFor(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end; );
}

t.test('all events are read in their order, and the pump gets their room in steps', async t => {
  const { rings, add, room } = opened()
  add(100)
  const [slots, rooms]: [number[], Set<number>] = [[], new Set()]
  const isMore = rings.read(1000, ({ slot }) => {
    slots.push(slot)
    rooms.add(room())
  })
  t.equal(isMore, false)
  t.same(
    slots,
    Array.from({ length: 100 }, (_, i) => i),
  )
  t.ok(rooms.size > 1 && rooms.size < 10, `${rooms.size} steps`)
  t.equal(room(), 100)
  t.equal(rings.sleep(), true)
})

t.test('at most so many, and over the end of the ring', async t => {
  const { rings, add, room } = opened()
  let taken = 0
  for (let i = 0; i < 3; i++) {
    add(records)
    t.equal(
      rings.read(records - 1, () => taken++),
      true,
      'there may be more',
    )
    rings.read(1, () => taken++)
    t.equal(room(), (i + 1) * records)
  }
  t.equal(taken, 3 * records)
})

t.test('what comes meanwhile is read too, and an event that fails is not read again', async t => {
  const { rings, add, room } = opened()
  add(1)
  let taken = 0
  rings.read(10, () => taken++ === 0 && add(1))
  t.equal(taken, 2)
  add(3)
  t.throws(() =>
    rings.read(10, ({ slot }) => {
      if (slot === 3) throw new Error('a fault')
    }),
  )
  t.equal(room(), 4)
  t.equal(rings.sleep(), false, 'there is one')
  rings.read(10, ({ slot }) => t.equal(slot, 4))
  const clock = systemClock.now()
  busyFor(2)
  t.ok(systemClock.now() > clock, 'time passes after a fault')
})

t.test('events in a row happen at one time, but it does not stand for long', async t => {
  const { rings, add } = opened()
  add(64)
  const times: number[] = []
  const before = systemClock.now()
  rings.read(64, () => {
    times.push(systemClock.now())
    busyFor(0.1)
  })
  t.ok(before < (times[0] as number))
  t.same(new Set(times).size, 2)
  t.ok((times[63] as number) - (times[0] as number) >= 3)
  const after = systemClock.now()
  t.ok(after > (times[63] as number))
  busyFor(1)
  t.ok(systemClock.now() > after)
})

t.test('nobody reads an event twice, even within another', async t => {
  const { rings, add, room } = opened()
  add(5)
  const slots: number[] = []
  rings.read(10, ({ slot }) => {
    slots.push(slot)
    if (slot === 1) rings.read(10, inner => slots.push(inner.slot))
  })
  t.same(slots, [0, 1, 2, 3, 4])
  t.equal(room(), 5)
})
