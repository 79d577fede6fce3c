/** Urgent bytes (RFC 6093) in the middle of a stream: nothing around them is lost, late or out of order. */
import type { Test } from 'tap'
import { hashOf, type TcpBackend, tcpBackend } from '../../support/backend.ts'
import { backend as backendOf } from '../../support/model.ts'
import {
  buildUrgent,
  type Urgent,
  urgentBackend,
  urgentByte,
  urgentClient,
  urgentText,
} from '../../support/programs/urgent.ts'
import { type EngineUnderTest, Rig } from './rig.ts'

const sizes: readonly (readonly [bytes: number, every: number])[] = [
  [10, 3],
  [5000, 1000],
  [200_000, 70_001],
  [1_000_000, 65_536],
  [4_000_000, 262_144],
  [3_000_000, 1_000_003],
]

export function urgentSuite(t: Test, { create, urgentBytes }: EngineUnderTest): void {
  const program = buildUrgent(t)
  if (!program) {
    t.pass('there is no C compiler for a peer that sends urgent bytes')
    return
  }

  /** The urgent bytes too, where the engine keeps them. */
  const same = (t: Test, got: Buffer, sent: Urgent, what: string) => {
    const counted = (text: Buffer) => (urgentBytes === 'kept' ? text : text.filter(byte => byte !== urgentByte))
    const expected = urgentText(sent)
    t.equal(
      counted(got).length,
      counted(expected).length,
      `${what}: ${sent.bytes} bytes, urgent ones every ${sent.every}`,
    )
    t.equal(hashOf(Buffer.from(counted(got))), hashOf(Buffer.from(counted(expected))), what)
  }

  for (const when of ['at-once', 'hang-up'] as const) {
    t.test(`from the client, ${when}`, async t => {
      for (const [bytes, every] of sizes) {
        const sent = { bytes, every, when }
        const heard: Buffer[] = []
        const { backend } = await tcpBackend(t, socket => {
          socket.on('data', chunk => heard.push(chunk)).on('end', () => socket.end())
        })
        const rig = await Rig.start(t, create, { backends: [backend] })
        await urgentClient(t, program, rig, sent).received()
        await rig.attempts(1)
        t.match(await rig.settled(), { served: 1 })
        same(t, Buffer.concat(heard), sent, 'what the backend has got')
      }
    })
  }

  // libuv takes a read that ends before an urgent byte for the last one, once both sides of a socket have ended.
  const both = urgentBytes === 'kept'
  for (const when of both ? (['at-once', 'after-fin', 'hang-up'] as const) : (['at-once'] as const)) {
    t.test(`from the backend, ${when}`, async t => {
      for (const [bytes, every] of sizes) {
        const sent = { bytes, every, when }
        const { port } = await urgentBackend(t, program, sent)
        const rig = await Rig.start(t, create, { backends: [backendOf({ address: '127.0.0.1', port })] })
        const heard: Buffer[] = []
        const socket = rig.knock().on('data', chunk => heard.push(chunk))
        if (when === 'after-fin') socket.end()
        else socket.on('end', () => socket.end())
        await rig.attempts(1)
        t.match(await rig.settled(), { served: 1 })
        await new Promise(resolve => (socket.destroyed ? resolve(undefined) : socket.once('close', resolve)))
        same(t, Buffer.concat(heard), sent, 'what the client has got')
      }
    })
  }

  t.test('both ways at once, into an echo', async t => {
    for (const [bytes, every] of sizes) {
      const sent = { bytes, every, when: 'at-once' } as const
      const { backend }: TcpBackend = await tcpBackend(t, socket => void socket.pipe(socket))
      const rig = await Rig.start(t, create, { backends: [backend] })
      const client = urgentClient(t, program, rig, sent)
      same(t, await client.received(), sent, 'what came back')
      t.match(await rig.settled(), { served: 1 })
    }
  })

  t.test('from both sides at once', { skip: both ? false : 'libuv may cut it short' }, async t => {
    for (const [bytes, every] of sizes) {
      const [up, down] = [
        { bytes, every, when: 'at-once' },
        { bytes: bytes + 77, every: every + 5, when: 'at-once' },
      ] as const
      const { peer, port } = await urgentBackend(t, program, down)
      const rig = await Rig.start(t, create, { backends: [backendOf({ address: '127.0.0.1', port })] })
      const client = urgentClient(t, program, rig, up)
      same(t, await client.received(), down, 'what the client has got')
      same(t, await peer.received(), up, 'what the backend has got')
      t.match(await rig.settled(), { served: 1 })
    }
  })
}
