/** Which listeners are open while services appear, change, move and disappear. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t, { type Test } from 'tap'
import type { Engine, Listener } from '../../../proxy/dataplane/engine.ts'
import { Listeners, type ListenersParts } from '../../../proxy/dataplane/frontends/listeners.ts'
import { createStreamsEngine } from '../../../proxy/dataplane/streams/engine.ts'
import type { Backend } from '../../../proxy/model/backend.ts'
import { MeshError } from '../../../proxy/model/error.ts'
import type { LogFields } from '../../../proxy/model/log.ts'
import type { Frontend, GlobalService, ServicePort } from '../../../proxy/model/service.ts'
import { Inherited, type Passed } from '../../../proxy/model/sockets/passing.ts'
import { plainOptions } from '../../conformance/engine/rig.ts'
import { client, ending, freePort, says, tcpBackend } from '../../support/backend.ts'
import { FakeChooser } from '../../support/chooser.ts'
import { FakeClock, settled } from '../../support/clock.ts'
import { backend, clusterService, FakeDirectory, globalService } from '../../support/model.ts'

/** Records its calls; binds nothing, and fails for addresses in `taken`. */
class FakeEngine implements Engine {
  readonly name = 'fake'
  readonly told: string[] = []
  readonly taken = new Set<string>()
  readonly holding = new Set<string>()
  readonly open = new Map<string, GlobalService>()

  async listen(frontend: Frontend, service: GlobalService, paused?: Listener, passed?: Passed): Promise<Listener> {
    this.told.push(`listen ${frontend.key}${paused ? ' again' : ''}${passed ? ` by ${passed.descriptor}` : ''}`)
    await settled()
    if (this.taken.has(frontend.ip)) throw new MeshError('LISTEN', `${frontend.key} is taken`)
    if (this.open.has(frontend.key)) throw new Error(`${frontend.key} is bound twice`)
    this.open.set(frontend.key, service)
    const { holding } = this
    return {
      frontend,
      closed: false,
      get holdsSessions() {
        return holding.has(frontend.key)
      },
      update: (frontend, service) => {
        this.told.push(`update ${frontend.key}`)
        if (this.open.has(frontend.key)) this.open.set(frontend.key, service)
      },
      pause: async () => {
        this.told.push(`pause ${frontend.key}`)
        await settled()
        this.open.delete(frontend.key)
      },
      pass: async () => {
        this.told.push(`pass ${frontend.key}`)
        this.open.delete(frontend.key)
        return { descriptor: 7, sessions: [] }
      },
      close: async () => {
        this.told.push(`close ${frontend.key}`)
        await settled()
        await settled()
        this.open.delete(frontend.key)
      },
    }
  }

  retire(backends: readonly string[]): void {
    this.told.push(`retire ${backends.join(' ')}`)
  }

  lose(): void {}

  configure(): void {}

  rings(): [] {
    return []
  }

  stats(): { connections: number; udpSessions: number } {
    return { connections: 0, udpSessions: 0 }
  }

  async close() {
    return { connections: 0, udpSessions: 0 }
  }

  destroy(): void {}
  /** Calls since the last time, without the updates after a bind. */
  news(): string[] {
    return this.told.splice(0)
  }
}

interface Setup {
  readonly listeners: Listeners
  readonly engine: FakeEngine
  readonly directory: FakeDirectory
  readonly clock: FakeClock
  readonly log: { event: string; fields: LogFields | undefined }[]
}

function setup(t: Test, services: GlobalService[], given: Partial<ListenersParts> = {}): Setup {
  const engine = new FakeEngine()
  const directory = new FakeDirectory(...services)
  const clock = new FakeClock()
  const log: Setup['log'] = []
  const note = (event: string, fields?: LogFields) => void log.push({ event, fields })
  const listeners = new Listeners({
    directory,
    engine,
    clock,
    services: 'global',
    unlistedMs: 3_600_000,
    log: { debug: note, info: note, warn: note, error: note },
    ...given,
  })
  t.teardown(() => listeners.close())
  return { listeners, engine, directory, clock, log }
}

const tcp = (port: number): ServicePort => ({ name: `p${port}`, protocol: 'TCP', port })
const udp = (port: number): ServicePort => ({ name: `u${port}`, protocol: 'UDP', port })

function service(
  name: string,
  ip: string,
  ports: ServicePort[],
  backends: Backend[] = always,
  global = true,
): GlobalService {
  return globalService({ local: clusterService({ name, clusterIPs: [ip], ports }), backends, settings: { global } })
}

const always = [backend({ address: '127.1.0.9' }), backend({ address: '127.1.0.9', protocol: 'UDP' })]
const a = backend({ address: '127.1.0.1' })
const b = backend({ address: '127.2.0.1', cluster: 'cluster-2' })

t.test('many services are opened in turns, and may change before theirs', async t => {
  const at = (i: number, network = 1) => backend({ address: `127.${network}.${i >> 8}.${i & 255}` })
  const of = (i: number, backends: Backend[]) => service(`s${i}`, `127.96.${i >> 8}.${i & 255}`, [tcp(80)], backends)
  const { listeners, engine, directory } = setup(
    t,
    Array.from({ length: 300 }, (_, i) => of(i, [at(i)])),
  )
  const retired = () => engine.news().filter(line => line.startsWith('retire'))
  const started = listeners.start()
  t.equal(listeners.closed().length, 8, 'others have their turn after the first ones')
  directory.set(of(200, [at(200, 2)]), of(3, [at(3, 2)]))
  directory.remove('default/s250')
  await started
  t.equal(engine.open.size, 299)
  t.same(retired(), [`retire ${at(3).key}`], 'of those that had theirs')
  directory.set(of(200, [at(200, 4)]))
  t.same(retired(), [`retire ${at(200, 2).key}`])

  await listeners.pass()
  await listeners.takeBack(new Inherited())
  t.equal(engine.open.size, 299)
  retired()
  directory.set(of(7, [at(7, 2)]))
  t.same(retired(), [`retire ${at(7).key}`], 'also after the sockets have come back')
})

t.test('opens every TCP and UDP frontend of the global services, and no other', async t => {
  const { listeners, engine, log } = setup(t, [
    service('one', '127.96.0.1', [tcp(80), udp(53), { name: 's', protocol: 'SCTP', port: 9 }]),
    service('local-only', '127.96.0.2', [tcp(80)], always, false),
    globalService({ local: undefined, name: 'remote-only' }),
  ])
  await listeners.start()
  t.same([...engine.open.keys()], ['127.96.0.1:80/TCP', '127.96.0.1:53/UDP'])
  t.same(listeners.listening(), [
    { key: '127.96.0.1:80/TCP', service: 'default/one' },
    { key: '127.96.0.1:53/UDP', service: 'default/one' },
  ])
  t.same(listeners.failures(), [])
  t.match(log, [{ event: 'listener.skipped', fields: { frontend: '127.96.0.1:9/SCTP' } }])
})

t.test('with services: all it opens those that are not global as well', async t => {
  const { listeners, engine } = setup(t, [service('local-only', '127.96.0.2', [tcp(80)], always, false)], {
    services: 'all',
  })
  await listeners.start()
  t.same([...engine.open.keys()], ['127.96.0.2:80/TCP'])
})

t.test('a change costs its service alone', async t => {
  const { listeners, engine, directory, log } = setup(t, [
    service('one', '127.96.0.1', [tcp(80), { name: 's', protocol: 'SCTP', port: 9 }], [b]),
    service('two', '127.96.0.2', [tcp(80)], [b]),
  ])
  await listeners.start()
  engine.news()
  directory.set(service('one', '127.96.0.1', [tcp(80), tcp(81), { name: 's', protocol: 'SCTP', port: 9 }], [a]))
  await settled()
  await settled()
  t.same(engine.news(), ['update 127.96.0.1:80/TCP', 'listen 127.96.0.1:81/TCP', 'update 127.96.0.1:81/TCP'])
  t.equal(engine.open.get('127.96.0.1:80/TCP')?.backends[0], a)
  directory.set(service('one', '127.96.0.1', [tcp(81)], [a]))
  t.same(engine.news(), ['close 127.96.0.1:80/TCP', 'update 127.96.0.1:81/TCP'])
  directory.set(service('one', '127.96.0.1', [tcp(81)], [a], false))
  t.same(engine.news(), ['close 127.96.0.1:81/TCP', `retire ${a.key}`])
  directory.remove('default/two')
  t.same(engine.news(), ['close 127.96.0.2:80/TCP', `retire ${b.key}`])
  t.same(listeners.listening(), [])
  t.equal(log.filter(({ event }) => event === 'listener.skipped').length, 1, 'SCTP is told of once')
})

t.test('a frontend that goes from one service to another keeps its socket', async t => {
  const { listeners, engine, directory } = setup(t, [service('old', '127.96.0.1', [tcp(80)], [a])])
  await listeners.start()
  engine.news()
  const successor = service('new', '127.96.0.1', [tcp(80)], [b])
  directory.replace([{ key: 'default/old' }, { key: 'default/new', after: successor }])
  await settled()
  t.same(engine.news(), ['update 127.96.0.1:80/TCP', `retire ${a.key}`])
  t.same(listeners.listening(), [{ key: '127.96.0.1:80/TCP', service: 'default/new' }])
})

t.test('an address that goes and comes back at once is bound again when it is free', async t => {
  const { listeners, engine, directory } = setup(t, [service('one', '127.96.0.1', [tcp(80)])])
  await listeners.start()
  directory.remove('default/one')
  directory.set(service('one', '127.96.0.1', [tcp(80)]))
  for (let i = 0; i < 6; i++) await settled()
  t.same([...engine.open.keys()], ['127.96.0.1:80/TCP'])
  t.same(listeners.failures(), [])
})

t.test('what changes or goes while its socket is being bound is not missed', async t => {
  const { listeners, engine, directory } = setup(t, [
    service('one', '127.96.0.1', [tcp(80)]),
    service('two', '127.96.0.2', [tcp(80)]),
  ])
  const starting = listeners.start()
  while (engine.told.length < 2) await Promise.resolve()
  directory.set(service('one', '127.96.0.1', [tcp(80)], [a]))
  directory.remove('default/two')
  await starting
  for (let i = 0; i < 6; i++) await settled()
  t.same([...engine.open.keys()], ['127.96.0.1:80/TCP'])
  t.equal(engine.open.get('127.96.0.1:80/TCP')?.backends[0], a)
})

t.test('a frontend without a backend that could be chosen is closed, and opened when one comes', async t => {
  const { listeners, engine, directory, clock } = setup(t, [
    service('empty', '127.96.0.1', [tcp(80), udp(53)], [a]),
    service('gone', '127.96.0.2', [tcp(80)], [{ ...a, state: 'terminating', serving: false }]),
    service('leaving', '127.96.0.3', [tcp(80)], [{ ...a, state: 'terminating' }]),
    service('down', '127.96.0.4', [tcp(80)], [{ ...a, health: 'down' }]),
  ])
  await listeners.start()
  t.same([...engine.open.keys()], ['127.96.0.1:80/TCP', '127.96.0.3:80/TCP', '127.96.0.4:80/TCP'])
  t.same(listeners.refusing(), ['127.96.0.1:53/UDP', '127.96.0.2:80/TCP'])
  t.same(listeners.failures(), [])
  engine.news()

  directory.set(service('empty', '127.96.0.1', [tcp(80), udp(53)], []))
  await clock.advance(1000)
  await settled()
  t.same(engine.news(), ['update 127.96.0.1:80/TCP', 'pause 127.96.0.1:80/TCP'])
  t.same(listeners.refusing(), ['127.96.0.1:80/TCP', '127.96.0.1:53/UDP', '127.96.0.2:80/TCP'])

  directory.set(service('empty', '127.96.0.1', [tcp(80), udp(53)], always))
  for (let i = 0; i < 3; i++) await settled()
  t.match(engine.news(), ['update 127.96.0.1:80/TCP', 'listen 127.96.0.1:80/TCP again', 'listen 127.96.0.1:53/UDP'])
  t.same(listeners.refusing(), ['127.96.0.2:80/TCP'])
  t.ok(listeners.isRefusing('127.96.0.2:80/TCP'))
})

t.test('a UDP frontend closes with its last candidate: a datagram taken meanwhile would get no answer', async t => {
  const quic = backend({ address: '127.1.0.9', protocol: 'UDP' })
  const { listeners, engine, directory } = setup(t, [service('one', '127.96.0.1', [udp(53)], [quic])])
  await listeners.start()
  engine.news()
  directory.set(service('one', '127.96.0.1', [udp(53)], []))
  t.same(new Set(engine.news()), new Set(['update 127.96.0.1:53/UDP', 'pause 127.96.0.1:53/UDP', `retire ${quic.key}`]))
  t.same(listeners.refusing(), ['127.96.0.1:53/UDP'])
  directory.set(service('one', '127.96.0.1', [udp(53)], [quic]))
  for (let i = 0; i < 3; i++) await settled()
  t.match(engine.news(), ['update 127.96.0.1:53/UDP', 'listen 127.96.0.1:53/UDP again'])
})

t.test('a UDP frontend stays open while a session of it is on a backend that is listed', async t => {
  const quic = backend({ address: '127.1.0.9', protocol: 'UDP' })
  const { listeners, engine, directory, clock } = setup(t, [service('one', '127.96.0.1', [udp(53)], [quic])])
  await listeners.start()
  engine.holding.add('127.96.0.1:53/UDP')
  engine.news()
  directory.set(service('one', '127.96.0.1', [udp(53)], [{ ...quic, state: 'maintenance', serving: false }]))
  await clock.advance(10_000)
  t.same(engine.news(), ['update 127.96.0.1:53/UDP'])
  engine.holding.clear()
  await clock.advance(1000)
  t.same(engine.news(), ['pause 127.96.0.1:53/UDP'])
})

t.test('a backend that comes and goes costs no socket', async t => {
  const { listeners, engine, directory, clock } = setup(t, [service('one', '127.96.0.1', [tcp(80)], [a])])
  await listeners.start()
  engine.news()
  for (let flap = 0; flap < 100; flap++) {
    directory.set(service('one', '127.96.0.1', [tcp(80)], flap % 2 ? [a] : []))
    await clock.advance(500)
  }
  t.same(new Set(engine.news()), new Set(['update 127.96.0.1:80/TCP', `retire ${a.key}`]))
  t.equal(clock.waiting, 0)
})

t.test(
  'a candidate that comes while the socket is being closed, or goes while it is opened, is not missed',
  async t => {
    const { listeners, engine, directory, clock } = setup(t, [service('one', '127.96.0.1', [tcp(80)], [a])])
    await listeners.start()
    directory.set(service('one', '127.96.0.1', [tcp(80)], []))
    await clock.advance(1000)
    directory.set(service('one', '127.96.0.1', [tcp(80)], [a]))
    directory.set(service('one', '127.96.0.1', [tcp(80)], []))
    for (let i = 0; i < 12; i++) await settled()
    await clock.advance(1000)
    for (let i = 0; i < 12; i++) await settled()
    t.same([...engine.open.keys()], [])
    t.same(listeners.refusing(), ['127.96.0.1:80/TCP'])
    directory.set(service('one', '127.96.0.1', [tcp(80)], [a]))
    for (let i = 0; i < 12; i++) await settled()
    t.same([...engine.open.keys()], ['127.96.0.1:80/TCP'])
  },
)

t.test('the problem of a frontend ends when it has nothing to listen for', async t => {
  const { listeners, engine, directory, clock } = setup(t, [service('one', '127.96.0.1', [tcp(80)], [a])])
  engine.taken.add('127.96.0.1')
  await listeners.start()
  t.equal(listeners.failures().length, 1)
  directory.set(service('one', '127.96.0.1', [tcp(80)], []))
  t.same(listeners.failures(), [])
  t.equal(clock.waiting, 0, 'no retry')
  engine.taken.clear()
  directory.set(service('one', '127.96.0.1', [tcp(80)], [a]))
  for (let i = 0; i < 3; i++) await settled()
  t.equal(listeners.listening().length, 1)
})

t.test('an address of which no frontend could be opened is released, and prepared again for the next try', async t => {
  const calls: string[] = []
  const { listeners, engine, clock } = setup(
    t,
    [service('one', '127.96.0.1', [tcp(80), tcp(81)]), service('two', '127.96.0.2', [tcp(80)])],
    {
      prepare: async ips => void calls.push(`prepare ${ips.join(' ')}`),
      release: async ips => void calls.push(`release ${ips.join(' ')}`),
    },
  )
  engine.taken.add('127.96.0.1')
  await listeners.start()
  t.same(calls.splice(0), ['prepare 127.96.0.1 127.96.0.2', 'release 127.96.0.1'])
  engine.taken.clear()
  await clock.advance(1000)
  for (let i = 0; i < 3; i++) await settled()
  t.same(new Set(calls), new Set(['prepare 127.96.0.1']))
  t.equal(listeners.listening().length, 3)
})

t.test('a bind that fails is shown, tried again ever less often, and taken back', async t => {
  const { listeners, engine, clock, log } = setup(t, [
    service('one', '127.96.0.1', [tcp(80)]),
    service('two', '127.96.0.2', [tcp(80)]),
  ])
  engine.taken.add('127.96.0.2')
  await listeners.start()
  t.same(listeners.listening(), [{ key: '127.96.0.1:80/TCP', service: 'default/one' }], 'the others are not held up')
  t.same(listeners.failures(), [{ code: 'LISTEN', where: '127.96.0.2:80/TCP', message: '127.96.0.2:80/TCP is taken' }])
  engine.news()
  const tries: number[] = []
  for (let second = 1; second <= 100; second++) {
    await clock.advance(1000)
    await settled()
    if (engine.news().length > 0) tries.push(second)
  }
  t.same(tries, [1, 3, 7, 15, 31, 61, 91])
  t.equal(log.filter(({ event }) => event === 'listener.failed').length, 1, 'one line for one cause')
  engine.taken.clear()
  await clock.advance(30_000)
  await settled()
  t.same(listeners.failures(), [])
  t.equal(listeners.listening().length, 2)
  t.ok(log.some(({ event }) => event === 'listener.open'))
})

t.test('nothing is tried for a frontend that has gone, and close leaves nothing', async t => {
  const { listeners, engine, directory, clock } = setup(t, [
    service('one', '127.96.0.1', [tcp(80)]),
    service('two', '127.96.0.2', [tcp(80)]),
  ])
  engine.taken.add('127.96.0.2')
  await listeners.start()
  directory.remove('default/two')
  t.same(listeners.failures(), [])
  t.equal(clock.waiting, 0)
  await listeners.close()
  t.equal(engine.open.size, 0)
  directory.set(service('three', '127.96.0.3', [tcp(80)]))
  await settled()
  t.equal(engine.open.size, 0)
})

t.test('addresses are prepared before they are bound, and a failure of that does not stop the others', async t => {
  const order: string[] = []
  const { listeners, engine, log } = setup(
    t,
    [service('one', '127.96.0.1', [tcp(80), tcp(81)]), service('two', '127.96.0.2', [tcp(80)])],
    {
      prepare: async ips => {
        order.push(ips.join(' '), `${engine.told.length} bound`)
        throw new Error('no permission')
      },
    },
  )
  await listeners.start()
  t.same(order, ['127.96.0.1 127.96.0.2', '0 bound'])
  t.equal(engine.open.size, 3)
  t.match(log, [{ event: 'listener.unprepared', fields: { why: 'no permission' } }])
})

t.test('a backend retires when no service lists it any more, and not before', async t => {
  const shared = { ...a }
  const { listeners, engine, directory } = setup(t, [
    service('one', '127.96.0.1', [tcp(80)], [shared, b]),
    service('two', '127.96.0.2', [tcp(80)], [shared]),
  ])
  await listeners.start()
  const retired = () => engine.news().filter(line => line.startsWith('retire'))
  retired()
  directory.set(service('one', '127.96.0.1', [tcp(80)], [b]))
  t.same(retired(), [], 'the other service has it')
  for (const state of [
    { health: 'down' },
    { state: 'maintenance', serving: false },
    { state: 'maintenance', weight: 0 },
    { state: 'terminating' },
    { state: 'terminating', serving: false },
  ] as const) {
    directory.set(service('two', '127.96.0.2', [tcp(80)], [{ ...shared, ...state }]))
    t.same(retired(), [], JSON.stringify(state))
  }
  directory.set(service('two', '127.96.0.2', [tcp(80)], []))
  t.same(retired(), [`retire ${a.key}`])
  directory.set(service('one', '127.96.0.1', [tcp(80)], [{ ...b, state: 'maintenance' }, a]))
  t.same(retired(), [])
  directory.remove('default/one')
  t.same(retired(), [`retire ${b.key} ${a.key}`])
})

t.test('a backend that a list without conditions omits has not left yet', async t => {
  const far = clusterService({ cluster: 'cluster-2', readyOnly: true })
  /** A service of both clusters; `listed: false`: the other one has no record of it any more. */
  const two = (name: string, ip: string, backends: Backend[], listed: object | false = far) => {
    const plain = service(name, ip, [tcp(80)], backends)
    return { ...plain, members: [...plain.members, ...(listed ? [listed as typeof far] : [])] }
  }
  const at = (n: number) => backend({ address: `127.2.9.${n}`, cluster: 'cluster-2' })
  const [x, y] = [at(1), at(2)]
  const begin = async (given: Partial<ListenersParts> = {}) => {
    const all = setup(t, [two('one', '127.96.0.1', [a, x, y]), two('two', '127.96.0.2', [])], given)
    await all.listeners.start()
    all.engine.news()
    const retired = () => all.engine.news().filter(line => line.startsWith('retire'))
    return { ...all, retired, omit: () => all.directory.set(two('one', '127.96.0.1', [a, y])) }
  }

  await t.test('it has left when its time is over', async t => {
    const { omit, retired, clock, directory, listeners } = await begin()
    omit()
    t.same(retired(), [])
    await clock.advance(3_599_000)
    t.same(retired(), [])
    directory.set(two('one', '127.96.0.1', [a]))
    await clock.advance(1000)
    t.same(retired(), [`retire ${x.key}`])
    await clock.advance(3_599_000)
    t.same(retired(), [`retire ${y.key}`])
    omit()
    await listeners.close()
    t.equal(clock.waiting, 0, 'no timer is left')
  })

  await t.test('it may come back', async t => {
    const { omit, retired, clock, directory } = await begin()
    omit()
    directory.set(two('one', '127.96.0.1', [a, x, y]))
    await clock.advance(7_200_000)
    t.same(retired(), [])
  })

  await t.test('the list goes, or gets conditions', async t => {
    for (const list of [false, clusterService({ cluster: 'cluster-2' })] as const) {
      const { omit, retired, directory } = await begin()
      omit()
      directory.set(two('one', '127.96.0.1', [a, y], list))
      t.same(retired(), [`retire ${x.key}`])
      directory.set(two('one', '127.96.0.1', [a], list))
      t.same(retired(), [`retire ${y.key}`], 'others are proven gone by it')
    }
    const { omit, retired, directory } = await begin()
    omit()
    directory.remove('default/one')
    t.same(retired(), [`retire ${a.key} ${y.key} ${x.key}`], 'the service goes')
  })

  await t.test('another service has its address', async t => {
    const { omit, retired, directory } = await begin()
    omit()
    const taker = backend({ address: x.address, port: 9999, cluster: 'cluster-2' })
    directory.set(two('one', '127.96.0.1', [a, y, taker]))
    t.same(retired(), [], 'not the same one')
    directory.set(two('two', '127.96.0.2', [backend({ ...taker, port: 99, key: 'cluster-2/other' })]))
    t.same(retired(), [`retire ${x.key}`])
  })

  await t.test('health had found it dead', async t => {
    for (const health of ['down', 'ejected'] as const) {
      const { omit, retired, directory } = await begin()
      directory.set(two('one', '127.96.0.1', [a, { ...x, health }, y]))
      t.same(retired(), [])
      omit()
      t.same(retired(), [`retire ${x.key}`])
    }
  })

  await t.test('UDP, and backends of clusters with conditions, leave at once', async t => {
    const quic = backend({ address: '127.2.9.3', cluster: 'cluster-2', protocol: 'UDP' })
    const { directory, retired } = await begin()
    directory.set(two('one', '127.96.0.1', [a, x, y, quic]))
    directory.set(two('one', '127.96.0.1', [x, y]))
    t.same(retired(), [`retire ${a.key} ${quic.key}`])
  })

  await t.test('unlisted: 0 means that it has left', async t => {
    const { omit, retired } = await begin({ unlistedMs: 0 })
    omit()
    t.same(retired(), [`retire ${x.key}`])
  })

  await t.test('another time applies to those that are unlisted already', async t => {
    const { listeners, clock, omit, retired } = await begin()
    omit()
    await clock.advance(1000)
    listeners.setUnlisted(2000)
    t.same(retired(), [])
    await clock.advance(999)
    t.same(retired(), [])
    await clock.advance(1)
    t.same(retired(), [`retire ${x.key}`])
  })

  await t.test('there are at most ten thousand; the oldest have left', async t => {
    const many = Array.from({ length: 10_003 }, (_, i) =>
      backend({ address: `127.3.${i >> 8}.${i & 255}`, cluster: 'cluster-2' }),
    )
    const { directory, retired } = await begin()
    directory.set(two('one', '127.96.0.1', many))
    retired()
    directory.set(two('one', '127.96.0.1', []))
    t.match(retired(), [new RegExp(`^retire ${x.key} ${y.key}( \\S+){3}$`)])
  })
})

t.test('five thousand frontends open, and then a change touches one', async t => {
  const many = Array.from({ length: 5000 }, (_, i) =>
    service(`s${i}`, `127.97.${i >> 8}.${i & 255}`, [tcp(80)], [backend({ address: `127.3.${i >> 8}.${i & 255}` })]),
  )
  const engine = createStreamsEngine({
    chooser: new FakeChooser(),
    clock: new FakeClock(),
    log: { debug() {}, info() {}, warn() {}, error() {} },
    options: plainOptions,
  })
  const { listeners, directory } = setup(t, many, { engine })
  t.teardown(() => engine.destroy())
  await listeners.start()
  t.equal(listeners.listening().length + listeners.failures().length, 5000)
  t.same(listeners.failures(), [])
  directory.remove('default/s77')
  t.equal(listeners.listening().length, 4999)
})

t.test('through a real engine: the service of the directory answers, and moves on with it', async t => {
  const port = await freePort('127.77.1.1')
  const [one, two] = [await tcpBackend(t, says('one')), await tcpBackend(t, says('two'))]
  const chooser = new FakeChooser()
  const engine = createStreamsEngine({
    chooser,
    clock: new FakeClock(),
    log: { debug() {}, info() {}, warn() {}, error() {} },
    options: plainOptions,
  })
  const { listeners, directory } = setup(t, [service('one', '127.77.1.1', [tcp(port)], [one.backend])], { engine })
  t.teardown(() => engine.destroy())
  await listeners.start()
  const ask = async () => (await ending((await client(t, { ip: '127.77.1.1', port })).end())).text
  t.equal(await ask(), 'one')
  directory.set(service('one', '127.77.1.1', [tcp(port)], [two.backend]))
  t.equal(await ask(), 'two')
  t.same(chooser.broken, [])
})

t.test('a listener keeps no service that has been replaced', async t => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc')
  const { listeners, directory } = setup(t, [service('web', '127.96.0.1', [tcp(80)])])
  await listeners.start()
  const first = new WeakRef([...directory.services()][0] as GlobalService)
  directory.set(service('web', '127.96.0.1', [tcp(80)], [a]))
  await settled()
  collect()
  t.equal(first.deref(), undefined)
  t.equal(listeners.listening().length, 1)
})
