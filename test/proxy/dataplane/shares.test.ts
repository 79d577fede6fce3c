/** Shares of flows by client and by frontend, against a plain count of everything. */
import t from 'tap'
import { type FlowShare, Shares, type Sharing } from '../../../proxy/dataplane/flow/limits/shares.ts'
import { clusterService, globalService } from '../../support/model.ts'

const frontends = [80, 81, 82].map(port => {
  const local = clusterService({ ports: [{ name: '', protocol: 'TCP', port }] })
  return globalService({ local }).frontends[0] ?? t.bailout('no frontend')
}) as Sharing['frontend'][]

class Held implements Sharing {
  share: FlowShare | undefined = undefined
  readonly client: Sharing['client']
  readonly frontend: Sharing['frontend']
  constructor(address: string, frontend = 0) {
    this.client = { address, port: 1 }
    this.frontend = frontends[frontend] as Sharing['frontend']
  }
}

t.test('at random: the limit is kept, nobody below another loses a flow to it, and all is forgotten', async t => {
  const most = 40
  const shares = new Shares<Held>(() => most)
  const open = new Set<Held>()
  const count = (address: string) => [...open].filter(({ client }) => client.address === address).length
  let seed = 7
  const draw = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
    return Math.floor((seed / 2_147_483_648) * below)
  }
  let evicted = 0
  for (let step = 0; step < 5000; step++) {
    const flows = [...open]
    const some = flows[draw(flows.length)]
    if (some && draw(8) === 0) {
      shares.remove(some)
      open.delete(some)
      continue
    }
    if (some) shares.active(some)
    const newcomer = new Held(`10.0.0.${draw(draw(2) ? 3 : 60)}`, draw(3))
    t.equal(shares.heldBy(newcomer), count(newcomer.client.address))
    t.equal(shares.isFullFor(newcomer), open.size >= most)
    if (shares.isFullFor(newcomer)) {
      const other = shares.inPlaceOf(newcomer)
      if (!other) continue
      t.ok(count(other.client.address) >= count(newcomer.client.address))
      shares.remove(other)
      open.delete(other)
      evicted++
    }
    shares.add(newcomer)
    open.add(newcomer)
    if (step % 100 === 0) t.same(new Set(shares), open)
  }
  t.ok(evicted > 100, `${evicted}`)
  for (const flow of open) shares.remove(flow)
  t.equal(shares.inPlaceOf(new Held('10.0.0.1')), undefined)
})

t.test('an IPv6 client is its network of 64 bits', async t => {
  const shares = new Shares<Held>(() => 2)
  const first = new Held('fd00::1')
  shares.add(first)
  shares.add(new Held('fd00::2'))
  t.equal(shares.inPlaceOf(new Held('fd00::3')), undefined)
  t.equal(shares.inPlaceOf(new Held('fd00:0:0:1::1')), first)
})
