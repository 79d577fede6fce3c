/** Peers that are slow, silent, idle or random: what they cost, and how they end. */
import { existsSync, readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import type { Test } from 'tap'
import { ending, hashOf, pattern, silent, tcpBackend } from '../../support/backend.ts'
import { settled } from '../../support/clock.ts'
import { eventually } from '../../support/eventually.ts'
import { heldBytes, openSockets } from '../../support/faults.ts'
import { type EngineUnderTest, keysOf, plainOptions, Rig } from './rig.ts'

const mebibyte = 1024 * 1024

export function pressureSuite(t: Test, { create, holds = mebibyte }: EngineUnderTest): void {
  t.test('many transfers at once, with readers that stall, do not mix their bytes', async t => {
    const bodies = new Map(Array.from({ length: 12 }, (_, i) => [String(i), pattern(mebibyte + i * 77_777, i + 1)]))
    const { backend } = await tcpBackend(t, socket =>
      socket.once('data', name => socket.end(bodies.get(String(name)) ?? '')),
    )
    const rig = await Rig.start(t, create, { backends: [backend] })
    const ends = [...bodies].map(async ([name, body]) => {
      const socket = rig.knock()
      const end = ending(socket)
      socket.end(name)
      for (let stall = 0; stall < 20; stall++) {
        socket.pause()
        await settled()
        socket.resume()
        await settled()
      }
      return (await end).hash === hashOf(body)
    })
    t.notOk((await Promise.all(ends)).includes(false))
    t.same(await rig.settled(), { served: 12, refused: 0, failed: 0 })
  })

  t.test('small reads behind a reader that has stopped are kept apart, and outlive both FINs', async t => {
    const data = pattern(24 * mebibyte)
    let sent = 0
    const { backend } = await tcpBackend(t, async socket => {
      socket.resume()
      const written = () => socket.writableLength === 0
      for (let turns = 0; turns < 20 && sent < data.length; turns = written() ? 0 : turns + 1) {
        if (written()) {
          socket.write(data.subarray(sent, sent + 10_007))
          sent = Math.min(sent + 10_007, data.length)
        }
        await settled()
      }
      socket.end()
    })
    const rig = await Rig.start(t, create, { backends: [backend] })
    const socket = rig.knock()
    socket.end()
    await eventually(() => {
      if (rig.chooser.totals.length > 0) throw new Error('it ended early')
      if (!socket.readableLength) throw new Error('nothing has come')
    })
    const stopped = await stall(() => sent)
    t.ok(stopped < data.length, `${stopped} bytes were taken`)
    const { end, hash, length } = await ending(socket)
    t.same({ end, length }, { end: 'fin', length: sent })
    t.equal(hash, hashOf(data.subarray(0, sent)))
    t.same(await rig.settled(), { served: 1, refused: 0, failed: 0 })
  })

  t.test('T7: readers that stop cost bounded memory, and lose nothing', async t => {
    const data = pattern(14 * mebibyte)
    const { backend } = await tcpBackend(t, socket => socket.end(data))
    const rig = await Rig.start(t, create, { backends: [backend] })
    const before = await heldBytes()
    const sockets = await Promise.all(Array.from({ length: 3 }, () => rig.client()))
    await eventually(() => {
      if (rig.engine.stats().connections < 3) throw new Error('not all are through')
    })
    for (let i = 0; i < 200; i++) await settled()
    const grown = (await heldBytes()) - before
    t.ok(grown < mebibyte + 3 * holds, `${Math.round(grown / 1024)} KiB for three readers that do not read`)
    const ends = await Promise.all(sockets.map(socket => ending(socket.end())))
    t.ok(ends.every(({ end, hash }) => end === 'fin' && hash === hashOf(data)))
    t.same(await rig.settled(), { served: 3, refused: 0, failed: 0 })
  })

  t.test('T6: a backend that reads nothing stalls its client, costs little, and idles out', async t => {
    const { backend } = await tcpBackend(t, silent)
    const rig = await Rig.start(t, create, { backends: [backend] })
    const socket = await rig.client()
    const chunk = pattern(65_536)
    const before = await heldBytes()
    let written = 0
    let stalled = 0
    // Stalled for good, and not for the moment that another thread takes.
    while (stalled < 100) {
      if (socket.writableLength === 0) {
        socket.write(chunk)
        written += chunk.length
        stalled = 0
      } else stalled++
      await new Promise(resolve => setTimeout(resolve, 1))
    }
    const grown = (await heldBytes()) - before
    t.ok(grown < holds, `${Math.round(grown / 1024)} KiB after ${Math.round(written / 1024)} KiB`)
    const end = ending(socket)
    await rig.clock.advance(3_600_000 + 60_000)
    t.match(await end, { end: 'reset' }, 'bytes are lost, so it is no FIN')
    await rig.settled()
    t.match(rig.chooser.totals, [{ reason: 'idle' }])
  })

  t.test('other idle times apply to the connections that there are', async t => {
    const { backend } = await tcpBackend(t, silent)
    const rig = await Rig.start(t, create, { backends: [backend] })
    const end = ending(await rig.client())
    await rig.clock.advance(60_000)
    rig.engine.configure({ ...plainOptions, idle: { ...plainOptions.idle, tcpMs: 10_000 } })
    await rig.clock.advance(12_000)
    t.match(await end, { end: 'reset' })
    await rig.settled()
    t.match(rig.chooser.totals, [{ reason: 'idle' }])
    const next = await rig.client()
    rig.engine.configure({ ...plainOptions, idle: { ...plainOptions.idle, tcpMs: 0 } })
    await rig.clock.advance(24 * 3_600_000)
    t.equal(rig.engine.stats().connections, 1, '0 is no limit')
    next.destroy()
  })

  t.test('bytes of an open connection are told about once a second, and each once', async t => {
    const { backend, sockets } = await tcpBackend(t, socket => socket.resume())
    const rig = await Rig.start(t, create, { backends: [backend] })
    const socket = await rig.client()
    const told = (sent: number, received: number) =>
      eventually(async () => {
        await rig.clock.advance(1000)
        const [now] = rig.chooser.carriedSoFar
        if (now?.sent !== sent || now.received !== received) throw new Error(`told ${JSON.stringify(now)}`)
      })
    socket.write(Buffer.alloc(300_000))
    await told(300_000, 0)
    t.same(rig.heard, [], 'the backend has sent nothing')
    sockets[0]?.write('answer')
    await told(300_000, 6)
    t.same(rig.heard, keysOf(backend))
    socket.resume()
    const before = rig.chooser.carriedSoFar[0]
    await rig.clock.advance(3000)
    t.equal(rig.chooser.carriedSoFar[0], before, 'nothing is told while nothing moves')
    socket.write('more')
    await eventually(() => {
      if (sockets[0]?.bytesRead !== 300_004) throw new Error(`${sockets[0]?.bytesRead} bytes`)
    })
    socket.end()
    sockets[0]?.end()
    t.match(await rig.settled(), { served: 1 })
    t.match(rig.chooser.totals, [{ sent: 300_004, received: 6, reason: 'done' }])
  })

  t.test('idleness is counted over both directions', async t => {
    const { backend, sockets } = await tcpBackend(t, socket => socket.resume())
    const rig = await Rig.start(t, create, { backends: [backend], options: { idle: { tcpMs: 10_000 } } })
    const socket = await rig.client()
    const end = ending(socket)
    for (let i = 0; i < 5; i++) {
      await rig.clock.advance(8000)
      const to = i % 2 ? socket : (sockets[0] as Socket)
      to.write('.')
      const moved = i + 1
      await eventually(() => {
        const heard = (sockets[0]?.bytesRead ?? 0) + socket.bytesRead
        if (heard < moved) throw new Error(`${heard} of ${moved} bytes`)
      })
    }
    t.equal(rig.engine.stats().connections, 1)
    await rig.clock.advance(12_000)
    t.match(await end, { end: 'reset' }, 'a FIN would be taken for the backend’s')
    t.match(await rig.settled(), { served: 1 })
    t.match(rig.chooser.totals, [{ reason: 'idle', sent: 2, received: 3 }])
  })

  t.test('T11: half-closed and forgotten, it ends after its own time', async t => {
    const { backend } = await tcpBackend(t, silent)
    const rig = await Rig.start(t, create, { backends: [backend] })
    const sockets = await Promise.all(Array.from({ length: 20 }, () => rig.client()))
    for (const socket of sockets) socket.end()
    await rig.clock.advance(55_000)
    t.equal(rig.engine.stats().connections, 20)
    const ends = Promise.all(sockets.map(ending))
    await rig.clock.advance(10_000)
    t.ok(
      (await ends).every(({ end }) => end === 'reset'),
      'for the clients, since no answer has come',
    )
    // A backend's socket that has had the client's FIN stays in CLOSE_WAIT (08), unless it is reset; a tunnel takes its time.
    if (existsSync('/proc/net/tcp'))
      await eventually(() => {
        if (inCloseWait(backend.port).test(readFileSync('/proc/net/tcp', 'utf8'))) throw new Error('the backend waits')
      })
    t.same(await rig.settled(), { served: 20, refused: 0, failed: 0 })
    t.ok(rig.chooser.totals.every(({ reason }) => reason === 'half-closed'))
  })

  t.test('whatever two peers do, every flow ends once and leaves nothing open', async t => {
    const before = openSockets()
    const random = numbers(7)
    const { backend, close } = await tcpBackend(t, socket => void misbehave(socket, random))
    const rig = await Rig.start(t, create, { backends: [backend] })
    const clients = Array.from({ length: 200 }, () => rig.knock())
    await Promise.all(clients.map(socket => misbehave(socket, random)))
    const { served, refused, failed } = await rig.settled()
    t.equal(served + refused + failed, rig.chooser.stories.length)
    t.equal(rig.chooser.totals.length, served)
    await Promise.all([rig.engine.close(), close()])
    await eventually(() => {
      if (openSockets() > before) throw new Error(`${openSockets() - before} sockets left`)
    })
  })

  t.test(
    'a silent connection is probed by the kernel, on both sides',
    { skip: !existsSync('/proc/net/tcp') },
    async t => {
      const { backend } = await tcpBackend(t, silent)
      const rig = await Rig.start(t, create, { backends: [backend] })
      const socket = await rig.client()
      await rig.clock.advance(5000)
      t.ok(hasKeepAlive(rig.port, socket.localPort), 'towards the client')
      t.ok(hasKeepAlive(undefined, backend.port), 'towards the backend')
    },
  )
}

/** Does a few things that a peer may do, in any order, and then goes. No reset after a FIN: Node leaks a socket by that. */
async function misbehave(socket: Socket, random: () => number): Promise<void> {
  socket.on('data', () => {})
  for (let deed = 0; deed < 6 && !socket.destroyed; deed++) {
    const dice = random()
    if (dice < 0.45 && socket.writable) socket.write(Buffer.alloc(1 + Math.floor(random() * 150_000)))
    else if (dice < 0.6) socket.pause()
    else if (dice < 0.75) socket.resume()
    else if (dice < 0.85) socket.end()
    else if (dice < 0.9) socket.destroy()
    else if (dice < 0.95 && !socket.writableEnded) socket.resetAndDestroy()
    for (let turns = Math.floor(random() * 4); turns > 0; turns--) await settled()
  }
  socket.resume()
  socket.end()
}

/** Numbers from 0 to 1 that are the same in every run. */
function numbers(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

/** The value once it stands still. */
async function stall(value: () => number): Promise<number> {
  for (let still = 0, last = value(); still < 100; still = value() === last ? still + 1 : 0) {
    last = value()
    await settled()
  }
  return value()
}

function inCloseWait(port: number): RegExp {
  return new RegExp(`:${hex(port)} \\w+:\\w+ 08 `)
}

/** Whether the kernel has a keep-alive timer (`02:`) on the socket from one port to the other. */
function hasKeepAlive(from: number | undefined, to: number | undefined): boolean {
  const pattern = new RegExp(`:${from ? hex(from) : '\\w{4}'} \\w+:${hex(to)} 01 \\S+ 02:`)
  return pattern.test(readFileSync('/proc/net/tcp', 'utf8'))
}

function hex(port: number | undefined): string {
  return (port ?? 0).toString(16).toUpperCase().padStart(4, '0')
}
