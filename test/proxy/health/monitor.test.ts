/** Which backends health watches, what the checks decide, and when they run. */
import { queryObjects } from 'node:v8'
import t, { type Test } from 'tap'
import { Checker } from '../../../proxy/health/checker.ts'
import { HealthMonitor } from '../../../proxy/health/monitor.ts'
import { Mesh } from '../../../proxy/mesh/mesh.ts'
import { type Health, isHealthy, select } from '../../../proxy/model/backend.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import type { GlobalService } from '../../../proxy/model/service.ts'
import { FakeClock, settled } from '../../support/clock.ts'
import { backend, clusterService, endpoint, FakeDirectory, globalService } from '../../support/model.ts'
import { FakeProbe, http, passive, seeded, tcp, watch } from './support.ts'

const a = backend({ address: '127.1.0.1' })
const b = backend({ address: '127.2.0.1', cluster: 'cluster-2' })
const c = backend({ address: '127.2.0.2', cluster: 'cluster-2' })

t.test('a backend that answers is up after its first check, soon after it was added', async t => {
  const { monitor, clock, probe, verdicts, log } = watch(t, new FakeDirectory(globalService({ backends: [a] })))
  t.equal(monitor.verdict(a.destination), 'unknown')
  await clock.advance(200)
  t.same(probe.times('127.1.0.1:8080'), [100])
  t.same(verdicts, [[a.destination, 'up']])
  t.equal(monitor.verdict(a.destination), 'up')
  await clock.advance(60_000)
  t.same(verdicts, [[a.destination, 'up']], 'checks that change nothing are not told')
  t.equal(log.lines.length, 1)
})

t.test('`fall` failures take a backend down, `rise` passes bring it up, and only changes are logged', async t => {
  const { monitor, clock, probe, verdicts, log } = watch(t, new FakeDirectory(globalService({ backends: [a, b] })))
  await clock.advance(1000)
  t.equal(monitor.lastError(b.destination), undefined)
  probe.down('127.2.0.1:8080')
  await clock.advance(20_000)
  t.equal(monitor.lastError(b.destination), 'refused', 'what the last check said')
  probe.up('127.2.0.1:8080')
  await clock.advance(20_000)
  t.equal(monitor.lastError(b.destination), undefined)
  t.same(
    verdicts.filter(([key]) => key === b.destination).map(([, health]) => health),
    ['up', 'down', 'up'],
  )
  t.same(
    log.lines.filter(line => line.fields.backend === b.key),
    [
      {
        level: 'debug',
        event: 'health.verdict',
        fields: { backend: b.key, services: 1, from: 'unknown', to: 'up', why: 'checks pass' },
      },
      {
        level: 'warn',
        event: 'health.verdict',
        fields: { backend: b.key, services: 1, from: 'up', to: 'down', why: 'checks fail: refused' },
      },
      {
        level: 'info',
        event: 'health.verdict',
        fields: { backend: b.key, services: 1, from: 'down', to: 'up', why: 'checks pass' },
      },
    ],
  )
})

t.test('the interval between two checks has a jitter of 10 %', async t => {
  let draw = 0
  const random = () => [0.999, 0, 0.25, 0.5, 0.75][draw++ % 5] ?? 0
  const { clock, probe } = watch(t, new FakeDirectory(globalService({ backends: [a] })), { random })
  await clock.advance(60_000)
  const times = probe.times('127.1.0.1:8080')
  const waits = times.slice(1).map((at, i) => at - (times[i] ?? 0))
  t.ok(
    waits.every(ms => ms >= 1790 && ms <= 2210),
    `${waits}`,
  )
  t.ok(Math.max(...waits) - Math.min(...waits) > 300, 'they do vary')
})

t.test('a fault of this machine counts against no backend, and is logged once a minute', async t => {
  const { clock, probe, verdicts, log, monitor } = watch(t, new FakeDirectory(globalService({ backends: [a, b] })))
  await clock.advance(1000)
  for (const endpoint of ['127.1.0.1:8080', '127.2.0.1:8080']) {
    probe.answers.set(endpoint, { outcome: 'local', why: 'connect EMFILE' })
  }
  await clock.advance(50_000)
  t.equal(log.of('health.local-fault').length, 1)
  await clock.advance(70_000)
  t.same(
    verdicts.map(([, health]) => health),
    ['up', 'up'],
  )
  t.same(log.of('health.local-fault'), [{ why: 'connect EMFILE' }, { why: 'connect EMFILE' }])
  t.equal(monitor.stats().checks.passed, 2)
  t.equal(monitor.stats().checks.failed, 0)
  t.ok(monitor.stats().checks.local > 100)
})

t.test('one address in two networks is two destinations, each with its own checks and verdict', async t => {
  const far = backend({ address: a.address, cluster: 'cluster-3', network: 'cluster-3' })
  const { monitor, clock, probe, traffic } = watch(t, new FakeDirectory(globalService({ backends: [a, far] })))
  await clock.advance(150)
  t.equal(monitor.stats().targets, 2)
  t.equal(probe.checks.length, 2)
  traffic(far, 'refused', 5)
  t.same(
    [a, far].map(one => monitor.verdict(one.destination)),
    ['up', 'ejected'],
  )
  t.equal(far.destination, `cluster-3/${a.destination}`)
})

t.test('which backends are checked', async t => {
  const local = { settings: { global: false } }
  const cases: { what: string; service: GlobalService; services?: 'global' | 'all'; checked: string[] }[] = [
    {
      what: 'all backends of a global service',
      service: globalService({ backends: [a, b] }),
      checked: [a.destination, b.destination],
    },
    {
      what: 'not those of a service that is not proxied',
      service: globalService({ ...local, backends: [a] }),
      checked: [],
    },
    {
      what: 'unless every service is',
      service: globalService({ ...local, backends: [a] }),
      services: 'all',
      checked: [a.destination],
    },
    { what: 'not without a frontend', service: globalService({ local: undefined, backends: [b] }), checked: [] },
    {
      what: 'TCP only',
      service: globalService({
        ports: [
          { name: '', protocol: 'TCP', port: 53 },
          { name: '', protocol: 'UDP', port: 53 },
        ],
        backends: [backend({ address: '127.1.0.1', protocol: 'UDP' }), a],
      }),
      checked: [a.destination],
    },
    {
      what: 'not what is in maintenance or has stopped serving',
      service: globalService({
        backends: [
          backend({ address: '127.1.0.1', state: 'maintenance' }),
          backend({ address: '127.1.0.2', state: 'terminating', serving: false }),
          backend({ address: '127.1.0.3', state: 'terminating' }),
        ],
      }),
      checked: ['127.1.0.3:8080/TCP'],
    },
    {
      what: 'not a port that no frontend leads to',
      service: globalService({
        ports: [{ name: 'http', protocol: 'TCP', port: 80 }],
        backends: [
          backend({ address: '127.1.0.1', ports: ['http'] }),
          backend({ address: '127.1.0.1', port: 9090, ports: ['metrics'] }),
        ],
      }),
      checked: [a.destination],
    },
    {
      what: 'IPv6',
      service: globalService({
        local: clusterService({ clusterIPs: ['fd00::10'] }),
        backends: [backend({ address: 'fd00:1::1' })],
      }),
      checked: ['[fd00:1::1]:8080/TCP'],
    },
  ]
  for (const { what, service, services = 'global', checked } of cases) {
    const { monitor, clock, verdicts, probe } = watch(t, new FakeDirectory(service), { services })
    await clock.advance(1000)
    t.same(
      verdicts.map(([key]) => key),
      checked,
      what,
    )
    t.equal(probe.checks.length, checked.length, what)
    t.equal(monitor.stats().targets, checked.length, what)
  }
})

t.test('an address is checked once, and has one verdict, however many services and clusters list it', async t => {
  const twin = backend({ address: a.address, cluster: 'cluster-2' })
  const directory = new FakeDirectory(
    globalService({ backends: [a] }),
    globalService({
      name: 'x-wing',
      local: clusterService({ name: 'x-wing', clusterIPs: ['127.96.0.11'] }),
      backends: [twin],
    }),
  )
  const { monitor, clock, probe, verdicts, log } = watch(t, directory)
  await clock.advance(2150)
  t.equal(monitor.stats().targets, 1)
  t.equal(monitor.stats().backends, 1)
  t.equal(probe.checks.length, 2, 'one each interval')
  t.same(verdicts, [[a.destination, 'up']])
  t.match(log.of('health.verdict'), [{ backend: a.key, services: 2 }])

  directory.remove('default/rebel-base')
  await clock.advance(10_000)
  t.equal(monitor.stats().targets, 1, 'the other service still needs it')
  directory.remove('default/x-wing')
  const before = probe.checks.length
  await clock.advance(10_000)
  t.equal(monitor.stats().targets, 0)
  t.equal(probe.checks.length, before)
})

t.test('it follows the directory, and a change of health alone disturbs nothing', async t => {
  const directory = new FakeDirectory(globalService({ backends: [a] }))
  const { clock, probe } = watch(t, directory)
  await clock.advance(1000)
  directory.set(globalService({ backends: [a, b] }))
  await clock.advance(500)
  t.same(probe.times('127.1.0.1:8080'), [100])
  t.same(probe.times('127.2.0.1:8080'), [1100], 'a new target is checked soon')
  for (let i = 0; i < 30; i++) {
    directory.set(globalService({ backends: [a, backend({ ...b, health: i % 2 ? 'up' : 'down', weight: i })] }))
    await clock.advance(100)
  }
  t.same(probe.times('127.1.0.1:8080'), [100, 2100, 4100])
  directory.set(globalService({ backends: [b] }))
  await clock.advance(10_000)
  t.equal(probe.times('127.1.0.1:8080').length, 3)
})

t.test('a backend that moves to another service in one batch keeps its verdict', async t => {
  const other = (backends: GlobalService['backends']) =>
    globalService({ name: 'x-wing', local: clusterService({ name: 'x-wing', clusterIPs: ['127.96.0.11'] }), backends })
  for (const order of ['leaves first', 'joins first']) {
    const directory = new FakeDirectory(globalService({ backends: [a] }), other([]))
    const { monitor, clock, probe, verdicts } = watch(t, directory)
    probe.down('127.1.0.1:8080')
    await clock.advance(10_000)
    const down = backend({ ...a, health: 'down' })
    const batch = [globalService({ backends: [] }), other([down])]
    directory.set(...(order === 'leaves first' ? batch : batch.reverse()))
    t.equal(monitor.verdict(a.destination), 'down', order)
    t.equal(monitor.stats().targets, 1)
    await clock.advance(10_000)
    t.same(verdicts, [[a.destination, 'down']], 'and nothing is told anew')
  }
})

t.test('a verdict survives a short absence and is forgotten after a long one', async t => {
  const directory = new FakeDirectory(globalService({ backends: [a, b] }))
  const { monitor, clock, probe, verdicts } = watch(t, directory)
  probe.down('127.1.0.1:8080')
  await clock.advance(10_000)
  directory.set(globalService({ backends: [b] }))
  await clock.advance(4 * 60_000)
  t.equal(monitor.verdict(a.destination), 'down')
  probe.up('127.1.0.1:8080')
  directory.set(globalService({ backends: [backend({ ...a, health: 'down' }), b] }))
  await clock.advance(1000)
  t.equal(monitor.verdict(a.destination), 'down', 'rise still has to be earned')
  await clock.advance(2000)
  t.equal(monitor.verdict(a.destination), 'up')

  directory.set(globalService({ backends: [b] }))
  await clock.advance(6 * 60_000)
  t.equal(monitor.verdict(a.destination), 'unknown')
  t.same(
    verdicts.filter(([key]) => key === a.destination).map(([, health]) => health),
    ['down', 'up'],
  )
})

t.test('a backend that returns with another health than its verdict is corrected', async t => {
  const directory = new FakeDirectory(globalService({ backends: [a] }))
  const { clock, probe, verdicts } = watch(t, directory)
  probe.down('127.1.0.1:8080')
  await clock.advance(10_000)
  directory.set(globalService({ backends: [] }))
  directory.set(globalService({ backends: [a] }))
  t.same(
    verdicts,
    [
      [a.destination, 'down'],
      [a.destination, 'down'],
    ],
    'it showed unknown',
  )
  directory.set(globalService({ backends: [] }))
  await clock.advance(6 * 60_000)
  directory.set(globalService({ backends: [backend({ ...a, health: 'down' })] }))
  t.same(verdicts.at(-1), [a.destination, 'unknown'], 'it showed a verdict that is forgotten here')
})

t.test('of two backends that return, the second may leave again while the first is reported', async t => {
  const directory = new FakeDirectory(globalService({ backends: [a, b] }))
  let arrived = false
  const { clock, probe, verdicts } = watch(t, directory, {
    onVerdict: key => {
      if (arrived && key === a.destination) directory.set(globalService({ backends: [{ ...a, health: 'down' }] }))
    },
  })
  probe.down('127.1.0.1:8080', '127.2.0.1:8080')
  await clock.advance(10_000)
  directory.set(globalService({ backends: [] }))
  arrived = true
  verdicts.length = 0
  directory.set(globalService({ backends: [a, b] }))
  t.same(verdicts, [[a.destination, 'down']])
})

t.test('the memory of backends that left is bounded', async t => {
  const directory = new FakeDirectory()
  const { monitor, clock, probe } = watch(t, directory, { active: { ...tcp, fall: 1 } })
  const wave = (n: number) =>
    Array.from({ length: 3000 }, (_, i) => backend({ address: `127.${n}.${i >> 8}.${i & 255}` }))
  for (let n = 1; n <= 5; n++) {
    for (const { address } of wave(n)) probe.down(`${address}:8080`)
    directory.set(globalService({ backends: wave(n) }))
    await clock.advance(2000)
  }
  directory.set(globalService({ backends: [] }))
  const remembered = [1, 2, 3, 4, 5].flatMap(wave).filter(({ destination }) => monitor.verdict(destination) === 'down')
  t.equal(remembered.length, 10_000)
  t.equal(monitor.stats().backends, 0)
})

t.test('60 % go down at once: exactly those are down, each logged once, and the others stay up', async t => {
  const backends = Array.from({ length: 100 }, (_, i) => backend({ address: `127.2.0.${i + 1}` }))
  const directory = new FakeDirectory(globalService({ backends }))
  const health = new Map<string, Health>()
  const { clock, probe, log } = watch(t, directory, { onVerdict: (key, verdict) => health.set(key, verdict) })
  await clock.advance(3000)
  probe.down(...backends.slice(0, 60).map(({ address }) => `${address}:8080`))
  await clock.advance(60_000)
  const now = backends.map(one => backend({ ...one, health: health.get(one.destination) ?? 'unknown' }))
  t.same(now.map(isHealthy), [...Array(60).fill(false), ...Array(40).fill(true)])
  t.equal(select(now).length, 40)
  t.equal(log.of('health.verdict').filter(({ to }) => to === 'down').length, 60)
})

t.test('a backend that flaps every second changes its verdict at most once in rise intervals (T23)', async t => {
  const changes: number[] = []
  const { clock, probe } = watch(t, new FakeDirectory(globalService({ backends: [a] })), {
    random: seeded(7),
    onVerdict: () => changes.push(clock.now()),
  })
  for (let second = 0; second < 1800; second++) {
    if (second % 2) probe.up('127.1.0.1:8080')
    else probe.down('127.1.0.1:8080')
    await clock.advance(1000)
  }
  const gaps = changes.slice(1).map((at, i) => at - (changes[i] ?? 0))
  t.ok(changes.length > 5, `${changes.length} changes`)
  t.ok(Math.min(...gaps) >= 2 * 1800, `${gaps}`)
})

t.test('ten thousand targets: all are checked in each interval, a hundred at a time, with two timers', async t => {
  const backends = Array.from({ length: 10_000 }, (_, i) => backend({ address: `127.2.${i >> 8}.${i & 255}` }))
  const { monitor, clock, probe, log } = watch(t, new FakeDirectory(globalService({ backends })), {
    random: seeded(1),
    active: { ...tcp, intervalMs: 10_000 },
  })
  t.equal(clock.waiting, 2, 'of the checks, and of the wait for first verdicts')
  await clock.advance(10_000)
  t.equal(new Set(probe.checks.map(check => check.endpoint)).size, 10_000)
  await clock.advance(11_000)
  const times = Map.groupBy(probe.checks, check => check.endpoint)
  t.ok([...times.values()].every(list => list.length >= 2 && list.length <= 3))
  t.ok(probe.mostInFlight <= 100, `${probe.mostInFlight}`)
  t.ok(monitor.stats().lateMs <= 100)
  t.same(log.of('health.behind'), [])
  t.equal(monitor.stats().targets, 10_000)
})

t.test('a limit too low for the interval is kept, and logged once', async t => {
  const backends = Array.from({ length: 60 }, (_, i) => backend({ address: `127.2.0.${i + 1}` }))
  const { monitor, clock, probe, log } = watch(t, new FakeDirectory(globalService({ backends })), { maxInFlight: 10 })
  for (const { address } of backends) probe.slow.set(`${address}:8080`, 900)
  await clock.advance(60_000)
  t.equal(probe.mostInFlight, 10)
  t.equal(monitor.stats().inFlight, 10)
  t.same(log.of('health.behind'), [{ targets: 60, intervalMs: 2000, maxInFlight: 10 }])
  t.ok(monitor.stats().lateMs > 2000, `${monitor.stats().lateMs}`)
  const counts = backends.map(({ address }) => probe.times(`${address}:8080`).length)
  t.ok(Math.max(...counts) - Math.min(...counts) <= 1, 'all get their turn')
})

t.test('checks that finish at once are still paced', async t => {
  const backends = Array.from({ length: 1000 }, (_, i) => backend({ address: `127.2.${i >> 8}.${i & 255}` }))
  const { clock, probe } = watch(t, new FakeDirectory(globalService({ backends })), {
    maxInFlight: 10,
    active: { ...tcp, intervalMs: 100 },
  })
  await clock.advance(1500)
  t.ok(probe.checks.length > 500 && probe.checks.length <= 1010, `${probe.checks.length} checks in 1.5 s`)
})

t.test('a dead cluster does not delay the checks of live backends', async t => {
  const dead = Array.from({ length: 400 }, (_, i) =>
    backend({ address: `127.2.${i >> 8}.${i & 255}`, cluster: 'cluster-2' }),
  )
  const { clock, probe } = watch(t, new FakeDirectory(globalService({ backends: [a, ...dead] })), { maxInFlight: 20 })
  await clock.advance(5000)
  for (const { address } of dead) {
    probe.down(`${address}:8080`)
    probe.slow.set(`${address}:8080`, 1000)
  }
  await clock.advance(60_000)
  probe.checks.length = 0
  await clock.advance(60_000)
  const living = probe.times('127.1.0.1:8080')
  t.ok(living.length >= 29, `${living.length} checks in 60 s`)
  t.equal(probe.checks.length - living.length, 600, 'the dead have half of the ceiling')
})

/** Ten local backends with many dead ones of other clusters, one of which dies: how long until that is known, in milliseconds. */
async function discovery(t: Test, others: readonly string[], each: number): Promise<{ ms: number; checked: number }> {
  const dead = others.flatMap((cluster, n) =>
    Array.from({ length: each }, (_, i) => backend({ address: `10.${n + 2}.${i >> 8}.${i & 255}`, cluster })),
  )
  const local = Array.from({ length: 10 }, (_, i) => backend({ address: `127.1.1.${i + 1}` }))
  const { clock, probe, verdicts, monitor } = watch(
    t,
    new FakeDirectory(globalService({ backends: [...local, ...dead] })),
    {
      maxInFlight: 20,
    },
  )
  for (const { address } of dead) {
    probe.answers.set(`${address}:8080`, { outcome: 'failed', why: 'no answer', unanswered: true })
    probe.slow.set(`${address}:8080`, 1000)
  }
  await clock.advance(5000)
  t.same(verdicts.filter(([, health]) => health === 'up').length, 10, 'the local ones are known soon')
  const [victim = a] = local
  probe.down(`${victim.address}:8080`)
  const died = clock.now()
  for (let i = 0; i < 600 && monitor.verdict(victim.destination) !== 'down'; i++) await clock.advance(100)
  return { ms: clock.now() - died, checked: probe.checks.length }
}

t.test('dead backends of other clusters do not delay the discovery of a dead local one', async t => {
  const alone = await discovery(t, [], 0)
  t.ok(alone.ms <= 6500, `alone: ${alone.ms} ms`)
  const crowd = await discovery(t, ['cluster-2', 'cluster-3'], 2000)
  t.ok(crowd.ms <= alone.ms + 500, `${crowd.ms} ms with 4000 dead ones, ${alone.ms} ms alone`)
  t.ok(crowd.checked > 60, 'which are checked all the same')
})

t.test('a cluster with dead backends only does not delay the first checks of another one', async t => {
  const dead = Array.from({ length: 2000 }, (_, i) =>
    backend({ address: `10.2.${i >> 8}.${i & 255}`, cluster: 'cluster-2' }),
  )
  const living = backend({ address: '10.3.0.1', cluster: 'cluster-3' })
  const directory = new FakeDirectory(globalService({ backends: dead }))
  const { clock, probe, monitor } = watch(t, directory, { maxInFlight: 20 })
  for (const { address } of dead) {
    probe.down(`${address}:8080`)
    probe.slow.set(`${address}:8080`, 1000)
  }
  await clock.advance(5000)
  directory.set(globalService({ backends: [...dead, living] }))
  await clock.advance(2000)
  t.equal(monitor.verdict(living.destination), 'up')
})

t.test('a destination that the local cluster lists too is checked as one of its own', async t => {
  const far = backend({ address: '10.9.0.1', cluster: 'cluster-2' })
  const dead = Array.from({ length: 500 }, (_, i) =>
    backend({ address: `10.2.${i >> 8}.${i & 255}`, cluster: 'cluster-2' }),
  )
  const directory = new FakeDirectory(globalService({ backends: [far, ...dead] }))
  const { clock, probe, monitor } = watch(t, directory, { maxInFlight: 20 })
  for (const { address } of dead) {
    probe.down(`${address}:8080`)
    probe.slow.set(`${address}:8080`, 1000)
  }
  await clock.advance(60_000)
  directory.set(globalService({ backends: [backend({ address: '10.9.0.1' }), ...dead] }))
  await clock.advance(10_000)
  probe.down('10.9.0.1:8080')
  await clock.advance(8000)
  t.equal(monitor.verdict(far.destination), 'down')
})

t.test('a backend that no check reaches in time is untested until one does', async t => {
  const dead = Array.from({ length: 400 }, (_, i) =>
    backend({ address: `10.2.${i >> 8}.${i & 255}`, cluster: 'cluster-2' }),
  )
  const directory = new FakeDirectory(globalService({ backends: [a, ...dead] }))
  const { clock, probe, monitor, untested: told } = watch(t, directory, { maxInFlight: 20 })
  for (const { address } of dead) {
    probe.down(`${address}:8080`)
    probe.slow.set(`${address}:8080`, 1000)
  }
  const untested = () => [a, ...dead].filter(({ destination }) => monitor.isUntested(destination)).length
  await clock.advance(3900)
  t.equal(untested(), 0, 'they may have their check soon')
  await clock.advance(200)
  const after = untested()
  t.ok(after > 300, `${after}`)
  t.notOk(monitor.isUntested(a.destination))
  t.equal(new Set(told).size, after, 'the directory is told')
  for (const { address } of dead) probe.slow.delete(`${address}:8080`)
  await clock.advance(10_000)
  t.equal(untested(), 0)
})

t.test(
  'a backend that joins others that are up waits for its first verdict, and one that starts with them does not',
  async t => {
    const c = backend({ address: '127.1.0.3' })
    const far = backend({ address: '10.3.0.1', cluster: 'cluster-3', network: 'cluster-3' })
    const directory = new FakeDirectory(globalService({ backends: [a, b] }))
    const { clock, probe, monitor, untested } = watch(t, directory)
    t.same(
      [a, b].map(({ destination }) => monitor.isUntested(destination)),
      [false, false],
      'nothing is known of any',
    )
    await clock.advance(200)
    t.equal(monitor.verdict(a.destination), 'up')
    probe.slow.set('127.1.0.3:8080', 500)
    directory.set(globalService({ backends: [a, b, c, far] }))
    t.ok(monitor.isUntested(c.destination))
    t.notOk(monitor.isUntested(far.destination), 'its gateway may say nothing of it')
    t.same(untested, [c.destination], 'the directory is told')
    await clock.advance(1000)
    t.equal(monitor.verdict(c.destination), 'up')
    t.notOk(monitor.isUntested(c.destination))
    monitor.configure({ active: { type: 'none' }, passive, services: 'global' })
    directory.set(globalService({ backends: [a, b, c, far, backend({ address: '127.1.0.9' })] }))
    t.same(untested, [c.destination], 'without checks nobody waits for them')
  },
)

t.test('a backend that joins others and fails its first check goes on waiting', async t => {
  const c = backend({ address: '127.1.0.3' })
  const directory = new FakeDirectory(globalService({ backends: [a] }))
  const { clock, probe, monitor } = watch(t, directory)
  await clock.advance(200)
  probe.down('127.1.0.3:8080')
  directory.set(globalService({ backends: [a, c] }))
  await clock.advance(1000)
  t.equal(monitor.verdict(c.destination), 'unknown', 'one failure is not enough')
  t.ok(monitor.isUntested(c.destination))
  await clock.advance(10_000)
  t.equal(monitor.verdict(c.destination), 'down')
  t.notOk(monitor.isUntested(c.destination))
})

t.test('the result of a check is ignored when its target has left', async t => {
  const directory = new FakeDirectory(globalService({ backends: [a] }))
  const { monitor, clock, probe, verdicts } = watch(t, directory)
  probe.slow.set('127.1.0.1:8080', 500)
  await clock.advance(200)
  directory.set(globalService({ backends: [] }))
  await clock.advance(10_000)
  t.same(verdicts, [])
  t.equal(probe.checks.length, 1)
  t.equal(monitor.stats().inFlight, 0)
})

t.test('without checks nothing is dialled and verdicts are unknown', async t => {
  const { monitor, clock, probe, verdicts } = watch(t, new FakeDirectory(globalService({ backends: [a] })), {
    active: { type: 'none' },
  })
  await clock.advance(60_000)
  t.equal(probe.checks.length, 0)
  t.same(verdicts, [])
  t.match(monitor.stats(), { backends: 1, targets: 0, inFlight: 0, checks: { passed: 0, failed: 0, local: 0 } })
})

t.test('close cancels the checks in flight and leaves no timer; later results are ignored', async t => {
  const directory = new FakeDirectory(globalService({ backends: [a, b, c] }))
  const { monitor, clock, probe, verdicts, traffic } = watch(t, directory)
  probe.slow.set('127.1.0.1:8080', 900)
  await clock.advance(150)
  traffic(b, 'refused', 5)
  t.equal(monitor.stats().inFlight, 1)
  const told = verdicts.length
  await monitor.close()
  t.equal(monitor.stats().inFlight, 0)
  t.equal(clock.waiting, 0)
  directory.set(globalService({ backends: [a, b, c, backend({ address: '127.1.0.9' })] }))
  traffic(a, 'refused', 5)
  await clock.advance(60_000)
  t.equal(clock.waiting, 0)
  t.equal(verdicts.length, told)
  t.equal(monitor.stats().backends, 3)
})

t.test('the kind of check follows the options, and a bad path is refused at once', async t => {
  const clock = new FakeClock()
  const parts = {
    directory: new FakeDirectory(globalService({ backends: [a] })),
    clock,
    random: () => 0.5,
    log: silentLog,
    onVerdict: () => {},
    onSilent: () => {},
  }
  const tcpOnly = new FakeProbe(clock)
  const httpOnly = new FakeProbe(clock)
  const probes = { tcp: () => tcpOnly, http: () => httpOnly }
  const monitor = new HealthMonitor({ ...parts, probes, options: { active: http, passive, services: 'global' } })
  monitor.start()
  t.teardown(() => monitor.close())
  await clock.advance(1000)
  t.equal(tcpOnly.checks.length, 0)
  t.equal(httpOnly.checks.length, 1)
  const options = { active: { ...http, path: 'healthz' }, passive, services: 'global' as const }
  t.throws(() => new HealthMonitor({ ...parts, options }), {
    code: 'CONF_FIELD',
    message: /"healthz".*write "\/healthz"/,
  })
})

t.test('other options in place: verdicts stay, checks go by the new options, counts go on', async t => {
  const given = { active: tcp, passive, services: 'global' as const }
  const { clock, probe, verdicts, monitor, traffic } = watch(t, new FakeDirectory(globalService({ backends: [a, b] })))
  await clock.advance(1000)
  probe.down('127.2.0.1:8080')
  await clock.advance(20_000)
  const { checks } = monitor.stats()
  verdicts.length = 0
  monitor.configure({ ...given, active: { ...tcp, intervalMs: 10_000, fall: 1, rise: 1 } })
  t.same([monitor.verdict(a.destination), monitor.verdict(b.destination)], ['up', 'down'])
  await clock.advance(0)
  t.match(monitor.stats(), { checks, down: 1, targets: 2 })
  probe.down('127.1.0.1:8080')
  probe.up('127.2.0.1:8080')
  await clock.advance(2000)
  t.same(verdicts, [
    [a.destination, 'down'],
    [b.destination, 'up'],
  ])

  verdicts.length = 0
  traffic(b, 'refused', 5)
  t.equal(monitor.verdict(b.destination), 'ejected')
  monitor.configure({ ...given, active: { type: 'none' } })
  t.same(
    [monitor.verdict(a.destination), monitor.verdict(b.destination)],
    ['unknown', 'ejected'],
    'without checks none is down',
  )
  monitor.configure({ ...given, active: { type: 'none' }, passive: { ...passive, consecutive: 2 } })
  traffic(a, 'refused', 2)
  t.equal(monitor.verdict(a.destination), 'unknown', 'one of two is out, and no more may be')
  monitor.configure({ ...given, active: { type: 'none' }, passive: { ...passive, consecutive: 0 } })
  t.equal(monitor.verdict(b.destination), 'unknown', 'ejection is off')
  monitor.configure({ ...given, active: { type: 'none' }, passive: { ...passive, consecutive: 2 } })
  traffic(a, 'refused', 2)
  t.equal(monitor.verdict(a.destination), 'ejected')
})

t.test('a checker with other options does not keep those before it', async t => {
  const { monitor, clock } = watch(t, new FakeDirectory(globalService({ backends: [a] })))
  await clock.advance(1000)
  const before = queryObjects(Checker, { format: 'count' })
  for (let i = 1; i <= 5; i++) {
    monitor.configure({ active: { ...tcp, intervalMs: 1000 + i }, passive, services: 'global' })
    await clock.advance(2000)
  }
  t.equal(queryObjects(Checker, { format: 'count' }), before)
})

t.test(
  'with the mesh: what is down leaves the selection, comes back, and a restart of its pod keeps the verdict',
  async t => {
    const clock = new FakeClock()
    const probe = new FakeProbe(clock)
    let monitor: HealthMonitor | undefined
    const mesh = new Mesh({
      clusters: [
        { name: 'cluster-1', id: 1, local: true },
        { name: 'cluster-2', id: 2, local: false },
      ],
      staleAfterMs: 0,
      services: 'global',
      health: key => monitor?.verdict(key) ?? 'unknown',
      clock,
      log: silentLog,
    })
    monitor = new HealthMonitor({
      directory: mesh.directory,
      options: { active: tcp, passive, services: 'global' },
      probes: { tcp: () => probe, http: () => probe },
      clock,
      random: () => 0.5,
      log: silentLog,
      onSilent: () => {},
      onVerdict: key => mesh.healthChanged(key),
    })
    monitor.start()
    t.teardown(() => monitor?.close())
    t.teardown(() => mesh.close())

    const declare = (cluster: string, ...addresses: string[]) =>
      mesh.sink(cluster).reset({
        services: [clusterService({ cluster, endpoints: addresses.map(address => endpoint({ address })) })],
        namespaces: [],
      })
    const selected = () => {
      const frontend = mesh.directory.service('default/rebel-base')?.frontends[0]
      return select(frontend?.backends ?? []).map(one => `${one.address} ${one.health}`)
    }
    declare('cluster-1', '127.1.0.1')
    declare('cluster-2', '127.2.0.1')
    await clock.advance(1000)
    t.same(selected(), ['127.1.0.1 up', '127.2.0.1 up'])

    probe.down('127.1.0.1:8080')
    await clock.advance(10_000)
    t.same(selected(), ['127.2.0.1 up'])

    declare('cluster-1')
    await settled()
    declare('cluster-1', '127.1.0.1')
    await settled()
    t.same(selected(), ['127.2.0.1 up'], 'it comes back as what it was')

    probe.up('127.1.0.1:8080')
    await clock.advance(5000)
    t.same(selected(), ['127.1.0.1 up', '127.2.0.1 up'])
  },
)

t.test('the interval grows while a backend passes, and is one again at the first failed check', async t => {
  const { clock, probe } = watch(t, new FakeDirectory(globalService({ backends: [a] })), {
    active: { ...tcp, relax: 4 },
  })
  await clock.advance(300_000)
  const gaps = probe.times('127.1.0.1:8080').map((at, i, all) => Math.round(at - (all[i - 1] ?? 0)))
  t.same(gaps.slice(1, 6), [2400, 2800, 3200, 3600, 4000])
  t.equal(gaps.at(-1), 8000, 'four intervals at most')
  probe.down('127.1.0.1:8080')
  await clock.advance(8000)
  const failedAt = probe.times('127.1.0.1:8080').at(-1) ?? 0
  await clock.advance(4000)
  t.same(
    probe
      .times('127.1.0.1:8080')
      .filter(at => at > failedAt)
      .map(at => at - failedAt),
    [2000, 4000],
  )
})

t.test('a failed dial of live traffic brings the next check forward, never more than one an interval', async t => {
  const { clock, probe, traffic, verdicts } = watch(t, new FakeDirectory(globalService({ backends: [a] })), {
    active: { ...tcp, relax: 4 },
    passive: { ...passive, consecutive: 0 },
  })
  await clock.advance(100_000)
  const last = probe.times('127.1.0.1:8080').at(-1) ?? 0
  await clock.advance(last + 3000 - clock.now())
  probe.down('127.1.0.1:8080')
  for (let i = 0; i < 10; i++) traffic(a, 'refused')
  await clock.advance(0)
  t.same(
    probe
      .times('127.1.0.1:8080')
      .filter(at => at > last)
      .map(at => at - last),
    [3000],
    'at once, since an interval has passed',
  )
  for (let i = 0; i < 10; i++) {
    traffic(a, 'refused')
    await clock.advance(400)
  }
  t.same(
    probe
      .times('127.1.0.1:8080')
      .filter(at => at > last)
      .map(at => at - last),
    [3000, 5000, 7000],
  )
  t.same(verdicts.at(-1), [a.destination, 'down'])
})

t.test('live traffic replaces checks while it shows that the backend is up, and only then', async t => {
  const { clock, probe, traffic, monitor, verdicts } = watch(t, new FakeDirectory(globalService({ backends: [a] })), {
    active: { ...tcp, traffic: true },
    passive: { ...passive, consecutive: 0 },
  })
  const connectFor = async (seconds: number) => {
    for (let i = 0; i < seconds; i++) {
      traffic(a, 'connected')
      await clock.advance(1000)
    }
  }
  traffic(a, 'connected')
  await clock.advance(1000)
  t.equal(probe.checks.length, 1, 'the first check is a real one')
  await connectFor(60)
  t.equal(probe.checks.length, 1)
  t.match(monitor.stats().checks, { passed: 1, traffic: 30 })
  for (let i = 0; i < 60; i++) {
    monitor.heard(a.destination)
    await clock.advance(1000)
  }
  t.equal(probe.checks.length, 1, 'bytes of an old connection count too')
  await clock.advance(2000)
  t.equal(probe.checks.length, 2, 'silence is checked')
  traffic(a, 'refused')
  await connectFor(3)
  t.equal(probe.checks.length, 3, 'after a failed dial only a check counts')
  probe.down('127.1.0.1:8080')
  traffic(a, 'refused')
  await connectFor(10)
  t.same(verdicts.at(-1), [a.destination, 'down'])
  const checks = probe.checks.length
  await connectFor(10)
  t.equal(probe.checks.length, checks + 5, 'a backend that is down is checked')
})

t.test('with traffic: false, and for HTTP, live traffic replaces nothing', async t => {
  for (const active of [tcp, http]) {
    const { clock, probe, traffic } = watch(t, new FakeDirectory(globalService({ backends: [a] })), { active })
    for (let i = 0; i < 20; i++) {
      traffic(a, 'connected')
      await clock.advance(1000)
    }
    t.equal(probe.checks.length, 10)
  }
})

t.test('a host that answers nothing is silent once `fall` checks agree, and one that refuses is not', async t => {
  const { clock, probe, verdicts, silent } = watch(t, new FakeDirectory(globalService({ backends: [a, b] })))
  const unanswered = { outcome: 'failed', why: 'no answer within 1000 ms', unanswered: true } as const
  await clock.advance(1000)
  probe.down('127.2.0.1:8080')
  probe.answers.set('127.1.0.1:8080', unanswered)
  await clock.advance(4000)
  t.same(silent, [], 'two checks do not agree')
  await clock.advance(2000)
  t.same(silent, [[a.destination]])
  t.ok(verdicts.some(([key, health]) => key === a.destination && health === 'down'))
  await clock.advance(20_000)
  t.same(silent, [[a.destination]], 'told once')
  probe.answers.set('127.2.0.1:8080', unanswered)
  await clock.advance(20_000)
  t.same(silent, [[a.destination], [b.destination]], 'a host may die after its backend refused')
  probe.up('127.1.0.1:8080')
  await clock.advance(10_000)
  probe.answers.set('127.1.0.1:8080', unanswered)
  await clock.advance(10_000)
  t.same(silent, [[a.destination], [b.destination], [a.destination]], 'and again')
})

t.test('a host that is silent takes its UDP backends with it, which are not checked', async t => {
  const udp = backend({ address: a.address, port: 53, protocol: 'UDP' })
  const elsewhere = backend({ address: b.address, port: 53, protocol: 'UDP' })
  const local = clusterService({
    ports: [
      { name: 'http', protocol: 'TCP', port: 80 },
      { name: 'dns', protocol: 'UDP', port: 53 },
    ],
  })
  const directory = new FakeDirectory(globalService({ local, backends: [a, b, udp, elsewhere] }))
  const { clock, probe, silent } = watch(t, directory)
  probe.answers.set('127.1.0.1:8080', { outcome: 'failed', why: 'no answer within 1000 ms', unanswered: true })
  await clock.advance(20_000)
  t.same(silent, [[a.destination, udp.destination]])
})

t.test('a successor process knows what its predecessor has found, until it has found something itself', async t => {
  const directory = new FakeDirectory(globalService({ backends: [a, b, c] }))
  const before = watch(t, directory)
  before.probe.down('127.1.0.1:8080')
  await before.clock.advance(20_000)
  before.traffic(b, 'refused', 5)
  t.equal(before.monitor.verdict(b.destination), 'ejected')
  await before.clock.advance(1000)
  const saved = JSON.parse(JSON.stringify(before.monitor.save()))
  const after = watch(t, directory)
  after.monitor.restore([...saved, { destination: 'nowhere', checks: 'down', ejectedMs: 0 }])
  t.same(
    [a, b, c].map(({ destination }) => after.monitor.verdict(destination)),
    ['down', 'ejected', 'up'],
  )
  await after.clock.advance(10_000)
  t.equal(after.monitor.verdict(a.destination), 'up', 'its checks pass here')
  const later = watch(t, directory)
  later.probe.down('127.2.0.2:8080')
  await later.clock.advance(10_000)
  later.monitor.restore(saved)
  t.equal(later.monitor.verdict(c.destination), 'down', 'what was found here counts')
})
