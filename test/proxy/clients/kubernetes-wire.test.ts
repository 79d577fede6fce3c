/** Lines, lists, events, errors, back-off and proxies of the Kubernetes client. */
import { createServer } from 'node:net'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import type { Access } from '../../../proxy/clients/kubernetes/access.ts'
import { apiErrorOf, retryAfterMs } from '../../../proxy/clients/kubernetes/api-error.ts'
import { KubernetesClient } from '../../../proxy/clients/kubernetes/client.ts'
import { LineSplitter } from '../../../proxy/clients/kubernetes/lines.ts'
import { ListScanner } from '../../../proxy/clients/kubernetes/list-scanner.ts'
import { isOlder, readEvent, readObject, readPage } from '../../../proxy/clients/kubernetes/wire.ts'
import { MeshError } from '../../../proxy/model/error.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { Backoff } from '../../../proxy/model/time/backoff.ts'
import { FakeClock } from '../../support/clock.ts'

t.test('lines do not depend on the chunks', async t => {
  const line = fc.string({ unit: 'grapheme' }).map(text => `x${text.replaceAll('\n', '')}`)
  const cuts = fc.array(fc.nat(), { maxLength: 10 })
  fc.assert(
    fc.property(fc.array(line), cuts, (lines, cuts) => {
      const bytes = Buffer.from(lines.map(each => `${each}\n`).join(''))
      const splitter = new LineSplitter()
      const edges = [0, ...cuts.map(cut => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
      const found = edges.flatMap((edge, i) => splitter.push(bytes.subarray(edge, edges[i + 1])))
      return JSON.stringify(found) === JSON.stringify(lines)
    }),
  )
  t.same(new LineSplitter().push(Buffer.from('\n \nlast is open')), [], 'blank lines are none')
})

t.test('a line without an end is refused', async t => {
  const splitter = new LineSplitter()
  const piece = Buffer.alloc(1 << 20, 'x')
  t.throws(
    () => {
      for (let i = 0; i < 100; i++) splitter.push(piece)
    },
    { code: 'SOURCE_LIMIT', message: /longer than 3145728 bytes/ },
  )
})

t.test('an object with more fields than any server has is not parsed', async t => {
  const event = (fields: string) =>
    Buffer.from(`{"type":"ADDED","object":{"pad":"${':'.repeat(200_000)}","x":[${fields}]}}\n`)
  t.equal(new LineSplitter().push(event('{"a":1},'.repeat(20_000))).length, 1, 'what is in texts does not count')
  const refused = { code: 'SOURCE_LIMIT', message: /has more than 50000 fields, which no API server allows/ }
  t.throws(() => new LineSplitter().push(event('[],'.repeat(50_000))), refused)
  t.throws(() => new LineSplitter().push(event('{"a":1},'.repeat(25_000))), refused)
  const list = Buffer.from(`{"items":[{"x":[${'{},'.repeat(50_000)}{}]}]}`)
  t.throws(() => new ListScanner('/x').push(list), refused)
  t.equal(new ListScanner('/x', { isCounted: false }).push(list).length, 1, 'unless nothing waits for it')
})

t.test('back-off', async t => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 0.999, noNaN: true }), fc.nat(40), (chance, failures) => {
      const backoff = new Backoff(() => chance)
      const waits = Array.from({ length: failures + 1 }, () => backoff.next())
      return waits.every(ms => ms >= 800 && ms <= 30_000)
    }),
  )
  const backoff = new Backoff(() => 1)
  t.same([backoff.next(), backoff.next(), backoff.next()], [1000, 2000, 4000])
  backoff.lasted(59_999)
  t.equal(backoff.next(), 8000, 'a short success changes nothing')
  backoff.lasted(60_000)
  t.equal(backoff.next(), 1000)
  t.equal(backoff.next(20_000), 20_800, 'what the server asks for is kept')
  t.ok(backoff.next(0) >= 1600, 'and never shortens the wait')
})

t.test('Retry-After', async t => {
  const now = Date.parse('2026-01-01T00:00:00Z')
  t.equal(retryAfterMs('7', now), 7000)
  t.equal(retryAfterMs('Thu, 01 Jan 2026 00:00:10 GMT', now), 10_000)
  t.equal(retryAfterMs('Thu, 01 Jan 2015 00:00:00 GMT', now), 0)
  t.equal(retryAfterMs('99999999', now), 300_000, 'no longer than five minutes')
  t.equal(retryAfterMs('soon', now), undefined)
  t.equal(retryAfterMs(undefined, now), undefined)
})

t.test('error bodies of servers', async t => {
  t.ok(apiErrorOf('SOURCE_READ', 'watch', { code: 410, reason: 'Expired' }).isGone)
  t.ok(apiErrorOf('SOURCE_READ', 'watch', { reason: 'Expired' }, 200).isGone)
  t.ok(
    apiErrorOf('SOURCE_READ', 'watch', { message: 'Timeout: Too large resource version: 7, current: 5' }, 504).isGone,
  )
  t.notOk(apiErrorOf('SOURCE_READ', 'watch', 'Gateway Timeout', 504).isGone)
  t.equal(apiErrorOf('SOURCE_READ', 'list', { details: { retryAfterSeconds: 3 } }, 429).retryAfterMs, 3000)
  const html = apiErrorOf('SOURCE_READ', 'list', `<html>${'x'.repeat(10_000)}`, 502)
  t.match(html.message, /^list: 502 <html>x+$/)
  t.ok(html.message.length < 400, 'pages of proxies are cut short')
  for (const body of [null, 7, [], { code: 'x' }, { details: 7 }])
    t.equal(apiErrorOf('SOURCE_READ', 'list', body, 500).status, 500)
})

t.test('any body is read or refused', async t => {
  fc.assert(
    fc.property(fc.json(), text => {
      for (const read of [() => readEvent(text, '/x'), () => readPage(text, '/x'), () => readObject(text, '/x')]) {
        try {
          read()
        } catch (error) {
          if (!(error instanceof MeshError)) return false
        }
      }
      return true
    }),
  )
  t.same(readPage('{"items": [], "metadata": {"resourceVersion": "2"}}', '/x'), { continue: '', version: '2' })
  for (const text of ['', '{}', '[]', '{"metadata": {}}', '{"items": 7, "metadata": {"resourceVersion": "2"}}'])
    t.throws(() => readPage(text, '/x'), { message: /not a list; is this an API server/ })
  t.throws(() => readObject('{"metadata": {"name": ""}}', '/x'), { message: /without a name or a version/ })
})

t.test('the objects of a list are found, wherever its chunks end', async t => {
  const object = fc.record({ kind: fc.string({ unit: 'grapheme' }), spec: fc.jsonValue() })
  fc.assert(
    fc.property(fc.array(object), fc.array(fc.nat(), { maxLength: 10 }), fc.nat(2), (items, cuts, indent) => {
      const list = { kind: 'L"items":[', items, metadata: { x: ['"items":[{}]'], resourceVersion: '7' } }
      const bytes = Buffer.from(JSON.stringify(list, undefined, indent))
      const scanner = new ListScanner('/x')
      const edges = [0, ...cuts.map(cut => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
      const found = edges.flatMap((edge, i) => scanner.push(bytes.subarray(edge, edges[i + 1])))
      const same =
        JSON.stringify(found.map(({ text }) => JSON.parse(text))) === JSON.stringify(JSON.parse(JSON.stringify(items)))
      return same && readPage(scanner.frame, '/x').version === '7'
    }),
  )
  const pushed = (text: string) => () => new ListScanner('/x').push(Buffer.from(text))
  for (const text of ['{"items":[7]', '{"items":["x"]', '{"items":[[{}]]', `{"kind": "${'x'.repeat(1 << 20)}`])
    t.throws(pushed(text), { code: 'SOURCE_READ', message: /is not a list/ })
  t.throws(pushed(`{"items":[{"x":"${'x'.repeat(5 << 20)}`), { code: 'SOURCE_LIMIT', message: /longer than 3145728/ })
})

t.test('the order of versions', async t => {
  t.ok(isOlder('9', '10'))
  t.ok(isOlder('99', '100'))
  t.notOk(isOlder('10', '10'))
  t.notOk(isOlder('11', '10'))
  t.notOk(isOlder('9', ''), 'nothing is known of other texts')
  t.notOk(isOlder('a', 'b'))
})

t.test('a server that stops in the middle of an answer times out', async t => {
  const server = createServer(socket => {
    socket.on('error', () => {})
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{'))
  })
  const { client } = await clientOf(t, server)
  const signal = new AbortController().signal
  await t.rejects(client.json({ path: '/api' }, signal), {
    code: 'SOURCE_READ',
    message: /does not answer: Body Timeout/,
  })
  const body = { type: 'application/json', value: {} }
  await t.rejects(client.json({ method: 'PUT', path: '/api', body }, signal), { code: 'SOURCE_WRITE' })
})

t.test('a client that is closed or aborted stops at once', async t => {
  const { client } = await clientOf(t, createServer())
  const abort = new AbortController()
  const called = client.json({ path: '/api' }, abort.signal)
  abort.abort()
  await t.rejects(called)
  const open = client.json({ path: '/api' }, new AbortController().signal)
  await Promise.all([t.rejects(open), client.close()])
  await t.rejects(client.json({ path: '/api' }, new AbortController().signal), 'and begins nothing new')
})

async function clientOf(t: Test, server: ReturnType<typeof createServer>) {
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const access: Access = {
    name: 'test',
    server: `http://127.0.0.1:${port}`,
    insecure: false,
    credential: { by: 'nothing' },
    impersonate: {},
  }
  const options = { access: async () => access, env: {}, clock: new FakeClock(), log: silentLog, timeoutMs: 50 }
  const client = new KubernetesClient(options)
  t.teardown(() => client.close())
  return { client }
}
