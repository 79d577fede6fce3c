/**
 * A backend whose host falls silent, run by lost.ts in a network namespace of its own: `lost-child.ts MODULE EXPORT`.
 * The backend has another one, at the other end of a veth; there a blackhole route drops whatever it would answer. Prints
 * what becomes of three connections as one line of JSON.
 */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { Backend } from '../../../proxy/model/backend.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { FakeChooser } from '../../support/chooser.ts'
import { eventually } from '../../support/eventually.ts'
import { backend, clusterService, globalService } from '../../support/model.ts'
import { type CreateEngine, plainOptions } from '../engine/rig.ts'
import { startFarEcho } from './far-echo.ts'

const [source = '', name = ''] = process.argv.slice(2)
const create = (await import(source))[name] as CreateEngine
const waitMs = 20_000

const far = await startFarEcho()
const dead = far.backend
const paused = createServer(() => {}).listen(9001, '127.0.0.1')
await once(paused, 'listening')
const chooser = new FakeChooser()
const engine = create({ chooser, options: plainOptions, clock: systemClock, log: silentLog })
const writing = await open(8001, dead)
const waiting = await open(8002, dead)
const stalled = await open(8003, backend({ address: '127.0.0.1', port: 9001 }))
for (let full = 0; full < 50; ) {
  if (stalled.writableLength === 0) stalled.write(Buffer.alloc(65_536))
  full = stalled.writableLength === 0 ? 0 : full + 1
  await new Promise(resolve => setTimeout(resolve, 2))
}

// From here on it waits.
waiting.write('still there?')
await once(waiting, 'data')
const quietSince = performance.now()
far.inside('ip', 'route', 'add', 'blackhole', `${far.here}/32`)
const writtenAt = performance.now()
writing.write('anyone?')
const ends = await Promise.all([ended(writing, writtenAt), ended(waiting, quietSince), ended(stalled, writtenAt)])
const reasons = chooser.totals.map(({ reason }) => reason)
console.log(JSON.stringify({ writing: ends[0], waiting: ends[1], stalled: ends[2], reasons }))
far.stop()
process.exit()

/** A client of a frontend of its own, which has had an answer where the backend gives any. */
async function open(port: number, to: Backend): Promise<Socket> {
  const service = globalService({
    local: clusterService({ clusterIPs: ['127.0.0.1'], ports: [{ name: '', protocol: 'TCP', port }] }),
    backends: [to],
  })
  for (const frontend of service.frontends) await engine.listen(frontend, service)
  const before = chooser.outcomes.length
  const socket = connect(port, '127.0.0.1').on('error', () => {})
  socket.write('hello')
  if (to === dead) await once(socket, 'data')
  await eventually(() => {
    if (chooser.outcomes.length === before) throw new Error('not connected yet')
  })
  return socket
}

/** The seconds since then until it has ended; `open` if it has not within the time. */
function ended(socket: Socket, since: number): Promise<number | 'open'> {
  return new Promise(resolve => {
    const timer = setTimeout(() => resolve('open'), waitMs)
    socket.once('close', () => {
      clearTimeout(timer)
      resolve(Math.round((performance.now() - since) / 1000))
    })
  })
}
