/** A path of 100 ms: the windows of a tunnel let one stream use it, where those of node:http2 by itself would not. */
import { once } from 'node:events'
import { connect as connectHttp2, createServer as createHttp2 } from 'node:http2'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Backend } from '../../../proxy/model/backend.ts'
import { tcpBackend } from '../../support/backend.ts'
import { folderFor, idOf, TunnelAuthority } from '../../support/tunnel/certificates.ts'
import { behindGateway, sharedService, startClient, startGateway } from '../../support/tunnel/rig.ts'

const oneWayMs = 50
const chunk = Buffer.alloc(1 << 16)

/** Passes bytes on to a port after a delay, however many are on their way. */
async function distant(t: Test, to: number): Promise<number> {
  const server = createServer(near => {
    const far = connect({ host: '127.0.0.1', port: to, noDelay: true })
    near.setNoDelay(true)
    for (const [from, onward] of [
      [near, far],
      [far, near],
    ] as [Socket, Socket][]) {
      from.on('data', data => void setTimeout(() => onward.destroyed || onward.write(data), oneWayMs))
      from.on('error', () => {})
      from.on('close', () => onward.destroy())
      t.teardown(() => from.destroy())
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as { port: number }).port
}

/** MB/s of what comes from `socket`, without the first second. */
async function rate(
  socket: { on(event: 'data', listen: (data: Buffer) => void): unknown },
  seconds: number,
): Promise<number> {
  let bytes = 0
  socket.on('data', data => {
    bytes += data.length
  })
  await new Promise(resolve => setTimeout(resolve, 1000))
  const before = bytes
  await new Promise(resolve => setTimeout(resolve, seconds * 1000))
  return (bytes - before) / seconds / 1e6
}

/** Writes for ever. */
function torrent(to: {
  write(data: Buffer): boolean
  on(event: string, listen: () => void): unknown
  readonly destroyed: boolean
}): void {
  const more = () => {
    while (!to.destroyed && to.write(chunk));
  }
  to.on('drain', more)
  to.on('error', () => {})
  more()
}

t.test('one stream over 100 ms is ten times as fast as with the default windows', async t => {
  const plain = createHttp2()
  plain.on('stream', stream => {
    stream.respond({ ':status': 200 })
    torrent(stream)
  })
  plain.on('sessionError', () => {})
  plain.listen(0, '127.0.0.1')
  await once(plain, 'listening')
  t.teardown(() => plain.close())
  const session = connectHttp2(`http://127.0.0.1:${await distant(t, (plain.address() as { port: number }).port)}`)
  session.on('error', () => {})
  const byDefault = await rate(session.request({ ':path': '/' }), 1)
  session.destroy()

  const authority = await TunnelAuthority.create()
  const folder = t.testdir()
  const serverFolder = await folderFor(join(folder, 'gateway'), authority, idOf('cluster-2', 'gateway'))
  const clientFolder = await folderFor(join(folder, 'proxy'), authority, idOf('cluster-1'))
  const { backend } = await tcpBackend(t, torrent)
  const gateway = await startGateway(t, { folder: serverFolder, services: [sharedService([backend])] })
  const port = await distant(t, gateway.port)
  const proxy = await startClient(t, {
    folder: clientFolder,
    gateways: [{ host: '127.0.0.1', port, text: `127.0.0.1:${port}` }],
  })
  await proxy.open()
  const stream = await proxy.dial(behindGateway([backend])[0] as Backend)
  const door = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  await once(door, 'listening')
  const client = connect({ ...(door.address() as { port: number }), host: '127.0.0.1' })
  const [near] = (await once(door, 'connection')) as [Socket]
  t.teardown(() => door.close())
  const done = new Promise(resolve => stream.carry(near, resolve))
  const tunnelled = await rate(client, 2)
  client.destroy()
  await done
  t.comment(`${byDefault.toFixed(2)} MB/s by default, ${tunnelled.toFixed(1)} MB/s through a tunnel`)
  t.ok(
    tunnelled > 10 * byDefault,
    `${byDefault.toFixed(2)} MB/s by default, ${tunnelled.toFixed(1)} MB/s through a tunnel`,
  )
})
