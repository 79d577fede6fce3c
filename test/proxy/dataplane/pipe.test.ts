/** Parts of the engine streams that only a test from inside can reach: read buffers, pipes with bytes that wait, dials. */
import { once } from 'node:events'
import { createServer, Socket } from 'node:net'
import t, { type Test } from 'tap'
import { Buffers, Inlet } from '../../../proxy/dataplane/streams/buffers.ts'
import { dial } from '../../../proxy/dataplane/streams/dial.ts'
import { Pipe } from '../../../proxy/dataplane/streams/pipe.ts'
import { Turns } from '../../../proxy/dataplane/streams/turns.ts'
import type { CloseReason } from '../../../proxy/model/flow.ts'
import { free } from '../../../proxy/model/sockets/chunks.ts'
import { client, ending, hashOf, pattern, silent, tcpBackend } from '../../support/backend.ts'
import { settled } from '../../support/clock.ts'
import { eventually } from '../../support/eventually.ts'
import { refusing } from '../../support/faults.ts'

const small = 8 * 1024
const large = 64 * 1024

t.test('an inlet reads into the same memory until a read fills it, and gives it back when reads are small', async t => {
  const inlet = new Inlet(new Buffers())
  const delivered: Buffer[] = []
  inlet.deliver = chunk => delivered.push(chunk) > 0
  const first = inlet.buffer()
  t.equal(first.length, small)
  t.equal(inlet.callback(100), true)
  t.same(delivered[0]?.length, 100)
  t.equal(inlet.buffer(), first)
  inlet.callback(small)
  const second = inlet.buffer()
  t.equal(second.length, large)
  inlet.callback(large)
  t.equal(inlet.buffer(), second)
  inlet.callback(10)
  t.equal(inlet.buffer(), first, 'the small one was kept for this')
})

t.test('memory that was lent is not read into again, and what is released serves the next', async t => {
  const buffers = new Buffers()
  const inlet = new Inlet(buffers)
  const lent = inlet.buffer()
  inlet.deliver = () => {
    inlet.lend()
    return false
  }
  t.equal(inlet.callback(10), false)
  const next = inlet.buffer()
  t.not(next, lent)
  inlet.release()
  t.equal(new Inlet(buffers).buffer(), next)
})

t.test('buffers keep a bounded number of what they are given', async t => {
  const buffers = new Buffers()
  const taken = Array.from({ length: 200 }, () => buffers.take(large))
  for (const buffer of taken) buffers.give(buffer)
  const again = Array.from({ length: 200 }, () => buffers.take(large))
  t.equal(again.filter(buffer => taken.includes(buffer)).length, 64)
})

t.test('the memory of a large chunk is freed at once, what shares its memory with others is left alone', async t => {
  const own = Buffer.from(new ArrayBuffer(large))
  free(own)
  t.equal(own.length, 0)
  const shared = Buffer.from(new ArrayBuffer(large + 1), 0, large)
  const little = Buffer.from(new ArrayBuffer(small))
  for (const left of [shared, little]) free(left)
  t.same([shared.length, little.length], [large, small])
})

t.test('FINs of both sides wait for what is still to be written', async t => {
  const { peer, origin, waiting, reasons, sent } = await blocked(t)
  peer.end()
  origin.end()
  for (let i = 0; i < 20; i++) await settled()
  t.same(reasons, [], 'bytes wait')
  t.ok(waiting())
  const { end, hash } = await ending(peer)
  t.same({ end, hash }, { end: 'fin', hash: hashOf(sent()) })
  await eventually(() => {
    if (reasons.length === 0) throw new Error('not closed')
  })
  await settled()
  t.same(reasons, ['done'])
})

t.test('a connection with bytes that wait is not half-closed, and is cut with a reset', async t => {
  const { peer, pipe, reasons } = await blocked(t)
  peer.end()
  for (let i = 0; i < 20; i++) await settled()
  t.equal(pipe.halfClosed, false)
  pipe.cut('idle')
  pipe.cut('drained')
  t.match(await ending(peer), { end: 'reset' })
  t.same(reasons, ['idle'])
})

t.test('a dial reports its end once, and nothing after it was given up', async t => {
  const { backend } = await tcpBackend(t, silent)
  for (const to of [backend, await refusing()]) {
    const ends: (Error | Socket | undefined)[] = []
    const giveUp = dial(to, new Inlet(new Buffers()), (error, socket) => ends.push(error ?? socket))
    t.same(ends, [], 'never before it returns')
    await eventually(() => {
      if (ends.length === 0) throw new Error('no end')
    })
    giveUp()
    await settled()
    t.equal(ends.length, 1)
    const [end] = ends
    if (to === backend) {
      t.ok(end instanceof Socket && !end.destroyed, 'a connection that was made stays')
      if (end instanceof Socket) end.destroy()
    } else t.match(end, { code: 'ECONNREFUSED' })

    const later: unknown[] = []
    dial(to, new Inlet(new Buffers()), (...end) => later.push(end))()
    const witness = await client(t, { ip: backend.address, port: backend.port })
    witness.destroy()
    t.same(later, [])
  }
})

interface Blocked {
  /** The client's end of the pipe, which does not read. */
  readonly peer: Socket
  /** The backend's end, which has written as much as it takes. */
  readonly origin: Socket
  readonly pipe: Pipe
  readonly reasons: CloseReason[]
  waiting(): boolean
  sent(): Buffer
}

/** A pipe that has bytes for a client which does not read: more than the kernel takes, less than makes it stop reading. */
async function blocked(t: Test): Promise<Blocked> {
  const { backend, sockets } = await tcpBackend(t, silent)
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const accepted = once(server, 'connection')
  const address = server.address()
  const peer = await client(t, { ip: '127.0.0.1', port: typeof address === 'object' && address ? address.port : 0 })
  const [near] = (await accepted) as [Socket]
  near.on('error', () => {})
  const inlet = new Inlet(new Buffers())
  const far = await new Promise<Socket>(resolve => {
    dial(backend, inlet, (_, socket) => socket && resolve(socket))
  })
  const reasons: CloseReason[] = []
  const pipe = new Pipe(near, far, inlet, new Turns(), reason => reasons.push(reason))
  const data = pattern(32 * 1024 * 1024)
  const origin = await eventually(() => {
    if (!sockets[0]) throw new Error('not accepted')
    return sockets[0]
  })
  origin.resume()
  let length = 0
  while (near.writableLength === 0 && length < data.length) {
    origin.write(data.subarray(length, length + 10_000))
    length += 10_000
    await settled()
  }
  return { peer, origin, pipe, reasons, waiting: () => near.writableLength > 0, sent: () => data.subarray(0, length) }
}
