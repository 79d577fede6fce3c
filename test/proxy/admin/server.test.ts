/** The admin API over HTTP. */
import { request } from 'node:http'
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import type { Rows } from '../../../proxy/admin/rows.ts'
import { type Admin, createAdmin } from '../../../proxy/admin/server.ts'
import type { Readiness, Views } from '../../../proxy/admin/views.ts'
import type { ServiceTraffic } from '../../../proxy/model/flows/traffic.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { FakeClock } from '../../support/clock.ts'
import { eventually } from '../../support/eventually.ts'
import { explanation, fixedViews, nameExplanation, services, status } from './fixture.ts'

async function start(t: Test, given: Partial<Views> = {}, address = '127.0.0.1', narrow = false): Promise<Admin> {
  const admin = createAdmin({
    narrow,
    listen: { address, port: 0 },
    views: fixedViews(given),
    log: silentLog,
    clock: systemClock,
  })
  await admin.start()
  t.teardown(() => admin.close())
  return admin
}

interface Reply {
  readonly status: number | undefined
  readonly headers: NodeJS.Dict<string | string[]>
  readonly body: string
}

function ask(
  admin: Admin,
  path: string,
  options: {
    method?: string
    headers?: Record<string, string>
    body?: string
  } = {},
) {
  const { body, ...rest } = options
  const [, host, port] = /^\[?(.*?)\]?:(\d+)$/.exec(admin.address ?? '') ?? []
  return new Promise<Reply>((resolve, reject) => {
    const asked = request({ host, port, path, agent: false, ...rest }, response => {
      const chunks: Buffer[] = []
      response.on('data', chunk => chunks.push(chunk))
      response.on('end', () =>
        resolve({
          status: response.statusCode,
          headers: response.headers,
          body: Buffer.concat(chunks).toString(),
        }),
      )
    })
    asked.on('error', reject)
    asked.end(body)
  })
}

const errorOf = (reply: Reply): { code: string; message: string } => JSON.parse(reply.body).error

t.test('each route returns its view', async t => {
  const admin = await start(t)
  const json = async (path: string) => {
    const reply = await ask(admin, path)
    t.equal(reply.status, 200, path)
    t.equal(reply.headers['content-type'], 'application/json')
    return JSON.parse(reply.body)
  }
  t.same(await json('/v1/status'), status)
  t.same(await json('/v1/services'), services)
  t.same(await json('/v1/services/empire/deathstar'), services[1])
  t.same(await json('/v1/services/empire/deathst%61r'), services[1], 'a path may be escaped')
  t.same(await json('/v1/explain/default/rebel-base?from=10.0.0.7'), explanation)
  t.equal((await json('/v1/explain/default/rebel-base?from=::ffff:10.0.0.7')).client, '10.0.0.7', 'in one spelling')
  t.equal((await json('/v1/explain/default/rebel-base?from=shop/web-0')).client, '10.0.0.7', 'of a Pod')
  t.same(await json('/v1/dns?name=rebel-base&from=10.0.0.7'), nameExplanation, 'the type is A unless said otherwise')
  t.match(await json('/v1/dns?name=a%2Bb.example&type=SRV'), { name: 'a+b.example', type: 'SRV', client: '127.0.0.1' })
  t.same(await json('/v1/config'), { cluster: 'cluster-1' })

  const health = await ask(admin, '/healthz')
  t.match(health, { status: 200, body: 'ok\n' })
  const metrics = await ask(admin, '/metrics')
  t.match(metrics, { status: 200, body: '# HELP starlane_up 1\n' })
  t.equal(metrics.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8')
})

t.test('readiness says what is missing', async t => {
  let ready: Readiness = { ready: false, stopping: false, waiting: ['source cluster-2', 'DNS'], unsafe: [] }
  const admin = await start(t, { ready: () => ready })
  t.match(await ask(admin, '/readyz'), {
    status: 503,
    body: 'waiting for source cluster-2, DNS\n',
  })
  ready = { ready: true, stopping: false, waiting: [], unsafe: [] }
  t.match(await ask(admin, '/readyz'), { status: 200, body: 'ready\n' })
  ready = { ready: true, stopping: false, waiting: [], unsafe: ['10.96.0.10:80/TCP: another socket answers'] }
  t.match(await ask(admin, '/readyz'), {
    status: 200,
    body: 'ready\nunsafe: 10.96.0.10:80/TCP: another socket answers\n',
  })
  ready = { ready: false, stopping: true, handedOver: true, waiting: ['1 connection to end'], unsafe: [] }
  t.match(await ask(admin, '/readyz'), { status: 200, body: 'ready: another process serves\n' }, 'the one who serves')
  ready = { ready: false, stopping: true, waiting: ['1 connection to end'], unsafe: [] }
  t.match(await ask(admin, '/readyz'), { status: 503, body: 'stopping, waiting for 1 connection to end\n' })
})

t.test('an unknown path gives an error in JSON, with the known paths', async t => {
  const admin = await start(t)
  for (const path of ['/nope', '/v1', '/v1/services/default', '/v1/status/', '//evil.example/v1/status']) {
    const reply = await ask(admin, path)
    t.equal(reply.status, 404, path)
    t.equal(errorOf(reply).code, 'NOT_FOUND')
    t.match(errorOf(reply).message, '/v1/explain/{namespace}/{name}')
  }
  const missing = await ask(admin, '/v1/services/default/nobody')
  t.equal(missing.status, 404)
  t.match(errorOf(missing).message, 'default/nobody')
  t.equal((await ask(admin, '/v1/explain/default/nobody')).status, 404)
})

t.test('a malformed request is rejected, and a view that throws ends nothing', async t => {
  const admin = await start(t, {
    config: () => {
      throw new Error('broken')
    },
    dns: async () => ({ ...nameExplanation, rcode: 'FORMERR', way: ['NOPE is no record type'] }),
  })
  t.match(errorOf(await ask(admin, '/v1/explain/default/rebel-base?from=here')), {
    code: 'BAD_REQUEST',
    message: /^from=here is not an IP address/,
  })
  t.match(errorOf(await ask(admin, '/v1/explain/default/rebel-base?from=shop/nobody')), {
    message: /^no Pod shop\/nobody is known/,
  })
  for (const [query, says] of [
    ['', /^name is missing; write name=/],
    ['?name=', /^name is missing/],
    ['?name=x&from=10.0.0', /^from=10\.0\.0 is not an IP address/],
    ['?name=x&type=NOPE', /^NOPE is no record type$/],
  ] as const) {
    const reply = await ask(admin, `/v1/dns${query}`)
    t.equal(reply.status, 400, query)
    t.match(errorOf(reply), { code: 'BAD_REQUEST', message: says })
  }
  t.equal((await ask(admin, '/v1/services/%ff/%zz')).status, 400)
  const broken = await ask(admin, '/v1/config')
  t.equal(broken.status, 500)
  t.notMatch(broken.body, 'broken', 'the cause stays in the log')
  t.equal((await ask(admin, '/healthz')).status, 200)
})

t.test('the API is read-only and accepts no body', async t => {
  const admin = await start(t)
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE']) {
    const reply = await ask(admin, '/v1/status', { method })
    t.equal(reply.status, 405, method)
    t.equal(reply.headers.allow, 'GET, HEAD')
  }
  t.equal(
    (
      await ask(admin, '/v1/status', {
        body: 'x',
        headers: { 'content-length': '1' },
      })
    ).status,
    413,
  )
  const head = await ask(admin, '/v1/status', { method: 'HEAD' })
  t.match(head, { status: 200, body: '' })
  t.equal(head.headers['content-length'], String((await ask(admin, '/v1/status')).body.length))
})

t.test('a foreign name in the Host header is rejected (DNS rebinding)', async t => {
  const admin = await start(t)
  const by = async (host: string) => (await ask(admin, '/v1/status', { headers: { host } })).status
  for (const host of [
    'evil.example',
    'evil.example:9911',
    '127.0.0.1.evil.example',
    'localhost.evil.example',
    'admin',
  ]) {
    t.equal(await by(host), 403, `"${host}"`)
  }
  for (const host of ['127.0.0.1', '127.0.0.1:9911', 'localhost', 'LOCALHOST:80', '[::1]:9911', '10.0.0.7:9911']) {
    t.equal(await by(host), 200, host)
  }
})

t.test('no other origin may read, frame or sniff', async t => {
  const admin = await start(t)
  for (const path of ['/', '/v1/status', '/nope']) {
    const { headers } = await ask(admin, path, {
      headers: { origin: 'http://evil.example' },
    })
    t.equal(headers['access-control-allow-origin'], undefined)
    t.equal(headers['x-content-type-options'], 'nosniff')
    t.equal(headers['cross-origin-resource-policy'], 'same-origin')
    t.equal(headers['cache-control'], 'no-store')
    t.match(headers['content-security-policy'], /default-src 'none'.*frame-ancestors 'none'/)
    t.notMatch(headers['content-security-policy'], 'unsafe')
  }
})

t.test('bytes that are not HTTP end only their own connection', async t => {
  const admin = await start(t)
  const port = Number(admin.address?.split(':').at(-1))
  const hostile = [
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    'GET / HTTP/1.1\r\n\r\n',
    `GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
    `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`,
    'GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n',
    'CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n',
    'GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n',
  ]
  for (const bytes of hostile) {
    const reply = await new Promise<string>(resolve => {
      let text = ''
      const socket = connect(port, '127.0.0.1', () => socket.write(bytes, 'latin1'))
      socket.on('data', chunk => {
        text += chunk
      })
      socket.on('error', () => resolve(text))
      socket.on('close', () => resolve(text))
    })
    t.match(reply, /^(HTTP\/1\.1 4\d\d |$)/, JSON.stringify(bytes.slice(0, 40)))
  }
  t.equal((await ask(admin, '/healthz')).status, 200)
})

t.test('the number of connections is limited', async t => {
  const admin = await start(t)
  const port = Number(admin.address?.split(':').at(-1))
  const sockets = Array.from({ length: 80 }, () => connect(port, '127.0.0.1').on('error', () => {}))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
  })
  await eventually(() => {
    if (sockets.filter(socket => socket.destroyed).length < 16) throw new Error('too many are still open')
  })
  t.equal(sockets.filter(socket => socket.destroyed).length, 16)
  t.ok(
    sockets.slice(0, 16).every(socket => socket.destroyed),
    'those without a request for the longest',
  )
  t.equal((await ask(admin, '/healthz')).status, 200)
})

t.test('probes are answered while others send nothing, half a request, or requests that take long', async t => {
  const slow = Promise.withResolvers<string>()
  const admin = await start(t, { metrics: () => slow.promise })
  const port = Number(admin.address?.split(':').at(-1))
  const open = (text: string) => {
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    t.teardown(() => socket.destroy())
    socket.write(text)
    return socket
  }
  for (let i = 0; i < 100; i++) open('GET /healthz HTTP/1.1\r\nHost: 127')
  t.equal((await ask(admin, '/healthz')).status, 200, 'half requests')
  const asked = Array.from({ length: 64 }, () => ask(admin, '/metrics'))
  await eventually(async () => {
    if ((await ask(admin, '/v1/status')).status !== 503) throw new Error('not all are in progress')
  })
  t.equal(errorOf(await ask(admin, '/v1/status')).code, 'BUSY')
  for (let i = 0; i < 100; i++) open('')
  for (const path of ['/healthz', '/readyz']) t.equal((await ask(admin, path)).status, 200, path)
  slow.resolve('up 1\n')
  t.ok(
    (await Promise.all(asked)).every(({ status }) => status === 200),
    'none of them was cut',
  )
  t.equal((await ask(admin, '/v1/status')).status, 200)
})

t.test('a port in use, a foreign address: the error has the cause and the remedy', async t => {
  const first = await start(t)
  const port = Number(first.address?.split(':').at(-1))
  const parts = { views: fixedViews(), log: silentLog, clock: systemClock }
  await t.rejects(createAdmin({ listen: { address: '127.0.0.1', port }, ...parts }).start(), {
    code: 'LISTEN',
    message: new RegExp(`^admin address 127\\.0\\.0\\.1:${port} is in use.*admin\\.listen`),
  })
  await t.rejects(
    createAdmin({
      listen: { address: '192.0.2.1', port: 0 },
      ...parts,
    }).start(),
    {
      code: 'LISTEN',
      message: /192\.0\.2\.1:0 is not an address of this machine/,
    },
  )
})

t.test('IPv6 loopback works as well', async t => {
  const admin = await start(t, {}, '::1')
  t.match(admin.address, /^\[::1\]:\d+$/)
  t.equal((await ask(admin, '/healthz')).status, 200)
})

t.test('closing waits for an answer in progress, but not forever', async t => {
  const clock = new FakeClock()
  let release = (_: string) => {}
  const views = fixedViews({
    metrics: () =>
      new Promise(resolve => {
        release = resolve
      }),
  })
  const admin = createAdmin({
    listen: { address: '127.0.0.1', port: 0 },
    views,
    log: silentLog,
    clock,
  })
  await admin.start()
  const port = Number(admin.address?.split(':').at(-1))
  const answered = ask(admin, '/metrics')
  await eventually(() => {
    if (release.length === 0) throw new Error('not asked yet')
  })
  const stuck = connect(port, '127.0.0.1').on('error', () => {})
  stuck.write('GET / HTTP/1.1\r\n')
  await ask(admin, '/healthz')
  let closed = false
  const closing = admin.close().then(() => {
    closed = true
  })
  release('late\n')
  t.equal((await answered).body, 'late\n')
  t.notOk(closed, 'the one that never finishes asking holds it up')
  await clock.advance(1000)
  await closing
  t.equal(admin.address, undefined)
  t.equal(clock.waiting, 0)
  await admin.close()
})

t.test('the address of admin.metrics serves probes and metrics, under any name, and nothing else', async t => {
  const admin = await start(t, {}, '127.0.0.1', true)
  t.match(await ask(admin, '/healthz'), { status: 200, body: 'ok\n' })
  t.match(await ask(admin, '/readyz'), { status: 200 })
  t.match(await ask(admin, '/metrics', { headers: { host: 'starlane.monitoring.svc:9912' } }), { status: 200 })
  for (const path of ['/', '/v1/status', '/v1/services', '/v1/config', '/v1/explain/default/rebel-base', '/v1/flows']) {
    t.match(await ask(admin, path), { status: 404, body: /the paths are \/healthz, \/readyz, \/metrics/ }, path)
  }
})

t.test('flows: a bad query is 400, a stream is server-sent events, and there are at most sixteen', async t => {
  let stopped = 0
  const event = {
    lost_events: { source: 'HUBBLE_RING_BUFFER' as const, num_events_lost: 7 },
    node_name: 'n',
    time: 't',
  }
  const admin = await start(t, {
    flows: query => (query.has('bad') ? 'bad is not a filter' : [event]),
    follow: (query, push) => {
      if (query.has('bad')) return 'bad is not a filter'
      setImmediate(() => push([event]))
      return () => void stopped++
    },
  })
  t.match(await ask(admin, '/v1/flows?bad=1'), { status: 400, body: /bad is not a filter/ })
  t.match(await ask(admin, '/v1/flows?bad=1&follow'), { status: 400, body: /bad is not a filter/ })
  t.match(await ask(admin, '/v1/flows'), {
    status: 200,
    headers: { 'content-type': 'application/x-ndjson' },
    body: `${JSON.stringify(event)}\n`,
  })
  t.match(await ask(admin, '/v1/flows?follow=true', { method: 'HEAD' }), {
    status: 200,
    headers: { 'content-type': 'text/event-stream' },
  })
  stopped = 0
  const controller = new AbortController()
  const open = () => fetch(`http://${admin.address}/v1/flows?follow=true`, { signal: controller.signal })
  const streams = await Promise.all(Array.from({ length: 16 }, open))
  let heard = ''
  for await (const piece of streams[0]?.body ?? []) {
    heard += Buffer.from(piece).toString()
    if (heard.includes('data:')) break
  }
  t.equal(heard, `: open\n\nevent: lost\ndata: ${JSON.stringify(event)}\n\n`)
  await eventually(async () => {
    // The first one is closed by the end of its loop.
    const more = await open()
    if (more.status === 200) await open().then(({ status }) => t.equal(status, 503))
    else t.equal(more.status, 503)
  })
  controller.abort()
  await eventually(() => {
    if (stopped < 32) throw new Error(`${stopped} have stopped`)
  })
})

t.test('a long answer is compressed for those who take it', async t => {
  const long = Array.from({ length: 100 }, (_, i) => ({ ...services[0], name: `service-${i}` })) as typeof services
  const admin = await start(t, { services: () => long })
  const plain = await ask(admin, '/v1/services')
  t.equal(plain.headers['content-encoding'], undefined)
  const by = (encoding: string) => ask(admin, '/v1/services', { headers: { 'accept-encoding': encoding } })
  for (const encoding of ['gzip', 'br;q=1.0, gzip;q=0.8']) {
    const { headers } = await by(encoding)
    t.equal(headers['content-encoding'], 'gzip', encoding)
    t.ok(Number(headers['content-length']) < plain.body.length / 10)
    t.equal(headers.vary, 'accept-encoding')
  }
  for (const encoding of ['', 'identity', 'gzip;q=0', 'br']) t.equal((await by(encoding)).body, plain.body, encoding)
  t.same(await (await fetch(`http://${admin.address}/v1/services`)).json(), long)
})

t.test('a list of any length is the JSON of all its items, and has a tag', async t => {
  for (const length of [0, 1, 500]) {
    const long = Array.from({ length }, (_, i) => ({ ...services[0], name: `dienst-ü-${i}` })) as typeof services
    async function* inTime() {
      for (const one of long) yield await one
    }
    const admin = await start(t, { services: inTime })
    const all = await ask(admin, '/v1/services')
    t.equal(all.body, `${JSON.stringify(long)}\n`)
    t.equal(Number(all.headers['content-length']), Buffer.byteLength(all.body))
    const etag = String(all.headers.etag)
    t.match(etag, /^W\/"[\w-]{27}"$/)
    t.equal((await ask(admin, '/v1/services', { headers: { 'if-none-match': etag } })).status, 304)
    t.match(JSON.parse((await ask(admin, '/v1/rows')).body), { whole: true, rows: { length }, gone: [] })
  }
})

t.test('who asks for rows while others are told gets the same ones', async t => {
  let asked = 0
  async function* slowly() {
    asked++
    for (const one of services) {
      await new Promise(resolve => setTimeout(resolve, 20))
      yield one
    }
  }
  const admin = await start(t, { services: slowly })
  const rows = async (): Promise<Rows> => JSON.parse((await ask(admin, '/v1/rows')).body)
  const answers = await Promise.all([rows(), rows(), rows()])
  for (const answer of answers) t.match(answer, { whole: true, rows: { length: 3 }, revision: answers[0].revision })
  t.equal(asked, 1)
  t.equal((await rows()).revision, answers[0].revision)
  t.equal(asked, 2, 'and later all are looked at again')
})

t.test('rows: only those that have changed since a revision', async t => {
  let list = [...services]
  const admin = await start(t, { services: () => list })
  const since = async (revision = ''): Promise<Rows> =>
    JSON.parse((await ask(admin, `/v1/rows?since=${revision}`)).body)
  const first = await since()
  t.match(first, { whole: true, rows: { length: 3 }, gone: [] })
  t.same(first.rows[0]?.clusters, { 'cluster-1': [3, 1, 1], 'cluster-2': [2, 1, 1], 'cluster-3': [1, 1, 1] })
  t.match(await since(first.revision), { revision: first.revision, whole: false, rows: { length: 0 } })
  const [one, two, three] = services as [(typeof services)[0], (typeof services)[0], (typeof services)[0]]
  list = [one, { ...two, condition: { state: 'unreachable', why: 'all down' } }]
  const second = await since(first.revision)
  t.match(second, {
    whole: false,
    rows: [{ name: two.name, condition: { state: 'unreachable' } }],
    gone: ['jedi/holocron'],
  })
  t.equal(second.rows.length, 1)
  list = [one, two, three]
  const third = await since(second.revision)
  t.same(third.gone, [])
  t.same(third.rows.map(({ name }) => name).sort(), ['deathstar', 'holocron'])
  t.match(await since(first.revision), { whole: false, rows: { length: 2 }, gone: [] }, 'it is back')
  t.match(await since('another.1'), { whole: true, rows: { length: 3 } }, 'of another process')

  const many = Array.from({ length: 1100 }, (_, i) => ({ ...one, name: `service-${i}` }))
  list = many
  const full = await since()
  list = []
  t.match(
    await since(full.revision),
    { whole: true, rows: { length: 0 }, gone: [] },
    'more are gone than are remembered',
  )
})

t.test('/v1/traffic sends only the services that have changed, if it is asked since when', async t => {
  const rates = {
    perSecond: 0,
    open: 0,
    failed: 0,
    refused: 0,
    failedPerSecond: 0,
    refusedPerSecond: 0,
    sentPerSecond: 0,
    receivedPerSecond: 0,
  }
  const service = (name: string, perSecond: number): ServiceTraffic => ({
    ...{ namespace: 'shop', name, ...rates, perSecond, history: [1, 2], clusters: [] },
  })
  let list = [service('cart', 1 / 3), service('till', 2)]
  const admin = await start(t, {
    traffic: () => ({ now: 1, node: 'n', historyMs: 5000, services: list, clusters: [], clients: [] }),
  })
  const get = async (query: string) => JSON.parse((await ask(admin, `/v1/traffic${query}`)).body)
  const whole = await get('')
  t.match(whole, { services: { length: 2 }, clients: [] })
  t.equal(whole.revision, undefined)
  const first = await get('?since=')
  t.match(first, { whole: true, rows: [{ perSecond: 0.3333 }, { perSecond: 2 }], node: 'n', clusters: [] })
  t.match(await get(`?since=${first.revision}`), { whole: false, rows: { length: 0 } })
  list = [service('cart', 5)]
  t.match(await get(`?since=${first.revision}`), { whole: false, rows: [{ name: 'cart' }], gone: ['shop/till'] })
})

t.test('JSON has a tag, and who has it already gets 304', async t => {
  const admin = await start(t)
  const url = `http://${admin.address}/v1/services`
  const first = await fetch(url)
  const tag = first.headers.get('etag') ?? ''
  t.match(tag, /^W\/"[\w-]{27}"$/)
  const again = await fetch(url, { headers: { 'if-none-match': tag } })
  t.equal(again.status, 304)
  t.equal(await again.text(), '')
  t.equal(again.headers.get('etag'), tag)
  t.equal((await fetch(url, { headers: { 'if-none-match': 'W/"other"' } })).status, 200)
  const missing = await fetch(`http://${admin.address}/v1/services/no/body`)
  t.equal(missing.headers.get('etag'), null)
})
