/**
 * Transfers between sockets that take little at a time, run by narrow.ts in a network namespace of its own:
 * `narrow-child.ts MODULE EXPORT`. Prints what became of each direction as one line of JSON.
 */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { hashOf, pattern } from '../../support/backend.ts'
import { FakeChooser } from '../../support/chooser.ts'
import { backend, clusterService, globalService } from '../../support/model.ts'
import { type CreateEngine, plainOptions } from '../engine/rig.ts'

const [source = '', name = ''] = process.argv.slice(2)
const create = (await import(source))[name] as CreateEngine
const host = '127.0.0.1'
const port = 8001
// Large enough that an engine takes it for a large transfer, and no multiple of any buffer.
const data = pattern(400_007)
const transfers = 4

/** The first byte says what the client wants: D to get the data, U to send it and get its hash, B for an echo. */
const server = createServer({ allowHalfOpen: true }, async socket => {
  socket.on('error', () => {})
  const first = await new Promise<Buffer>(resolve => socket.once('readable', () => resolve(socket.read(1))))
  if (first.toString() === 'D') socket.resume().end(data)
  else if (first.toString() === 'U') socket.end(hashOf(await all(socket)))
  else socket.pipe(socket)
}).listen(0, host)
await once(server, 'listening')
const address = server.address()
const serving = backend({ address: host, port: typeof address === 'object' && address ? address.port : 0 })
const chooser = new FakeChooser()
const engine = create({ chooser, options: plainOptions, clock: systemClock, log: silentLog })
const service = globalService({
  local: clusterService({ clusterIPs: [host], ports: [{ name: '', protocol: 'TCP', port }] }),
  backends: [serving],
})
for (const frontend of service.frontends) await engine.listen(frontend, service)

const hash = hashOf(data)
const [down, up, both] = await Promise.all([
  outcome('D', Buffer.alloc(0), bytes => hashOf(bytes) === hash),
  outcome('U', data, bytes => bytes.toString() === hash),
  outcome('B', data, bytes => hashOf(bytes) === hash),
])
console.log(JSON.stringify({ down, up, both, broken: chooser.broken }))
process.exit()

async function outcome(kind: string, sends: Buffer, isRight: (bytes: Buffer) => boolean): Promise<string> {
  const got = await Promise.all(Array.from({ length: transfers }, () => transfer(kind, sends)))
  const wrong = got.filter(bytes => !isRight(bytes))
  return wrong.length === 0
    ? 'whole'
    : `${wrong.length} of ${transfers} are wrong: ${wrong.map(({ length }) => length)} bytes`
}

function transfer(kind: string, sends: Buffer): Promise<Buffer> {
  const socket = connect({ port, host, allowHalfOpen: true }).on('error', () => {})
  socket.write(kind)
  socket.end(sends)
  return all(socket)
}

async function all(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  try {
    for await (const chunk of socket) chunks.push(chunk)
  } catch {} // what has come is compared
  return Buffer.concat(chunks)
}
