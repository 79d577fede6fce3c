/** Bytes: complete, in order, both ways, with every kind of end. T1, T2 … number the fault cases of all engine tests. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { Worker } from 'node:worker_threads'
import type { Test } from 'tap'
import { echo, ending, hashOf, noIPv6, pattern, says, tcpBackend } from '../../support/backend.ts'
import { eventually } from '../../support/eventually.ts'
import { openSockets, trickle } from '../../support/faults.ts'
import { type CreateEngine, Rig } from './rig.ts'

const mebibyte = 1024 * 1024

export function streamSuite(t: Test, create: CreateEngine): void {
  t.test('carries bytes both ways and counts them', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend] })
    const data = pattern(mebibyte)
    const socket = rig.knock()
    const end = ending(socket)
    socket.end(data)
    t.match(await end, { end: 'fin', length: data.length, hash: hashOf(data) })
    t.same(await rig.settled(), { served: 1, refused: 0, failed: 0 })
    t.match(rig.chooser.totals, [{ sent: data.length, received: data.length, reason: 'done' }])
    t.match(rig.chooser.stories[0]?.flow.client, { address: '127.0.0.1', port: socket.localPort ?? Number })
  })

  t.test('large transfers both ways at once hold each other up in none of their connections', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend] })
    const data = pattern(4 * mebibyte)
    const whole = { end: 'fin', length: data.length, hash: hashOf(data) }
    const ends = Array.from({ length: 12 }, () => {
      const socket = rig.knock()
      const end = ending(socket)
      socket.end(data)
      return end
    })
    for (const end of await Promise.all(ends)) t.match(end, whole)
    t.same(await rig.settled(), { served: 12, refused: 0, failed: 0 })
  })

  t.test('T21: a backend that speaks first is passed on before the client sends anything', async t => {
    const { backend } = await tcpBackend(t, socket => socket.write('220 ready\r\n'))
    const rig = await Rig.start(t, create, { backends: [backend] })
    const [banner] = await once(rig.knock(), 'data')
    t.equal(String(banner), '220 ready\r\n')
  })

  t.test('what a client sends while its backend is dialled is not lost', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend] })
    const asked = await Promise.all(Array.from({ length: 20 }, (_, i) => rig.ask(`question ${i}`)))
    t.same(
      asked,
      asked.map((_, i) => `question ${i}`),
    )
    t.same(await rig.settled(), { served: 20, refused: 0, failed: 0 })
  })

  t.test('T9: after the client’s FIN the answer still comes, whole', async t => {
    const asked: Socket[] = []
    const { backend } = await tcpBackend(t, socket => {
      socket.resume()
      socket.on('end', () => asked.push(socket))
    })
    const rig = await Rig.start(t, create, { backends: [backend] })
    const data = pattern(3 * mebibyte)
    const socket = rig.knock()
    const end = ending(socket)
    socket.end('request')
    const answering = await eventually(() => asked[0] ?? Promise.reject(new Error('not asked')))
    await rig.clock.advance(10_000)
    answering.end(data)
    t.match(await end, { end: 'fin', hash: hashOf(data) })
    await rig.settled()
    t.match(rig.chooser.totals, [{ sent: 7, received: data.length, reason: 'done' }])
  })

  t.test('T10: after the backend’s FIN the client may go on sending', async t => {
    const heard: Buffer[] = []
    const { backend, sockets } = await tcpBackend(t, socket => {
      socket.on('data', chunk => heard.push(chunk))
      socket.end('bye')
    })
    const rig = await Rig.start(t, create, { backends: [backend] })
    const socket = rig.knock()
    t.match(await ending(socket), { end: 'fin', text: 'bye' })
    const data = pattern(mebibyte)
    await trickle(socket, data, pieces(65_536, data.length))
    await rig.clock.advance(10_000)
    socket.end('the end')
    await once(sockets[0] as Socket, 'end')
    t.equal(hashOf(Buffer.concat(heard)), hashOf(Buffer.concat([data, Buffer.from('the end')])))
    t.same(await rig.settled(), { served: 1, refused: 0, failed: 0 })
  })

  t.test('T12: FINs that cross leave nothing behind', async t => {
    const before = openSockets()
    const { backend, close } = await tcpBackend(t, socket => {
      socket.resume()
      socket.once('data', () => socket.end('b'))
    })
    const rig = await Rig.start(t, create, { backends: [backend] })
    for (let round = 0; round < 10; round++) {
      const ends = Array.from({ length: 20 }, () => {
        const socket = rig.knock()
        const end = ending(socket)
        socket.end('a')
        return end
      })
      t.ok((await Promise.all(ends)).every(({ end, text }) => end === 'fin' && text === 'b'))
    }
    t.same(await rig.settled(), { served: 200, refused: 0, failed: 0 })
    t.ok(rig.chooser.totals.every(({ reason }) => reason === 'done'))
    await Promise.all([rig.engine.close(), close()])
    await eventually(() => {
      if (openSockets() > before) throw new Error(`${openSockets() - before} sockets left`)
    })
  })

  t.test('T8: a byte at a time is passed on a byte at a time', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend] })
    const socket = await rig.client()
    for (const byte of pattern(50)) {
      const echoed = once(socket, 'data')
      socket.write(Buffer.of(byte))
      t.same([...(await echoed)[0]], [byte])
    }
  })

  t.test('T13: cut into slices of all sizes it arrives whole', async t => {
    const { backend } = await tcpBackend(t, echo)
    const rig = await Rig.start(t, create, { backends: [backend] })
    const data = pattern(200_000)
    const socket = rig.knock()
    const end = ending(socket)
    await trickle(socket, data, [...Array(300).fill(1), ...pieces(977, data.length)])
    socket.end()
    t.match(await end, { end: 'fin', length: data.length, hash: hashOf(data) })
  })

  t.test('an answer in two pieces comes without a pause between them', async t => {
    // Nagle's rule holds back the second piece until the first is acknowledged: at once, or after 40 ms.
    const { backend } = await tcpBackend(t, socket => {
      socket.setNoDelay(false)
      socket.once('data', () => {
        socket.write('head')
        socket.write('body')
      })
    })
    // The choice takes so long that the client has spoken before its backend is dialled.
    const moment = new Int32Array(new SharedArrayBuffer(4))
    const rig = await Rig.start(t, create, { backends: [backend] })
    const choose = rig.chooser.choose.bind(rig.chooser)
    rig.chooser.choose = flow => {
      Atomics.wait(moment, 0, 0, 50)
      return choose(flow)
    }
    const worker = new Worker(asker, { eval: true, workerData: { host: rig.ip, port: rig.port } })
    t.teardown(() => worker.terminate())
    const [took] = (await once(worker, 'message')) as [number[]]
    t.ok(Math.min(...took) < 30, `${took.map(Math.round)} ms`)
  })

  t.test('IPv6', { skip: noIPv6 }, async t => {
    const { backend } = await tcpBackend(t, says('six'), { host: '::1' })
    const rig = await Rig.start(t, create, { backends: [backend], ip: '::1' })
    t.equal(await rig.ask(), 'six')
    t.equal(rig.chooser.stories[0]?.flow.client.address, '::1')
  })
}

function pieces(size: number, total: number): number[] {
  return Array(Math.ceil(total / size)).fill(size)
}

/** Asks five times, and tells how long it took each time from the first piece of the answer to the last. */
const asker = `
const { connect } = require('node:net')
const { once } = require('node:events')
const { parentPort, workerData } = require('node:worker_threads')
void (async () => {
  const took = []
  for (let i = 0; i < 5; i++) {
    const socket = connect(workerData)
    socket.write('question')
    let answer = String(await once(socket, 'data'))
    const since = performance.now()
    while (answer.length < 8) answer += String(await once(socket, 'data'))
    took.push(performance.now() - since)
    socket.destroy()
  }
  parentPort.postMessage(took)
})()`
