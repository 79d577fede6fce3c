/** Conformance suite of balancers, with seeded random numbers. */
import type { Test } from 'tap'
import type { Backends } from '../../proxy/model/backend.ts'
import type { Balancer, Flow, OpenFlows } from '../../proxy/model/flow.ts'
import { backend, flow, globalService } from '../support/model.ts'
import { seeded } from '../support/random.ts'

export type MakeBalancer = (parts: { random: () => number; openFlows: OpenFlows }) => Balancer

export function examineBalancer(t: Test, make: MakeBalancer): void {
  const idle = () => make({ random: seeded(7), openFlows: () => 0 })
  const list = (...weights: number[]): Backends =>
    Object.freeze(weights.map((weight, i) => backend({ address: `10.0.${i >> 8}.${i & 255}`, weight })))

  t.test('picks a member of the list, for any list', async t => {
    const balancer = idle()
    for (const weights of [
      [1, 1],
      [100, 100, 100],
      [1, 2, 3],
      [0, 1],
      [0, 0],
      [0.5, 0.25],
      [1e6, 1e-6],
      Array(300).fill(100),
    ]) {
      const backends = list(...weights)
      const strangers = pickMany(balancer, backends, 300).filter(picked => !backends.includes(picked))
      t.same(strangers, [], `weights ${weights.slice(0, 5)}`)
    }
  })

  t.test('gives each backend its share', async t => {
    const balancer = idle()
    for (const weights of [Array(10).fill(100), [80, 20], [5, 1, 1, 3], [26.6, 26.6, 26.6, 20]]) {
      const sum = weights.reduce((a, b) => a + b, 0)
      const backends = list(...weights)
      const picks = pickMany(balancer, backends, 20_000)
      for (const one of backends) {
        const share = picks.filter(picked => picked === one).length / picks.length
        t.ok(Math.abs(share - one.weight / sum) < 0.05, `weight ${one.weight} of ${sum} got ${share}`)
      }
    }
  })

  t.test('weight 0 gets nothing, unless all weights are 0', async t => {
    const balancer = idle()
    const [never, ...others] = list(0, 100, 100)
    t.notOk(pickMany(balancer, Object.freeze([never, ...others] as Backends), 2000).includes(never as Backends[number]))
    const all = list(0, 0, 0)
    t.equal(new Set(pickMany(balancer, all, 2000)).size, 3)
  })

  t.test('uses the given list, not an earlier one', async t => {
    const balancer = idle()
    const before = list(100, 100, 100, 100)
    pickMany(balancer, before, 100)
    const after = Object.freeze(before.slice(0, 2))
    t.equal(pickMany(balancer, after, 200).filter(picked => !after.includes(picked)).length, 0)
    t.equal(new Set(pickMany(balancer, before, 2000)).size, 4, 'and the old one again')
  })

  t.test('serves a flow that has tried others', async t => {
    const balancer = idle()
    const backends = list(100, 0, 50)
    const picks = pickMany(balancer, backends, 300, { tried: ['cluster-1/10.9.9.9:1/TCP'] })
    t.same(
      [...new Set(picks)].filter(picked => picked.weight === 0 || !backends.includes(picked)),
      [],
    )
  })
}

/** One pick for each of `count` clients. */
export function pickMany(balancer: Balancer, backends: Backends, count: number, given: Partial<Flow> = {}): Backends {
  const service = globalService({ backends })
  return Array.from({ length: count }, (_, i) =>
    balancer.pick(
      flow(service, { client: { address: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, port: 1 }, ...given }),
      backends,
    ),
  )
}
