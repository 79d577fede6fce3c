/** Turns on the main thread: short ones share a round of the event loop, a long one is alone in its round, and what all make comes often. */
import t from 'tap'
import { Turns, TurnWork } from '../../../../proxy/model/time/turn.ts'

t.test('hundreds that have little to do do not wait for as many rounds of the event loop', async t => {
  const rounds = { count: 0, isOver: false }
  const count = () => {
    rounds.count++
    if (!rounds.isOver) setImmediate(count)
  }
  setImmediate(count)
  const order: number[] = []
  await Promise.all(
    Array.from({ length: 400 }, async (_, i) => {
      await new Turns().begin()
      order.push(i)
    }),
  )
  rounds.isOver = true
  t.same(
    order,
    order.toSorted((a, b) => a - b),
    'in the order of their asking',
  )
  t.ok(rounds.count < 200, `400 turns took ${rounds.count} rounds`)
})

t.test('sockets and timers are served between two that take their time', async t => {
  const seen: string[] = []
  const busy = async (name: string) => {
    await new Turns().begin()
    for (const end = performance.now() + 6; performance.now() < end; );
    seen.push(name)
    setImmediate(() => seen.push('served'))
  }
  await Promise.all([busy('first'), busy('second'), busy('third')])
  t.same(seen, ['first', 'served', 'second', 'served', 'third'])
})

t.test('what all others make comes in every other round, however many they are', async t => {
  const order: string[] = []
  const busy = async (name: string, turns: Turns) => {
    await turns.begin()
    for (const end = performance.now() + 5; performance.now() < end; );
    order.push(name)
  }
  const common = new Turns('common')
  const together = async () => {
    for (let i = 0; i < 4; i++) await busy('common', common)
  }
  await Promise.all([...Array.from({ length: 8 }, () => busy('one', new Turns())), together()])
  t.equal(order.length, 12)
  t.ok(order.lastIndexOf('common') <= 8, order.join(' '))
  t.ok(order.slice(0, 4).includes('one'), 'and the others are not kept waiting')
})

t.test('a turn says when it is over', async t => {
  const turns = new Turns()
  t.ok(turns.isOver, 'before it has begun')
  await turns.begin()
  t.notOk(turns.isOver)
  t.equal(turns.next(), undefined)
  for (const end = performance.now() + 9; performance.now() < end; );
  t.ok(turns.isOver)
  await turns.next()
  t.notOk(turns.isOver)
})

t.test('work is done once in its turn, however often it is asked for, and may ask for another', async t => {
  let times = 0
  const work = new TurnWork(() => {
    t.notOk(work.isOver)
    if (++times === 1) work.ask()
  })
  t.ok(work.isOver, 'nothing has been asked for')
  for (let i = 0; i < 3; i++) work.ask()
  t.equal(times, 0, 'not at once')
  for (let i = 0; i < 20 && times < 2; i++) await new Promise(resolve => setImmediate(resolve))
  await new Promise(resolve => setImmediate(resolve))
  t.equal(times, 2)
})
