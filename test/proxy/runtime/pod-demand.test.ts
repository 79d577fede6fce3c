/** When sources read Pods, and that the first policies wait for them. */
import t from 'tap'
import type { PolicyObject } from '../../../proxy/model/workloads/policy-object.ts'
import { PodDemand } from '../../../proxy/runtime/sources/pod-demand.ts'
import { WorkloadStore } from '../../../proxy/workloads/store.ts'
import { FakeClock, settled } from '../../support/clock.ts'

const policy: PolicyObject = {
  ...{ cluster: 'east', kind: 'NetworkPolicy', apiVersion: 'networking.k8s.io/v1', namespace: 'shop', name: 'deny' },
  ...{ annotations: {}, spec: {}, specs: undefined, origin: undefined },
}

function stage() {
  const clock = new FakeClock()
  const store = new WorkloadStore()
  store.setClusters(['east', 'west'])
  const asked: boolean[] = []
  let read = Promise.withResolvers<void>()
  const source = {
    start() {},
    close: async () => {},
    followPods: (wanted: boolean) => {
      asked.push(wanted)
      read = Promise.withResolvers()
      return read.promise
    },
  }
  const seen: number[] = []
  const demand = new PodDemand(store, clock, () => [source])
  store.onChange(({ policies }) => policies && seen.push(store.policies().length))
  return { clock, store, asked, source, seen, demand, east: store.sink('east'), arrive: () => read.resolve() }
}

t.test('sources read Pods from the first policy until a minute after the last', async t => {
  const { clock, asked, seen, demand, east, arrive } = stage()
  await settled()
  t.same(asked, [])
  east.putPolicy(policy)
  await settled()
  t.same(asked, [true])
  t.equal(seen.at(-1), 0, 'the policy waits for the Pods')
  let isSettled = false
  void demand.settled.then(() => {
    isSettled = true
  })
  await settled()
  t.notOk(isSettled)
  arrive()
  await settled()
  t.equal(seen.at(-1), 1, 'and is there with them')
  t.ok(isSettled)
  east.dropPolicy(policy)
  await settled()
  t.equal(seen.at(-1), 0)
  await clock.advance(59_000)
  east.putPolicy(policy)
  await settled()
  t.equal(seen.at(-1), 1, 'one that is replaced does not wait')
  await clock.advance(120_000)
  t.same(asked, [true])
  east.dropPolicy(policy)
  await settled()
  await clock.advance(60_000)
  t.same(asked, [true, false])
})

t.test('a cluster that cannot be read keeps policies for a few seconds at most', async t => {
  const { clock, seen, demand, east } = stage()
  east.putPolicy(policy)
  await settled()
  t.equal(seen.at(-1), 0)
  await clock.advance(5000)
  await demand.settled
  await settled()
  t.equal(seen.at(-1), 1)
})

t.test('sources that are still being started are waited for', async t => {
  const store = new WorkloadStore()
  store.setClusters(['east', 'west'])
  const demand = new PodDemand(store, new FakeClock(), () => [])
  const started = demand.starting()
  store.sink('east').putPolicy(policy)
  await settled()
  const read = Promise.withResolvers<void>()
  demand.started({ start() {}, close: async () => {}, followPods: () => read.promise })
  started()
  await settled()
  t.same(store.policies(), [])
  read.resolve()
  await demand.settled
  t.same(store.policies(), [policy])
})

t.test('a rehearsal reads Pods without a policy, for as long as it takes and a minute', async t => {
  const { clock, asked, demand, east, arrive } = stage()
  const borrowed = demand.borrow()
  await settled()
  t.same(asked, [true])
  arrive()
  const { areRead, done } = await borrowed
  t.ok(areRead)
  await clock.advance(120_000)
  t.same(asked, [true], 'it has not ended')
  done()
  done()
  await clock.advance(59_000)
  t.same(asked, [true])
  const again = await demand.borrow()
  t.ok(again.areRead, 'one after the other')
  east.putPolicy(policy)
  await settled()
  again.done()
  await clock.advance(120_000)
  t.same(asked, [true], 'a policy has come')
  east.dropPolicy(policy)
  await settled()
  await clock.advance(60_000)
  t.same(asked, [true, false])
})

t.test('a rehearsal is told of a cluster whose Pods do not come', async t => {
  const { clock, demand, arrive } = stage()
  const first = demand.borrow()
  await settled()
  await clock.advance(5000)
  t.notOk((await first).areRead)
  t.notOk((await demand.borrow()).areRead, 'the next one at once')
  arrive()
  await settled()
  t.ok((await demand.borrow()).areRead)
})

t.test('ranges that policies may refer to, and kinds that are not used, need no Pods', async t => {
  const { asked, east } = stage()
  east.putPolicy({ ...policy, kind: 'CiliumCIDRGroup', apiVersion: 'cilium.io/v2', namespace: '' })
  east.putPolicy({
    ...policy,
    kind: 'AdminNetworkPolicy',
    apiVersion: 'policy.networking.k8s.io/v1alpha1',
    namespace: '',
  })
  await settled()
  t.same(asked, [])
  east.putPolicy({ ...policy, kind: 'CiliumClusterwideNetworkPolicy', apiVersion: 'cilium.io/v2', namespace: '' })
  await settled()
  t.same(asked, [true])
})
