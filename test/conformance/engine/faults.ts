/** Dials that fail, peers that reset, limits. The numbers T1, T2 … are those of the fault tests in engine-stream.ts too. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { MeshError } from '../../../proxy/model/error.ts'
import { blames } from '../../../proxy/model/flow.ts'
import { clientOf, echo, ending, freePort, hashOf, pattern, says, silent, tcpBackend } from '../../support/backend.ts'
import { settled } from '../../support/clock.ts'
import { eventually } from '../../support/eventually.ts'
import { blackhole, heldBytes, openSockets, refusing } from '../../support/faults.ts'
import { backend as backendOf } from '../../support/model.ts'
import { type EngineUnderTest, keysOf, Rig } from './rig.ts'

const mebibyte = 1024 * 1024

export function faultSuite(t: Test, { create, source, export: name, accepts, alone = true }: EngineUnderTest): void {
  const skip = alone ? false : 'another part of its process needs descriptors too'
  t.test('T1: a backend’s reset becomes a reset for the client, and what came before it is a prefix', async t => {
    const data = pattern(8 * mebibyte)
    const { backend, sockets } = await tcpBackend(t, socket => socket.write(data))
    const rig = await Rig.start(t, create, { backends: [backend] })
    const chunks: Buffer[] = []
    const socket = rig.knock()
    socket.on('data', chunk => chunks.push(chunk))
    await once(socket, 'data')
    sockets[0]?.resetAndDestroy()
    const [error] = await once(socket, 'error')
    t.equal(error.code, 'ECONNRESET')
    const got = Buffer.concat(chunks)
    t.equal(hashOf(got), hashOf(data.subarray(0, got.length)))
    await rig.settled()
    t.match(rig.chooser.totals, [{ reason: 'backend-reset' }])
  })

  t.test('T2: a client’s reset becomes a reset for the backend, which is not blamed', async t => {
    const ends: Promise<{ end: string }>[] = []
    const { backend, sockets } = await tcpBackend(t, socket => ends.push(ending(socket)))
    const rig = await Rig.start(t, create, { backends: [backend] })
    const socket = await rig.client()
    socket.write(pattern(mebibyte))
    await eventually(() => {
      if (!sockets[0]?.bytesRead) throw new Error('nothing has arrived')
    })
    socket.resetAndDestroy()
    t.match(await ends[0], { end: 'reset' })
    await rig.settled()
    t.match(rig.chooser.totals, [{ reason: 'client-reset' }])
    t.same(rig.chooser.outcomes, ['connected'])
  })

  t.test('T3: unanswered SYNs cost one dial timeout, then another backend has the client', async t => {
    const hole = await blackhole(t)
    const { backend } = await tcpBackend(t, says('hello'))
    const rig = await Rig.start(t, create, { backends: [hole, backend] })
    const answer = rig.ask()
    await rig.attempts(1)
    await rig.clock.advance(999)
    t.same(rig.chooser.outcomes, [])
    await rig.clock.advance(1)
    t.equal(await answer, 'hello')
    await rig.settled()
    t.match(rig.chooser.results, [{ outcome: 'timeout', ms: 1000 }, { outcome: 'connected' }])
    t.same(rig.chooser.stories[0]?.flow.tried, keysOf(hole))
    t.same(await rig.settled(), { served: 1, refused: 0, failed: 0 })
  })

  t.test('T4: when no backend answers the client is reset within attempts and budget', async t => {
    const hole = await blackhole(t)
    const holes = [1, 2, 3, 4, 5].map(i => ({ ...hole, key: `hole ${i}` }))
    for (const [dial, waits] of [
      [{ timeoutMs: 1000, attempts: 3, budgetMs: 5000 }, [1000, 1000, 1000]],
      [{ timeoutMs: 2000, attempts: 5, budgetMs: 5000 }, [2000, 2000, 1000]],
    ] as const) {
      const rig = await Rig.start(t, create, { backends: holes, options: { dial } })
      const end = ending(rig.knock())
      for (const [i, ms] of waits.entries()) {
        await rig.attempts(i + 1)
        await rig.clock.advance(ms)
      }
      t.match(await end, { end: 'reset', length: 0 })
      await rig.settled()
      t.same(
        rig.chooser.results,
        waits.map(ms => ({ outcome: 'timeout', ms })),
      )
      t.match(rig.chooser.refusals, [{ code: 'no-backend' }])
      t.same(await rig.settled(), { served: 0, refused: 1, failed: 0 })
    }
  })

  t.test('T5: one of three refuses, and no client notices', async t => {
    const dead = await refusing()
    const alive = await Promise.all([tcpBackend(t, says('yes')), tcpBackend(t, says('yes'))])
    const rig = await Rig.start(t, create, { backends: [dead, ...alive.map(({ backend }) => backend)] })
    for (let round = 0; round < 5; round++) {
      const answers = await Promise.all(Array.from({ length: 20 }, () => rig.ask()))
      t.ok(answers.every(answer => answer === 'yes'))
    }
    t.same(await rig.settled(), { served: 100, refused: 0, failed: 0 })
    t.ok(rig.chooser.stories.every(({ attempts }) => attempts.length <= 2))
    t.ok(rig.chooser.outcomes.includes('refused'))
  })

  t.test('a refusal of the chooser is a reset, and the last event', async t => {
    const rig = await Rig.start(t, create, { backends: [] })
    rig.chooser.decide = () => ({ refusal: { code: 'tenancy', why: 'not yours' } })
    t.match(await ending(rig.knock()), { end: 'reset' })
    t.same(await rig.settled(), { served: 0, refused: 1, failed: 0 })
    t.same(rig.chooser.refusals, [{ code: 'tenancy', why: 'not yours' }])
  })

  t.test('a backend that cannot be reached at all is left for the next', async t => {
    const { backend } = await tcpBackend(t, says('here'))
    const nowhere = backendOf({ address: '255.255.255.255', port: 9 })
    const absurd = backendOf({ address: '127.0.0.1', port: 70_000 })
    const rig = await Rig.start(t, create, { backends: [nowhere, absurd, backend] })
    rig.chooser.decide = ({ tried }) => ({ backend: [nowhere, absurd, backend][tried.length] ?? backend })
    t.equal(await rig.ask(), 'here')
    await rig.settled()
    t.same(rig.chooser.outcomes, ['unreachable', 'unreachable', 'connected'])
  })

  t.test('the second attempt goes by the service as it has become', async t => {
    const hole = await blackhole(t)
    const { backend } = await tcpBackend(t, says('new'))
    const rig = await Rig.start(t, create, { backends: [hole] })
    const answer = rig.ask()
    await rig.attempts(1)
    rig.listener.update(...rig.service([backend], 'renamed'))
    await rig.clock.advance(1000)
    t.equal(await answer, 'new')
    t.equal(rig.chooser.stories[0]?.flow.service.name, 'renamed')
  })

  t.test('T18: the limit refuses what is over it, and a slot is free as soon as a flow ends', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend], options: { limits: { connections: 10 } } })
    const sockets = await Promise.all(Array.from({ length: 15 }, () => rig.knock()))
    const ends = sockets.map(ending)
    await eventually(() => {
      if (rig.chooser.outcomes.length + rig.chooser.refusals.length < 15) throw new Error('not all are decided')
    })
    t.equal(rig.engine.stats().connections, 10)
    t.same(
      rig.chooser.refusals.map(({ code }) => code),
      Array(5).fill('limit'),
    )
    t.equal(rig.chooser.outcomes.length, 10)
    for (const socket of sockets) socket.end()
    t.equal((await Promise.all(ends)).filter(({ end }) => end === 'reset').length, 5)
    await rig.settled()
    t.equal(await rig.ask('again'), 'again')
    t.same(await rig.settled(), { served: 11, refused: 5, failed: 0 })
  })

  t.test('T20: clients that leave during the dial cancel it and blame no backend', async t => {
    const hole = await blackhole(t)
    const rig = await Rig.start(t, create, { backends: [hole] })
    const sockets = Array.from({ length: 100 }, () => rig.knock())
    await rig.attempts(100)
    for (const [i, socket] of sockets.entries()) {
      if (i % 2) socket.write('garbage')
      socket.resetAndDestroy()
    }
    t.same(await rig.settled(), { served: 0, refused: 0, failed: 100 })
    t.ok(rig.chooser.outcomes.every(outcome => outcome === 'cancelled'))
    t.notOk(rig.chooser.results.some(blames))
  })

  t.test('a scan that connects and closes leaves nothing behind', async t => {
    const before = openSockets()
    const { backend, close } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend] })
    for (let i = 0; i < 100; i++)
      rig.knock().on('connect', function (this: Socket) {
        this.destroy()
      })
    await eventually(() => {
      if (rig.chooser.stories.length < 100) throw new Error('not all have come')
    })
    const { served, refused, failed } = await rig.settled()
    t.equal(served + refused + failed, 100)
    t.notOk(rig.chooser.results.some(blames))
    await Promise.all([rig.engine.close(), close()])
    await eventually(() => {
      if (openSockets() > before) throw new Error(`${openSockets() - before} sockets left`)
    })
  })

  t.test('T15: in a storm of connects every one is served or refused, and all are counted', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend], options: { limits: { connections: 100 } } })
    const answers = await Promise.all(Array.from({ length: 300 }, (_, i) => rig.ask(`${i}`)))
    const served = answers.filter((answer, i) => answer === `${i}`).length
    t.equal(answers.filter(answer => answer === '').length, 300 - served, 'whole answers or none')
    t.match(await rig.settled(), { failed: 0, served, refused: 300 - served })
  })

  t.test('T16: out of descriptors it survives, refuses, blames no backend, and recovers', { skip }, async t => {
    const { backend } = await tcpBackend(t, echo)
    const port = await freePort('127.77.0.2')
    const script = fileURLToPath(new URL('child.ts', import.meta.url))
    const args = [source.href, name, `127.77.0.2:${port}`, `127.0.0.1:${backend.port}`]
    const child = spawn('sh', ['-c', 'ulimit -n 200; exec "$0" "$@"', process.execPath, script, ...args], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    t.teardown(() => ended(child))
    await once(child, 'message')
    const to = { ip: '127.77.0.2', port }
    const sockets = Array.from({ length: 300 }, () => clientOf(t, to))
    let over = 0
    for (const socket of sockets)
      socket
        .resume()
        .on('close', () => over++)
        .on('end', () => socket.destroy())
    await eventually(() => {
      if (over < 150) throw new Error(`${over} of 300 are turned away`)
    })
    for (const socket of sockets) socket.destroy()
    await eventually(async () => {
      const socket = clientOf(t, to)
      await once(socket, 'connect')
      const reported = once(child, 'message')
      child.send('report')
      const [report] = (await reported) as [{ open: number; outcomes: string[]; refusals: string[]; faults: number }]
      socket.destroy()
      if (report.open > 3) throw new Error(`${report.open} still open`)
      t.same(new Set(report.outcomes), new Set(['connected']), 'a client is accepted only if its dial finds one too')
      t.same(new Set(report.refusals), new Set(['limit']))
      t.ok(report.faults > 0 && report.faults < 5, 'reported, but not once per client')
    }, 15_000)
  })

  t.test('with few descriptors, every client that is accepted is answered', { skip }, async t => {
    const { backend } = await tcpBackend(t, echo)
    const port = await freePort('127.77.0.7')
    const script = fileURLToPath(new URL('child.ts', import.meta.url))
    const args = [source.href, name, `127.77.0.7:${port}`, `127.0.0.1:${backend.port}`]
    const child = spawn('sh', ['-c', 'ulimit -n 80; exec "$0" "$@"', process.execPath, script, ...args], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    t.teardown(() => ended(child))
    await once(child, 'message')
    const ends = await Promise.all(
      Array.from({ length: 300 }, (_, i) => {
        const socket = clientOf(t, { ip: '127.77.0.7', port })
        const end = ending(socket)
        socket.end(`${i}`)
        return end
      }),
    )
    const answered = ends.filter(({ end, text }, i) => end === 'fin' && text === `${i}`).length
    t.equal(ends.filter(({ end, length }) => end === 'reset' && length === 0).length, 300 - answered, 'or reset')
    t.ok(answered >= (accepts === 'when it can' ? 300 : 1), `${answered} of 300 are answered`)
    const reported = once(child, 'message')
    child.send('report')
    const [report] = (await reported) as [{ outcomes: string[]; refusals: string[] }]
    t.same(report.outcomes, ['connected'])
    t.same(report.refusals, answered < 300 ? ['limit'] : [])
  })

  t.test('while others have taken every descriptor, clients are told, and later ones are served', { skip }, async t => {
    const { backend } = await tcpBackend(t, echo)
    const port = await freePort('127.77.0.8')
    const script = fileURLToPath(new URL('child.ts', import.meta.url))
    const args = [source.href, name, `127.77.0.8:${port}`, `127.0.0.1:${backend.port}`]
    const child = spawn('sh', ['-c', 'ulimit -n 200; exec "$0" "$@"', process.execPath, script, ...args], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    t.teardown(() => ended(child))
    await once(child, 'message')
    const report = async (what: string) => {
      const reported = once(child, 'message')
      child.send(what)
      return ((await reported) as [{ outcomes: string[]; faults: number }])[0]
    }
    const ask = () => {
      const socket = clientOf(t, { ip: '127.77.0.8', port })
      const end = ending(socket)
      socket.end('hello')
      return end
    }
    t.equal((await ask()).text, 'hello')
    await report('take every descriptor')
    const ends = await Promise.all(Array.from({ length: 5 }, ask))
    t.ok(
      ends.every(({ length }) => length === 0),
      'nobody waits, and nobody gets a part',
    )
    const { outcomes } = await report('give them back')
    // libuv turns them away by itself, and tells nobody.
    if (accepts === 'when it can') await eventually(async () => assert.ok((await report('report')).faults > 0))
    t.notOk(outcomes.includes('refused') || outcomes.includes('timeout'), 'no backend is blamed')
    await eventually(async () => {
      if ((await ask()).text !== 'hello') throw new Error('not served yet')
    }, 15_000)
  })

  t.test('a process that exits with open flows ends at once, and its clients see it', async t => {
    const data = pattern(4 * mebibyte)
    const { backend } = await tcpBackend(t, socket => socket.write(data))
    const port = await freePort('127.77.0.5')
    const script = fileURLToPath(new URL('child.ts', import.meta.url))
    const args = [source.href, name, `127.77.0.5:${port}`, `127.0.0.1:${backend.port}`]
    const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    t.teardown(() => ended(child))
    await once(child, 'message')
    const sockets = Array.from({ length: 10 }, () => clientOf(t, { ip: '127.77.0.5', port }))
    const ends = sockets.map(socket => new Promise(resolve => socket.once('end', resolve).once('close', resolve)))
    // Half of them read, so that some bytes move and others wait for their reader.
    for (const [i, socket] of sockets.entries()) if (i % 2) socket.resume()
    await eventually(() => {
      if (sockets.some(({ bytesRead }, i) => i % 2 && bytesRead < mebibyte))
        throw new Error('not all transfers have begun')
    }, 15_000)
    child.disconnect()
    t.same(await once(child, 'exit'), [0, null])
    for (const socket of sockets) socket.resume()
    await Promise.all(ends)
  })

  t.test('a program that this process starts inherits none of its sockets', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend] })
    await rig.client()
    const child = spawn('ls', ['-l', '/proc/self/fd'], { stdio: ['ignore', 'pipe', 'inherit'] })
    let list = ''
    child.stdout.on('data', text => {
      list += text
    })
    await once(child, 'close')
    const inherited = list.split('\n').filter(line => / ([3-9]|\d\d+) -> (socket|anon_inode)/.test(line))
    t.same(inherited, [])
  })

  t.test('a port that is taken is a LISTEN error with the place, the cause and a remedy', async t => {
    const { backend } = await tcpBackend(t, silent, { host: '127.77.0.3' })
    const rig = await Rig.start(t, create, { backends: [] })
    const [frontend, service] = rig.service([])
    const taken = { ...frontend, ip: '127.77.0.3', port: backend.port }
    const error = await rig.engine.listen(taken, service).catch(e => e)
    t.type(error, MeshError)
    t.match(error, { code: 'LISTEN', message: `127.77.0.3:${backend.port}/TCP` })
    t.match(error.message, /default\/rebel-base.*another process.*ss -ltnp/)
    const foreign = await rig.engine.listen({ ...frontend, ip: '192.0.2.1' }, service).catch(e => e)
    t.match(foreign, { code: 'LISTEN', message: /not an address of this machine.*proxy\.anyip/ })
    const udp = await rig.engine.listen({ ...frontend, protocol: 'UDP', ip: '192.0.2.1' }, service).catch(e => e)
    t.match(udp, { code: 'LISTEN', message: /192\.0\.2\.1:\d+\/UDP.*not an address of this machine/ })
    const sctp = await rig.engine.listen({ ...frontend, protocol: 'SCTP' }, service).catch(e => e)
    t.match(sctp, { code: 'LISTEN' })
  })

  t.test('nothing is read from the client before a backend has it', async t => {
    const hole = await blackhole(t)
    const rig = await Rig.start(t, create, { backends: [hole] })
    const socket = rig.knock()
    await rig.attempts(1)
    const before = await heldBytes()
    const chunk = pattern(65_536)
    for (let i = 0; i < 256; i++) socket.write(chunk)
    for (let i = 0; i < 100; i++) await settled()
    t.ok((await heldBytes()) - before < mebibyte)
    const end = ending(socket)
    await rig.engine.destroy()
    t.match(await end, { end: 'reset' })
  })
}

/** Ends by itself, so that `npm run coverage` sees what it has done; killed if it does not. */
async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const over = once(child, 'exit')
  const late = setTimeout(() => child.kill('SIGKILL'), 5000)
  if (child.connected) child.disconnect()
  await over
  clearTimeout(late)
}
