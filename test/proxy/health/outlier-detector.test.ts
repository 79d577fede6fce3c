/** Outlier detection: when backends are ejected, how many at most, and when they return. */
import t from 'tap'
import { type Backend, type Health, select } from '../../../proxy/model/backend.ts'
import type { Flow, Result } from '../../../proxy/model/flow.ts'
import type { GlobalService } from '../../../proxy/model/service.ts'
import { backend, clusterService, FakeDirectory, flow, globalService } from '../../support/model.ts'
import { http, passive, tcp, watch } from './support.ts'

const noChecks = { active: { type: 'none' } } as const

/** Backends 127.2.0.1 and on. */
function many(count: number, given: Partial<Backend> = {}): Backend[] {
  return Array.from({ length: count }, (_, i) => backend({ address: `127.2.0.${i + 1}`, ...given }))
}

const [a, b, c] = many(3) as [Backend, Backend, Backend]

t.test('five consecutive failures eject for thirty seconds', async t => {
  const { monitor, clock, traffic, verdicts, log } = watch(
    t,
    new FakeDirectory(globalService({ backends: [a, b] })),
    noChecks,
  )
  traffic(a, 'refused', 4)
  t.same(verdicts, [])
  traffic(a, 'timeout')
  t.same(verdicts, [[a.destination, 'ejected']])
  t.equal(monitor.verdict(a.destination), 'ejected')
  t.match(monitor.stats(), { ejected: 1, ejections: 1, heldBack: 0 })
  await clock.advance(29_999)
  t.equal(verdicts.length, 1)
  await clock.advance(1)
  t.same(verdicts.at(-1), [a.destination, 'unknown'])
  t.match(monitor.stats(), { ejected: 0, ejections: 1 })
  t.same(log.lines, [
    {
      level: 'warn',
      event: 'health.verdict',
      fields: {
        backend: a.key,
        services: 1,
        from: 'unknown',
        to: 'ejected',
        why: '5 attempts in a row failed, the last one: timeout',
      },
    },
    {
      level: 'info',
      event: 'health.verdict',
      fields: { backend: a.key, services: 1, from: 'ejected', to: 'unknown', why: 'the ejection is over' },
    },
  ])
})

t.test('which results count against a backend', async t => {
  const udp = backend({ address: '127.2.0.1', protocol: 'UDP' })
  const ports = [
    { name: '', protocol: 'TCP', port: 53 },
    { name: '', protocol: 'UDP', port: 53 },
  ] as const
  const cases: { backend: Backend; outcome: Result['outcome']; counts: boolean }[] = [
    { backend: a, outcome: 'refused', counts: true },
    { backend: a, outcome: 'timeout', counts: true },
    { backend: a, outcome: 'unreachable', counts: true },
    { backend: a, outcome: 'local', counts: false },
    { backend: a, outcome: 'cancelled', counts: false },
    { backend: a, outcome: 'connected', counts: false },
    { backend: udp, outcome: 'refused', counts: true },
    { backend: udp, outcome: 'timeout', counts: false },
  ]
  for (const { backend, outcome, counts } of cases) {
    const directory = new FakeDirectory(globalService({ ports: [...ports], backends: [a, udp] }))
    const { traffic, verdicts } = watch(t, directory, noChecks)
    traffic(backend, outcome, 50)
    t.same(verdicts, counts ? [[backend.destination, 'ejected']] : [], `${backend.protocol} ${outcome}`)
  }
})

t.test('a success resets the count; a neutral result does not', async t => {
  const { traffic, verdicts } = watch(t, new FakeDirectory(globalService({ backends: [a, b] })), noChecks)
  for (let i = 0; i < 20; i++) {
    traffic(a, 'refused', 4)
    traffic(a, 'connected')
  }
  t.same(verdicts, [])
  traffic(a, 'refused', 4)
  traffic(a, 'cancelled')
  traffic(a, 'local')
  traffic(a, 'refused')
  t.same(verdicts, [[a.destination, 'ejected']])
})

t.test('each consecutive ejection is longer by one step, up to the maximum', async t => {
  const { monitor, clock, traffic } = watch(t, new FakeDirectory(globalService({ backends: [a, b] })), {
    ...noChecks,
    passive: { ...passive, maxEjectMs: 100_000 },
  })
  const ejectedFor = async (seconds: number) => {
    traffic(a, 'refused', 5)
    await clock.advance(seconds * 1000 - 1)
    t.equal(monitor.verdict(a.destination), 'ejected', `${seconds} s`)
    await clock.advance(1)
    t.equal(monitor.verdict(a.destination), 'unknown', `${seconds} s`)
  }
  for (const seconds of [30, 60, 90, 100, 100, 100, 100]) await ejectedFor(seconds)
  await clock.advance(60_000)
  await ejectedFor(90)
})

t.test('the multiplier falls by one for each ejection time without an ejection', async t => {
  const { monitor, clock, traffic } = watch(t, new FakeDirectory(globalService({ backends: [a, b] })), noChecks)
  const ejectedFor = async () => {
    traffic(a, 'refused', 5)
    for (let seconds = 0; ; seconds++) {
      if (monitor.verdict(a.destination) !== 'ejected') return seconds
      await clock.advance(1000)
    }
  }
  t.equal(await ejectedFor(), 30)
  t.equal(await ejectedFor(), 60)
  t.equal(await ejectedFor(), 90)
  await clock.advance(61_000)
  t.equal(await ejectedFor(), 60, 'two steps down, one up')
  await clock.advance(1_000_000)
  t.equal(await ejectedFor(), 30)
})

t.test('the duration has a jitter of 10 %, so that backends ejected together do not return together', async t => {
  for (const [random, ms] of [
    [0, 27_000],
    [0.75, 31_500],
  ] as const) {
    const directory = new FakeDirectory(globalService({ backends: [a, b] }))
    const { monitor, clock, traffic } = watch(t, directory, { ...noChecks, random: () => random })
    traffic(a, 'refused', 5)
    await clock.advance(ms - 1)
    t.equal(monitor.verdict(a.destination), 'ejected')
    await clock.advance(1)
    t.equal(monitor.verdict(a.destination), 'unknown')
  }
})

t.test('failures during an ejection do not prolong it', async t => {
  const directory = new FakeDirectory(globalService({ backends: many(10) }))
  const { monitor, clock, traffic, verdicts } = watch(t, directory, noChecks)
  traffic(a, 'refused', 5)
  await clock.advance(20_000)
  traffic(a, 'refused', 50)
  await clock.advance(10_000)
  t.same(verdicts.at(-1), [a.destination, 'unknown'])
  t.match(monitor.stats(), { ejections: 1, heldBack: 0 })
})

t.test('at most maxPercent of a service is ejected, but one backend always may be', async t => {
  for (const [backends, maxPercent, most] of [
    [10, 50, 5],
    [10, 10, 1],
    [3, 50, 1],
    [3, 67, 2],
    [1, 50, 1],
    [20, 0, 1],
    [4, 100, 4],
  ] as const) {
    const pool = many(backends)
    const { monitor, traffic, verdicts } = watch(t, new FakeDirectory(globalService({ backends: pool })), {
      ...noChecks,
      passive: { ...passive, maxPercent },
    })
    for (const one of pool) traffic(one, 'refused', 5)
    t.equal(verdicts.length, most, `${most} of ${backends} at ${maxPercent} %`)
    t.match(monitor.stats(), { ejected: most, heldBack: backends - most })
  }
})

t.test('maxPercent counts by pod where the pod is known', async t => {
  // Two pods of two families each, behind one virtual address.
  const dual = ['web-0', 'web-1', 'web-2', 'web-3'].flatMap((pod, i) => [
    backend({ address: `127.2.1.${i + 1}`, pod }),
    backend({ address: `fd00::${i + 1}`, pod }),
  ])
  const service = globalService({ backends: dual })
  const frontends = service.frontends.map(frontend => ({ ...frontend, backends: dual }))
  const { monitor, verdicts, traffic } = watch(t, new FakeDirectory({ ...service, frontends }), noChecks)
  for (const one of dual) traffic(one, 'refused', 5)
  t.same(
    verdicts.map(([key]) => key),
    dual.slice(0, 4).map(({ destination }) => destination),
    'both addresses of two of four pods',
  )
  t.equal(monitor.stats().heldBack, 4)
})

t.test('one client cannot eject a backend for the others', async t => {
  const { clock, log, verdicts, connections } = watch(
    t,
    new FakeDirectory(globalService({ backends: [a, b] })),
    noChecks,
  )
  connections(a, '10.9.0.10', 'done')
  connections(a, '10.9.0.66', 'reset', 50)
  t.same(verdicts, [], 'a backend that resets what one client sends is not failing')
  connections(a, '10.9.0.10', 'reset')
  t.same(verdicts, [[a.destination, 'ejected']], 'when it resets all clients there are, it is')
  t.match(log.of('health.verdict').at(-1)?.why, /^it reset 51 connections of 2 clients before its first byte$/)
  connections(a, '10.9.0.11', 'done')
  t.equal(verdicts.length, 1, 'a third client does not change what two have found')
  await clock.advance(30_000)
  t.same(verdicts.at(-1), [a.destination, 'unknown'])
  connections(a, '10.9.0.10', 'reset', 4)
  connections(a, '10.9.0.11', 'done')
  connections(a, '10.9.0.66', 'reset', 4)
  t.equal(verdicts.length, 2, 'an answer to anybody starts the count again')
})

t.test('an only client counts alone, until there is another', async t => {
  const { clock, verdicts, connections } = watch(t, new FakeDirectory(globalService({ backends: [a, b] })), noChecks)
  connections(a, '10.9.0.66', 'reset', 5)
  t.same(verdicts, [[a.destination, 'ejected']])
  connections(b, '10.9.0.10', 'done')
  t.same(verdicts.at(-1), [a.destination, 'unknown'], 'at once')
  t.equal(clock.waiting, 0)
  connections(a, '10.9.0.66', 'reset', 20)
  t.equal(verdicts.length, 2, 'it is one of two now')
})

t.test('when an ejection ends, another failing backend may be ejected', async t => {
  const { monitor, clock, traffic, verdicts } = watch(
    t,
    new FakeDirectory(globalService({ backends: [a, b] })),
    noChecks,
  )
  traffic(a, 'refused', 5)
  traffic(b, 'refused', 9)
  t.same(verdicts, [[a.destination, 'ejected']])
  t.equal(monitor.stats().heldBack, 1, 'counted once in five failures')
  await clock.advance(30_000)
  traffic(b, 'refused', 1)
  t.same(verdicts, [
    [a.destination, 'ejected'],
    [a.destination, 'unknown'],
    [b.destination, 'ejected'],
  ])
})

t.test('maxPercent holds for every frontend of the backend', async t => {
  const named = (name: string, port: number) => many(4, { ports: [name], port })
  const two = globalService({
    ports: [
      { name: 'http', protocol: 'TCP', port: 80 },
      { name: 'admin', protocol: 'TCP', port: 81 },
    ],
    backends: [...named('http', 8080), ...named('admin', 8081)],
  })
  const first = watch(t, new FakeDirectory(two), noChecks)
  for (const one of two.backends.slice(0, 4)) first.traffic(one, 'refused', 5)
  t.equal(first.verdicts.length, 2, 'half of the four of one port, not of all eight')

  const pool = many(10)
  const small = (backends: Backend[]) =>
    globalService({ name: 'x-wing', local: clusterService({ name: 'x-wing', clusterIPs: ['127.96.0.11'] }), backends })
  const directory = new FakeDirectory(globalService({ backends: pool }), small(pool.slice(0, 2)))
  const second = watch(t, directory, noChecks)
  for (const one of pool.slice(0, 5)) second.traffic(one, 'refused', 5)
  t.same(
    second.verdicts.map(([key]) => key),
    [0, 2, 3, 4].map(i => pool[i]?.destination),
    'one of the two of the small service',
  )
})

t.test('backends that get no flows do not count for maxPercent', async t => {
  const leaving = backend({ address: '127.2.1.1', state: 'terminating', serving: false })
  const { traffic, verdicts } = watch(
    t,
    new FakeDirectory(
      globalService({ backends: [a, b, leaving, backend({ ...leaving, address: '127.2.1.2', key: 'x' })] }),
    ),
    noChecks,
  )
  traffic(a, 'refused', 5)
  traffic(b, 'refused', 5)
  t.equal(verdicts.length, 1)
})

t.test('consecutive passed checks end an ejection early; the next one is longer all the same', async t => {
  const { clock, probe, traffic, verdicts } = watch(t, new FakeDirectory(globalService({ backends: [a, b] })))
  await clock.advance(1000)
  verdicts.length = 0
  traffic(a, 'refused', 5)
  await clock.advance(1900)
  t.same(verdicts, [[a.destination, 'ejected']], 'one is not enough')
  await clock.advance(2000)
  t.same(verdicts, [
    [a.destination, 'ejected'],
    [a.destination, 'up'],
  ])

  probe.down('127.2.0.1:8080')
  traffic(a, 'refused', 5)
  await clock.advance(59_000)
  t.equal(verdicts.at(-1)?.[1], 'ejected')
  await clock.advance(1000)
  t.same(
    verdicts.slice(2),
    [
      [a.destination, 'ejected'],
      [a.destination, 'down'],
    ],
    'ejected covers down',
  )
})

t.test('an ejection continues while its backend is gone, without a timer', async t => {
  const directory = new FakeDirectory(globalService({ backends: [a, b] }))
  const { monitor, clock, traffic, verdicts } = watch(t, directory, noChecks)
  traffic(a, 'refused', 5)
  directory.set(globalService({ backends: [b] }))
  t.equal(clock.waiting, 0)
  t.equal(monitor.stats().ejected, 0)
  await clock.advance(10_000)
  t.equal(monitor.verdict(a.destination), 'ejected')
  directory.set(globalService({ backends: [backend({ ...a, health: 'ejected' }), b] }))
  await clock.advance(19_999)
  t.equal(monitor.verdict(a.destination), 'ejected')
  await clock.advance(1)
  t.same(verdicts, [
    [a.destination, 'ejected'],
    [a.destination, 'unknown'],
  ])

  traffic(a, 'refused', 5)
  directory.set(globalService({ backends: [b] }))
  await clock.advance(61_000)
  t.equal(monitor.verdict(a.destination), 'unknown', 'over while it was away')
  directory.set(globalService({ backends: [a, b] }))
  traffic(a, 'refused', 5)
  t.equal(verdicts.at(-1)?.[1], 'ejected', 'and it can be ejected again')
})

t.test('flapping under traffic: ejections grow, and the two good peers stay in (T23)', async t => {
  const directory = new FakeDirectory(globalService({ backends: [a, b, c] }))
  const lengths: number[] = []
  let since = 0
  let fewest = 3
  const { clock, traffic } = watch(t, directory, {
    ...noChecks,
    onVerdict: (key, health: Health) => {
      if (health === 'ejected') since = clock.now()
      else lengths.push(Math.round((clock.now() - since) / 1000))
      const service = directory.service('default/rebel-base') as GlobalService
      directory.set(
        globalService({ backends: service.backends.map(one => (one.destination === key ? { ...one, health } : one)) }),
      )
    },
  })
  for (let tick = 0; tick < 2200; tick++) {
    const offered = select(directory.service('default/rebel-base')?.frontends[0]?.backends ?? [])
    fewest = Math.min(fewest, offered.length)
    for (const one of offered)
      traffic(one, one.destination === a.destination && tick % 20 < 10 ? 'refused' : 'connected')
    await clock.advance(100)
  }
  t.same(lengths, [30, 60, 90])
  t.equal(fewest, 2)
})

t.test('results of unwatched backends, and `consecutive: 0`, change nothing', async t => {
  const directory = new FakeDirectory(globalService({ backends: [a, b] }))
  const on = watch(t, directory, noChecks)
  const stranger = backend({ address: '127.9.9.9' })
  const service = globalService({ backends: [stranger] })
  for (let i = 0; i < 9; i++) on.monitor.result(flow(service), stranger, { outcome: 'refused', ms: 1 })
  const off = watch(t, directory, { active: tcp, passive: { ...passive, consecutive: 0 } })
  off.traffic(a, 'refused', 50)
  t.same([...on.verdicts, ...off.verdicts], [])
})

t.test(
  'a backend that leaves all who ask without a byte is ejected, and checks that only connect do not end that',
  async t => {
    const directory = new FakeDirectory(globalService({ backends: [a, b] }))
    const { monitor, clock, verdicts, log, probe } = watch(t, directory)
    const service = [...directory.services()][0] as GlobalService
    let id = 0
    const asks = (address: string) => {
      const asked = flow(service, { id: ++id, client: { address, port: 1 } })
      monitor.connecting(asked)
      monitor.result(asked, a, { outcome: 'connected', ms: 1 })
      return asked
    }
    const ends = (asked: Flow, received: number, ms: number) =>
      monitor.closed(asked, a, { sent: 10, received, ms, reason: 'done' })
    const mute = (address: string) => {
      const asked = asks(address)
      monitor.mute(asked, a)
      return asked
    }
    await clock.advance(1000)
    verdicts.length = 0
    asks('10.9.0.10')
    for (let i = 0; i < 20; i++) mute('10.9.0.66')
    t.same(verdicts, [], 'one client is not enough while there are others')
    await clock.advance(100)
    ends(asks('10.9.0.10'), 10, 50)
    mute('10.9.0.10')
    t.same(verdicts, [], 'an answer to anybody who came since starts the count again')
    for (let i = 0; i < 4; i++) mute('10.9.0.66')
    t.same(verdicts, [[a.destination, 'ejected']])
    t.match(
      log.of('health.verdict').at(-1)?.why,
      /^it sent no byte on 5 connections of 2 clients, though they had asked$/,
    )
    await clock.advance(20_000)
    t.ok(probe.times('127.2.0.1:8080').length > 5, 'it is checked')
    t.equal(monitor.verdict(a.destination), 'ejected', 'by connecting')
    ends(asks('10.9.0.11'), 100, 600_000)
    t.equal(monitor.verdict(a.destination), 'ejected', 'a flow of before that ends shows nothing')
    const after = watch(t, directory)
    after.monitor.restore(monitor.save())
    await after.clock.advance(8000)
    t.equal(after.monitor.verdict(a.destination), 'ejected', 'nor do they in a successor')
    await clock.advance(10_000)
    t.same(verdicts.at(-1), [a.destination, 'up'], 'for eject')

    for (const end of [10, 66, 11, 66, 10]) mute(`10.9.0.${end}`)
    const last = mute('10.9.0.12')
    t.equal(monitor.verdict(a.destination), 'ejected')
    ends(last, 10, 3000)
    t.equal(monitor.verdict(a.destination), 'up', 'one of those that waited was answered')
    await clock.advance(61_000)
    for (const end of [10, 66, 11]) mute(`10.9.0.${end}`)
    await clock.advance(61_000)
    for (const end of [12, 10]) mute(`10.9.0.${end}`)
    t.equal(monitor.verdict(a.destination), 'up', 'those of a minute ago are no series')
  },
)

t.test('checks that get an answer end the ejection of a backend that answered nothing', async t => {
  const directory = new FakeDirectory(globalService({ backends: [a, b] }))
  const { monitor, clock } = watch(t, directory, { active: http })
  const service = [...directory.services()][0] as GlobalService
  await clock.advance(1000)
  for (let id = 0; id < 5; id++) {
    const asked = flow(service, { id, client: { address: '10.9.0.66', port: 1 } })
    monitor.connecting(asked)
    monitor.mute(asked, a)
  }
  t.equal(monitor.verdict(a.destination), 'ejected')
  await clock.advance(5000)
  t.equal(monitor.verdict(a.destination), 'up')
})
