/** A tunnel in the pump answers what has come, also when that just fills the turns that its reading has. */
import { once } from 'node:events'
import { join } from 'node:path'
import { connect, type TLSSocket } from 'node:tls'
import t from 'tap'
import { findAddon } from '../../../../proxy/dataplane/native/addon.ts'
import { whyNotInPump } from '../../../../proxy/dataplane/native/tunnels.ts'
import { systemClock } from '../../../../proxy/model/time/clock.ts'
import { folderFor, idOf, TunnelAuthority } from '../../../support/tunnel/certificates.ts'
import { startGateway } from '../../../support/tunnel/rig.ts'

const found = findAddon()
const why = 'why' in found ? found.why : whyNotInPump(found.addon.tunnels)

/** Bytes that a tunnel reads in one turn: `kTurn` in native/src/tunnel/bytes.cc. */
const turnBytes = 256 << 10
/** Whether one comes as a whole before it is read is a matter of chance; a tunnel that leaves such a one without an answer is found in a few. */
const bursts = 100
const [settings, ping, unknown] = [4, 6, 0xfa]
const acknowledged = 1

/** RFC 9113, 4.1; on no stream. */
function frame(type: number, payload: Buffer, flags = 0): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = type
  head[4] = flags
  return Buffer.concat([head, payload])
}

/** Frames of a type that nobody knows, which are ignored (RFC 9113, 5.5), and a ping as the last bytes of so many. */
function burst(bytes: number, name: Buffer): Buffer {
  const last = frame(ping, name)
  const frames: Buffer[] = []
  for (let left = bytes - last.length; left > 0; ) {
    const length = left > 32 << 10 ? 16 << 10 : left > 16 << 10 ? left >> 1 : left
    frames.push(frame(unknown, Buffer.alloc(length - 9)))
    left -= length
  }
  return Buffer.concat([...frames, last])
}

/** The frames that come, one after the other. */
async function* framesOf(socket: TLSSocket): AsyncGenerator<{ type: number; flags: number; payload: Buffer }> {
  let waiting = Buffer.alloc(0)
  for await (const bytes of socket) {
    waiting = Buffer.concat([waiting, bytes])
    while (waiting.length >= 9) {
      const end = 9 + waiting.readUIntBE(0, 3)
      if (waiting.length < end) break
      yield { type: waiting[3] ?? 0, flags: waiting[4] ?? 0, payload: waiting.subarray(9, end) }
      waiting = waiting.subarray(end)
    }
  }
}

t.test('bursts that fill whole turns', { skip: why ?? false }, async t => {
  const authority = await TunnelAuthority.create()
  const never = () => () => {}
  const gateway = await startGateway(t, {
    folder: await folderFor(join(t.testdir(), 'gateway'), authority, idOf('cluster-2', 'gateway')),
    services: [],
    inPump: true,
    // It pings nobody, and would not find a late answer by that.
    clock: { ...systemClock, after: never, every: never },
  })
  const { cert, key } = await authority.issue(idOf('cluster-1'))
  const socket = connect({
    ...{ host: '127.0.0.1', port: gateway.port, cert, key, ca: authority.pem, ALPNProtocols: ['h2'] },
    checkServerIdentity: () => undefined,
  })
  t.teardown(() => socket.destroy())
  await once(socket, 'secureConnect')
  socket.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(settings, Buffer.alloc(0))]))
  const frames = framesOf(socket)
  const next = async (type: number, flags: number) => {
    for (;;) {
      const { value } = await frames.next()
      if (!value) throw new Error('the gateway has ended the tunnel')
      if (value.type === type && value.flags === flags) return value
    }
  }
  await next(settings, 0)
  await next(settings, acknowledged)
  for (let i = 0; i < bursts; i++) {
    const name = Buffer.from(String(i).padStart(8, '0'))
    socket.write(burst((3 + (i % 6)) * turnBytes, name))
    const { payload } = await next(ping, acknowledged)
    if (!payload.equals(name)) t.equal(String(payload), String(name))
  }
  t.pass(`${bursts} bursts were answered`)
})
