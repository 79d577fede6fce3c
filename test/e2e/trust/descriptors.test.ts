/** A real limit of descriptors, and clients that hold all they can get: probes, DNS and dials still find theirs. Both engines. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import packet from 'dns-packet'
import t, { type Test } from 'tap'
import { findAddon } from '../../../proxy/dataplane/native/addon.ts'
import { freePort } from '../../support/backend.ts'
import { eventually } from '../../support/eventually.ts'
import { ask, createWorld, startPod, startUdpPod } from '../../support/world.ts'

const native = findAddon()
const engines = [
  { engine: 'streams', skip: process.platform === 'linux' ? false : 'needs /proc' },
  { engine: 'native', skip: 'why' in native ? native.why : false },
] as const

const greedy = '127.9.9.1'
const modest = '127.9.9.2'

for (const limit of [160]) {
  for (const { engine, skip } of engines) {
    t.test(`${engine}: ulimit -n ${limit}, and one client holds all it can`, { skip }, async t => {
      const world = await createWorld(t)
      const [vip, udpVip, pod] = [world.ip(1), world.ip(2), world.ip(21)]
      await startPod(t, pod, 'pod')
      await startUdpPod(t, pod, 'pod')
      await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: pod }] })
      const udp = { name: 'udp', clusterIP: udpVip, protocol: 'UDP', pods: [{ ip: pod }] } as const
      await world.declare('cluster-1', udp)
      const [admin, dns] = [await freePort('127.0.0.1'), await freePort('127.0.0.1')]
      await world.write({
        log: { format: 'json' },
        admin: { listen: `127.0.0.1:${admin}` },
        dns: { listen: `127.0.0.1:${dns}`, upstream: [] },
        proxy: { engine },
      })
      await starlane(t, world.file, limit)

      const first = await held(t, vip, 7000, modest)
      await first.says('before')
      for (let round = 0; round < 2; round++) {
        for (let i = 0; i < 150; i++) {
          hold(t, vip, 7000, greedy)
          hold(t, '127.0.0.1', dns, greedy)
          hold(t, '127.0.0.1', admin, greedy)
        }
        for (let i = 0; i < 50; i++) await datagram(t, udpVip)
        for (let i = 0; i < 10; i++) {
          t.equal(await probe(admin), 200, `probe ${i}`)
          t.equal(await addressOf('rebel-base.default.svc.cluster.local', dns), vip, `DNS over TCP ${i}`)
        }
        await first.says(`after ${round}`)
        // It takes the place of one of the greedy client's, which may be closed only when it comes.
        await eventually(async () => assert.equal(await ask(vip, 7000, modest), 'pod'))
      }
    })
  }
}

async function starlane(t: Test, file: string, limit: number): Promise<void> {
  const run = [process.execPath, 'bin/starlane.js', 'run', '-c', file]
  const child = spawn('sh', ['-c', `ulimit -n ${limit}; exec "$0" "$@"`, ...run], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const closed = once(child, 'close')
  t.teardown(() => {
    child.kill('SIGKILL')
    return closed
  })
  let log = ''
  child.stderr.on('data', chunk => {
    log += chunk
  })
  await eventually(() => assert.match(log, /"event":"ready"/), 20_000)
}

function hold(t: Test, host: string, port: number, localAddress: string): Socket {
  const socket = connect({ host, port, localAddress })
  socket.on('error', () => {}).resume()
  t.teardown(() => socket.destroy())
  return socket
}

/** A connection that a backend has answered; `says` sends a text and waits until it comes back. */
async function held(t: Test, host: string, port: number, localAddress: string) {
  const socket = connect({ host, port, localAddress })
  t.teardown(() => socket.destroy())
  let heard = ''
  socket
    .on('error', () => {})
    .on('data', chunk => {
      heard += chunk
    })
  const says = (text: string) => {
    socket.write(text)
    return eventually(() => assert.ok(heard.endsWith(text), `${text}: heard ${heard.slice(-20)}`))
  }
  return { says }
}

/** From a port of its own. */
async function datagram(t: Test, host: string): Promise<void> {
  const socket = createSocket('udp4')
  t.teardown(() => socket.close())
  await new Promise<void>(resolve => socket.bind(0, greedy, resolve))
  socket.send('x', 7000, host)
}

/** As a kubelet does, with a connection of its own. */
async function probe(port: number): Promise<number | undefined> {
  const request = get({ port, path: '/healthz', agent: false, localAddress: modest, timeout: 5000 })
  request.on('timeout', () => request.destroy(new Error('no answer within 5 s')))
  const [answer] = (await once(request, 'response')) as [IncomingMessage]
  answer.resume()
  return answer.statusCode
}

async function addressOf(name: string, port: number): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, localAddress: modest })
  socket.setTimeout(5000, () => socket.destroy(new Error('no answer within 5 s')))
  socket.write(packet.streamEncode({ type: 'query', id: 1, questions: [{ type: 'A', name }] }))
  let reply = Buffer.alloc(0)
  for await (const chunk of socket) {
    reply = Buffer.concat([reply, chunk])
    if (reply.length < 2 || reply.length < 2 + reply.readUInt16BE(0)) continue
    const [answer] = packet.streamDecode(reply).answers ?? []
    return answer?.type === 'A' ? answer.data : 'no address'
  }
  return 'closed'
}
