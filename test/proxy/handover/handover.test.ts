/** The unix socket of a handover, with an estate of the test. */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { findAddon } from '../../../proxy/dataplane/native/addon.ts'
import { type Estate, HandoverServer } from '../../../proxy/handover/server.ts'
import { Predecessor } from '../../../proxy/handover/successor.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { Inherited, type PassingCalls } from '../../../proxy/model/sockets/passing.ts'
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
  const start = async (t: Test, given: Partial<Estate> = {}, own = calls) => {
    // Not in the folder of tap: paths of sockets are short.
    const above = mkdtempSync(join(tmpdir(), 'starlane-'))
    t.teardown(() => rmSync(above, { recursive: true }))
    const folder = join(above, 'run')
    const path = join(folder, 'handover.sock')
    const server = new HandoverServer({ path, calls: own, estate: { ...estate, ...given }, log: silentLog })
    await server.start()
    t.teardown(() => server.close())
    return { path, folder, server }
  }
  const me = { version: '2.0.0', cluster: 'one' }

  t.test('a successor learns what its predecessor knows, and takes its place', async t => {
    let to = ''
    // Without its own socket: the wait for descriptors would block this process, which sends them.
    const alone: PassingCalls = { ...calls, peerUser: of => calls.peerUser(of), duplicate: () => -1 }
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
