/** The conformance tests with the native engine, and what it alone must do. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import type { EngineParts } from '../../../proxy/dataplane/engine.ts'
import { loadAddon, type NativeAddon } from '../../../proxy/dataplane/native/addon.ts'
import { engineConformance } from '../../conformance/engine/engine.ts'
import { Rig } from '../../conformance/engine/rig.ts'
import { clientOf, echo, ending, freePort, hashOf, pattern, tcpBackend } from '../../support/backend.ts'
import { eventually } from '../../support/eventually.ts'
import { blackhole } from '../../support/faults.ts'
import { backend as backendOf } from '../../support/model.ts'
import { createPaced } from '../../support/paced-engine.ts'
import { program } from '../../support/programs/program.ts'

const mebibyte = 1024 * 1024

t.test('where it was not built, the error names the remedy', async t => {
  t.throws(() => loadAddon([]), { code: 'CONF_FIELD', message: /was not built; .*npm run build:native.*streams/ })
  const folder = t.testdir({ broken: { 'starlane.node': 'no library' }, unbuilt: { reason: 'no compiler' } })
  t.throws(() => loadAddon([`${folder}/broken`]), { code: 'CONF_FIELD', message: /cannot be loaded.*streams/ })
  t.throws(() => loadAddon([`${folder}/unbuilt`]), { message: /was not built: no compiler; / })
})

const addon = built()
if (addon) {
  ownSuite(t, addon)
  engineConformance(t, {
    create: parts => createPaced(addon, parts),
    source: new URL('../../../proxy/dataplane/native/engine.ts', import.meta.url),
    export: 'createNativeEngine',
    urgentBytes: 'kept',
    accepts: 'when it can',
  })
} else t.pass('the addon was not built here: npm run build:native')

function ownSuite(t: Test, addon: NativeAddon): void {
  const create = (parts: EngineParts) => createPaced(addon, parts)

  t.test('whatever its connections are doing, destroy leaves no descriptor', async t => {
    const hole = await blackhole(t)
    const { backend, close } = await tcpBackend(t, socket => socket.write(pattern(8 * mebibyte)))
    for (let round = 0; round < 3; round++) {
      const before = descriptors()
      const rig = await Rig.start(t, create, { backends: [backend, hole] })
      const sockets = Array.from({ length: 40 }, () => rig.knock())
      await rig.attempts(40)
      // Some read all they can, some nothing, some are half-closed, and the last are not accepted yet.
      for (const [i, socket] of sockets.entries()) if (i % 3) socket.resume()
      for (const [i, socket] of sockets.entries()) if (i % 4 === 0) socket.end('x')
      await eventually(() => {
        if (sockets.every(({ bytesRead }) => bytesRead < mebibyte)) throw new Error('no bulk is under way')
      }, 15_000)
      sockets.push(...Array.from({ length: 10 }, () => rig.knock()))
      rig.engine.destroy()
      for (const socket of sockets) socket.destroy()
      await rig.settled()
      await eventually(() => {
        if (descriptors() > before + 20) throw new Error(`${descriptors() - before} descriptors are left`)
      })
      t.equal(own(), 0, 'no thread')
    }
    await close()
  })

  t.test('its thread runs soon after it is woken: its slice is shorter than that of others', async t => {
    const rig = await Rig.start(t, create, { backends: [] })
    const others = sliceOf(`${process.pid}`)
    // Linux 6.12 knows slices of threads, and tells them. The thread asks for its own once it runs.
    await eventually(() => {
      const pump = readdirSync('/proc/self/task').find(
        id => readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim() === 'starlane pump',
      )
      const own = sliceOf(pump ?? '')
      if (others > 0 && !(own > 0 && own <= Math.min(others, 500_000))) throw new Error(`${own} ns, others ${others}`)
    })
    t.ok(rig.port > 0)
  })

  t.test('bulk both ways at once, spliced, arrives whole', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend] })
    const data = pattern(32 * mebibyte)
    const ends = Array.from({ length: 4 }, () => {
      const socket = rig.knock()
      const end = ending(socket)
      socket.end(data)
      return end
    })
    const hash = hashOf(data)
    t.ok((await Promise.all(ends)).every(end => end.end === 'fin' && end.hash === hash))
    t.same(await rig.settled(), { served: 4, refused: 0, failed: 0 })
    t.ok(rig.chooser.totals.every(({ sent, received }) => sent === data.length && received === data.length))
  })

  t.test('where splice(2) does not work, bytes are copied, and none is lost', async t => {
    const preload = program(t, fileURLToPath(new URL('../../support/programs/no-splice.c', import.meta.url)), true)
    if (!preload) {
      t.pass('there is no C compiler')
      return
    }
    const { backend } = await tcpBackend(t, echo)
    const child = fileURLToPath(new URL('../../conformance/engine/child.ts', import.meta.url))
    const module = new URL('../../../proxy/dataplane/native/engine.ts', import.meta.url).href
    for (const where of ['in', 'out']) {
      const port = await freePort('127.77.0.6')
      const argv = [child, module, 'createNativeEngine', `127.77.0.6:${port}`, `127.0.0.1:${backend.port}`]
      const engine = spawn(process.execPath, argv, {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
        env: { ...process.env, LD_PRELOAD: preload, NO_SPLICE: where },
      })
      t.teardown(() => engine.kill('SIGKILL'))
      await once(engine, 'message')
      const data = pattern(16 * mebibyte)
      const ends = [1, 2, 3].map(() => {
        const socket = clientOf(t, { ip: '127.77.0.6', port })
        const end = ending(socket)
        socket.end(data)
        return end
      })
      for (const { end, hash } of await Promise.all(ends))
        t.same({ end, hash }, { end: 'fin', hash: hashOf(data) }, where)
      engine.disconnect()
      await once(engine, 'exit')
    }
  })

  t.test('open connections are served while JavaScript is busy, and new ones wait', async t => {
    const gate = new Int32Array(new SharedArrayBuffer(8))
    const port = await freePort('127.77.0.1')
    const worker = new Worker(talkers, { eval: true, workerData: { gate, to: { host: '127.77.0.1', port } } })
    t.teardown(() => worker.terminate())
    const [backendPort] = (await once(worker, 'message')) as [number]
    const rig = await Rig.start(t, create, {
      backends: [backendOf({ address: '127.0.0.1', port: backendPort })],
      port,
    })
    worker.postMessage('talk')
    await once(worker, 'message')
    // This thread is blocked until another one has had its answers.
    t.not(Atomics.wait(gate, 0, 0, 20_000), 'timed-out')
    t.equal(rig.chooser.stories.length, 1, 'the second client has not been decided on')
    await once(worker, 'message')
    t.same(await rig.settled(), { served: 2, refused: 0, failed: 0 })
  })

  t.test('the pump ends with its JavaScript environment', async t => {
    const { backend } = await tcpBackend(t, echo)
    const before = own()
    const port = await freePort('127.77.0.4')
    const child = new URL('../../conformance/engine/child.ts', import.meta.url)
    const module = new URL('../../../proxy/dataplane/native/engine.ts', import.meta.url).href
    const argv = [module, 'createNativeEngine', `127.77.0.4:${port}`, `127.0.0.1:${backend.port}`]
    const worker = new Worker(child, { argv })
    const socket = await eventually(async () => {
      const socket = clientOf(t, { ip: '127.77.0.4', port })
      await once(socket, 'connect')
      return socket
    }, 20_000)
    socket.write('hello')
    t.equal(String((await once(socket, 'data'))[0]), 'hello')
    const end = ending(socket)
    await worker.terminate()
    await end
    t.equal(own(), before)
  })
}

/** An echo server and two clients in a thread of their own. The second comes when the first is being served. */
const talkers = `
const { connect, createServer } = require('node:net')
const { parentPort, workerData: { gate, to } } = require('node:worker_threads')
const server = createServer(socket => socket.pipe(socket))
server.listen({ host: '127.0.0.1', port: 0 }, () => parentPort.postMessage(server.address().port))
parentPort.once('message', () => {
  const first = connect(to)
  let rounds = 0
  first.write('.')
  first.on('data', () => {
    rounds++
    if (rounds === 1) parentPort.postMessage('talking')
    if (rounds === 500) {
      first.end()
      const second = connect(to, () => {
        Atomics.store(gate, 0, 1)
        Atomics.notify(gate, 0)
        second.end('!')
      })
      second.resume().on('end', () => parentPort.postMessage('both served'))
    } else if (rounds < 500) first.write('.')
  })
})`

function descriptors(): number {
  return readdirSync('/proc/self/fd').length
}

/** The number of pumps in this process, by the name of their threads. */
function own(): number {
  return readdirSync('/proc/self/task').filter(task => nameOf(task) === 'starlane pump').length
}

function nameOf(task: string): string {
  try {
    return readFileSync(`/proc/self/task/${task}/comm`, 'utf8').trim()
  } catch {
    return '' // it has just ended
  }
}

function built(): NativeAddon | undefined {
  try {
    return loadAddon()
  } catch {
    return undefined
  }
}

/** In nanoseconds; 0 where the kernel does not tell. */
function sliceOf(thread: string): number {
  const path = `/proc/self/task/${thread}/sched`
  return existsSync(path) ? Number(/^se\.slice\s*:\s*(\d+)/m.exec(readFileSync(path, 'utf8'))?.[1] ?? 0) : 0
}
