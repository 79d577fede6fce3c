/** Whether clients can reach a service, and what status says of it. */
import t from 'tap'
import type { Backend } from '../../../proxy/model/backend.ts'
import { conditionOf, serviceConditions } from '../../../proxy/runtime/status/conditions.ts'
import { backend, clusterService, FakeDirectory, globalService } from '../../support/model.ts'

const at = (last: number, given: Partial<Backend> = {}) => backend({ address: `10.0.0.${last}`, ...given })
const conditionWith = (...backends: Backend[]) => conditionOf(globalService({ backends }))

t.test('a service is as reachable as its backends are', async t => {
  t.same(conditionWith(at(1, { health: 'up' }), at(2)), { state: 'ok' })
  t.same(conditionWith(at(1, { health: 'up' }), at(2, { health: 'down' }), at(3, { health: 'ejected' })), {
    state: 'reduced',
    why: '2 of 3 backends: 1 down, 1 ejected',
  })
  t.same(conditionWith(at(1, { health: 'down' }), at(2, { health: 'ejected' })), {
    state: 'unreachable',
    why: 'every backend (1 down, 1 ejected)',
  })
  t.match(conditionWith(at(1, { state: 'maintenance' })), {
    state: 'unreachable',
    why: 'no backend is ready (1 are not)',
  })
  t.match(conditionWith(at(1, { state: 'terminating', serving: false })), { state: 'unreachable' })
  t.same(conditionWith(at(1, { state: 'terminating' })), { state: 'ok' }, 'one that terminates still serves')
  t.match(conditionWith(), { state: 'empty', why: 'it has no backends in any cluster' })
  t.same(conditionOf(globalService({ local: clusterService({ headless: true }) })), { state: 'none' })
})

t.test('a port that no backend serves makes the service unreachable there', async t => {
  const ports = [
    { name: 'http', protocol: 'TCP' as const, port: 80 },
    { name: 'admin', protocol: 'TCP' as const, port: 81 },
  ]
  const service = globalService({
    ports,
    backends: [at(1, { ports: ['http'] }), at(2, { ports: ['admin'], health: 'down' })],
  })
  t.match(conditionOf(service), { state: 'unreachable', why: 'every backend (1 down) of 127.96.0.10:81/TCP' })
})

t.test('many bad services are some problems and a number', async t => {
  const services = Array.from({ length: 30 }, (_, i) =>
    globalService({ name: `s${i}`, local: clusterService({ name: `s${i}` }), backends: [at(1, { health: 'down' })] }),
  )
  const empty = globalService({ name: 'empty', local: clusterService({ name: 'empty' }) })
  const { counts, problems } = serviceConditions(new FakeDirectory(...services, empty))
  t.same(counts, { total: 31, unreachable: 30, reduced: 0, empty: 1 })
  t.equal(problems.length, 22)
  t.match(problems.at(-2), { code: 'SERVICE_UNREACHABLE', message: /^10 more services/ })
  t.match(problems.at(-1), { code: 'SERVICE_REDUCED', where: 'default/empty' })
})
