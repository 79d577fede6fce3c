/** A connection that takes what comes: whole, in order, and no more than it may hold. */
import assert from 'node:assert'
import { once } from 'node:events'
import { connect } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { EagerSocket } from '../../../../proxy/tunnel/client/eager-socket.ts'
import { hashOf, pattern, tcpBackend } from '../../../support/backend.ts'
import { eventually } from '../../../support/eventually.ts'

const mebibyte = 1 << 20

for (const [how, open] of [
  ['it connects', (port: number) => ({ host: '127.0.0.1', port })],
  ['it is given a connection', (port: number) => connect(port, '127.0.0.1')],
] as const) {
  const opened = async (t: Test, most: number) => {
    const { backend, sockets } = await tcpBackend(t, () => {})
    const eager = new EagerSocket(open(backend.port), most)
    t.teardown(() => eager.destroy())
    const far = await eventually(() => sockets[0] ?? Promise.reject(new Error('not connected')))
    return { eager, far }
  }

  t.test(`${how}: what comes is taken while nobody reads, up to its limit`, async t => {
    const { eager, far } = await opened(t, 64 * mebibyte)
    const data = pattern(32 * mebibyte)
    far.end(data)
    await eventually(() => assert.equal(eager.readableLength, data.length))
    t.equal(far.writableLength, 0, 'the other end has written all')
    t.equal(hashOf(Buffer.concat(await eager.toArray())), hashOf(data))
  })

  t.test(`${how}: beyond its limit the other end waits`, async t => {
    const { eager, far } = await opened(t, mebibyte)
    const data = pattern(64 * mebibyte)
    far.end(data)
    await eventually(() => assert.ok(eager.readableLength >= mebibyte))
    for (let i = 0; i < 100; i++) await turn()
    t.ok(eager.readableLength < 2 * mebibyte, `${eager.readableLength} bytes wait here`)
    t.ok(far.writableLength > 0, 'some wait there')
    t.equal(hashOf(Buffer.concat(await eager.toArray())), hashOf(data))
  })

  t.test(`${how}: a reader that stops and goes on misses nothing`, async t => {
    const { eager, far } = await opened(t, 4 * mebibyte)
    const data = pattern(24 * mebibyte, 7)
    far.end(data)
    const got: Buffer[] = []
    let turns = 0
    // Copied: the next read fills the same memory.
    eager.on('data', (bytes: Buffer) => {
      got.push(Buffer.from(bytes))
      if (turns++ % 3 > 0) return
      eager.pause()
      setTimeout(() => eager.resume(), turns % 5)
    })
    await once(eager, 'end')
    t.equal(hashOf(Buffer.concat(got)), hashOf(data))
  })

  t.test(`${how}: what is written leaves in order, then the end`, async t => {
    const { eager, far } = await opened(t, mebibyte)
    const pieces = [1, 70_000, 3, mebibyte, 17].map((length, seed) => pattern(length, seed + 1))
    const whole = hashOf(Buffer.concat(pieces))
    eager.write(pieces[0])
    eager.cork()
    for (const piece of pieces.slice(1, 4)) eager.write(piece)
    eager.uncork()
    eager.end(pieces[4])
    t.equal(hashOf(Buffer.concat(await far.toArray())), whole)
  })

  t.test(`${how}: it fails and ends with its socket`, async t => {
    const { eager, far } = await opened(t, mebibyte)
    const failed = once(eager, 'error') as Promise<[NodeJS.ErrnoException]>
    far.resetAndDestroy()
    t.equal((await failed)[0].code, 'ECONNRESET')
    t.ok(eager.destroyed)
    const other = await opened(t, mebibyte)
    const ended = once(other.far.resume(), 'end')
    other.eager.destroy()
    await ended
    t.ok(other.eager.socket.destroyed)
  })
}
