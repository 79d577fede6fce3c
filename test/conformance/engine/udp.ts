/** UDP sessions: which datagrams go where, and when a session ends. */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import type { Test } from 'tap'
import { freePort, hashOf, noIPv6, pattern, udpBackend, udpClient } from '../../support/backend.ts'
import { settled } from '../../support/clock.ts'
import { eventually } from '../../support/eventually.ts'
import { openSockets, refusing } from '../../support/faults.ts'
import { backend as backendOf } from '../../support/model.ts'
import { type EngineUnderTest, type Given, keysOf, Rig } from './rig.ts'

type Reply = (message: Buffer | string) => void
const echo = (message: Buffer, reply: Reply) => reply(message)
const says = (text: string) => (_message: Buffer, reply: Reply) => reply(text)
const nothing = () => {}

export function udpSuite(t: Test, { create }: EngineUnderTest): void {
  const start = (t: Test, given: Given) => Rig.start(t, create, { protocol: 'UDP', ...given })

  t.test('datagrams of every size go there and back', async t => {
    const { backend } = await udpBackend(t, echo)
    const rig = await start(t, { backends: [backend] })
    const { socket, got } = await udpClient(t)
    for (const size of [0, 1, 1400, 9000, 65_507]) {
      const data = pattern(size, size + 1)
      socket.send(data, rig.port, rig.ip)
      const back = await eventually(() => got.shift() ?? Promise.reject(new Error(`${size} bytes did not come back`)))
      t.equal(hashOf(back), hashOf(data), `${size} bytes`)
    }
    t.same(rig.chooser.outcomes, ['connected'], 'one session')
    rig.engine.destroy()
    t.match(rig.chooser.totals, [{ sent: 75_908, received: 75_908, reason: 'shutdown' }])
  })

  t.test('bytes of an open session are told about once a second, and each once', async t => {
    const { backend } = await udpBackend(t, echo)
    const rig = await start(t, { backends: [backend] })
    const { socket, got } = await udpClient(t)
    let told = 0
    for (const size of [1000, 300]) {
      socket.send(pattern(size, 1), rig.port, rig.ip)
      await eventually(() => got.shift() ?? Promise.reject(new Error('no answer')))
      told += size
      await eventually(async () => {
        await rig.clock.advance(1000)
        const [now] = rig.chooser.carriedSoFar
        if (now?.sent !== told || now.received !== told) throw new Error(`told ${JSON.stringify(now)}`)
      })
    }
    rig.engine.destroy()
    t.match(await rig.settled(), { served: 1 })
    t.match(rig.chooser.totals, [{ sent: 1300, received: 1300, told: { sent: 1300, received: 1300 } }])
  })

  t.test('each client has its own session and gets only its own answers', async t => {
    const { backend, heard } = await udpBackend(t, echo)
    const rig = await start(t, { backends: [backend] })
    const clients = await Promise.all(Array.from({ length: 10 }, () => udpClient(t)))
    for (let round = 0; round < 5; round++) {
      for (const [i, { socket }] of clients.entries()) socket.send(`${i}`, rig.port, rig.ip)
      await eventually(() => {
        if (clients.some(({ got }) => got.length <= round)) throw new Error('not all have got it')
      })
    }
    for (const [i, { got }] of clients.entries()) t.same(got.map(String), Array(5).fill(`${i}`))
    t.equal(rig.engine.stats().udpSessions, 10)
    t.equal(new Set(heard.map(({ from }) => from.port)).size, 10, 'the backend can tell them apart')
    t.same(
      new Set(rig.chooser.stories.map(({ flow }) => flow.client.port)),
      new Set(clients.map(({ socket }) => socket.address().port)),
    )
  })

  t.test('a third party cannot send into a session', async t => {
    const { backend, heard } = await udpBackend(t, says('from the backend'))
    const rig = await start(t, { backends: [backend] })
    const { socket, got } = await udpClient(t)
    socket.send('hello', rig.port, rig.ip)
    await eventually(() => got[0] ?? Promise.reject(new Error('no answer')))
    const { socket: stranger } = await udpClient(t)
    stranger.send('forged', heard[0]?.from.port ?? 0, '127.0.0.1')
    socket.send('again', rig.port, rig.ip)
    await eventually(() => got[1] ?? Promise.reject(new Error('no answer')))
    t.same(got.map(String), ['from the backend', 'from the backend'])
  })

  t.test('a session that is quiet ends; one without any answer counts as a timeout', async t => {
    const [loud, mute] = [await udpBackend(t, echo), await udpBackend(t, nothing)]
    const rig = await start(t, { backends: [loud.backend, mute.backend] })
    const [a, b] = [await udpClient(t), await udpClient(t)]
    await talk(rig, a, 'a')
    b.socket.send('b', rig.port, rig.ip)
    await eventually(() => mute.heard[0] ?? Promise.reject(new Error('not received')))
    await rig.clock.advance(50_000)
    await talk(rig, a, 'still here')
    await rig.clock.advance(20_000)
    t.same(rig.chooser.outcomes, ['connected', 'timeout'])
    t.equal(rig.engine.stats().udpSessions, 1)
    await rig.clock.advance(60_000)
    t.same(await rig.settled(), { served: 1, refused: 0, failed: 1 })
    t.match(rig.chooser.totals, [{ reason: 'idle' }])
  })

  t.test('an unbound port is a refusal, and the datagram goes to the next backend', async t => {
    const dead = await refusing({ protocol: 'UDP' })
    const { backend, heard } = await udpBackend(t, says('alive'))
    const rig = await start(t, { backends: [dead, backend] })
    const { socket, got } = await udpClient(t)
    socket.send('only', rig.port, rig.ip)
    await eventually(() => got[0] ?? Promise.reject(new Error('no answer to the only datagram')))
    t.same(rig.chooser.tried, keysOf(dead, backend))
    t.same(rig.chooser.outcomes, ['refused', 'connected'])
    t.same(
      heard.map(({ message }) => String(message)),
      ['only'],
      'once',
    )
    t.equal(rig.engine.stats().udpSessions, 1, 'it is the same session')
    socket.send('next', rig.port, rig.ip)
    await eventually(() => got[1] ?? Promise.reject(new Error('no answer')))
    t.same(rig.chooser.broken, [])
  })

  t.test('a datagram that every backend refuses is tried as often as a flow may be, and is lost', async t => {
    const dead = [await refusing({ protocol: 'UDP' }), await refusing({ protocol: 'UDP' })]
    const more = [await refusing({ protocol: 'UDP' }), await refusing({ protocol: 'UDP' })]
    const rig = await start(t, { backends: [...dead, ...more] })
    const { socket } = await udpClient(t)
    socket.send('only', rig.port, rig.ip)
    await eventually(() => {
      if (rig.chooser.refusals.length === 0) throw new Error('not refused yet')
    })
    t.same(rig.chooser.outcomes, ['refused', 'refused', 'refused'])
    t.match(rig.chooser.refusals, [{ code: 'no-backend' }])
    t.equal(rig.engine.stats().udpSessions, 0)
    t.same(rig.chooser.broken, [])
  })

  t.test('a refusal is noticed even when the next datagram follows at once', async t => {
    const dead = await refusing({ protocol: 'UDP' })
    const rig = await start(t, { backends: [dead] })
    const { socket } = await udpClient(t)
    socket.send('one', rig.port, rig.ip)
    socket.send('two', rig.port, rig.ip)
    await eventually(() => {
      if (rig.chooser.outcomes[0] !== 'refused') throw new Error('no result')
    })
  })

  t.test('a backend that cannot be reached at all is left for the next', async t => {
    const { backend } = await udpBackend(t, says('here'))
    const absurd = backendOf({ address: '127.0.0.1', port: 0, protocol: 'UDP' })
    const rig = await start(t, { backends: [absurd, backend] })
    const { socket, got } = await udpClient(t)
    socket.send('?', rig.port, rig.ip)
    await eventually(() => {
      if (got.length === 0) throw new Error('no answer to the only datagram')
    })
    t.same(rig.chooser.outcomes, ['unreachable', 'connected'])
    t.same(rig.chooser.broken, [])
  })

  t.test('a backend that dies in the middle is left at the next datagram', async t => {
    const [first, second] = [await udpBackend(t, says('first')), await udpBackend(t, says('second'))]
    const rig = await start(t, { backends: [first.backend, second.backend] })
    const { socket, got } = await udpClient(t)
    await talk(rig, { socket, got }, '1')
    await first.close()
    await eventually(() => {
      socket.send('2', rig.port, rig.ip)
      if (String(got.at(-1)) !== 'second') throw new Error('not moved yet')
    })
    t.match(rig.chooser.totals, [{ reason: 'backend-reset', sent: Number, received: 5 }])
    t.same(rig.chooser.outcomes, ['connected', 'connected'])
  })

  t.test('a backend that once failed gets another chance when the next one fails', async t => {
    const dead = await refusing({ protocol: 'UDP' })
    const second = await udpBackend(t, says('second'))
    const rig = await start(t, { backends: [dead, second.backend] })
    const { socket, got } = await udpClient(t)
    const until = (answer: string) =>
      eventually(() => {
        socket.send('?', rig.port, rig.ip)
        if (String(got.at(-1)) !== answer) throw new Error(`no answer of the ${answer}`)
      })
    await until('second')
    await udpBackend(t, says('first'), '127.0.0.1', dead.port)
    await second.close()
    await until('first')
    t.same(rig.chooser.refusals, [])
    t.same(rig.chooser.broken, [])
  })

  t.test(
    'when all refuse, the session ends with the chooser’s refusal and the next datagram starts a new one',
    async t => {
      const dead = await refusing({ protocol: 'UDP' })
      const rig = await start(t, { backends: [dead] })
      const { socket } = await udpClient(t)
      await eventually(() => {
        socket.send('?', rig.port, rig.ip)
        if (rig.chooser.refusals.length < 2) throw new Error('not refused twice')
      })
      t.ok(rig.chooser.refusals.every(({ code }) => code === 'no-backend'))
      t.same(rig.chooser.broken, [])
    },
  )

  t.test('a retired backend loses its sessions at once', async t => {
    const [old, other] = [await udpBackend(t, says('old')), await udpBackend(t, says('other'))]
    const rig = await start(t, { backends: [old.backend] })
    const client = await udpClient(t)
    t.equal(await talk(rig, client, '1'), 'old')
    rig.listener.update(...rig.service([other.backend]))
    rig.engine.retire(keysOf(old.backend))
    t.equal(await talk(rig, client, '2'), 'other')
    t.match(rig.chooser.totals, [{ reason: 'drained' }])
    t.equal(rig.chooser.stories.length, 1, 'it is the same flow')
    t.same(rig.chooser.broken, [])
  })

  t.test('a session leaves a backend of which nothing is heard', async t => {
    const [one, two] = [await udpBackend(t, says('one')), await udpBackend(t, says('two'))]
    const rig = await start(t, { backends: [one.backend, two.backend] })
    const client = await udpClient(t)
    t.equal(await talk(rig, client, '1'), 'one')
    rig.engine.lose([one.backend.destination])
    t.equal(await talk(rig, client, '2'), 'two')
  })

  t.test('a session leaves an unhealthy backend, but not if there is no healthy one', async t => {
    const [one, two] = [await udpBackend(t, says('one')), await udpBackend(t, says('two'))]
    const rig = await start(t, { backends: [one.backend] })
    const client = await udpClient(t)
    await talk(rig, client, '1')
    const bad = { ...one.backend, health: 'down' as const }
    rig.listener.update(...rig.service([bad]))
    t.equal(await talk(rig, client, '2'), 'one')
    t.same(rig.chooser.totals, [], 'it has not moved')
    rig.listener.update(...rig.service([{ ...one.backend, state: 'terminating' }, two.backend]))
    t.equal(await talk(rig, client, '3'), 'one', 'a backend that still serves keeps its sessions')
    for (const state of [
      { state: 'terminating', serving: false },
      { state: 'maintenance', serving: false },
      { state: 'maintenance', weight: 0 },
    ] as const) {
      rig.listener.update(...rig.service([{ ...one.backend, ...state }, two.backend]))
      t.equal(await talk(rig, client, JSON.stringify(state)), 'one', 'one that is listed keeps them too')
    }
    rig.listener.update(...rig.service([bad, two.backend]))
    t.equal(await talk(rig, client, '4'), 'two')
    rig.listener.update(...rig.service([one.backend], 'another-service'))
    t.equal(await talk(rig, client, '5'), 'one', 'the address belongs to another service now')
    rig.listener.update(...rig.service([], 'a-third-service'))
    client.socket.send('6', rig.port, rig.ip)
    await eventually(() => {
      if (rig.chooser.refusals[0]?.code !== 'no-backend') throw new Error('not refused')
    })
  })

  t.test('at the limit a session that was never answered makes room, and one that was answered never does', async t => {
    const before = openSockets()
    const [loud, mute] = [await udpBackend(t, says('yes')), await udpBackend(t, nothing)]
    const rig = await start(t, { backends: [loud.backend], options: { limits: { udpSessions: 3 } } })
    const [a, b, c] = [await udpClient(t), await udpClient(t), await udpClient(t)]
    await talk(rig, a, 'a')
    await talk(rig, b, 'b')
    rig.chooser.decide = () => ({ backend: mute.backend })
    c.socket.send('c', rig.port, rig.ip)
    await eventually(() => mute.heard[0] ?? Promise.reject(new Error('not received')))
    rig.chooser.decide = undefined
    const d = await udpClient(t)
    await talk(rig, d, 'd')
    t.match(rig.chooser.refusals, [{ code: 'limit' }], 'c has made room')
    const e = await udpClient(t)
    e.socket.send('e', rig.port, rig.ip)
    await eventually(() => {
      if (rig.chooser.refusals.length < 2) throw new Error('not refused yet')
    })
    t.equal(await talk(rig, a, 'a'), 'yes')
    t.equal(rig.engine.stats().udpSessions, 3)
    rig.engine.destroy()
    t.same(await rig.settled(), { served: 3, refused: 2, failed: 0 })
    await eventually(() => {
      if (openSockets() > before + 7) throw new Error(`${openSockets() - before - 7} sockets left`)
    })
  })

  t.test('a datagram whose source is a frontend is dropped, by that frontend and by any other', async t => {
    const answering = await udpBackend(t, echo)
    const rig = await start(t, { backends: [answering.backend] })
    const [itself, other] = [await udpClient(t, '127.77.0.3'), await udpClient(t, '127.77.0.4')]
    // As where clients are redirected to a private port: so these sockets can send from the addresses of frontends.
    const redirected = async ({ socket }: { socket: Socket }) => {
      const { address: ip, port } = socket.address()
      const [frontend, service] = rig.service([answering.backend], `at-${ip}`)
      const bound = await freePort(ip)
      await rig.engine.listen({ ...frontend, key: `${ip}:${port}/UDP`, ip, port: bound }, service)
      return { ip, port: bound }
    }
    const first = await redirected(itself)
    t.equal(await talk(rig, other, 'no frontend yet'), 'no frontend yet')
    await redirected(other)
    const { reason } = await eventually(() => rig.chooser.totals[0] ?? Promise.reject(new Error('it goes on')))
    t.equal(reason, 'removed', 'a session ends when a frontend takes the address of its client')
    for (const [{ socket }, { ip, port }] of [
      [itself, first],
      [other, first],
      [itself, rig],
      [other, rig],
    ] as const) {
      const { length } = rig.chooser.refusals
      socket.send('loop', port, ip)
      await eventually(() => {
        if (rig.chooser.refusals.length === length) throw new Error('not dropped yet')
      })
    }
    t.same(new Set(rig.chooser.refusals.map(({ code }) => code)), new Set(['loop']))
    t.equal(answering.heard.length, 1)
    const stranger = await udpClient(t, '127.77.0.3')
    t.equal(await talk(rig, stranger, 'another port'), 'another port')
    rig.engine.destroy()
    t.match(await rig.settled(), { served: 2, refused: 4 })
  })

  t.test('a frontend that goes ends its sessions and frees its address', async t => {
    const [answering, mute] = [await udpBackend(t, echo), await udpBackend(t, nothing)]
    const rig = await start(t, { backends: [answering.backend, mute.backend] })
    const [a, b] = [await udpClient(t), await udpClient(t)]
    await talk(rig, a, 'a')
    b.socket.send('b', rig.port, rig.ip)
    await eventually(() => mute.heard[0] ?? Promise.reject(new Error('not received')))
    await rig.listener.close()
    t.same(await rig.settled(), { served: 1, refused: 1, failed: 0 })
    t.match(rig.chooser.totals, [{ reason: 'removed' }])
    rig.listener = await rig.engine.listen(...rig.service([answering.backend]))
    t.equal(await talk(rig, a, 'again'), 'again')
  })

  t.test('a frontend says whether pausing would end a session whose backend is listed', async t => {
    const { backend } = await udpBackend(t, says('one'))
    const rig = await start(t, { backends: [backend] })
    t.equal(rig.listener.holdsSessions, false)
    await talk(rig, await udpClient(t), '1')
    t.equal(rig.listener.holdsSessions, true)
    rig.listener.update(...rig.service([{ ...backend, state: 'maintenance', serving: false }]))
    t.equal(rig.listener.holdsSessions, true)
    rig.listener.update(...rig.service([]))
    t.equal(rig.listener.holdsSessions, false)
  })

  t.test('a paused frontend ends its sessions, and clients are told by ICMP', async t => {
    const { backend } = await udpBackend(t, echo)
    const rig = await start(t, { backends: [backend] })
    const client = await udpClient(t)
    await talk(rig, client, '1')
    await rig.listener.pause()
    t.same(await rig.settled(), { served: 1, refused: 0, failed: 0 })
    const connected = createSocket('udp4')
    t.teardown(() => connected.close())
    await new Promise<void>(resolve => connected.connect(rig.port, rig.ip, resolve))
    const refused = once(connected, 'error')
    connected.send('x')
    t.match(await refused, [{ code: 'ECONNREFUSED' }])
    rig.listener = await rig.engine.listen(...rig.service([backend]), rig.listener)
    t.equal(await talk(rig, client, '2'), '2')
  })

  t.test('while the engine drains, sessions go on and new clients are refused', async t => {
    const { backend } = await udpBackend(t, echo)
    const rig = await start(t, { backends: [backend] })
    const [a, b] = [await udpClient(t), await udpClient(t)]
    await talk(rig, a, '1')
    const closing = rig.engine.close()
    t.equal(await talk(rig, a, '2'), '2')
    b.socket.send('hello', rig.port, rig.ip)
    await eventually(() => {
      if (rig.chooser.refusals[0]?.code !== 'draining') throw new Error('not refused yet')
    })
    await rig.clock.advance(5000)
    await closing
    t.same(await rig.settled(), { served: 1, refused: 1, failed: 0 })
    t.equal(rig.clock.waiting, 0)
  })

  t.test('a burst before the first answer is passed on in order', async t => {
    const { backend, heard } = await udpBackend(t, nothing)
    const rig = await start(t, { backends: [backend] })
    const { socket } = await udpClient(t)
    for (let i = 0; i < 100; i++) socket.send(`${i}`, rig.port, rig.ip)
    await eventually(() => {
      if (heard.length < 100) throw new Error(`${heard.length} of 100`)
    })
    t.same(
      heard.map(({ message }) => Number(String(message))),
      [...heard.keys()],
    )
  })

  t.test('bursts of a backend after single answers are passed on whole and in order', async t => {
    const { backend } = await udpBackend(t, (message, reply) => {
      if (String(message) !== 'burst') return reply(message)
      for (let i = 0; i < 20; i++) reply(`${i}`)
    })
    const rig = await start(t, { backends: [backend] })
    const { socket, got } = await udpClient(t)
    for (let round = 0; round < 3; round++) {
      for (const size of [0, 1, 0, 9000, 1, 1, 1, 1, 1, 1]) {
        socket.send(pattern(size, 1), rig.port, rig.ip)
        t.equal((await eventually(() => got.shift() ?? Promise.reject(new Error('no answer')))).length, size)
      }
      socket.send('burst', rig.port, rig.ip)
      await eventually(() => got.length >= 20 || Promise.reject(new Error(`${got.length} have come`)))
      t.same(
        got.splice(0).map(String),
        Array.from({ length: 20 }, (_, i) => `${i}`),
      )
    }
  })

  t.test('IPv6', { skip: noIPv6 }, async t => {
    const { backend } = await udpBackend(t, echo, '::1')
    const rig = await start(t, { backends: [backend], ip: '::1' })
    t.equal(await talk(rig, await udpClient(t, '::1'), 'six'), 'six')
  })
}

/** Says something and waits for what comes back. */
async function talk(rig: Rig, { socket, got }: { socket: Socket; got: Buffer[] }, text: string): Promise<string> {
  const before = got.length
  socket.send(text, rig.port, rig.ip)
  const answer = await eventually(() => got[before] ?? Promise.reject(new Error(`no answer to ${text}`)))
  await settled()
  return String(answer)
}
