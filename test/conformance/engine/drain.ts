/** How flows end when a backend retires, a frontend is removed, or the engine closes. */
import { once } from 'node:events'
import type { Test } from 'tap'
import { MeshError } from '../../../proxy/model/error.ts'
import { echo, ending, says, tcpBackend } from '../../support/backend.ts'
import { eventually } from '../../support/eventually.ts'
import { blackhole } from '../../support/faults.ts'
import { type CreateEngine, keysOf, plainOptions, Rig } from './rig.ts'

export function drainSuite(t: Test, create: CreateEngine): void {
  t.test('T28: a backend that leaves gets no new flow, and its old ones go on for the drain time', async t => {
    const [old, other] = [await tcpBackend(t, echo), await tcpBackend(t, says('other'))]
    const rig = await Rig.start(t, create, { backends: [old.backend] })
    const socket = await rig.client()
    const end = ending(socket)
    rig.listener.update(...rig.service([other.backend]))
    rig.engine.retire(keysOf(old.backend))
    t.equal(await rig.ask(), 'other')
    await rig.clock.advance(20_000)
    t.equal(rig.engine.stats().connections, 1)
    await rig.clock.advance(10_000)
    t.match(await end, { end: 'reset' }, 'a FIN would be taken for the backend’s')
    t.same(await rig.settled(), { served: 2, refused: 0, failed: 0 })
    t.same(rig.chooser.totals.map(({ reason }) => reason).sort(), ['done', 'drained'])
  })

  t.test('a backend that is listed in any state at the end of a drain keeps its flows', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend] })
    await rig.client()
    for (const state of [
      { state: 'maintenance', serving: false },
      { state: 'maintenance', weight: 0 },
      { state: 'terminating', serving: false },
      { health: 'down' },
    ] as const) {
      rig.listener.update(...rig.service([]))
      rig.engine.retire(keysOf(backend))
      rig.listener.update(...rig.service([{ ...backend, ...state }]))
      await rig.clock.advance(60_000)
      t.equal(rig.engine.stats().connections, 1, JSON.stringify(state))
    }
    rig.listener.update(...rig.service([]))
    rig.engine.retire(keysOf(backend))
    await rig.clock.advance(30_000)
    t.same(await rig.settled(), { served: 1, refused: 0, failed: 0 })
  })

  t.test('a backend of which nothing is heard loses its connections at once, and its sessions move', async t => {
    const ends: Promise<unknown>[] = []
    const [dead, other] = [await tcpBackend(t, socket => ends.push(ending(socket))), await tcpBackend(t, echo)]
    const rig = await Rig.start(t, create, { backends: [dead.backend, other.backend] })
    const [lost, kept] = [await rig.client(), await rig.client()]
    const end = ending(lost)
    rig.engine.lose([dead.backend.destination])
    t.match(await end, { end: 'reset' })
    t.match(await ends[0], { end: 'reset' })
    await eventually(() => {
      if (rig.chooser.totals.length === 0) throw new Error('not reported yet')
    })
    t.match(rig.chooser.totals, [{ reason: 'backend-lost' }])
    kept.end('still here')
    t.match(await ending(kept), { end: 'fin', text: 'still here' })
    t.same(await rig.settled(), { served: 2, refused: 0, failed: 0 })
  })

  t.test('T29: when only leaving backends are left, they still serve', async t => {
    const { backend } = await tcpBackend(t, says('last'))
    const rig = await Rig.start(t, create, { backends: [backend] })
    rig.listener.update(...rig.service([{ ...backend, state: 'terminating' }]))
    rig.engine.retire(keysOf(backend))
    t.equal(await rig.ask(), 'last')
    t.match(await rig.settled(), { served: 1 })
  })

  t.test('T30: the closes of a drain are spread over its last part', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend] })
    await Promise.all(Array.from({ length: 60 }, () => rig.client()))
    rig.listener.update(...rig.service([]))
    rig.engine.retire(keysOf(backend))
    rig.engine.retire(keysOf(backend))
    await rig.clock.advance(23_000)
    t.equal(rig.engine.stats().connections, 60, 'nothing is cut early')
    const left: number[] = []
    for (let second = 0; second < 7; second++) {
      await rig.clock.advance(1000)
      left.push(rig.engine.stats().connections)
    }
    t.equal(left.at(-1), 0)
    t.ok(Math.max(...left.map((count, i) => (left[i - 1] ?? 60) - count)) <= 15, `not all together: ${left}`)
    t.same(await rig.settled(), { served: 60, refused: 0, failed: 0 })
    t.ok(rig.chooser.totals.every(({ reason }) => reason === 'drained'))
  })

  t.test('a flow still being dialled when its backend leaves ends with the others', async t => {
    const { backend } = await tcpBackend(t, echo)
    const hole = await blackhole(t)
    const rig = await Rig.start(t, create, {
      backends: [hole],
      options: { dial: { timeoutMs: 90_000, budgetMs: 90_000 } },
    })
    const end = ending(rig.knock())
    await rig.attempts(1)
    rig.listener.update(...rig.service([backend]))
    rig.engine.retire(keysOf(hole))
    await rig.clock.advance(30_000)
    t.match(await end, { end: 'reset' })
    t.same(rig.chooser.outcomes, ['cancelled'])
    t.match(rig.chooser.refusals, [{ code: 'draining' }])
    t.same(await rig.settled(), { served: 0, refused: 1, failed: 0 })
  })

  t.test('a flow that found another backend meanwhile stays there', async t => {
    const { backend } = await tcpBackend(t, echo)
    const hole = await blackhole(t)
    const rig = await Rig.start(t, create, { backends: [hole] })
    const end = ending(rig.knock())
    await rig.attempts(1)
    rig.listener.update(...rig.service([{ ...backend, state: 'terminating' }]))
    rig.engine.retire(keysOf(hole))
    await rig.clock.advance(1000)
    await rig.connected()
    await rig.clock.advance(10_000)
    rig.listener.update(...rig.service([]))
    rig.engine.retire(keysOf(backend))
    await rig.clock.advance(20_000)
    t.equal(rig.engine.stats().connections, 1)
    await rig.clock.advance(10_000)
    t.match(await end, { end: 'reset' })
    t.same(await rig.settled(), { served: 1, refused: 0, failed: 0 })
  })

  t.test('a backend that comes back in time keeps its flows, until it leaves again', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend] })
    await rig.client()
    const leave = () => {
      rig.listener.update(...rig.service([]))
      rig.engine.retire(keysOf(backend))
    }
    leave()
    await rig.clock.advance(10_000)
    rig.listener.update(...rig.service([backend]))
    await rig.clock.advance(60_000)
    t.equal(rig.engine.stats().connections, 1)
    leave()
    await rig.clock.advance(30_000)
    t.same(await rig.settled(), { served: 1, refused: 0, failed: 0 })
  })

  t.test(
    'bytes in motion end a drain with a reset, so that no client takes part of an answer for all of it',
    async t => {
      const { backend, sockets } = await tcpBackend(t, socket => socket.resume())
      const rig = await Rig.start(t, create, { backends: [backend] })
      const socket = await rig.client()
      const end = ending(socket)
      rig.listener.update(...rig.service([]))
      rig.engine.retire(keysOf(backend))
      await rig.clock.advance(23_900)
      sockets[0]?.write('half')
      await eventually(() => {
        if (socket.bytesRead < 4) throw new Error('not there yet')
      })
      await rig.clock.advance(100)
      await rig.clock.advance(500)
      t.match(await end, { end: 'reset', text: 'half' })
    },
  )

  t.test('a frontend that goes frees its address at once, and its flows drain', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend] })
    const end = ending(await rig.client())
    await rig.listener.close()
    t.equal(rig.engine.stats().connections, 1)
    rig.listener = await rig.engine.listen(...rig.service([backend]))
    t.equal(await rig.ask('new'), 'new')
    await rig.clock.advance(30_000)
    await end
    t.same(await rig.settled(), { served: 2, refused: 0, failed: 0 })
    t.same(rig.chooser.totals.map(({ reason }) => reason).sort(), ['done', 'removed'])
  })

  t.test('a backend is reported once a sweep while bytes come from it, however many', async t => {
    const [talks, silent] = [await tcpBackend(t, echo), await tcpBackend(t, () => {})]
    const rig = await Rig.start(t, create, { backends: [talks.backend] })
    const one = await rig.client()
    rig.listener.update(...rig.service([silent.backend]))
    const other = await rig.client()
    await rig.clock.advance(1000)
    let asked = 0
    let sweeps = 0
    await eventually(async () => {
      one.write('x'.repeat(1000))
      asked += 1000
      other.write('nothing comes back')
      await rig.clock.advance(1000)
      sweeps++
      if (rig.heard.length < 3) throw new Error('not yet')
    })
    await eventually(() => {
      if (one.bytesRead < asked) throw new Error('not all is back')
    })
    await rig.clock.advance(2000)
    await rig.client() // Its outcome comes after what the sweeps report.
    t.same(new Set(rig.heard), new Set(keysOf(talks.backend)))
    t.ok(rig.heard.length <= sweeps + 2, 'however many reads there were')
    const quiet = rig.heard.length
    await rig.clock.advance(20_000)
    await rig.client()
    rig.listener.update(...rig.service([talks.backend]))
    t.equal(await rig.ask('asked'), 'asked')
    t.equal(rig.heard.length, quiet, 'silence is not reported')
  })

  t.test(
    'a backend that answers nothing is reported once for each flow that has asked, and nothing is cut',
    async t => {
      let heard = 0
      const mute = await tcpBackend(t, socket => void socket.on('data', () => heard++))
      const talks = await tcpBackend(t, echo)
      const rig = await Rig.start(t, create, { backends: [mute.backend], options: { firstByteMs: 1000 } })
      const asks = await rig.client()
      await rig.client() // says nothing itself
      rig.listener.update(...rig.service([talks.backend]))
      const answered = await rig.client()
      asks.write('a')
      answered.write('b')
      await once(answered, 'data')
      await eventually(async () => {
        await rig.clock.advance(250)
        if (rig.mute.length === 0) throw new Error('not yet')
      })
      await rig.clock.advance(60_000)
      t.equal(rig.engine.stats().connections, 3)
      t.same(rig.mute, keysOf(mute.backend))
      rig.engine.configure({ ...plainOptions, firstByteMs: 0 })
      rig.listener.update(...rig.service([mute.backend]))
      const later = await rig.client()
      later.write('c')
      await eventually(() => {
        if (heard < 2) throw new Error('not yet')
      })
      await rig.clock.advance(60_000)
      t.equal(rig.mute.length, 1, 'only where it is asked for')
    },
  )

  t.test('a paused frontend refuses at once; its flows go on, and belong to the listener that follows', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend] })
    const [stays, leaves] = [await rig.client(), await rig.client()]
    const end = ending(leaves)
    rig.listener.update(...rig.service([]))
    await rig.listener.pause()
    t.match(await once(rig.knock(), 'error'), [{ code: 'ECONNREFUSED' }])
    await rig.clock.advance(60_000)
    t.equal(rig.engine.stats().connections, 2, 'nothing has retired')
    rig.listener = await rig.engine.listen(...rig.service([backend]), rig.listener)
    t.equal(await rig.ask('new'), 'new')
    rig.engine.retire(keysOf(backend))
    await rig.clock.advance(60_000)
    t.equal(rig.engine.stats().connections, 2, 'the backend is active again in the listener that follows')
    stays.end()
    await ending(stays)
    await rig.listener.close()
    await rig.clock.advance(30_000)
    await end
    t.same(await rig.settled(), { served: 3, refused: 0, failed: 0 })
    t.same(rig.chooser.totals.map(({ reason }) => reason).sort(), ['done', 'done', 'removed'])
  })

  t.test('the flows of a paused frontend drain when it goes', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend] })
    const end = ending(await rig.client())
    await rig.listener.pause()
    await rig.listener.close()
    await rig.clock.advance(23_000)
    t.equal(rig.engine.stats().connections, 1)
    await rig.clock.advance(7000)
    await end
    t.match(rig.chooser.totals, [{ reason: 'removed' }])
  })

  t.test('close lets flows end, and cuts what is left after the drain time', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend] })
    const [quick, slow] = [await rig.client(), await rig.client()]
    const ends = [ending(quick), ending(slow)]
    let closed = false
    const closing = rig.engine.close().then(() => {
      closed = true
    })
    t.match(await ending(rig.knock()), { end: 'reset', length: 0 }, 'the listener is closed')
    quick.end('still served')
    t.match(await ends[0], { end: 'fin', text: 'still served' })
    await rig.clock.advance(20_000)
    t.notOk(closed)
    await rig.clock.advance(10_000)
    await Promise.all([closing, ends[1], rig.engine.close()])
    t.same(await rig.settled(), { served: 2, refused: 0, failed: 0 })
    t.same(rig.chooser.totals.map(({ reason }) => reason).sort(), ['done', 'shutdown'])
    t.equal(rig.clock.waiting, 0, 'no timer is left')
    t.match(await rig.engine.listen(...rig.service([])).catch(e => e), MeshError)
  })

  t.test('close resolves as soon as the last flow is gone', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend] })
    const socket = await rig.client()
    const closing = rig.engine.close()
    socket.end()
    await closing
    t.same(await rig.settled(), { served: 1, refused: 0, failed: 0 })
    t.equal(rig.clock.waiting, 0)
  })

  t.test('destroy cuts everything now', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend] })
    const end = ending(await rig.client())
    rig.engine.destroy()
    await end
    t.same(await rig.settled(), { served: 1, refused: 0, failed: 0 })
    t.match(rig.chooser.totals, [{ reason: 'shutdown' }])
    t.equal(rig.clock.waiting, 0)
  })
}
