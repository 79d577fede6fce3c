/** Sockets and sessions that go from one engine to another, as from a process to its successor. */
import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { closeSync } from 'node:fs'
import type { Test } from 'tap'
import { findAddon } from '../../../proxy/dataplane/native/addon.ts'
import { boundSockets } from '../../../proxy/handover/listen-fds.ts'
import { echo, says, tcpBackend, udpBackend } from '../../support/backend.ts'
import { eventually } from '../../support/eventually.ts'
import { type CreateEngine, type EngineUnderTest, Rig } from './rig.ts'

const found = findAddon()
const skip = 'addon' in found ? false : found.why

export function passingSuite(t: Test, { create: created, linksOutlive = true }: EngineUnderTest): void {
  const create: CreateEngine = parts => created('addon' in found ? { ...parts, calls: found.addon.passing } : parts)

  t.test('clients that come while a socket is passed are served, by the new engine', { skip }, async t => {
    const { backend } = await tcpBackend(t, echo)
    const old = await Rig.start(t, create, { backends: [backend] })
    const held = await old.client()
    const { descriptor, sessions } = await old.listener.pass()
    const waiting = Array.from({ length: 20 }, () => old.ask('between'))
    const next = await Rig.start(t, create, { backends: [backend], port: old.port, passed: { descriptor, sessions } })
    t.same(
      await Promise.all(waiting),
      Array.from({ length: 20 }, () => 'between'),
    )
    t.equal(await next.ask('after'), 'after')
    held.write('still here')
    t.equal(String((await once(held, 'data'))[0]), 'still here', 'what was connected stays where it is')
    held.end()
    t.same(await old.settled(), { served: 1, refused: 0, failed: 0 })
    t.same(await next.settled(), { served: 21, refused: 0, failed: 0 })
    t.same(await old.engine.close(), { connections: 0, udpSessions: 0 })
  })

  t.test('a socket can come back, and the flows belong to its listener again', { skip }, async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend] })
    const held = await rig.client()
    const passed = await rig.listener.pass()
    rig.listener = await rig.engine.listen(...rig.service([backend]), rig.listener, passed)
    t.equal(await rig.ask('again'), 'again')
    const reset = once(held, 'error')
    await rig.listener.close()
    await rig.clock.advance(30_000)
    t.match(await reset, [{ code: 'ECONNRESET' }])
  })

  t.test('UDP sessions go on with the same backend, and no datagram is lost', { skip }, async t => {
    const backends = await Promise.all([udpBackend(t, named('a')), udpBackend(t, named('b'))])
    const old = await Rig.start(t, create, { protocol: 'UDP', backends: backends.map(({ backend }) => backend) })
    const clients = Array.from({ length: 8 }, () => {
      const socket = createSocket('udp4')
      t.teardown(() => socket.close())
      const heard: string[] = []
      socket.on('message', message => heard.push(String(message)))
      return { heard, say: (text: string) => socket.send(text, old.port, old.ip) }
    })
    for (const { say } of clients) say('1')
    await allHeard(clients, 1)
    const { descriptor, sessions } = await old.listener.pass()
    t.equal(sessions.length, 8)
    for (const { say } of clients) say('2')
    const next = await Rig.start(t, create, {
      protocol: 'UDP',
      backends: backends.map(({ backend }) => backend),
      port: old.port,
      passed: { descriptor, sessions },
    })
    for (const { say } of clients) say('3')
    await allHeard(clients, 3)
    for (const { heard } of clients) t.equal(new Set(heard.map(text => text.split(':')[0])).size, 1, heard.join())
    t.equal(next.engine.stats().udpSessions, 8)
    const closed = old.engine.close()
    await old.clock.advance(40_000)
    await closed
    if (!linksOutlive) return
    for (const { say } of clients) say('4')
    await allHeard(clients, 4)
  })

  t.test('a session whose backend is not listed any more begins anew', { skip }, async t => {
    const [a, b] = [await udpBackend(t, named('a')), await udpBackend(t, named('b'))]
    const old = await Rig.start(t, create, { protocol: 'UDP', backends: [a.backend] })
    const socket = createSocket('udp4')
    t.teardown(() => socket.close())
    const heard: string[] = []
    socket.on('message', message => heard.push(String(message)))
    socket.send('1', old.port, old.ip)
    await eventually(() => assert.deepEqual(heard, ['a:1']))
    const passed = await old.listener.pass()
    await Rig.start(t, create, { protocol: 'UDP', backends: [b.backend], port: old.port, passed })
    await eventually(() => {
      socket.send('2', old.port, old.ip)
      assert.equal(heard.at(-1), 'b:2')
    })
  })

  t.test(
    'where somebody else keeps the sockets, an engine that ends loses no datagram and no reply',
    { skip },
    async t => {
      const due: (() => void)[] = []
      const { backend } = await udpBackend(t, (message, reply) => {
        const text = String(message)
        if (text === 'late') due.push(() => reply(text))
        else reply(text)
      })
      const old = await Rig.start(t, create, { protocol: 'UDP', backends: [backend] })
      const clients = Array.from({ length: 3 }, () => {
        const socket = createSocket('udp4')
        t.teardown(() => socket.close())
        const heard: string[] = []
        socket.on('message', message => heard.push(String(message)))
        return { heard, say: (text: string) => socket.send(text, old.port, old.ip) }
      })
      const [first, second, third] = clients
      first?.say('late')
      await eventually(() => assert.equal(due.length, 1))
      const calls = 'addon' in found ? found.addon.passing : undefined
      const kept = calls && boundSockets(new Set([`${old.ip}:${old.port}/UDP`]), calls)[0]
      assert(kept)
      const closing = old.engine.close({ isKept: true })
      second?.say('while it ends')
      for (const reply of due) reply()
      await eventually(() => assert.deepEqual(first?.heard, ['late']))
      await old.clock.advance(40_000)
      t.same(await closing, { connections: 0, udpSessions: 0 })
      third?.say('while none runs')
      const passed = { descriptor: kept.descriptor, sessions: [] }
      await Rig.start(t, create, { protocol: 'UDP', backends: [backend], port: old.port, passed })
      await eventually(() => assert.deepEqual([second?.heard, third?.heard], [['while it ends'], ['while none runs']]))
    },
  )

  t.test('without the addon nothing is passed, and the listener goes on', async t => {
    const { backend } = await tcpBackend(t, says('hello'))
    const rig = await Rig.start(t, parts => created({ ...parts, calls: undefined }), { backends: [backend] })
    if (rig.engine.name === 'native') return closeSync((await rig.listener.pass()).descriptor)
    await t.rejects(rig.listener.pass(), { code: 'STATE' })
    t.equal(await rig.ask(), 'hello')
  })
}

/** Answers with its name and the datagram. */
function named(name: string) {
  return (message: Buffer, reply: (message: string) => void) => reply(`${name}:${message}`)
}

function allHeard(clients: readonly { readonly heard: readonly string[] }[], count: number): Promise<void> {
  return eventually(() => {
    const counts = clients.map(({ heard }) => heard.length)
    assert.deepEqual(counts, Array(clients.length).fill(count))
  })
}
