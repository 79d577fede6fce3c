/** Connections and turns of TCP clients: one may have all of them, until others want theirs. */

import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import type { IsTrusted, TcpOptions } from '../../../../proxy/dns/options.ts'
import { TcpListener } from '../../../../proxy/dns/server/tcp.ts'
import type { Respond } from '../../../../proxy/dns/transport.ts'
import { Inherited } from '../../../../proxy/model/sockets/passing.ts'
import { FakeClock } from '../../../support/clock.ts'
import { eventually } from '../../../support/eventually.ts'
import { queryBytes } from '../dns.ts'

const question = queryBytes('rebel-base.default.svc.cluster.local', 'A')
const echo: Respond = message => Buffer.from(message)

async function listening(t: Test, options: Partial<TcpOptions>, respond = echo, isTrusted: IsTrusted = () => false) {
  const all = { connections: 1000, inFlight: 100, idleMs: 10_000, messageMs: 5000, ...options }
  const listener = new TcpListener(respond, all, isTrusted, new FakeClock())
  const held: Socket[] = []
  const { port } = await bound(listener)
  t.teardown(() => {
    for (const socket of held) socket.destroy()
    return listener.close()
  })
  const open = async (from: string) => {
    const socket = connect({ host: '127.0.0.1', port, localAddress: from })
    held.push(socket)
    const state = { socket, bytes: 0, closed: false }
    socket.on('error', () => {})
    socket.on('close', () => (state.closed = true))
    socket.on('data', bytes => (state.bytes += bytes.length))
    await new Promise<void>(resolve => socket.once('connect', () => resolve()))
    return state
  }
  const asks = async (client: Awaited<ReturnType<typeof open>>) => {
    client.socket.write(framed(1))
    return eventually(() => {
      if (client.closed) return false
      if (client.bytes === 0) throw new Error('no answer')
      return true
    })
  }
  return { listener, open, asks }
}

async function bound(listener: TcpListener): Promise<{ port: number }> {
  for (let port = 20_053; ; port++) {
    try {
      await listener.bind({ address: '127.0.0.1', port }, new Inherited())
      return { port }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    }
  }
}

function framed(times: number): Buffer {
  const one = Buffer.concat([Buffer.from([0, question.length]), question])
  return Buffer.concat(Array.from({ length: times }, () => one))
}

t.test('half-open connections of many addresses keep nobody out', async t => {
  const { listener, open, asks } = await listening(t, { connections: 100 })
  const attackers = Array.from({ length: 20 }, (_, i) => `127.0.1.${i + 1}`)
  const early = await open('127.0.0.9')
  t.ok(await asks(early))
  for (let round = 0; round < 6; round++) {
    for (const from of attackers) (await open(from)).socket.write(Buffer.from([0, 60, 1, 2, 3]))
  }
  await eventually(() => listener.connections <= 100 || Promise.reject(new Error('too many')))
  for (let i = 0; i < 5; i++) t.ok(await asks(await open(`127.0.2.${i + 1}`)), 'a newcomer is answered')
  t.notOk(early.closed, 'and the connection of a client that has one stays')
})

t.test('a lone client may have all connections, and gives them up to others', async t => {
  const { listener, open, asks } = await listening(t, { connections: 10 })
  const greedy = await Promise.all(Array.from({ length: 10 }, () => open('127.0.1.1')))
  await eventually(() => listener.connections === 10 || Promise.reject(new Error('wait')))
  for (const one of greedy) t.ok(await asks(one))
  const others = [await open('127.0.2.1'), await open('127.0.2.2'), await open('127.0.2.3')]
  for (const other of others) t.ok(await asks(other))
  await eventually(() => greedy.filter(({ closed }) => closed).length === 3 || Promise.reject(new Error('wait')))
  t.same(
    greedy.slice(0, 3).map(({ closed }) => closed),
    [true, true, true],
    'the longest idle first',
  )
})

t.test('a greedy client replaces its own idle connections, not those of others', async t => {
  const { open, asks } = await listening(t, { connections: 4 })
  const modest = await open('127.0.2.1')
  for (let i = 0; i < 12; i++) await open('127.0.1.1')
  t.ok(await asks(modest))
})

t.test('a trusted forwarder keeps its connections', async t => {
  const { open, asks } = await listening(t, { connections: 10 }, echo, address => address === '127.0.3.1')
  const forwarder = await Promise.all(Array.from({ length: 8 }, () => open('127.0.3.1')))
  const [first, second] = [await open('127.0.1.1'), await open('127.0.1.1')]
  t.ok(await asks(await open('127.0.2.1')))
  t.notOk(forwarder.some(({ closed }) => closed))
  await eventually(() => first?.closed || second?.closed || Promise.reject(new Error('none was closed')))
  t.ok(await asks(await open('127.0.3.1')), 'and gets another')
})

t.test('one client that pipelines thousands of questions does not keep others waiting', async t => {
  let answered = 0
  const respond: Respond = message => {
    answered++
    // As long as a hit takes.
    for (const end = performance.now() + 0.01; performance.now() < end; );
    return message
  }
  const { open } = await listening(t, {}, respond)
  const flood = await Promise.all(Array.from({ length: 30 }, () => open('127.0.1.1')))
  const each = 1500
  const other = await open('127.0.2.1')
  for (const { socket } of flood) socket.write(framed(each))
  await eventually(() => answered > 100 || Promise.reject(new Error('not begun')))
  const before = answered
  other.socket.write(framed(1))
  await new Promise(resolve => other.socket.once('data', resolve))
  const meanwhile = answered - before
  t.ok(meanwhile < 2000, `${meanwhile} questions of the other client were answered first`)
  t.ok(answered < each * flood.length, 'the flood is not over')
  await eventually(
    () => answered === each * flood.length + 1 || Promise.reject(new Error(`${answered} answered`)),
    20_000,
  )
  t.ok(
    flood.every(({ closed }) => !closed),
    'and every question of the flood is answered too',
  )
})
