/** HTTP/2, where the server offers it: one connection for all watches, and servers that ask us to leave (GOAWAY). */
import assert from 'node:assert/strict'
import { constants, createSecureServer, type Http2Session, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { createKubernetesClient } from '../../../proxy/clients/kubernetes/connect.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { createKubernetesSource } from '../../../proxy/sources/kubernetes/kubernetes-source.ts'
import { RecordingSink } from '../../conformance/source.ts'
import { folder } from '../../support/etcd/etcd.ts'
import { eventually } from '../../support/eventually.ts'
import { Authority } from '../../support/kube-api/certificates.ts'
import { writeKubeconfig } from '../../support/kube-api/kubeconfig.ts'

const signal = new AbortController().signal
// Ten times as fast, so that a watch that was cut is soon opened again.
const clock = { ...systemClock, after: (ms: number, run: () => void) => systemClock.after(ms / 10, run) }

/** An API server over HTTP/2 with one Service, `web`. */
async function startServer(t: Test) {
  const authority = new Authority()
  t.teardown(() => authority.close())
  const sessions = new Set<Http2Session>()
  const watches = new Map<string, ServerHttp2Stream>()
  let version = 7
  let requests = 0
  let lists = 0
  const server = createSecureServer(authority.issue('localhost'))
  server.on('session', session => {
    sessions.add(session)
    session.on('error', () => {}).on('close', () => sessions.delete(session))
  })
  const object = (name: string) => ({
    metadata: { name, namespace: 'default', resourceVersion: String(version) },
    spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }] },
  })
  const answer = (stream: ServerHttp2Stream, url: URL): void => {
    stream.respond({ ':status': 200, 'content-type': 'application/json' })
    if (url.searchParams.has('watch')) {
      watches.set(url.pathname, stream)
      stream.on('close', () => watches.get(url.pathname) === stream && watches.delete(url.pathname))
      return
    }
    lists++
    const items = url.pathname.endsWith('/services') ? [object('web')] : []
    stream.end(JSON.stringify({ metadata: { resourceVersion: String(version) }, items }))
  }
  let answered = answer
  server.on('stream', (stream, headers) => {
    requests++
    stream.on('error', () => {})
    answered(stream, new URL(String(headers[':path']), 'https://x'))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const session of sessions) session.destroy()
    server.close()
  })
  const kubeconfig = `${await folder(t)}/config`
  const { port } = server.address() as AddressInfo
  const cluster = { 'tls-server-name': 'localhost' }
  writeKubeconfig(kubeconfig, [{ name: 'east', server: `https://127.0.0.1:${port}`, ca: authority.cert, cluster }])
  return {
    kubeconfig,
    sessions,
    watches,
    answer,
    requests: () => requests,
    lists: () => lists,
    /** Once: the next request gets this instead. */
    next: (instead: (stream: ServerHttp2Stream, url: URL) => void) => {
      answered = (stream, url) => {
        answered = answer
        instead(stream, url)
      }
    },
    add: (name: string) => {
      version++
      watches.get('/api/v1/services')?.write(`${JSON.stringify({ type: 'ADDED', object: object(name) })}\n`)
    },
  }
}

const world = { clock, random: () => 0.5, log: silentLog, env: {} }

t.test('all requests share a connection', async t => {
  const server = await startServer(t)
  const client = createKubernetesClient({ kubeconfig: server.kubeconfig }, world)
  await Promise.all(Array.from({ length: 20 }, () => client.json({ path: '/api/v1/services' }, signal)))
  t.equal(server.requests(), 20)
  t.ok(server.sessions.size < 20, `${server.sessions.size} connections`)
  await client.close()
  await eventually(() => assert.equal(server.sessions.size, 0))
})

t.test('a request that the server did not take, since it is leaving, is made again', async t => {
  const server = await startServer(t)
  const client = createKubernetesClient({ kubeconfig: server.kubeconfig }, world)
  t.teardown(() => client.close())
  await client.json({ path: '/api/v1/services' }, signal)
  // The last stream that it takes is the one before.
  server.next(stream => stream.session?.goaway(constants.NGHTTP2_NO_ERROR, (stream.id ?? 1) - 2))
  const found = (await client.json({ path: '/api/v1/services' }, signal)) as { items: unknown[] }
  t.equal(found.items.length, 1)
  const body = { type: 'application/json', value: {} }
  server.next(stream => stream.session?.goaway(constants.NGHTTP2_NO_ERROR, (stream.id ?? 1) - 2))
  t.ok(await client.json({ method: 'PUT', path: '/api/v1/services', body }, signal), 'a write too')
})

t.test('watches are opened again after GOAWAY, from their versions, and no event is lost', async t => {
  const server = await startServer(t)
  const sink = new RecordingSink()
  const source = createKubernetesSource({ cluster: 'east', kubeconfig: server.kubeconfig }, world)
  t.teardown(() => source.close())
  source.start(sink)
  await eventually(() => assert.ok(server.watches.size >= 6), 10_000)
  await eventually(() => assert.equal(sink.link, 'live'))
  server.add('before')
  await eventually(() => assert.ok(sink.services.has('default/before')))
  const lists = server.lists()
  for (let round = 0; round < 3; round++) {
    const left = [...server.sessions]
    for (const session of left) session.close()
    // GOAWAY; a server that leaves then ends its streams, and the connection after the last one.
    for (const watch of [...server.watches.values()]) watch.end()
    await eventually(() => assert.ok(left.every(session => !server.sessions.has(session))), 10_000)
    await eventually(() => assert.ok(server.watches.size >= 6), 10_000)
    server.add(`after-${round}`)
    await eventually(() => assert.ok(sink.services.has(`default/after-${round}`)), 10_000)
  }
  t.notOk(sink.calls.includes('lost'))
  t.equal(server.lists(), lists, 'nothing is listed again')
  t.same(sink.violations, [])
})
