// Whether nodes are reached: what the prober makes of answers and silence, and real answers of a kernel.
import t from 'tap'
import type { Peer } from '../../../proxy/underlay/plan.ts'
import { Prober } from '../../../proxy/underlay/probe.ts'
import { FakeClock } from '../../support/clock.ts'

const peer = (name: string, probe: string, mtu = 1450): Peer => ({
  ...{ cluster: 'c2', name, address: '192.0.2.1', networks: [], probe, mtu },
})

t.test('silence and a narrow way are told after two rounds, an answer at once', async t => {
  const told: string[] = []
  let answers = (_bytes: number): number | undefined => 0.5
  const asked: number[] = []
  const prober = new Prober({
    clock: new FakeClock(),
    probe: async (_address, bytes) => {
      asked.push(bytes)
      return answers(bytes)
    },
    onChange: ({ name }, { state }, before) => told.push(`${name}: ${before} ${state}`),
  })
  prober.follow([peer('b1', '10.2.1.0'), peer('b2', 'fd00:2::', 1430)])
  t.match(prober.reachOf('c2/b1'), { state: 'unknown' })
  await prober.round()
  t.same(asked.slice(0, 2), [1450 - 28, 1430 - 48], 'with the largest packets')
  t.match(prober.reachOf('c2/b1'), { state: 'reached', roundTripMs: 0.5 })
  answers = () => undefined
  await prober.round()
  t.match(prober.reachOf('c2/b1'), { state: 'reached' }, 'packets get lost')
  await prober.round()
  t.match(prober.reachOf('c2/b1'), { state: 'silent' })
  answers = bytes => (bytes > 1000 ? undefined : 0.4)
  await prober.round()
  t.match(prober.reachOf('c2/b1'), { state: 'narrow', roundTripMs: 0.4 })
  answers = () => 0.3
  await prober.round()
  t.match(prober.reachOf('c2/b1'), { state: 'reached', roundTripMs: 0.3 })
  t.same(
    told.filter(each => each.startsWith('b1')),
    ['b1: unknown reached', 'b1: reached silent', 'b1: silent narrow', 'b1: narrow reached'],
  )
  prober.follow([peer('b1', '10.2.9.0')])
  t.match(prober.reachOf('c2/b1'), { state: 'unknown' }, 'another address is another way')
  t.equal(prober.reachOf('c2/b2'), undefined)
  await prober.close()
})

t.test('a kernel answers for a port where nobody listens', async t => {
  const prober = new Prober({ clock: new FakeClock() })
  prober.follow([peer('b1', '127.0.0.1'), peer('b2', '::1')])
  await prober.round()
  t.match(prober.reachOf('c2/b1'), { state: 'reached', roundTripMs: Number })
  t.match(prober.reachOf('c2/b2'), { state: 'reached', roundTripMs: Number })
  await prober.close()
})
