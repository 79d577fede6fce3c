import t from 'tap'
import { type BalancerName, balancers, createBalancer } from '../../../proxy/balancer/balancers.ts'
import type { Backend, Backends } from '../../../proxy/model/backend.ts'
import { hashOf } from '../../../proxy/model/text/hash.ts'
import { examineBalancer, pickMany } from '../../conformance/balancer.ts'
import { backend } from '../../support/model.ts'
import { seeded } from '../../support/random.ts'

for (const name of Object.keys(balancers) as BalancerName[]) {
  t.test(name, async t => examineBalancer(t, parts => createBalancer(name, parts)))
}

const list = (count: number, weight: (i: number) => number = () => 100): Backends =>
  Object.freeze(
    Array.from({ length: count }, (_, i) => backend({ address: `10.0.${i >> 8}.${i & 255}`, weight: weight(i) })),
  )

const make = (name: BalancerName, openFlows: (b: Backend) => number = () => 0, random = seeded(1)) =>
  createBalancer(name, { random, openFlows })

t.test('round-robin picks each in turn, from a random start', async t => {
  const backends = list(3)
  const from = (spot: number) =>
    pickMany(
      make('round-robin', undefined, () => spot),
      backends,
      6,
    ).map(b => backends.indexOf(b))
  t.same(from(0), [0, 1, 2, 0, 1, 2])
  t.same(from(0.99), [2, 0, 1, 2, 0, 1])
})

t.test('round-robin with weights is exact over a round, and smooth within', async t => {
  const backends = list(3, i => [5, 1, 1][i] as number)
  const picks = pickMany(
    make('round-robin', undefined, () => 0.5),
    backends,
    14,
  ).map(b => backends.indexOf(b))
  t.same(picks, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0])
})

t.test('round-robin keeps a position per list', async t => {
  const balancer = make('round-robin', undefined, () => 0)
  const one = list(2)
  const two = list(3)
  const order = [one, two, one, two, one, two].map(backends => pickMany(balancer, backends, 1)[0]?.address)
  t.same(order, ['10.0.0.0', '10.0.0.0', '10.0.0.1', '10.0.0.1', '10.0.0.0', '10.0.0.2'])
})

t.test('least-connections evens out open flows', async t => {
  const backends = list(20)
  const open = new Map<Backend, number>([[backends[0] as Backend, 500]])
  const balancer = make('least-connections', b => open.get(b) ?? 0)
  for (let i = 0; i < 2000; i++) {
    const [picked] = pickMany(balancer, backends, 1)
    open.set(picked as Backend, (open.get(picked as Backend) ?? 0) + 1)
  }
  const others = backends.slice(1).map(b => open.get(b) ?? 0)
  t.equal(open.get(backends[0] as Backend), 500, 'the busy one was never picked: it lost each comparison')
  t.ok(Math.max(...others) - Math.min(...others) < 15, `${others}`)
})

t.test('least-connections compares open flows per weight', async t => {
  const backends = list(2, i => [300, 100][i] as number)
  const open = new Map<Backend, number>()
  const balancer = make('least-connections', b => open.get(b) ?? 0)
  for (let i = 0; i < 400; i++) {
    const [picked] = pickMany(balancer, backends, 1)
    open.set(picked as Backend, (open.get(picked as Backend) ?? 0) + 1)
  }
  t.equal(open.get(backends[0] as Backend), 300)
})

t.test('maglev', async t => {
  const clients = 20_000

  t.test('a client keeps its backend, whatever the order of the list, in every process', async t => {
    const backends = list(7)
    const picks = pickMany(make('maglev'), backends, 200)
    t.same(pickMany(make('maglev'), Object.freeze(backends.toReversed()), 200), picks)
  })

  t.test('removing one of N moves at most 2/N of the clients', async t => {
    for (const count of [3, 10, 30, 100]) {
      const backends = list(count)
      const balancer = make('maglev')
      const before = pickMany(balancer, backends, clients)
      for (const gone of [0, count >> 1, count - 1]) {
        const after = pickMany(balancer, Object.freeze(backends.toSpliced(gone, 1)), clients)
        const moved = after.filter((picked, i) => picked !== before[i]).length
        t.ok(moved <= (2 / count) * clients, `${count} backends: ${moved} of ${clients} moved`)
      }
    }
  })

  t.test('shares are even', async t => {
    const backends = list(50)
    const picks = pickMany(make('maglev'), backends, 50_000)
    const counts = backends.map(one => picks.filter(picked => picked === one).length)
    t.ok(Math.min(...counts) > 800 && Math.max(...counts) < 1200, `${Math.min(...counts)}..${Math.max(...counts)}`)
  })

  t.test('a change of health moves no client, and the new backend value is picked', async t => {
    const balancer = make('maglev')
    const backends = list(5)
    const before = pickMany(balancer, backends, 500)
    const changed = Object.freeze(backends.map(b => Object.freeze<Backend>({ ...b, health: 'up' })))
    const after = pickMany(balancer, changed, 500)
    t.same(
      after.map(b => b.key),
      before.map(b => b.key),
    )
    t.ok(after.every(b => changed.includes(b)))
  })

  t.test('retries of the clients of one backend spread over the others', async t => {
    const backends = list(5)
    const left = Object.freeze(backends.slice(1))
    const picks = pickMany(make('maglev'), left, 1000, { tried: [backends[0]?.key ?? ''] })
    for (const one of left) t.ok(picks.filter(picked => picked === one).length > 180)
  })
})

t.test('the hash is stable and even', async t => {
  const numbers = [hashOf(''), hashOf('10.0.0.1'), hashOf('10.0.0.1', 1), hashOf('fd00::1')]
  t.same(numbers, [2_872_998_923, 2_931_590_574, 680_956_060, 3_932_836_459], 'the same in every process and version')
  const buckets = new Array(16).fill(0)
  for (let i = 0; i < 16_000; i++) buckets[hashOf(`10.0.${i >> 8}.${i & 255}`) % 16]++
  t.ok(Math.min(...buckets) > 850 && Math.max(...buckets) < 1150, `even: ${buckets}`)
})
