/** At a limit: whose flow makes room for whose. */

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { Test } from 'tap'
import { echo, ending, tcpBackend, udpBackend, udpClient } from '../../support/backend.ts'
import { eventually } from '../../support/eventually.ts'
import { type CreateEngine, Rig } from './rig.ts'

const greedy = '127.0.0.1'
const modest = '127.77.0.9'

export function sharesSuite(t: Test, create: CreateEngine): void {
  t.test('TCP: one client may hold all, until another comes, and then each has its share', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend], options: { limits: { connections: 8 } } })
    const held: Socket[] = []
    for (let i = 0; i < 8; i++) held.push(await from(t, rig, greedy))
    t.equal(await outcome(rig, t, greedy), 'reset', 'the ninth of a lone client is refused')
    // The first gets bytes after all the others, so that the second is the idlest.
    const swept = async (flows: number) => {
      await rig.clock.advance(1000)
      await eventually(() => {
        if (rig.heard.length < flows) throw new Error('not swept yet')
      })
    }
    await swept(8)
    await said(held[0] as Socket, 'x')
    await swept(9)
    const evicted = ending(held[1] as Socket)
    for (let i = 0; i < 4; i++) t.equal(await outcome(rig, t, modest), 'served', `newcomer ${i}`)
    t.equal((await evicted).end, 'reset')
    t.notOk(held[0]?.destroyed, 'the one that was used is still there')
    t.equal(await outcome(rig, t, modest), 'reset', 'both hold four')
    t.equal(await outcome(rig, t, greedy), 'reset')
    t.same(new Set(rig.chooser.totals.map(({ reason }) => reason)), new Set(['evicted']))
    t.equal(rig.chooser.totals.length, 4)
    t.equal(rig.engine.stats().connections, 8)
    rig.engine.destroy()
    t.same(await rig.settled(), { served: 12, refused: 3, failed: 0 })
  })

  t.test('TCP: one frontend may hold all, until a client of another comes', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend], options: { limits: { connections: 6 } } })
    for (let i = 1; i <= 6; i++) await from(t, rig, `127.77.1.${i}`)
    const other = await Rig.start(t, () => rig.engine, { backends: [backend], ip: '127.77.0.2' })
    t.equal(await outcome(rig, t, modest), 'reset', 'every client holds one')
    for (let i = 0; i < 3; i++) t.equal(await outcome(other, t, `127.77.2.${i}`), 'served')
    t.equal(await outcome(other, t, '127.77.2.9'), 'reset', 'both frontends hold three')
    t.equal(rig.engine.stats().connections, 6)
  })

  t.test('with a cap per frontend, one is full and another is not', async t => {
    const { backend } = await tcpBackend(t, echo)
    const options = { limits: { connections: 8, perFrontend: 0.5 } }
    const rig = await Rig.start(t, create, { backends: [backend], options })
    for (let i = 0; i < 4; i++) await from(t, rig, greedy)
    t.equal(await outcome(rig, t, greedy), 'reset', 'the fifth')
    const other = await Rig.start(t, () => rig.engine, { backends: [backend], ip: '127.77.0.3' })
    t.equal(await outcome(other, t, greedy), 'served', 'at another frontend')
    t.equal(await outcome(rig, t, modest), 'served', 'in place of one of the client that holds most')
    t.equal(rig.engine.stats().connections, 5)
  })

  t.test('UDP: one client may hold all, until another comes', async t => {
    const { backend } = await udpBackend(t, (message, reply) => reply(message))
    const rig = await Rig.start(t, create, {
      backends: [backend],
      protocol: 'UDP',
      options: { limits: { udpSessions: 8 } },
    })
    const asked = async (address: string) => {
      const { socket, got } = await udpClient(t, address)
      const { length } = rig.chooser.refusals
      socket.send('?', rig.port, rig.ip)
      return eventually(() => {
        if (got.length > 0) return 'served'
        if (rig.chooser.refusals.length > length) return 'refused'
        throw new Error('neither')
      })
    }
    for (let i = 0; i < 8; i++) t.equal(await asked(greedy), 'served')
    t.equal(await asked(greedy), 'refused', 'the ninth of a lone client')
    for (let i = 0; i < 4; i++) t.equal(await asked(modest), 'served', `newcomer ${i}`)
    t.equal(await asked(modest), 'refused', 'both hold four')
    await eventually(() => {
      if (rig.chooser.totals.length < 4) throw new Error('not all have ended')
    })
    t.same(new Set(rig.chooser.totals.map(({ reason }) => reason)), new Set(['evicted']))
    rig.engine.destroy()
    t.same(await rig.settled(), { served: 12, refused: 2, failed: 0 })
  })

  t.test('UDP: of the sessions of the client that holds most, the idlest makes room', async t => {
    const { backend } = await udpBackend(t, (message, reply) => reply(message))
    const rig = await Rig.start(t, create, {
      backends: [backend],
      protocol: 'UDP',
      options: { limits: { udpSessions: 8 } },
    })
    const open = async (address: string) => {
      const { socket, got } = await udpClient(t, address)
      const ask = async () => {
        const { length } = got
        socket.send('?', rig.port, rig.ip)
        await eventually(() => {
          if (got.length === length) throw new Error('no answer yet')
        })
      }
      await ask()
      return { port: socket.address().port, ask }
    }
    /** What a sweep has to report comes before the refusal of a client that asks after it. */
    const swept = async () => {
      await rig.clock.advance(1000)
      const { socket } = await udpClient(t, greedy)
      const { length } = rig.chooser.refusals
      socket.send('?', rig.port, rig.ip)
      await eventually(() => {
        if (rig.chooser.refusals.length === length) throw new Error('not refused yet')
      })
    }
    const held = []
    for (let i = 0; i < 8; i++) held.push(await open(greedy))
    await swept()
    const [first, ...others] = held
    await first?.ask()
    await swept()
    for (let i = 0; i < 4; i++) await open(modest)
    await eventually(() => {
      if (rig.chooser.totals.length < 4) throw new Error('not all have ended')
    })
    await first?.ask()
    const left = rig.chooser.stories.flatMap(({ flow, attempts }) =>
      attempts.at(-1)?.totals ? [flow.client.port] : [],
    )
    t.same(new Set(left), new Set(others.slice(0, 4).map(({ port }) => port)), 'the oldest was in use, and stays')
  })
}

/** A connection of this client that a backend has answered. */
async function from(t: Test, rig: Rig, localAddress: string): Promise<Socket> {
  const socket = open(t, rig, localAddress)
  await said(socket, 'x')
  return socket
}

function open(t: Test, rig: Rig, localAddress: string): Socket {
  const socket = connect({ host: rig.ip, port: rig.port, localAddress })
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  return socket
}

async function said(socket: Socket, text: string): Promise<void> {
  socket.write(text)
  await once(socket, 'data')
}

async function outcome(rig: Rig, t: Test, address: string): Promise<'served' | 'reset'> {
  const socket = open(t, rig, address)
  socket.write('x')
  return new Promise(resolve => {
    socket.once('data', () => resolve('served'))
    socket.once('close', () => resolve('reset'))
  })
}
