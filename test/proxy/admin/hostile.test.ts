/** The admin server with clients that mean harm: what they send is refused in bounds, and probes are answered meanwhile. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request } from 'node:http'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { createAdmin } from '../../../proxy/admin/server.ts'
import type { Views } from '../../../proxy/admin/views.ts'
import type { FlowEvent } from '../../../proxy/model/flow-record.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { eventually } from '../../support/eventually.ts'
import { fixedViews } from './fixture.ts'

async function start(t: Test, given: Partial<Views> = {}) {
  const listen = { address: '127.0.0.1', port: 0 }
  const admin = createAdmin({ listen, views: fixedViews(given), log: silentLog, clock: systemClock })
  await admin.start()
  t.teardown(() => admin.close())
  const port = Number(admin.address?.split(':')[1])
  const open = (text: string): Socket => {
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    t.teardown(() => socket.destroy())
    socket.write(text)
    return socket
  }
  /** The first line of the answer; empty if the connection ends without one. */
  const answer = async (text: string): Promise<string> => {
    const socket = open(text)
    let heard = ''
    socket.on('data', chunk => {
      heard += chunk
    })
    await eventually(() => assert.ok(heard.includes('\r\n') || socket.destroyed || socket.readableEnded))
    socket.destroy()
    return heard.split('\r\n')[0] ?? ''
  }
  const probe = () =>
    new Promise<number>((resolve, reject) => {
      request({ port, host: '127.0.0.1', path: '/healthz', agent: false }, ({ statusCode = 0 }) => resolve(statusCode))
        .on('error', reject)
        .end()
    })
  return { admin, open, answer, probe }
}

const get = (path: string, headers = '') => `GET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n${headers}\r\n`

t.test('queries and headers of any size and kind', async t => {
  const { answer, probe } = await start(t, {
    flows: query => (query.size > 20 ? 'too much' : []),
    dns: async () => Promise.reject(new Error('broken')),
  })
  const cases: (readonly [what: string, text: string, status: RegExp])[] = [
    ['a long path', get(`/${'a'.repeat(20_000)}`), /^HTTP\/1\.1 431 /],
    [
      'long headers',
      get('/', Array.from({ length: 100 }, (_, i) => `x-${i}: ${'y'.repeat(1000)}\r\n`).join('')),
      / 431 /,
    ],
    ['many headers', get('/', Array.from({ length: 5000 }, (_, i) => `a${i}: 1\r\n`).join('')), / 431 /],
    ['headers that never end', `GET / HTTP/1.1\r\n${'x: y\r\n'.repeat(20_000)}`, / 431 /],
    ['many parameters', get(`/v1/flows?${'a=1&'.repeat(1500).slice(0, 6000)}last=1`), / (200|400) /],
    ['bytes that are no text', get('/v1/flows?service=%ff%fe%00%0a&last=%E2%80%AE'), / (200|400) /],
    ['names of prototypes', get('/v1/services/__proto__/constructor?__proto__=1'), / (200|404) /],
    ['a broken escape', get('/v1/explain/%/%'), / 400 /],
    ['a view that fails', get(`/v1/dns?name=${'x.'.repeat(2000)}`), / 500 /],
    ['two lengths', get('/', 'content-length: 1\r\ncontent-length: 2\r\n'), / 400 /],
    ['a length and chunks', get('/', 'content-length: 1\r\ntransfer-encoding: chunked\r\n'), / 400 /],
    ['a header with a break', get('/', 'a: b\rc: d\r\n'), / 400 /],
  ]
  for (const [what, text, status] of cases) {
    t.match(await answer(text), status, what)
    t.equal(await probe(), 200)
  }
})

t.test('a thousand followers, and those who never read', async t => {
  const pushes = new Set<(events: readonly FlowEvent[]) => void>()
  const { admin, open, probe } = await start(t, {
    follow: (_query, push) => {
      pushes.add(push)
      return () => void pushes.delete(push)
    },
  })
  const deaf = Array.from({ length: 4 }, () => open(get('/v1/flows?follow=true')).pause())
  await eventually(() => assert.equal(pushes.size, 4))
  const event = {
    lost_events: { source: 'HUBBLE_RING_BUFFER', num_events_lost: 7 },
    node_name: 'n'.repeat(1000),
    time: 't',
  }
  const many = Array<FlowEvent>(1000).fill(event as unknown as FlowEvent)
  const before = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed
  for (let i = 0; i < 50; i++) for (const push of pushes) push(many)
  const after = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed
  // 200 MB have been pushed, and a client has a buffer of a megabyte and the event that filled it.
  t.ok(after - before < 60 << 20, `${(after - before) >> 20} MiB more`)

  const followers = Array.from({ length: 1000 }, () => open(get('/v1/flows?follow=true')).resume())
  await Promise.all(followers.slice(0, 100).map(socket => Promise.race([once(socket, 'data'), once(socket, 'close')])))
  t.equal(await probe(), 200, 'probes are answered')
  await eventually(() => assert.ok(admin.connections <= 96 && pushes.size <= 16))
  for (const socket of [...deaf, ...followers]) socket.destroy()
  await eventually(() => assert.equal(pushes.size, 0))
})
