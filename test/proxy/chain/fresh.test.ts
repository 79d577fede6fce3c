/** Backends of a cluster that has been lost for too long: used only where no other cluster has a ready one. */
import t from 'tap'
import tenancy from '../../../plugins/tenancy/index.ts'
import type { Backend, Backends } from '../../../proxy/model/backend.ts'
import type { GlobalService } from '../../../proxy/model/service.ts'
import { hostParts, outcome, plugin, startChain } from '../../support/chain.ts'
import { backend, clusterService, flow, globalService } from '../../support/model.ts'

const here = backend({ address: '10.1.0.1' })
const there = backend({ address: '10.2.0.1', cluster: 'cluster-2', demoted: true })

/** As the merge makes it. */
function service(backends: Backends, given: Parameters<typeof globalService>[0] = {}): GlobalService {
  const whole = globalService({ backends, ...given })
  const fresh = backends.filter(({ demoted }) => !demoted)
  return { ...whole, frontends: whole.frontends.map(frontend => ({ ...frontend, fresh })) }
}

t.test('new flows avoid it while another cluster has a ready backend, also at their next attempt', async t => {
  const chain = startChain(t)
  const all = service([there, here])
  t.equal(outcome(chain.choose(flow(all))), '10.1.0.1')
  t.same([...chain.selected(all)], [here.key])
  t.same(
    chain.settled(all.frontends[0] as never, all)?.map(({ key }) => key),
    [here.key],
  )
  t.equal(outcome(chain.choose(flow(all, { tried: [here.key] }))), '10.2.0.1', 'better than no backend')
  for (const state of [{ health: 'down' }, { state: 'terminating' }] as Partial<Backend>[]) {
    const changed = service([there, backend({ address: '10.1.0.1', ...state })])
    t.equal(outcome(chain.choose(flow(changed))), '10.2.0.1', JSON.stringify(state))
  }
  t.match(chain.explain(flow(all)).steps[0], { step: 'stale', removed: [{ backend: there.key }] })
})

t.test('after two failures in the live clusters the next attempt may go there', async t => {
  const chain = startChain(t)
  const local = [1, 2, 3, 4].map(i => backend({ address: `10.1.0.${i}` }))
  const all = service([...local, there])
  const tried = local.slice(0, 2).map(({ key }) => key)
  t.equal(outcome(chain.choose(flow(all, { tried }))), '10.2.0.1')
})

t.test('a law is kept: a tenant whose only cluster is lost uses what is known of it', async t => {
  const clusters = [
    { name: 'cluster-1', id: 1, local: true, tenant: 'red' },
    { name: 'cluster-2', id: 2, local: false, tenant: 'blue' },
  ]
  const parts = hostParts({ clusters })
  const blue = plugin(tenancy, { options: { tenants: { blue: ['10.9.0.0/16'], red: ['10.8.0.0/16'] } }, parts })
  const chain = startChain(t, { plugins: [blue] })
  const members = [clusterService(), clusterService({ cluster: 'cluster-2' })]
  const all = service([there, here], { members })
  t.equal(outcome(chain.choose(flow(all, { client: { address: '10.9.0.1', port: 1 } }))), '10.2.0.1')
  t.equal(outcome(chain.choose(flow(all, { client: { address: '10.8.0.1', port: 1 } }))), '10.1.0.1')
})

t.test('the name of a headless service leaves it out, the name of one of its endpoints does not', async t => {
  const chain = startChain(t)
  const headless = globalService({ backends: [there, here] })
  const client = { address: '127.0.0.1', port: 1 }
  t.same(
    chain.visible(client, headless, true).map(({ key }) => key),
    [here.key],
  )
  t.equal(chain.visible(client, headless).length, 2)
  t.equal(chain.visible(client, headless, true), chain.visible(client, headless, true), 'in the same array')
})
