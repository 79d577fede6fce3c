/** The clients that were seen last. */
import t from 'tap'
import { RecentClients } from '../../../../proxy/model/flows/early-resets.ts'
import { FakeClock } from '../../../support/clock.ts'

const minute = 60_000

t.test('a client is new once, and forgotten ten minutes after its last flow', async t => {
  const clock = new FakeClock()
  const clients = new RecentClients(10, clock)
  t.same(
    ['a', 'a', 'b', 'a', 'b'].map(client => clients.add(client)),
    [true, false, true, false, false],
  )
  t.equal(clients.size, 2)
  clock.pass(9 * minute)
  t.equal(clients.add('b'), false, 'the last one again')
  clock.pass(2 * minute)
  t.equal(clients.size, 1, 'b alone')
  t.equal(clients.add('b'), false)
  t.equal(clients.add('a'), true)
  clock.pass(11 * minute)
  t.equal(clients.size, 0)
  t.equal(clients.add('a'), true, 'also the last one')
})

t.test('the oldest makes room', async t => {
  const clients = new RecentClients(2, new FakeClock())
  for (const client of ['a', 'b', 'a', 'c']) clients.add(client)
  t.equal(clients.size, 2)
  t.equal(clients.add('a'), false)
  t.equal(clients.add('b'), true, 'it was older than a')
  clients.setMax(1)
  t.equal(clients.size, 1)
  t.equal(clients.add('b'), false)
})
