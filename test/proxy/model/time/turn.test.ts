/** Turns on the main thread: short ones share a round of the event loop, and a long one is alone in its round. */
import t from 'tap'
import { Turns } from '../../../../proxy/model/time/turn.ts'

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
