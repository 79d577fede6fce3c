/** Leadership over a store that the test answers for. */
import t from 'tap'
import type { EtcdStore } from '../../../proxy/clients/etcd/client.ts'
import { Leadership } from '../../../proxy/publish/leadership.ts'
import { FakeClock } from '../../support/clock.ts'

function lead(store: Partial<EtcdStore>) {
  const clock = new FakeClock()
  const became: string[] = []
  const leadership = new Leadership({ onEnd: () => {}, close: () => {}, ...store } as EtcdStore, {
    cluster: 'north',
    clusters: () => [],
    discovery: { prefix: 'cilium/synced/', found: () => {} },
    holder: 'me',
    leaseMs: 900_000,
    lockMs: 25_000,
    paceMs: 50,
    clock,
    became: state => became.push(state),
  })
  return { clock, leadership, became, ended: leadership.run().catch((error: Error) => error.message) }
}

const other = { key: 'k', value: Buffer.from('another'), createRevision: 1, modRevision: 1, lease: 1n }

t.test('a standby reads the lock every 5 s, however often it is woken', async t => {
  let reads = 0
  const { clock, leadership, became, ended } = lead({
    get: async () => {
      reads++
      return other as never
    },
  })
  await clock.advance(0)
  for (let second = 0; second < 20; second++) {
    for (let change = 0; change < 10; change++) leadership.wake()
    await clock.advance(1000)
  }
  t.equal(reads, 5)
  t.equal(new Set(became).size, 1)
  await leadership.resign()
  t.equal(await ended, 'closed')
  t.equal(clock.waiting, 0)
})

t.test('one that stops does not wait for a store that says nothing', async t => {
  const never = new Promise<never>(() => {})
  let closed = 0
  let isLocked = false
  const { clock, leadership, became } = lead({
    get: async key =>
      isLocked && key.includes('publisher') ? ({ ...other, value: Buffer.from('me') } as never) : undefined,
    grant: async () => 7n,
    keepAlive: async () => true,
    write: async () => {
      isLocked = true
      return true
    },
    pages: async function* () {},
    revoke: () => never,
    close: () => void closed++,
  })
  await clock.advance(0)
  t.same(became, ['publishing'])
  let isOver = false
  const resigned = leadership.resign().then(() => {
    isOver = true
  })
  await clock.advance(1999)
  t.notOk(isOver, 'it waits for the release of the lock')
  await clock.advance(1)
  await resigned
  t.equal(closed, 1)
  await clock.advance(60_000)
  t.same(became, ['publishing'])
  t.equal(clock.waiting, 0)
})
