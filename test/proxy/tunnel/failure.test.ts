/** Tunnels that die, gateways that go, many streams: what a dial and an open connection see of it. */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Engine, EngineOptions } from '../../../proxy/dataplane/engine.ts'
import { findAddon } from '../../../proxy/dataplane/native/addon.ts'
import { createNativeEngine } from '../../../proxy/dataplane/native/engine.ts'
import { whyNotInPump } from '../../../proxy/dataplane/native/tunnels.ts'
import type { Backend } from '../../../proxy/model/backend.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import type { TunnelStream } from '../../../proxy/model/tunnel/tunnels.ts'
import { echo, freePort, hashOf, pattern, silent, tcpBackend } from '../../support/backend.ts'
import { FakeChooser } from '../../support/chooser.ts'
import { Relay } from '../../support/etcd/relay.ts'
import { eventually } from '../../support/eventually.ts'
import { clusterService, globalService } from '../../support/model.ts'
import { folderFor, idOf, TunnelAuthority, writeFolder } from '../../support/tunnel/certificates.ts'
import {
  behindGateway,
  type ClientRig,
  gatewayOptions,
  sharedService,
  startClient,
  startGateway,
} from '../../support/tunnel/rig.ts'

// Two minutes: a tunnel is given up after 30 s.
const skip = process.env.STARLANE_TUNNEL === '1' ? false : 'npm run test:tunnel'

type Way = 'node' | 'pump'
const found = findAddon()
const whyNoPump = 'why' in found ? found.why : whyNotInPump(found.addon.tunnels)
const ways: readonly Way[] = whyNoPump === undefined ? ['node', 'pump'] : ['node']

/** Each test twice: with both ends of node:http2, and with both in pumps. */
function testBoth(name: string, run: (t: Test, way: Way) => Promise<void>): void {
  for (const way of ways) t.test(`${way}: ${name}`, { skip }, t => run(t, way))
}

/** A gateway for each relay in front of it, with the same backends. */
async function world(t: Test, way: Way, backends: readonly Backend[], gateways: number) {
  const authority = await TunnelAuthority.create()
  const folder = t.testdir()
  const serverFolder = await folderFor(join(folder, 'gateway'), authority, idOf('cluster-2', 'gateway'))
  const clientFolder = await folderFor(join(folder, 'proxy'), authority, idOf('cluster-1'))
  const options = {
    ...gatewayOptions,
    dial: { timeoutMs: 30_000, attempts: 3 },
    drainMs: 60_000,
    limits: { sessions: 100, streams: 10_000 },
  }
  const servers = []
  const relays: Relay[] = []
  for (let i = 0; i < gateways; i++) {
    const inPump = way === 'pump'
    const services = [sharedService(backends)]
    const server = await startGateway(t, { folder: serverFolder, services, options, inPump })
    servers.push(server)
    relays.push(await Relay.open(t, `http://127.0.0.1:${server.port}`))
  }
  const at = relays.map(({ port }) => ({ host: '127.0.0.1', port, text: `127.0.0.1:${port}` }))
  let engine: Engine | undefined
  const chooser = new Reporter()
  const proxy = await startClient(t, {
    folder: clientFolder,
    gateways: at,
    before: tunnels => {
      if (way === 'node') return
      engine = createNativeEngine({ chooser, tunnels, options: engineOptions, clock: systemClock, log: silentLog })
      t.teardown(() => engine?.destroy())
    },
  })
  await eventually(() => {
    const states = proxy.client.views('cluster-2')?.map(({ state }) => state)
    if (states?.some(state => state !== 'open')) throw new Error(`${states}`)
  }, 30_000)
  const doors = new Map<Backend, Promise<number>>()
  /** A client's socket whose bytes a tunnel carries to the backend. */
  const reach = async (backend: Backend) => {
    if (!engine) return joined(t, await proxy.dial(backend))
    const door = doors.get(backend) ?? openDoor(engine, backend)
    doors.set(backend, door)
    return joinedByPump(t, chooser, await door)
  }
  return { authority, serverFolder, clientFolder, servers, relays, proxy, reach, backends: behindGateway(backends) }
}

const engineOptions: EngineOptions = {
  dial: { timeoutMs: 30_000, attempts: 1, budgetMs: 60_000 },
  idle: { tcpMs: 3_600_000, halfClosedMs: 60_000, udpMs: 60_000 },
  drainMs: 60_000,
  limits: { connections: 10_000, udpSessions: 100 },
}

/** A frontend of the engine for one backend; its port. */
async function openDoor(engine: Engine, backend: Backend): Promise<number> {
  const port = await freePort('127.0.0.1')
  const local = clusterService({ cluster: 'cluster-1', ports: [{ name: '', protocol: 'TCP', port }] })
  const service = globalService({ local, backends: [backend] })
  const [frontend] = service.frontends
  if (!frontend) throw new Error('no frontend')
  await engine.listen({ ...frontend, ip: '127.0.0.1', port, backends: [backend] }, service)
  return port
}

/** Tells what becomes of each client, by its port. */
class Reporter extends FakeChooser {
  readonly #connected = new Map<number, PromiseWithResolvers<void>>()
  readonly #closed = new Map<number, PromiseWithResolvers<string>>()

  connected(port: number): Promise<void> {
    return entryOf(this.#connected, port).promise
  }

  ended(port: number): Promise<string> {
    return entryOf(this.#closed, port).promise
  }

  override result(...[flow, backend, result]: Parameters<FakeChooser['result']>): void {
    super.result(flow, backend, result)
    const entry = entryOf(this.#connected, flow.client.port)
    if (result.outcome === 'connected') entry.resolve()
    else entry.reject(new Error(`the dial has failed: ${result.outcome} ${result.error?.message}`))
  }

  override closed(...[flow, backend, totals]: Parameters<FakeChooser['closed']>): void {
    super.closed(flow, backend, totals)
    entryOf(this.#closed, flow.client.port).resolve(totals.reason)
  }
}

function entryOf<T>(entries: Map<number, PromiseWithResolvers<T>>, port: number): PromiseWithResolvers<T> {
  const entry = entries.get(port) ?? Promise.withResolvers<T>()
  entries.set(port, entry)
  return entry
}

async function joinedByPump(t: Test, reporter: Reporter, port: number) {
  const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  client.on('error', () => {})
  t.teardown(() => client.destroy())
  await once(client, 'connect')
  const own = client.localPort ?? 0
  await reporter.connected(own)
  return { client, done: () => reporter.ended(own) }
}

/** A client's socket whose bytes the stream carries. */
async function joined(t: Test, stream: TunnelStream) {
  const door = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  await once(door, 'listening')
  const { port } = door.address() as { port: number }
  const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  client.on('error', () => {})
  const [near] = (await once(door, 'connection')) as [Socket]
  near.on('error', () => {})
  door.close()
  t.teardown(() => {
    client.destroy()
    near.destroy()
  })
  const done = new Promise<string>(resolve => stream.carry(near, resolve))
  return { client, done: () => done }
}

async function says(client: Socket, text: string): Promise<string> {
  client.write(text)
  return String((await once(client, 'data'))[0])
}

testBoth(
  'a tunnel that falls silent is left within 2 s for another gateway; what it carries waits, and goes on',
  async (t, way) => {
    const { backend } = await tcpBackend(t, echo)
    const { relays, proxy, reach, backends } = await world(t, way, [backend], 2)
    const [behind] = backends as [Backend]
    const carried = await Promise.all([1, 2, 3, 4].map(async () => reach(behind)))
    for (const { client } of carried) t.equal(await says(client, 'a'), 'a')
    const [dead] = relays as [Relay]
    dead.stall()
    const since = performance.now()
    // Under load: dials all the time. Those that have gone into the dead tunnel move, and none fails.
    const states = () => proxy.client.views('cluster-2')?.map(({ state }) => state) ?? []
    const dial = async () => {
      const began = performance.now()
      const stream = await proxy.dial(behind)
      stream.reset()
      return performance.now() - began
    }
    const before: number[] = []
    while (!states().includes('suspect')) {
      before.push(await dial())
      await new Promise(resolve => setTimeout(resolve, 20))
    }
    const found = performance.now() - since
    t.ok(
      Math.max(...before) < 2500,
      `of ${before.length} dials, the slowest took ${Math.round(Math.max(...before))} ms`,
    )
    t.ok(found < 4000, `it is suspect after ${Math.round(found)} ms`)
    const after: number[] = []
    for (let i = 0; i < 20; i++) after.push(await dial())
    t.ok(Math.max(...after) < 900, 'and then none waits for it')
    t.same(states().sort(), ['open', 'suspect'])
    dead.resume()
    for (const { client } of carried) t.equal(await says(client, 'b'), 'b', 'nothing was reset')
    await eventually(() => {
      if (proxy.client.views('cluster-2')?.some(({ state }) => state !== 'open')) throw new Error('still suspect')
    }, 30_000)
  },
)

testBoth('a tunnel that stays silent is given up, and its connections are reset', async (t, way) => {
  const { backend } = await tcpBackend(t, echo)
  const { relays, proxy, reach, backends } = await world(t, way, [backend], 1)
  const { client, done } = await reach(backends[0] as Backend)
  relays[0]?.stall()
  client.write('lost')
  const broken = once(client, 'error').catch(error => [error])
  t.equal(await done(), 'backend-lost')
  const [error] = await broken
  t.equal(error.code, 'ECONNRESET')
  await t.rejects(proxy.dial(backends[0] as Backend), { code: 'ENETUNREACH' })
})

testBoth('a gateway that is gone: dials go to the other, and come back with it', async (t, way) => {
  const { backend } = await tcpBackend(t, echo)
  const { relays, proxy, backends, servers } = await world(t, way, [backend], 2)
  const [behind] = backends as [Backend]
  const [first] = relays as [Relay]
  const load: Promise<void>[] = []
  for (let i = 0; i < 200; i++) {
    load.push(proxy.dial(behind).then(stream => stream.reset()))
    if (i === 100) await first.cut()
    if (i % 10 === 0) await new Promise(resolve => setTimeout(resolve, 5))
  }
  await Promise.all(load)
  t.pass('no dial has failed')
  await first.mend()
  await eventually(() => {
    const states = proxy.client.views('cluster-2')?.map(({ state }) => state)
    if (states?.some(state => state !== 'open')) throw new Error(`${states}`)
  }, 30_000)
  t.same(
    servers.flatMap(({ chooser }) => chooser.broken),
    [],
  )
})

testBoth('a gateway that stops tells so, and no dial is lost on it', async (t, way) => {
  const { backend } = await tcpBackend(t, echo)
  const { proxy, reach, backends, servers } = await world(t, way, [backend], 2)
  const [behind] = backends as [Backend]
  // One of them at least is on the gateway that will stop.
  const carried = await Promise.all([1, 2, 3, 4].map(async () => reach(behind)))
  const load = (async () => {
    for (let dials = 0; dials < 100; dials++) {
      const stream = await proxy.dial(behind)
      stream.reset()
    }
  })()
  const closing = servers[0]?.gateway.close()
  for (const { client } of carried) t.equal(await says(client, 'still here'), 'still here')
  await load
  for (const { client } of carried) client.destroy()
  await closing
})

testBoth('1,000 streams: spread over tunnels, all served, and none slow because one is not read', async (t, way) => {
  const { backend } = await tcpBackend(t, echo)
  const { backend: torrent } = await tcpBackend(t, socket => {
    const chunk = Buffer.alloc(1 << 16)
    const more = () => {
      while (!socket.destroyed && socket.write(chunk));
    }
    socket.on('drain', more)
    more()
  })
  const { proxy, reach, backends } = await world(t, way, [backend, torrent], 1)
  const [behind, flood] = backends as [Backend, Backend]
  const unread = await Promise.all(Array.from({ length: 10 }, async () => reach(flood)))
  for (const { client } of unread) client.pause()
  const carried = await Promise.all(
    Array.from({ length: 100 }, async () => {
      return Promise.all(Array.from({ length: 10 }, () => reach(behind)))
    }),
  ).then(lists => lists.flat())
  const [view] = proxy.client.views('cluster-2') ?? []
  t.ok((view?.tunnels ?? 0) >= 10, `${view?.tunnels} tunnels for ${view?.streams} streams`)
  t.equal(view?.streams, 1010)
  const answers = await Promise.all(carried.map(({ client }, i) => says(client, `${i}`)))
  t.same(
    answers,
    answers.map((_, i) => `${i}`),
  )
})

testBoth('bytes arrive whole while certificates rotate', async (t, way) => {
  const { backend } = await tcpBackend(t, echo)
  const rig = await world(t, way, [backend], 1)
  const data = pattern(16 << 20)
  const { client, done } = await rig.reach(rig.backends[0] as Backend)
  const chunks: Buffer[] = []
  client.on('data', chunk => chunks.push(chunk))
  const ended = once(client, 'end')
  const rotate = async (folder: string, id: string) => {
    const { cert, key } = await rig.authority.issue(id, { to: Date.now() + 48 * 3_600_000 })
    writeFolder(folder, { 'tls.crt': cert, 'tls.key': key })
  }
  for (let at = 0; at < data.length; at += 1 << 20) {
    client.write(data.subarray(at, at + (1 << 20)))
    if (at === 4 << 20) {
      await rotate(rig.clientFolder, idOf('cluster-1'))
      await rotate(rig.serverFolder, idOf('cluster-2', 'gateway'))
      await rotated(rig.proxy)
    }
  }
  client.end()
  await ended
  t.equal(hashOf(Buffer.concat(chunks)), hashOf(data))
  t.equal(await done(), 'done')
})

/** Waits until a tunnel with a new certificate is open. */
async function rotated({ lines }: ClientRig): Promise<void> {
  await eventually(() => {
    if (!lines.some(({ event }) => event === 'certificate.rotated')) throw new Error('not yet')
  }, 30_000)
}

testBoth(
  'a cluster that is no longer reached through gateways: its flows go on, and nothing is left in the end',
  async (t, way) => {
    const { backend } = await tcpBackend(t, echo)
    const { proxy, reach, backends, servers } = await world(t, way, [backend], 1)
    const [behind] = backends as [Backend]
    const { client, done } = await reach(behind)
    proxy.client.follow([])
    t.equal(proxy.client.carries(behind), false)
    t.equal(await says(client, 'still here'), 'still here')
    await t.rejects(proxy.dial(behind), { code: 'ENETUNREACH' })
    proxy.client.destroy()
    t.equal(await done(), 'backend-lost')
    await eventually(() => {
      const { sessions, streams } = servers[0]?.gateway.view() ?? {}
      if (sessions !== 0 || streams !== 0) throw new Error(`${sessions} sessions, ${streams} streams`)
    }, 30_000)
  },
)

testBoth('a backend that nobody reads stalls its client only', async (t, way) => {
  const { backend } = await tcpBackend(t, silent)
  const { backend: quick } = await tcpBackend(t, echo)
  const { reach, backends } = await world(t, way, [backend, quick], 1)
  const { client } = await reach(backends[0] as Backend)
  const chunk = Buffer.alloc(1 << 16)
  const stalled = await eventually(() => {
    while (client.writableLength < 1 << 20) client.write(chunk)
    const before = client.bytesWritten - client.writableLength
    return new Promise<number>((resolve, reject) =>
      setTimeout(() => {
        if (client.bytesWritten - client.writableLength === before) resolve(before)
        else reject(new Error('it still moves'))
      }, 100),
    )
  })
  t.ok(stalled < 32 << 20, `${stalled >> 10} KiB are on their way`)
  const other = await reach(backends[1] as Backend)
  t.equal(await says(other.client, 'quick'), 'quick')
})
