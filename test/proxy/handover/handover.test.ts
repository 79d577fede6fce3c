/** The unix socket of a handover, with an estate of the test. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, statSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { findAddon } from '../../../proxy/dataplane/native/addon.ts'
import { protocol } from '../../../proxy/handover/messages.ts'
import { type Estate, HandoverServer, type Patience } from '../../../proxy/handover/server.ts'
import { Predecessor } from '../../../proxy/handover/successor.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { descriptorOf, Inherited, type PassingCalls } from '../../../proxy/model/sockets/passing.ts'
import { eventually } from '../../support/eventually.ts'

const found = findAddon()
if ('addon' in found) suite(found.addon.passing)
else t.test('handover', { skip: found.why }, async () => {})

function suite(calls: PassingCalls): void {
  const estate: Estate = {
    version: '1.0.0',
    cluster: 'one',
    addresses: () => ({ 'default/a': '127.96.0.1' }),
    memories: () => [{ cluster: 'one', source: 'x', since: 5, lines: ['["service",{}]', '["service",{}]'] }],
    obstacle: () => undefined,
    pass: async () => ({ sockets: [], state: { n: 1 } }),
    takeBack: async () => {},
    handedOver: () => {},
  }
  const start = async (t: Test, given: Partial<Estate> = {}, own = calls, patience?: Patience) => {
    // Not in the folder of tap: paths of sockets are short.
    const above = mkdtempSync(join(tmpdir(), 'starlane-'))
    t.teardown(() => rmSync(above, { recursive: true }))
    const folder = join(above, 'run')
    const path = join(folder, 'handover.sock')
    const server = new HandoverServer({
      path,
      calls: own,
      estate: { ...estate, ...given },
      log: silentLog,
      ...(patience && { patience }),
    })
    await server.start()
    t.teardown(() => server.close())
    return { path, folder, server }
  }
  /** Without its own socket among those that are passed: the wait for descriptors would block this process, which sends them. */
  const alone: PassingCalls = { ...calls, peerUser: of => calls.peerUser(of), duplicate: () => -1 }
  const hasty = { takeMs: 700, servingMs: 300 }
  const me = { version: '2.0.0', cluster: 'one' }

  t.test('a successor learns what its predecessor knows, and takes its place', async t => {
    let to = ''
    const { path, folder } = await start(
      t,
      {
        handedOver: hello => {
          to = hello.version
        },
      },
      alone,
    )
    t.equal(statSync(folder).mode & 0o777, 0o700)
    t.equal(statSync(path).mode & 0o777, 0o600)
    const predecessor = await Predecessor.find(path, calls, me)
    t.match(predecessor?.hello, { version: '1.0.0', pid: process.pid })
    t.same(await predecessor?.knowledge(), {
      addresses: { 'default/a': '127.96.0.1' },
      memories: [{ cluster: 'one', source: 'x', since: 5, lines: ['["service",{}]', '["service",{}]'] }],
    })
    t.same(await predecessor?.take(), { sockets: [], state: { n: 1 } })
    await predecessor?.serving(() => t.equal(to, '', 'not before the service manager is told'))
    await eventually(() => assert.equal(to, '2.0.0'))
    t.equal(await Predecessor.find(path, calls, me), undefined, 'its place is free')
  })

  t.test('a process of another user is refused, on both sides', async t => {
    const foreign: PassingCalls = { ...calls, peerUser: () => 54_321 }
    const guarded = await start(t, {}, foreign)
    await t.rejects(Predecessor.find(guarded.path, calls, me), { code: 'STATE' })
    const { path } = await start(t)
    await t.rejects(Predecessor.find(path, foreign, me), {
      code: 'STATE',
      message: /belongs to a process of user 54321/,
    })
  })

  t.test('it waits while another takes over, and is refused where there is an obstacle', async t => {
    let asked = 0
    const peerUser = (of: number) => {
      asked++
      return calls.peerUser(of)
    }
    const counting: PassingCalls = { ...calls, peerUser }
    const { path } = await start(t, {}, counting)
    const first = await Predecessor.find(path, calls, me)
    const second = Predecessor.find(path, calls, me)
    await eventually(() => assert.ok(asked > 3))
    first?.abandon()
    t.match((await second)?.hello, { version: '1.0.0' })
    const stopping = await start(t, { obstacle: () => 'it is stopping' })
    await t.rejects(Predecessor.find(stopping.path, calls, me), { message: /refuses to hand over: it is stopping/ })
  })

  t.test('what does not speak the protocol is dropped', async t => {
    const { path } = await start(t)
    for (const text of ['GET / HTTP/1.1\r\n\r\n', 'null\n', '{"take":true}\n']) {
      const socket = connect(path)
      socket.write(text)
      await new Promise(resolve => socket.once('close', resolve).resume())
    }
    t.ok(await Predecessor.find(path, calls, me), 'and it goes on')
  })

  t.test('what is too long, lacks something or stays silent is ended, and nobody waits for it', async t => {
    const { path } = await start(t, {}, calls, hasty)
    const ended = (socket: Socket) => new Promise<void>(resolve => void socket.once('close', () => resolve()).resume())
    const hello = { starlane: 'handover', protocol, version: '2', pid: 1, cluster: 'one' }
    const line = (changes: object) => `${JSON.stringify({ hello: { ...hello, ...changes } })}\n`
    const bad = [{ version: 'x'.repeat(1000) }, { version: 7 }, { pid: '1' }, { cluster: null }, { starlane: 'x' }]
    for (const text of [
      ...bad.map(line),
      '{"hello":null}\n',
      '{"hello":[]}\n',
      '\u0000\u00ff\n',
      'x'.repeat(1 << 20),
    ]) {
      const socket = connect(path).on('error', () => {})
      socket.write(text)
      await ended(socket)
    }
    // It has said who it is, and neither reads nor goes on.
    const silent = connect(path).on('error', () => {})
    silent.write(line({}))
    await once(silent, 'readable')
    const next = Predecessor.find(path, calls, me)
    await ended(silent)
    t.ok(await next, 'and the next one gets its turn')
  })

  t.test('one who never reads what it asked for is ended', async t => {
    const lines = Array.from({ length: 2000 }, () => JSON.stringify(['service', 'x'.repeat(1000)]))
    const memories = () => [{ cluster: 'one', source: 'x', since: 5, lines }]
    const { path } = await start(t, { memories }, calls, hasty)
    const deaf = connect(path).on('error', () => {})
    deaf.write(
      `${JSON.stringify({ hello: { starlane: 'handover', protocol, version: '2', pid: 1, cluster: 'one' } })}\n`,
    )
    t.teardown(() => deaf.destroy())
    // Node reads some of it, and then no more.
    await once(deaf, 'readable')
    t.ok(await Predecessor.find(path, calls, me))
  })

  t.test('one who takes the sockets and is silent then loses them', async t => {
    const taken = Promise.withResolvers<void>()
    const { path } = await start(t, { takeBack: async () => taken.resolve() }, alone, {
      ...hasty,
      takeMs: 60_000,
    })
    const stopped = await Predecessor.find(path, calls, me)
    await stopped?.knowledge()
    await stopped?.take()
    await taken.promise
    await t.rejects(async () => stopped?.serving(), { message: /has ended the handover/ })
    t.ok(await Predecessor.find(path, calls, me))
  })

  t.test('descriptors that nobody asked for are closed', async t => {
    const { path } = await start(t)
    const socket = connect(path).on('error', () => {})
    await once(socket, 'connect')
    // Connected descriptors would show here, in both: the server is in this process.
    const before = readdirSync('/proc/self/fd').length
    const file = openSync('/dev/null', 'r')
    t.equal(calls.send(descriptorOf(socket) ?? -1, Array(50).fill(file)), 50)
    closeSync(file)
    socket.write('{"hello":{}}\n')
    await new Promise(resolve => socket.once('close', resolve).resume())
    await eventually(() => assert.ok(readdirSync('/proc/self/fd').length <= before))
  })

  t.test('an inherited socket goes to one taker, by its name and address', async t => {
    const socket = { address: '127.0.0.1', port: 53, descriptor: 9, sessions: [] }
    const inherited = new Inherited([
      { ...socket, name: 'dns/UDP' },
      { ...socket, name: 'admin/UDP' },
    ])
    t.equal(inherited.take('dns/UDP', { address: '127.0.0.2', port: 53 }), undefined)
    t.equal(inherited.take('dns/UDP', { address: '127.0.0.1', port: 54 }), undefined)
    t.match(inherited.take('dns/UDP', { address: '127.0.0.1', port: 0 }), { descriptor: 9 })
    t.same(inherited.left, [], 'its other names are gone too')
  })
}
