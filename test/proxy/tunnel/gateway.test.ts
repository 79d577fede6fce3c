/** What a gateway serves, to whom, and how it answers. Clients here are written by hand over node:http2, and lie. */
import { once } from 'node:events'
import {
  type ClientHttp2Session,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import t, { type Test } from 'tap'
import tenancy from '../../../plugins/tenancy/index.ts'
import type { GlobalService } from '../../../proxy/model/service.ts'
import { healthPath } from '../../../proxy/tunnel/wire/health-lines.ts'
import { udpPath } from '../../../proxy/tunnel/wire/target.ts'
import { echo, freePort, silent, tcpBackend } from '../../support/backend.ts'
import { hostParts, plugin, startChain } from '../../support/chain.ts'
import { eventually } from '../../support/eventually.ts'
import { refusing } from '../../support/faults.ts'
import { backend as backendOf } from '../../support/model.ts'
import { folderFor, idOf, TunnelAuthority } from '../../support/tunnel/certificates.ts'
import { gatewayOptions, sharedService, startGateway } from '../../support/tunnel/rig.ts'

const authority = await TunnelAuthority.create()
const peers = ['cluster-1', 'cluster-3'].map(cluster => ({ cluster, trustDomain: 'mesh.test', ids: [] }))

async function gatewayOf(t: Test, services: readonly GlobalService[], given: object = {}) {
  const folder = await folderFor(join(t.testdir(), 'gateway'), authority, idOf('cluster-2', 'gateway'))
  return startGateway(t, { folder, services, peers, ...given })
}

/** A session of a client with this id. */
async function session(t: Test, port: number, id = idOf('cluster-1')): Promise<ClientHttp2Session> {
  const { cert, key } = await authority.issue(id)
  const socket = connectTls({
    port,
    host: '127.0.0.1',
    cert,
    key,
    ca: authority.pem,
    ALPNProtocols: ['h2'],
    servername: '',
    checkServerIdentity: () => undefined,
  })
  await once(socket, 'secureConnect')
  const session = connect('https://gateway', { createConnection: () => socket })
  session.on('error', () => {})
  t.teardown(() => session.destroy())
  await once(session, 'remoteSettings')
  return session
}

/** The answer to one request; an open stream stays open. */
async function ask(session: ClientHttp2Session, headers: OutgoingHttpHeaders) {
  const stream = session.request(headers, { endStream: false })
  stream.on('error', () => {})
  t.teardown(() => stream.destroy())
  const [answer] = (await once(stream, 'response')) as [IncomingHttpHeaders]
  const aside = Math.abs(Date.parse(String(answer.date)) - Date.now())
  t.ok(aside < 60_000, 'every answer has the time, by which a wrong clock is found')
  return { status: answer[':status'], why: String(answer['proxy-status'] ?? ''), stream }
}

const to = (authority: string, more: OutgoingHttpHeaders = {}) => ({
  ':method': 'CONNECT',
  ':authority': authority,
  ...more,
})

t.test('a backend of a shared service, by its address and by the name of the service', async t => {
  const { backend } = await tcpBackend(t, echo)
  const { port, chooser, gateway } = await gatewayOf(t, [sharedService([backend])])
  const client = await session(t, port)
  for (const target of [
    `127.0.0.1:${backend.port}`,
    'rebel-base.default:80',
    'rebel-base.default.svc.cluster.local:80',
  ]) {
    const { status, stream } = await ask(client, to(target))
    t.equal(status, 200, target)
    stream.write('hello')
    t.equal(String((await once(stream, 'data'))[0]), 'hello')
    stream.end()
    await once(stream, 'end')
  }
  await eventually(() => {
    if (chooser.tally().served < 3) throw new Error(JSON.stringify(chooser.tally()))
  })
  t.same(chooser.broken, [])
  t.match(chooser.stories[0]?.flow.client, {
    address: '127.0.0.1',
    identity: { cluster: 'cluster-1', id: idOf('cluster-1') },
  })
  t.match(gateway.view(), { sessions: 1, streams: 0, clusters: [{ cluster: 'cluster-1' }] })
})

t.test('the address that a client has in its own cluster is passed on as that cluster says', async t => {
  const { backend } = await tcpBackend(t, echo)
  const { port, chooser } = await gatewayOf(t, [sharedService([backend])])
  const client = await session(t, port)
  const target = `127.0.0.1:${backend.port}`
  const headers = [
    'for="10.1.0.7:40000"',
    'for="[fd00::7]:1"',
    'by=x;for="10.1.0.8:1";host=h',
    'for=unknown',
    'x'.repeat(2000),
  ]
  for (const forwarded of headers) t.equal((await ask(client, to(target, { forwarded }))).status, 200)
  t.equal((await ask(client, to(target))).status, 200)
  t.same(
    chooser.stories.map(({ flow }) => flow.client.origin),
    ['10.1.0.7', 'fd00::7', '10.1.0.8', undefined, undefined, undefined],
  )
})

t.test('nothing else: whatever the client says', async t => {
  const { backend: shared } = await tcpBackend(t, echo)
  const { backend: own } = await tcpBackend(t, echo)
  const { backend: bystander } = await tcpBackend(t, echo)
  const foreign = backendOf({
    address: '127.0.0.1',
    port: await freePort('127.0.0.1'),
    cluster: 'cluster-1',
    remote: true,
  })
  const service = sharedService([shared])
  const frontend = service.frontends[0] as (typeof service.frontends)[number]
  const withForeign = {
    ...service,
    backends: [...service.backends, foreign],
    frontends: [{ ...frontend, backends: [...frontend.backends, foreign] }],
  }
  const { port, lines, gateway } = await gatewayOf(t, [
    withForeign,
    sharedService([own], { shared: false }, 'own'),
    sharedService([own], { global: false }, 'local'),
  ])
  const client = await session(t, port)
  const refused: [string, OutgoingHttpHeaders][] = [
    ['a pod that no service has', to(`127.0.0.1:${bystander.port}`)],
    ['a backend of a service that is not shared', to(`127.0.0.1:${own.port}`)],
    ['the name of a service that is not shared', to('own.default:80')],
    ['a backend of another cluster: a gateway is no way on', to(`127.0.0.1:${foreign.port}`)],
    ['the gateway itself', to(`127.0.0.1:${port}`)],
    ['a frontend', to(`${frontend.ip}:${frontend.port}`)],
    [
      'a header that names a shared service',
      to(`127.0.0.1:${own.port}`, {
        forwarded: `for=127.0.0.1;host=rebel-base.default`,
        host: 'rebel-base.default:80',
      }),
    ],
    [
      'a header that names another cluster',
      to(`127.0.0.1:${own.port}`, { baggage: 'k8s.cluster.name=cluster-2', 'x-forwarded-network': 'cluster-2' }),
    ],
  ]
  const answers = new Set<string>()
  for (const [what, headers] of refused) {
    const { status, why } = await ask(client, headers)
    t.equal(status, 401, what)
    answers.add(why)
  }
  t.equal(answers.size, 1, 'what does not exist and what is not shared look alike')
  t.match(
    lines.filter(({ event }) => event === 'gateway.unknown-target').map(({ fields }) => fields?.cluster),
    refused.map(() => 'cluster-1'),
    'the gateway says what was asked for',
  )
  for (const [what, headers, status] of [
    ['no port', to('127.0.0.1'), 400],
    ['a host name', to('example.com:80'), 401],
    ['a bare name', to('rebel-base:80'), 400],
    ['port 0', to('127.0.0.1:0'), 400],
    ['a zone', to('[fe80::1%eth0]:80'), 400],
    ['GET', { ':method': 'GET', ':path': '/', ':authority': 'x', ':scheme': 'https' }, 405],
    ['POST', { ':method': 'POST', ':path': healthPath, ':authority': 'x', ':scheme': 'https' }, 405],
    ['a protocol that is not known', { ...to('x'), ':protocol': 'websocket', ':path': '/', ':scheme': 'https' }, 400],
    ['UDP to a path that is none', { ...to('x'), ':protocol': 'connect-udp', ':path': '/', ':scheme': 'https' }, 400],
    [
      'UDP to a TCP backend',
      { ...to('x'), ':protocol': 'connect-udp', ':path': udpPath('127.0.0.1', shared.port), ':scheme': 'https' },
      401,
    ],
  ] as const) {
    t.equal((await ask(client, headers as OutgoingHttpHeaders)).status, status, what)
  }
  t.equal((await ask(client, to(`127.0.0.1:${shared.port}`))).status, 200, 'the session is still good')
  t.equal(gateway.view().streams, 1)
})

t.test('a namespace that is withdrawn is served no more, without a change of its services', async t => {
  const { backend } = await tcpBackend(t, echo)
  let isGlobal = true
  const { port } = await gatewayOf(t, [sharedService([backend])], { isShared: () => isGlobal })
  const client = await session(t, port)
  t.equal((await ask(client, to(`127.0.0.1:${backend.port}`))).status, 200)
  isGlobal = false
  t.equal((await ask(client, to(`127.0.0.1:${backend.port}`))).status, 401)
  t.equal((await ask(client, to('rebel-base.default:80'))).status, 401)
  isGlobal = true
  t.equal((await ask(client, to(`127.0.0.1:${backend.port}`))).status, 200)
})

t.test('a tenant’s cluster reaches no service of another tenant, whatever it says of itself', async t => {
  const { backend } = await tcpBackend(t, echo)
  const clusters = [
    { name: 'cluster-2', id: 2, local: true, tenant: 'red' },
    { name: 'cluster-1', id: 1, local: false, tenant: 'red' },
    { name: 'cluster-3', id: 3, local: false, tenant: 'blue' },
  ]
  const parts = hostParts({ clusters })
  const service = sharedService([backend])
  const chain = startChain(t, {
    plugins: [plugin(tenancy, { parts, options: { tenants: { red: ['127.0.0.1/32'] } } })],
  })
  const rig = await gatewayOf(t, [service])
  for (const hook of ['admit', 'choose'] as const) rig.chooser[hook] = chain[hook].bind(chain) as never
  const target = `127.0.0.1:${backend.port}`
  t.equal((await ask(await session(t, rig.port, idOf('cluster-1')), to(target))).status, 200, 'its own tenant')
  const blue = await session(t, rig.port, idOf('cluster-3'))
  for (const headers of [
    to(target),
    to('rebel-base.default:80'),
    to(target, { forwarded: 'for="127.0.0.1:1";host=rebel-base', baggage: 'k8s.cluster.name=cluster-1' }),
  ]) {
    const { status, why } = await ask(blue, headers)
    t.equal(status, 401)
    t.match(why, /no backend that this cluster may reach/, 'it is not told that there is one')
  }
  t.match(rig.chooser.refusals, [{ code: 'tenancy' }, { code: 'tenancy' }, { code: 'tenancy' }])
  const { stream } = await ask(blue, { ':method': 'GET', ':path': healthPath, ':authority': 'x', ':scheme': 'https' })
  t.equal(String((await once(stream, 'data'))[0]), '{}\n', 'nor does it hear of its health')
})

t.test('a backend that is dead, and one that does not answer', async t => {
  const dead = await refusing()
  const { port, chooser } = await gatewayOf(t, [sharedService([dead])])
  const client = await session(t, port)
  const { status, why } = await ask(client, to(`${dead.address}:${dead.port}`))
  t.same([status, /error=(\w+)/.exec(why)?.[1]], [503, 'connection_refused'])
  t.same(chooser.outcomes, ['refused'])
})

t.test('a client that leaves while its backend is dialled', async t => {
  const { blackhole } = await import('../../support/faults.ts')
  const hole = await blackhole(t)
  const { port, chooser } = await gatewayOf(t, [sharedService([hole])])
  const client = await session(t, port)
  const stream = client.request(to(`${hole.address}:${hole.port}`), { endStream: false })
  stream.on('error', () => {})
  await eventually(() => {
    if (chooser.tried.length === 0) throw new Error('not dialled yet')
  })
  stream.close(8)
  await eventually(() => {
    if (chooser.outcomes[0] !== 'cancelled') throw new Error(`${chooser.outcomes}`)
  })
  const { status, why } = await ask(client, to(`${hole.address}:${hole.port}`))
  t.same([status, /error=(\w+)/.exec(why)?.[1]], [503, 'connection_timeout'])
})

t.test('limits are shared: a cluster that holds most gives way to one that holds less', async t => {
  const { backend } = await tcpBackend(t, silent)
  const limits = { sessions: 10, streams: 6 }
  const { port, gateway } = await gatewayOf(t, [sharedService([backend])], { options: { ...gatewayOptions, limits } })
  const [one, three] = [await session(t, port, idOf('cluster-1')), await session(t, port, idOf('cluster-3'))]
  const target = to(`127.0.0.1:${backend.port}`)
  const first: Awaited<ReturnType<typeof ask>>[] = []
  for (let i = 0; i < 6; i++) first.push(await ask(one, target))
  const over = await ask(one, target)
  t.same([over.status, /error=(\w+)/.exec(over.why)?.[1]], [503, 'connection_limit_reached'])
  for (let i = 0; i < 3; i++) t.equal((await ask(three, target)).status, 200)
  t.equal((await ask(three, target)).status, 503, 'not more than the other')
  t.match(gateway.view(), {
    streams: 6,
    clusters: [
      { cluster: 'cluster-1', streams: 3 },
      { cluster: 'cluster-3', streams: 3 },
    ],
  })
  await eventually(() => {
    const ended = first.filter(({ stream }) => stream.destroyed).length
    if (ended !== 3) throw new Error(`${ended} streams have ended`)
  })
})

t.test('draining: no new streams, those in progress end by themselves, then the rest is cut', async t => {
  const { backend } = await tcpBackend(t, echo)
  const rig = await gatewayOf(t, [sharedService([backend])])
  const client = await session(t, rig.port)
  const [quick, slow] = [
    await ask(client, to(`127.0.0.1:${backend.port}`)),
    await ask(client, to(`127.0.0.1:${backend.port}`)),
  ]
  const goaway = once(client, 'goaway')
  const closing = rig.gateway.close()
  t.equal((await goaway)[0], 0)
  quick.stream.end('bye')
  t.equal(String((await once(quick.stream, 'data'))[0]), 'bye')
  // One engine resets it before the session ends, the other ends both at once.
  await new Promise<void>(resolve => slow.stream.once('close', resolve))
  await closing
  t.same(rig.chooser.totals.map(({ reason }) => reason).sort(), ['done', 'shutdown'])
})

t.test(
  'a request that comes as the gateway begins to leave is served, or refused as one that was not processed',
  async t => {
    const { backend } = await tcpBackend(t, echo)
    const outcomes = new Set<unknown>()
    for (let turns = 0; turns < 6; turns++) {
      const rig = await gatewayOf(t, [sharedService([backend])])
      const stream = (await session(t, rig.port)).request(to(`127.0.0.1:${backend.port}`), { endStream: false })
      stream.on('error', () => {})
      const outcome = new Promise<unknown>(resolve => {
        stream.once('response', headers => resolve(headers[':status']))
        stream.once('close', () => resolve(stream.rstCode))
      })
      for (let turn = 0; turn < turns; turn++) await setImmediate()
      const closing = rig.gateway.close()
      outcomes.add(await outcome)
      stream.end()
      stream.resume()
      await closing
    }
    for (const outcome of outcomes) t.ok(outcome === 200 || outcome === constants.NGHTTP2_REFUSED_STREAM, `${outcome}`)
  },
)

t.test('a stream that nobody reads holds up no other, and costs no more than its window', async t => {
  const { backend } = await tcpBackend(t, socket => {
    const chunk = Buffer.alloc(1 << 16)
    const more = () => {
      while (!socket.destroyed && socket.write(chunk));
    }
    socket.on('drain', more)
    more()
  })
  const { backend: quick } = await tcpBackend(t, echo)
  const { port } = await gatewayOf(t, [sharedService([backend, quick])])
  const client = await session(t, port)
  for (let i = 0; i < 8; i++) await ask(client, to(`127.0.0.1:${backend.port}`)) // answers that are never read
  const { stream } = await ask(client, to(`127.0.0.1:${quick.port}`))
  for (let i = 0; i < 20; i++) {
    stream.write(`${i}`)
    t.equal(String((await once(stream, 'data'))[0]), `${i}`)
  }
})

t.test('the health of backends: all of them first, then each change', async t => {
  const { backend } = await tcpBackend(t, echo)
  const { port, directory } = await gatewayOf(t, [
    sharedService([backend]),
    sharedService([backend], { shared: false }, 'own'),
  ])
  const client = await session(t, port)
  const { status, stream } = await ask(client, {
    ':method': 'GET',
    ':path': healthPath,
    ':authority': 'x',
    ':scheme': 'https',
  })
  t.equal(status, 200)
  let text = ''
  stream.on('data', chunk => {
    text += chunk
  })
  const lines = (count: number) =>
    eventually(() => {
      const found = text.split('\n').slice(0, -1)
      if (found.length < count) throw new Error(text)
      return found.map(line => JSON.parse(line))
    })
  const key = `127.0.0.1:${backend.port}/TCP`
  t.same(await lines(1), [{ [key]: 'unknown' }])
  directory.set(sharedService([{ ...backend, health: 'down' }]))
  t.same((await lines(2))[1], { [key]: 'down' })
  directory.set(sharedService([], {}, 'own'))
  directory.remove('default/rebel-base')
  t.same((await lines(3))[2], { [key]: 'gone' })
  t.equal(
    (await ask(client, { ':method': 'GET', ':path': healthPath, ':authority': 'x', ':scheme': 'https' })).status,
    503,
    'one stream of them a session',
  )
})
