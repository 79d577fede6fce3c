/** The door between sources and mesh, with a real mesh behind it. */
import assert from 'node:assert/strict'
import t, { type Test } from 'tap'
import { Admission } from '../../../proxy/admission/admission.ts'
import type { IsListener } from '../../../proxy/admission/own-addresses.ts'
import { Mesh } from '../../../proxy/mesh/mesh.ts'
import { parseCidr } from '../../../proxy/model/address.ts'
import type { Change } from '../../../proxy/model/directory.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import type { ClusterService } from '../../../proxy/model/service.ts'
import { FakeClock } from '../../support/clock.ts'
import { eventually } from '../../support/eventually.ts'
import { clusterService, endpoint } from '../../support/model.ts'

/** `inTurns`: batches are merged in turns; otherwise on `flush`. */
function open(
  t: Test,
  {
    loopback = false,
    wholeAddresses = false,
    inTurns = false,
    isListener,
  }: { loopback?: boolean; wholeAddresses?: boolean; inTurns?: boolean; isListener?: IsListener } = {},
) {
  const changes: Change[] = []
  const admission = new Admission({ wholeAddresses, ...(isListener && { isListener }) })
  const mesh = new Mesh({
    clusters: [
      { name: 'cluster-1', id: 1, local: true },
      { name: 'cluster-2', id: 2, local: false },
    ],
    staleAfterMs: 0,
    services: 'global',
    health: () => 'unknown',
    onMerged: change => admission.follow(change),
    clock: new FakeClock(),
    log: silentLog,
    ...(!inTurns && { defer: () => {} }),
  })
  mesh.directory.onChange(change => changes.push(change))
  t.teardown(() => mesh.close())
  admission.allow('cluster-1', { loopback: true })
  admission.allow('cluster-2', { loopback })
  const one = admission.sink('cluster-1', mesh.sink('cluster-1'))
  const two = admission.sink('cluster-2', mesh.sink('cluster-2'))
  const backends = (name = 'rebel-base') =>
    mesh.directory.service(`default/${name}`)?.backends.map(({ address, port }) => `${address}:${port}`) ?? []
  return { admission, mesh, changes, one, two, backends }
}

const here = (name: string, ip: string, given: Partial<ClusterService> = {}) =>
  clusterService({ name, clusterIPs: [ip], ...given })
const there = (name: string, ...addresses: string[]) =>
  clusterService({
    name,
    cluster: 'cluster-2',
    clusterIPs: ['10.97.0.10'],
    endpoints: addresses.map(address => endpoint({ address, ports: [{ name: '', protocol: 'TCP', port: 80 }] })),
  })

t.test('a ring whose two frontends come in different batches is refused at both ends', async t => {
  const { admission, mesh, one, two, backends } = open(t, { inTurns: true })
  const pods = Array.from({ length: 100 }, (_, i) => endpoint({ address: `10.1.0.${i + 1}` }))
  two.reset({ services: [there('a', '10.96.0.2', '10.2.0.1'), there('b', '10.96.0.1', '10.2.0.1')], namespaces: [] })
  // So many backends that `a` is a batch alone; that has `b` written, and merged for the first time.
  one.reset({ services: [here('a', '10.96.0.1', { endpoints: pods }), here('b', '10.96.0.2')], namespaces: [] })
  await mesh.synced
  t.same(
    admission
      .problems()
      .map(({ where }) => where)
      .sort(),
    ['cluster-2 default/a', 'cluster-2 default/b'],
  )
  t.notOk(backends('a').includes('10.96.0.2:80'))
  t.same(backends('b'), ['10.2.0.1:80'])
})

t.test('a ring of thirty frontends, each of which comes by the refusal of the one before it', async t => {
  const { admission, mesh, one, two } = open(t, { inTurns: true })
  const places = Array.from({ length: 30 }, (_, i) => i)
  const address = (place: number) => `10.96.1.${place % places.length}`
  const pods = Array.from({ length: 100 }, (_, i) => endpoint({ address: `10.1.0.${i + 1}` }))
  two.reset({ services: places.map(i => there(`s${i}`, address(i + places.length - 1))), namespaces: [] })
  one.reset({
    services: places.map(i => here(`s${i}`, address(i), i === 0 ? { endpoints: pods } : {})),
    namespaces: [],
  })
  await mesh.synced
  await eventually(() => assert.equal(mesh.directory.service('default/s29')?.frontends.length, 1))
  t.equal(admission.problems().at(-1)?.message, '10 more addresses are refused', 'besides the 20 that are shown')
})

t.test('a listener that is no frontend opens after an endpoint at it was admitted, and closes again', async t => {
  let port = 0
  const isListener: IsListener = (address, at) => address === '10.0.0.1' && at === port
  const { admission, one, two, backends } = open(t, { inTurns: true, isListener })
  two.reset({ services: [there('a', '10.0.0.1', '10.2.0.1')], namespaces: [] })
  one.reset({ services: [here('a', '10.96.0.1')], namespaces: [] })
  await eventually(() => assert.deepEqual(backends('a'), ['10.0.0.1:80', '10.2.0.1:80']))
  port = 80
  for (let i = 0; i < 1000; i++) admission.listenerMoved('10.0.0.1')
  await eventually(() => assert.deepEqual(backends('a'), ['10.2.0.1:80']))
  t.match(admission.problems(), [
    { code: 'ADDRESS_REFUSED', message: /^10\.0\.0\.1:80\/TCP is an address of Starlane/ },
  ])
  port = 0
  admission.listenerMoved('10.0.0.1')
  await eventually(() => assert.deepEqual(backends('a'), ['10.0.0.1:80', '10.2.0.1:80']))
  t.same(admission.problems(), [])
})

t.test('an endpoint that is refused is a problem, and the rest of its service is used', async t => {
  const { admission, mesh, one, two, backends } = open(t)
  one.reset({ services: [here('rebel-base', '10.96.0.10')], namespaces: [] })
  two.reset({
    services: [{ ...there('rebel-base', '10.2.0.1', '169.254.169.254', '127.0.0.1'), origin: 'a.yaml:3' }],
    namespaces: [],
  })
  mesh.flush()
  t.same(backends(), ['10.2.0.1:80'])
  t.match(admission.problems(), [
    {
      code: 'ADDRESS_REFUSED',
      where: 'cluster-2 default/rebel-base (a.yaml:3)',
      message: /^169\.254\.169\.254:80 is link-local.*; list the addresses of pods instead$/,
    },
    { message: /^127\.0\.0\.1:80 is a loopback address.*allow: \{ loopback: true \}/ },
  ])

  admission.allow('cluster-2', { loopback: true })
  mesh.flush()
  t.same(backends(), ['10.2.0.1:80', '127.0.0.1:80'], 'its rights have changed')
  two.put(there('rebel-base', '10.2.0.1'))
  t.same(admission.problems(), [])
})

t.test('an address of Starlane is refused for as long as it has it', async t => {
  const { admission, mesh, changes, one, two, backends } = open(t)
  two.reset({ services: [there('rebel-base', '10.96.0.11', '10.2.0.1')], namespaces: [] })
  one.reset({ services: [here('rebel-base', '10.96.0.10')], namespaces: [] })
  mesh.flush()
  t.same(backends(), ['10.2.0.1:80', '10.96.0.11:80'], 'it is nothing of ours yet')

  const since = changes.length
  one.put(here('other', '10.96.0.11'))
  mesh.flush()
  t.same(backends(), ['10.2.0.1:80'])
  t.equal(changes.length, since + 1, 'refused in the batch that announces the frontend')
  t.match(admission.problems(), [
    { where: 'cluster-2 default/rebel-base', message: /^10\.96\.0\.11:80\/TCP is an address of Starlane/ },
  ])

  one.put(here('other', '10.96.0.11', { ports: [{ name: '', protocol: 'TCP', port: 81 }] }))
  mesh.flush()
  t.same(backends(), ['10.2.0.1:80', '10.96.0.11:80'], 'another port')
  one.put(here('other', '10.96.0.11'))
  mesh.flush()
  one.drop('default', 'other')
  mesh.flush()
  t.same(backends(), ['10.2.0.1:80', '10.96.0.11:80'], 'the frontend has gone')
  t.same(admission.problems(), [])
})

t.test('from any cluster, and on the address of the service itself', async t => {
  const { mesh, one, two, backends } = open(t)
  const own = endpoint({ address: '10.96.0.10', ports: [{ name: '', protocol: 'TCP', port: 80 }] })
  one.reset({ services: [here('rebel-base', '10.96.0.10', { endpoints: [own] })], namespaces: [] })
  two.reset({ services: [there('rebel-base', '10.96.0.10')], namespaces: [] })
  mesh.flush()
  t.same(backends(), [])
})

t.test('a frontend that passes from one service to another stays refused', async t => {
  const { mesh, one, two, backends } = open(t)
  one.reset({ services: [here('a', '10.96.0.11'), here('b', '10.96.0.11'), here('c', '10.96.0.12')], namespaces: [] })
  two.reset({ services: [there('c', '10.96.0.11')], namespaces: [] })
  mesh.flush()
  t.same(backends('c'), [])
  one.drop('default', 'a')
  mesh.flush()
  mesh.flush()
  t.same(
    mesh.directory.service('default/b')?.frontends.map(({ key }) => key),
    ['10.96.0.11:80/TCP'],
  )
  t.same(backends('c'), [])
})

t.test('the other sockets of Starlane, on one address or on all', async t => {
  const { admission, mesh, one, two, backends } = open(t, { loopback: true })
  const socket = (address: string) => [{ address, port: 80, protocol: 'TCP' as const }]
  one.reset({ services: [here('rebel-base', '10.96.0.10')], namespaces: [] })
  two.reset({ services: [there('rebel-base', '10.2.0.1', '10.9.9.9', '127.0.0.1')], namespaces: [] })
  admission.setSockets(socket('127.0.0.1'), new Set(['10.9.9.9']))
  mesh.flush()
  t.same(backends(), ['10.2.0.1:80', '10.9.9.9:80'])
  admission.setSockets(socket('0.0.0.0'), new Set(['10.9.9.9']))
  mesh.flush()
  t.same(backends(), ['10.2.0.1:80'], 'all addresses of this machine')
  admission.setSockets([{ address: '::', port: 80, protocol: 'UDP' }], new Set(['10.9.9.9']))
  mesh.flush()
  t.equal(backends().length, 3, 'of the other protocol')
})

t.test('where listeners have private ports, the addresses of frontends are whole', async t => {
  const { mesh, one, two, backends } = open(t, { wholeAddresses: true })
  one.reset({
    services: [here('rebel-base', '10.96.0.10', { ports: [{ name: '', protocol: 'TCP', port: 443 }] })],
    namespaces: [],
  })
  two.reset({ services: [there('rebel-base', '10.96.0.10', '10.2.0.1')], namespaces: [] })
  mesh.flush()
  t.same(backends(), ['10.2.0.1:80'])
})

t.test('only the port that is an address of Starlane is refused', async t => {
  const { mesh, one, two, backends } = open(t)
  const ports = [80, 8080].map(port => ({ name: '', protocol: 'TCP' as const, port }))
  one.reset({ services: [here('rebel-base', '10.96.0.10')], namespaces: [] })
  two.reset({
    services: [{ ...there('rebel-base'), endpoints: [endpoint({ address: '10.96.0.10', ports })] }],
    namespaces: [],
  })
  mesh.flush()
  t.same(backends(), ['10.96.0.10:8080'])
})

t.test('addresses of the service, of imports and of Pods too', async t => {
  const { admission, mesh, one } = open(t)
  const ports = [{ name: '', protocol: 'TCP' as const, port: 80 }]
  const service = here('rebel-base', '10.96.0.10', {
    clusterIPs: ['10.96.0.10', 'fe80::1'],
    serviceImport: {
      headless: false,
      ips: ['169.254.1.1', '10.96.0.20'],
      ports,
      endpoints: [{ ...endpoint({ address: '224.0.0.1', ports }), cluster: 'cluster-3' }],
    },
  })
  const pod = { namespace: 'default', name: 'p', addresses: ['169.254.1.2', '10.1.0.1'] }
  one.reset({ services: [service], namespaces: [], pods: [pod] })
  mesh.flush()
  t.match(mesh.directory.service('default/rebel-base')?.local, {
    clusterIPs: ['10.96.0.10'],
    serviceImport: { ips: ['10.96.0.20'], endpoints: [] },
  })
  t.same([mesh.directory.hasPod('default', '10.1.0.1'), mesh.directory.hasPod('default', '169.254.1.2')], [true, false])
  t.same(
    admission.problems().map(({ message }) => message.split(' ')[0]),
    ['fe80::1', '169.254.1.1', '224.0.0.1:80'],
  )
})

t.test('a service without refused addresses is passed on as it is', async t => {
  const { mesh, one } = open(t)
  const service = here('rebel-base', '10.96.0.10', { endpoints: [endpoint({ address: '10.1.0.1' })] })
  one.reset({ services: [service], namespaces: [] })
  mesh.flush()
  t.equal(mesh.directory.service('default/rebel-base')?.local, service)
})

t.test('status shows some of many refused addresses, and how many there are', async t => {
  const { admission, two } = open(t)
  const many = Array.from({ length: 300 }, (_, i) => `169.254.${i >> 8}.${i & 255}`)
  two.reset({ services: [there('rebel-base', ...many, ...many)], namespaces: [] })
  const problems = admission.problems()
  t.equal(problems.length, 21)
  t.match(problems.at(-1), { where: 'cluster-2', message: '280 more addresses are refused' })
  admission.keep(new Set(['cluster-1']))
  t.same(admission.problems(), [], 'the cluster has gone')
})

t.test('a metadata server is dialled only where the operator has named this very address', async t => {
  const { admission, mesh, one, two, backends } = open(t)
  one.reset({ services: [here('rebel-base', '10.96.0.10')], namespaces: [] })
  two.reset({ services: [there('rebel-base', '100.100.100.200', '100.100.100.201')], namespaces: [] })
  mesh.flush()
  t.same(backends(), ['100.100.100.201:80'])
  t.match(admission.problems(), [{ message: /metadata server of a cloud.*allow\.cidrs/ }])
  const allow = (...texts: string[]) =>
    admission.allow('cluster-2', { loopback: false, cidrs: texts.flatMap(text => parseCidr(text) ?? []) })
  allow('100.64.0.0/10')
  mesh.flush()
  t.same(backends(), ['100.100.100.201:80'], 'not by the range that it is in')
  allow('100.64.0.0/10', '100.100.100.200/32')
  mesh.flush()
  t.same(backends(), ['100.100.100.200:80', '100.100.100.201:80'])
})

t.test('the services of a large cluster are checked again in turns, and end as those of a small one', async t => {
  const { admission, mesh, one, two, backends } = open(t)
  const name = (i: number) => `s${i}`
  const address = (i: number, j: number) => `10.${i % 2 === 0 ? 1 : 2}.${i}.${j}`
  const far = (i: number) => there(name(i), ...Array.from({ length: 20 }, (_, j) => address(i, j + 1)))
  const services = Array.from({ length: 200 }, (_, i) => i)
  one.reset({ services: services.map(i => here(name(i), `10.96.0.${i}`)), namespaces: [] })
  two.reset({ services: services.map(far), namespaces: [] })
  mesh.flush()
  const served = () => {
    mesh.flush()
    return services.filter(i => backends(name(i)).length > 0)
  }
  t.equal(served().length, 200)

  const allow = (cidr: string, network?: string) =>
    admission.allow('cluster-2', { loopback: false, network, cidrs: [parseCidr(cidr) ?? []].flat() })
  allow('10.1.0.0/16')
  t.equal(served().length, 200, 'nothing has been looked at in this turn')
  two.put(far(1))
  t.notOk(served().includes(1), 'what comes meanwhile is checked at once')
  await eventually(() => assert.equal(served().length, 100))
  t.ok(served().every(i => i % 2 === 0))

  allow('10.1.0.0/16', 'far')
  allow('10.0.0.0/8')
  await eventually(() => assert.equal(served().length, 200)) // The last rights count, whatever was in progress.
  t.equal(admission.problems().length, 0)

  one.put(here('mine', '10.96.1.1', { endpoints: [endpoint({ address: '10.1.0.1', pod: 'mine-0' })] }))
  mesh.flush()
  t.notOk(backends(name(0)).includes('10.1.0.1:80'), 'its claims are known')
  admission.keep(new Set(['cluster-1']))
  await new Promise(setImmediate)
  t.pass('a cluster that leaves is forgotten in turns')
})
