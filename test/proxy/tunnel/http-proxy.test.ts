/** Tunnels through an HTTP proxy: what it sees, and what is said where it refuses. */
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Config } from '../../../proxy/config/schema.ts'
import type { Backend } from '../../../proxy/model/backend.ts'
import { shownConfig } from '../../../proxy/runtime/views.ts'
import { parseProxy } from '../../../proxy/tunnel/client/http-proxy.ts'
import { echo, tcpBackend } from '../../support/backend.ts'
import { eventually } from '../../support/eventually.ts'
import { folderFor, idOf, TunnelAuthority } from '../../support/tunnel/certificates.ts'
import { behindGateway, sharedService, startClient, startGateway } from '../../support/tunnel/rig.ts'

/** A proxy that answers CONNECT to who gives this authorization. */
async function startProxy(t: Test, wanted: string | undefined) {
  const asked: string[] = []
  const sockets = new Set<Socket>()
  const server = createServer()
  server.on('connect', (request, socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    if (request.headers['proxy-authorization'] !== wanted) {
      socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n')
      return
    }
    asked.push(request.url ?? '')
    const { hostname, port } = new URL(`http://${request.url}`)
    const onward = connect(Number(port), hostname, () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      socket.pipe(onward).pipe(socket)
    })
    sockets.add(onward)
    onward.on('error', () => socket.destroy())
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { asked, port: (server.address() as AddressInfo).port }
}

async function world(t: Test) {
  const { backend } = await tcpBackend(t, echo)
  const authority = await TunnelAuthority.create()
  const folder = t.testdir()
  const server = await startGateway(t, {
    folder: await folderFor(join(folder, 'gateway'), authority, idOf('cluster-2', 'gateway')),
    services: [sharedService([backend])],
  })
  const own = await folderFor(join(folder, 'proxy'), authority, idOf('cluster-1'))
  const reach = (proxy: string) =>
    startClient(t, { folder: own, gateways: [{ ...server.at, proxy: parseProxy(proxy) } as typeof server.at] })
  return { server, reach, behind: behindGateway([backend])[0] as Backend }
}

t.test('a tunnel through a proxy is a tunnel', async t => {
  const { server, reach, behind } = await world(t)
  const proxy = await startProxy(t, `Basic ${Buffer.from('me:se cret').toString('base64')}`)
  const client = await reach(`http://me:se%20cret@127.0.0.1:${proxy.port}`)
  await client.open()
  const stream = await client.dial(behind)
  stream.reset()
  t.same(proxy.asked, [`127.0.0.1:${server.port}`])
  await eventually(() => {
    if (client.client.views('cluster-2')?.[0]?.roundTripMs === undefined) throw new Error('no ping yet')
  })
})

t.test('a proxy that refuses, and one that is away, are named', async t => {
  const { server, reach } = await world(t)
  const { port } = await startProxy(t, 'another')
  const says = async (proxy: string, pattern: RegExp) => {
    const client = await reach(proxy)
    await eventually(() => {
      const [view] = client.client.views('cluster-2') ?? []
      if (!pattern.test(view?.error ?? '')) throw new Error(`${view?.state} ${view?.error}`)
    })
    t.pass(`${pattern}`)
  }
  await says(`http://127.0.0.1:${port}`, /the proxy 127\.0\.0\.1:\d+ answers 407/)
  await says('http://127.0.0.1:1', /the proxy 127\.0\.0\.1:1 cannot be used: .*ECONNREFUSED/)
  t.equal(server.gateway.view().sessions, 0)
})

t.test('what names a proxy', async t => {
  t.same(parseProxy('http://proxy.example'), { host: 'proxy.example', port: 80 })
  t.same(parseProxy('http://[::1]:3128'), { host: '::1', port: 3128 })
  for (const bad of ['https://a:1', 'a:1', 'http://a/b', 'http://a?b']) t.equal(parseProxy(bad), undefined, bad)
})

t.test('the password of a proxy is not shown', async t => {
  const config = { tunnel: { proxy: 'http://me:secret@proxy:1' } } as Config
  t.same(shownConfig(config), { tunnel: { proxy: 'http://(not shown)@proxy:1' } })
})
