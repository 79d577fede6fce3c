/**
 * Dials on a machine with a single free local port, run by ports.ts in a network namespace of its own:
 * `ports-child.ts MODULE EXPORT`. Prints what it has seen as one line of JSON.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { Backend } from '../../../proxy/model/backend.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { FakeChooser } from '../../support/chooser.ts'
import { eventually } from '../../support/eventually.ts'
import { backend, clusterService, globalService } from '../../support/model.ts'
import { type CreateEngine, plainOptions } from '../engine/rig.ts'

/** The namespace gives out no other. */
export const onlyPort = 40_001
const host = '127.0.0.1'

if (process.argv[2]) {
  const [source = '', name = ''] = process.argv.slice(2)
  const create = (await import(source))[name] as CreateEngine
  const seen = {
    tcpWithoutPort: await tcpWithoutPort(create),
    tcpToItself: await tcpToItself(create),
    udpWithoutPort: await udpWithoutPort(create),
    udpToItself: await udpToItself(create),
  }
  console.log(JSON.stringify(seen))
  process.exit()
}

/** The first connection takes the port, the second finds none towards the same backend, and goes to another. */
async function tcpWithoutPort(create: CreateEngine): Promise<unknown> {
  const [one, two] = [await tcpServer(9001), await tcpServer(9002)]
  const chooser = await listening(create, 'TCP', 8001, [one, two])
  const first = ask('first', 50_001, 8001)
  await eventually(() => (chooser.outcomes.length === 1 ? undefined : Promise.reject(new Error('not connected yet'))))
  chooser.decide = ({ tried }) => ({ backend: tried.length === 0 ? one : two })
  const second = ask('second', 50_002, 8001)
  return { answers: [await first, await second], outcomes: chooser.outcomes }
}

/** Nothing listens at the backend's port, and the only free port is that one. */
async function tcpToItself(create: CreateEngine): Promise<unknown> {
  const chooser = await listening(create, 'TCP', 8002, [backend({ address: host, port: onlyPort })])
  const answer = await ask('to itself', 50_003, 8002)
  return { answer, outcomes: chooser.outcomes, refusals: chooser.refusals.map(({ code }) => code) }
}

async function udpWithoutPort(create: CreateEngine): Promise<unknown> {
  const taken = createSocket('udp4').bind(onlyPort, '0.0.0.0')
  await once(taken, 'listening')
  const chooser = await listening(create, 'UDP', 8003, [backend({ address: host, port: 9003, protocol: 'UDP' })])
  const client = createSocket('udp4').bind(50_004, host)
  client.send('anyone?', 8003, host)
  await eventually(() => (chooser.refusals.length > 0 ? undefined : Promise.reject(new Error('not refused yet'))))
  taken.close()
  return { outcomes: chooser.outcomes, refusals: chooser.refusals.map(({ code }) => code) }
}

async function udpToItself(create: CreateEngine): Promise<unknown> {
  const chooser = await listening(create, 'UDP', 8004, [backend({ address: host, port: onlyPort, protocol: 'UDP' })])
  const client = createSocket('udp4').bind(50_005, host)
  let echoed = 0
  client.on('message', () => echoed++)
  client.send('anyone?', 8004, host)
  await eventually(() => (chooser.outcomes.length > 0 ? undefined : Promise.reject(new Error('no result yet'))))
  return { outcomes: chooser.outcomes.slice(0, 1), echoed }
}

async function listening(create: CreateEngine, protocol: 'TCP' | 'UDP', port: number, backends: Backend[]) {
  const chooser = new FakeChooser()
  const engine = create({ chooser, options: plainOptions, clock: systemClock, log: silentLog })
  const service = globalService({
    local: clusterService({ clusterIPs: [host], ports: [{ name: '', protocol, port }] }),
    backends,
  })
  for (const frontend of service.frontends) await engine.listen(frontend, service)
  return chooser
}

async function tcpServer(port: number): Promise<Backend> {
  const server = createServer(socket => socket.on('data', data => answer(socket, data)))
  server.listen(port, host)
  await once(server, 'listening')
  return backend({ address: host, port })
}

/** The first answer is late, so that its connection keeps the port. */
function answer(socket: Socket, data: Buffer): void {
  if (String(data) === 'second') socket.end(data)
  else setTimeout(() => socket.end(data), 500)
}

async function ask(text: string, localPort: number, port: number): Promise<string> {
  const socket = connect({ host, port, localAddress: host, localPort })
  let heard = ''
  socket.on('data', data => {
    heard += data
    if (heard === text) socket.end()
  })
  socket.on('error', () => {})
  socket.write(text)
  await once(socket, 'close').catch(() => {})
  return heard
}
