/** Decisions that are made before a flow asks: after a change of policies, backends or Pods, in slices, with bounds. */
import t from 'tap'
import { Ahead, type Shared } from '../../../plugins/policy/ahead.ts'
import type { Backends } from '../../../proxy/model/backend.ts'
import type { GlobalService } from '../../../proxy/model/service.ts'
import { FakeClock } from '../../support/clock.ts'
import { backend, clusterService, flow, globalService } from '../../support/model.ts'
import { PolicyMesh, type TestPod, yaml } from './situation.ts'

const pod = (name: string, address: string): TestPod => ({ namespace: 'shop', name, address, labels: { app: name } })
const pods = [pod('cart', '10.1.0.1'), pod('web', '10.1.0.2'), pod('bot', '10.1.0.3'), pod('cart-2', '10.1.0.4')]
const allow = (name: string, from: string) =>
  yaml(
    `{ apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: { name: ${name}, namespace: shop }, spec: { podSelector: { matchLabels: { app: cart } }, ingress: [{ from: [{ podSelector: { matchLabels: { app: ${from} } } }] }] } }`,
  )
const cartAt = (...addresses: string[]) =>
  globalService({
    local: clusterService({ namespace: 'shop', name: 'cart', ports: [{ name: '', protocol: 'TCP', port: 80 }] }),
    backends: addresses.map(address => backend({ address })),
  })

t.test('what clients have asked is decided again when policies, Pods or backends change', async t => {
  const mesh = new PolicyMesh({ pods, policies: allow('one', 'web') })
  let lookUps = 0
  const at = mesh.store.at.bind(mesh.store)
  mesh.store.at = (address, cluster) => {
    lookUps++
    return at(address, cluster)
  }
  let service = cartAt('10.1.0.1')
  const left = (address: string) => {
    lookUps = 0
    const asked = flow(service, { client: { address, port: 40_000 } })
    const isRefused = mesh.plugin.admit?.(asked.client, service, 'flow') !== undefined
    const { length } = mesh.plugin.candidates?.(asked, asked.frontend.backends) ?? []
    t.equal(length === 0, isRefused)
    return { backends: length, lookUps }
  }
  mesh.plugin.onService?.(service, [])
  t.match(left('10.1.0.3'), { backends: 0 })
  t.match(left('10.1.0.2'), { backends: 1 })
  t.match(left('192.0.2.7'), { backends: 0 })
  t.match(mesh.plugin.state?.(), { decided: 2 }, 'no policy tells the last two apart')

  for (const policy of allow('two', 'bot')) mesh.apply(policy)
  await mesh.clock.advance(0)
  t.same(left('10.1.0.3'), { backends: 1, lookUps: 0 }, 'another policy')
  t.same(left('192.0.2.7'), { backends: 0, lookUps: 0 }, 'for those outside too')

  service = cartAt('10.1.0.1', '10.1.0.4')
  mesh.plugin.onService?.(service, [])
  await mesh.clock.advance(0)
  t.same(left('10.1.0.3'), { backends: 2, lookUps: 0 }, 'another list of backends')

  mesh.put({ ...pod('cart-2', '10.1.0.4'), labels: { app: 'cart' } })
  await mesh.clock.advance(0)
  t.same(left('192.0.2.7'), { backends: 0, lookUps: 0 }, 'another Pod behind an address')

  mesh.put({ ...pod('bot', '10.1.0.3'), labels: { app: 'thief' } })
  await mesh.clock.advance(0)
  t.match(left('10.1.0.3'), { backends: 0 }, 'another kind of client decides at its first flow')
  mesh.plugin.onService?.({ ...service, backends: [], frontends: [] }, service.backends)
  await mesh.clock.advance(0)
  t.match(mesh.plugin.state?.(), { decided: 0 }, 'a service that is gone is forgotten')
  await mesh.plugin.close?.()
  t.equal(mesh.clock.waiting, 0)
})

t.test('clients that have not come yet are decided for too: known Pods, and every part of a range', async t => {
  const block = yaml(
    `{ apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: { name: block, namespace: shop }, spec: { podSelector: { matchLabels: { app: cart } }, ingress: [{ from: [{ ipBlock: { cidr: 192.0.2.0/24, except: [192.0.2.128/25] } }, { ipBlock: { cidr: 'fd00::/64' } }] }] } }`,
  )
  const mesh = new PolicyMesh({ pods, policies: [...allow('one', 'web'), ...block] })
  const service = cartAt('10.1.0.1')
  mesh.plugin.onService?.(service, [])
  await mesh.clock.advance(0)
  const decided = () => (mesh.plugin.state?.() as { decided: number } | undefined)?.decided ?? 0
  const left = (address: string) => {
    const asked = flow(service, { client: { address, port: 40_000 } })
    return mesh.plugin.candidates?.(asked, asked.frontend.backends).length
  }
  const before = decided()
  t.ok(before >= 4, `${before}`)
  for (const address of ['10.1.0.2', '192.0.2.7', 'fd00::9']) t.equal(left(address), 1, address)
  for (const address of ['10.1.0.3', '192.0.2.200', '198.51.100.1', 'fd00:1::9']) t.equal(left(address), 0, address)
  t.equal(decided(), before, 'nothing was left to decide')

  mesh.put(pod('ship', '10.1.0.9'))
  mesh.put({ ...pod('ship', '10.1.0.9'), labels: { app: 'web', tier: 'x' } })
  await mesh.clock.advance(0)
  t.equal(left('10.1.0.9'), 1)
  t.equal(decided(), before, 'a new Pod that no policy tells from others')
  const more = globalService({
    local: clusterService({ namespace: 'shop', name: 'more', ports: [{ name: '', protocol: 'TCP', port: 80 }] }),
    backends: [backend({ address: '10.1.0.1', port: 81 })],
  })
  mesh.plugin.onService?.(more, [])
  await mesh.clock.advance(0)
  t.equal(decided(), 2 * before, 'a new service, for all of them')
  await mesh.plugin.close?.()
  t.equal(mesh.clock.waiting, 0)
})

t.test('clients that are backends of other services, and lists without lost clusters, are decided for too', async t => {
  const mesh = new PolicyMesh({ pods, policies: allow('one', 'web') })
  const counts = { filtered: 0 }
  const counted = (backends: Backends): Backends =>
    Object.assign([...backends], {
      filter: (...given: Parameters<Backends['filter']>) => {
        counts.filtered++
        return backends.filter(...given)
      },
    })
  const services = [cartAt('10.1.0.1', '10.1.0.4'), cartAt('10.1.0.2'), cartAt('10.1.0.3')].map((service, i) => {
    const frontends = service.frontends.map(frontend => ({
      ...frontend,
      backends: counted(frontend.backends),
      fresh: counted(frontend.backends.slice(0, 1)),
    }))
    return { ...service, key: `shop/service-${i}`, frontends }
  })
  for (const service of services) mesh.plugin.onService?.(service, [])
  for (let i = 0; i < 10; i++) await mesh.clock.advance(0)
  const ask = (address: string, service: GlobalService) => {
    const asked = flow(service, { client: { address, port: 40_000 } })
    const isRefused = mesh.plugin.admit?.(asked.client, service, 'flow') !== undefined
    const { backends, fresh = [] } = asked.frontend
    const left = [backends, fresh].map(list => mesh.plugin.candidates?.(asked, list).map(({ address }) => address))
    return { isRefused, left }
  }
  const [cart, web] = services as GlobalService[] as [GlobalService, GlobalService]
  counts.filtered = 0
  t.same(ask('10.1.0.2', cart), { isRefused: false, left: [['10.1.0.1', '10.1.0.4'], ['10.1.0.1']] })
  t.same(ask('10.1.0.3', cart), { isRefused: false, left: [['10.1.0.4'], []] }, 'no policy is about the second one')
  t.same(ask('10.1.0.3', web), { isRefused: false, left: [['10.1.0.2'], ['10.1.0.2']] })
  t.same(ask('10.1.0.1', web), { isRefused: false, left: [['10.1.0.2'], ['10.1.0.2']] })
  t.same(ask('10.1.0.2', web), { isRefused: false, left: [['10.1.0.2'], ['10.1.0.2']] }, 'its own')
  t.equal(counts.filtered, 0, 'no list was gone through')
  t.same(ask('10.1.0.1', cart).left, [['10.1.0.1', '10.1.0.4'], ['10.1.0.1']], 'a Pod reaches itself')
  t.same(ask('10.1.0.4', cart).left, [['10.1.0.4'], []])
  await mesh.plugin.close?.()
  t.equal(mesh.clock.waiting, 0)
})

t.test('what is decided for clients that have not come is bounded', async t => {
  const clock = new FakeClock()
  let decided = 0
  const ahead = new Ahead({
    clock,
    kindOf: ({ address }) => ({ kind: address, shared: shareOf(address) }),
    decide: () => {
      decided++
      return true
    },
    expected: () => Array.from({ length: 1000 }, (_, i) => client(`${i}`)),
    services: () => Array.from({ length: 100 }, (_, i) => `a/${i}`),
  })
  const shares = new Map<string, Shared>()
  const shareOf = (address: string) => {
    const shared = shares.get(address) ?? { used: new Set<string>() }
    shares.set(address, shared)
    return shared
  }
  ahead.everything()
  for (let i = 0; i < 10_000 && !ahead.isDone; i++) await clock.advance(0)
  t.ok(ahead.isDone)
  t.equal(decided, 20_000)
  ahead.close()
})

t.test('in slices, and a change begins it again', async t => {
  const due: (() => void)[] = []
  const after = (_ms: number, run: () => void) => {
    due.push(run)
    return () => {}
  }
  let now = 0
  const decided: string[] = []
  const shares = new Map<string, { kind: string; shared: Shared }>()
  const ahead = new Ahead({
    clock: { now: () => now, wall: () => 0, every: () => () => {}, after },
    kindOf: ({ address }) => shares.get(address),
    decide: ({ address }, service) => {
      now += 0.5
      decided.push(`${address} ${service}`)
      return true
    },
  })
  const turn = () => {
    const run = due.shift()
    run?.()
    return run !== undefined
  }
  for (let i = 0; i < 100; i++) {
    const kind = `client-${i}`
    const shared = { used: new Set<string>() }
    shares.set(kind, { kind, shared })
    ahead.met(kind, client(kind), shared)
    ahead.used(shared, 'a/b')
  }
  ahead.everything()
  t.equal(decided.length, 0, 'not within the change')
  turn()
  const first = decided.length
  t.ok(first >= 4 && first <= 16, `${first} in the first slice`)
  ahead.service('a/b')
  t.notOk(ahead.isDone)
  while (turn());
  t.ok(ahead.isDone)
  t.equal(decided.length, first + 100)
  t.equal(new Set(decided).size, 100)
  decided.length = 0
  ahead.service('a/c')
  while (turn());
  t.same(decided, [], 'nobody has used it')
  ahead.close()
})

t.test('what is kept is bounded', async t => {
  const clock = new FakeClock()
  const kinds = new Map<string, { kind: object; shared: Shared }>()
  const ahead = new Ahead({ clock, kindOf: ({ address }) => kinds.get(address), decide: () => true })
  const meet = (address: string, services: number) => {
    const shared = { used: new Set<string>() }
    const kind = {}
    ahead.met(kind, client(address), shared)
    for (let n = 0; n < services; n++) ahead.used(shared, `a/${n}`)
    return { kind, shared }
  }
  for (let i = 0; i < 20_000; i++) meet(`${i}`, 1)
  t.equal(ahead.pairs, 10_000, 'kinds of clients')
  kinds.set('one', meet('one', 2000))
  t.equal(ahead.pairs, 9_999 + 1000, 'services of one')
  ahead.everything()
  for (let i = 0; i < 1000 && !ahead.isDone; i++) await clock.advance(0)
  t.equal(ahead.pairs, 1000, 'those that are gone are forgotten')
  for (let i = 0; i < 300; i++) meet(`${i}`, 1000)
  t.equal(ahead.pairs, 200_000, 'pairs')
})

function client(address: string) {
  return { address, port: 40_000 }
}
