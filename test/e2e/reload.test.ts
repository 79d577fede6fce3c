/** SIGHUP to a real process: options change in place, and no flow, client or question notices. Both engines. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { Resolver } from 'node:dns/promises'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { findAddon } from '../../proxy/dataplane/native/addon.ts'
import type { ServiceView, Status } from '../../proxy/model/views.ts'
import { freePort } from '../support/backend.ts'
import { eventually } from '../support/eventually.ts'
import { ask, createWorld, startPod, startUdpPod } from '../support/world.ts'

const native = findAddon()
const engines = [
  { engine: 'streams', skip: false },
  { engine: 'native', skip: 'why' in native ? native.why : false },
] as const

/** Each is the whole of what differs from the first configuration. */
const reloads: readonly object[] = [
  { proxy: { dial: { timeout: '900ms' } } },
  { proxy: { dial: { timeout: '900ms' }, idle: { tcp: '30m', halfClosed: '20m', udp: '50s' } } },
  { proxy: { limits: { connections: 9000, udpSessions: 8000 }, unlisted: '1h' } },
  { health: { active: { interval: '300ms', timeout: '200ms', fall: 4 } } },
  { health: { active: { type: 'none' }, passive: { consecutive: 3 } } },
  { proxy: { balancer: 'least-connections' }, health: { active: { type: 'tcp', interval: '200ms' } } },
  { plugins: [{ use: 'circuit-breaker', options: { minimum: 9 } }, { use: 'affinity' }] },
  { proxy: { drain: '250ms' }, dns: { ttl: '7s', pods: 'insecure' } },
  {},
]

for (const { engine, skip } of engines) {
  t.test(`${engine}: nothing is cut and nothing fails through reloads of many keys`, { skip }, async t => {
    const starlane = await start(t, engine)
    const { world, vip, udpVip, reload } = starlane
    const live = await Promise.all(Array.from({ length: 50 }, () => echo(t, vip)))
    const datagrams = await udpEcho(t, udpVip)
    const arrivals = newcomers(t, vip)
    const questions = asked(t, starlane.dns)
    for (const [i, changes] of reloads.entries()) {
      // A frontend that comes and goes meanwhile.
      if (i % 2 === 0)
        await world.declare('cluster-1', { name: 'guest', clusterIP: world.ip(3), pods: [{ ip: world.ip(11) }] })
      else await world.undeclare('cluster-1', 'guest')
      await reload(changes)
      if (i % 2 === 0) await eventually(async () => assert.equal(await ask(world.ip(3)), 'pod'))
      await Promise.all(live.map(one => one.more(2)))
      await datagrams.more(2)
      await arrivals.more(5)
      await questions.more(2)
    }
    // Longer than the drain time, after which a replaced engine would reset its flows.
    const until = performance.now() + 600
    while (performance.now() < until) await Promise.all([...live, arrivals].map(one => one.more(1)))
    t.same(
      live.filter(({ ended }) => ended()),
      [],
      'the live connections',
    )
    t.same(await arrivals.stop(), [], 'new connections')
    t.same(await questions.stop(), [], 'questions')
    t.equal(datagrams.backends.size, 1, 'the UDP session has stayed with its backend')
    t.equal((await starlane.status()).problems.length, 0)
  })

  t.test(`${engine}: new limits apply at once, also to flows in progress`, { skip }, async t => {
    const { vip, reload } = await start(t, engine)
    const busy = await echo(t, vip)
    const quiet = await echo(t, vip)
    await reload({ proxy: { limits: { connections: 2 } } })
    await t.rejects(ask(vip), { code: 'ECONNRESET' })
    await reload({ proxy: { limits: { connections: 3 } } })
    t.equal(await ask(vip), 'pod')
    await reload({ proxy: { idle: { tcp: '300ms' } } })
    await eventually(async () => {
      await busy.more(1)
      assert.ok(quiet.ended())
    })
    t.notOk(busy.ended())
  })

  t.test(`${engine}: an address of DNS is left once the new one answers`, { skip }, async t => {
    const { dns: first, reload, status } = await start(t, engine)
    const answers = (server: string) => addressOf(server).then(([address]) => address !== undefined)
    t.ok(await answers(first))
    const taken = createSocket('udp4')
    t.teardown(() => taken.close())
    await new Promise<void>(resolve => taken.bind(0, '127.0.0.1', resolve))
    await reload({ dns: { listen: `127.0.0.1:${taken.address().port}` } })
    t.match((await status()).problems, [{ code: 'LISTEN' }])
    t.ok(await answers(first), 'the new one is taken')
    const second = `127.0.0.1:${await freePort('127.0.0.1')}`
    const arrivals = repeated(t, async () => void (await addressOf(first)))
    await arrivals.more(1)
    await reload({ dns: { listen: second } })
    t.same((await status()).problems, [])
    await arrivals.more(2)
    t.same(await arrivals.stop(), [], 'who asks there still')
    t.ok(await answers(second))
    await reload({ dns: { listen: first } })
    t.ok(await answers(first), 'and back')
  })

  t.test(`${engine}: verdicts are kept while the checks get other options`, { skip }, async t => {
    const { world, vip, reload, service } = await start(t, engine)
    await world.declare('cluster-1', { clusterIP: world.ip(1), pods: [{ ip: world.ip(11) }, { ip: world.ip(19) }] })
    const down = async () => {
      const { backends } = await service()
      const health = backends.map(({ address, health }) => `${address} ${health}`)
      assert.deepEqual(health.sort(), [`${world.ip(11)} up`, `${world.ip(19)} down`])
    }
    await eventually(down)
    await reload({ health: { active: { interval: '1m', timeout: '1s', fall: 9 } } })
    await down()
    for (let i = 0; i < 10; i++) t.equal(await ask(vip), 'pod')
  })
}

/** A Starlane in a process of its own, with a TCP service (`vip`), a UDP one (`udpVip`), and their pods. */
async function start(t: Test, engine: 'streams' | 'native') {
  const world = await createWorld(t)
  const [vip, udpVip] = [world.ip(1), world.ip(2)]
  await startPod(t, world.ip(11), 'pod')
  for (const last of [12, 13]) await startUdpPod(t, world.ip(last), `pod-${last}`)
  const udp = [world.ip(12), world.ip(13)].map(ip => ({ ip }))
  await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: world.ip(11) }] })
  await world.declare('cluster-1', { name: 'echo', clusterIP: udpVip, protocol: 'UDP', pods: udp })
  const dns = `127.0.0.1:${await freePort('127.0.0.1')}`
  const admin = `127.0.0.1:${await freePort('127.0.0.1')}`
  const write = (changes: { readonly proxy?: object; readonly dns?: object; readonly health?: object } = {}) =>
    world.write({
      log: { format: 'json' },
      admin: { listen: admin },
      ...changes,
      proxy: { engine, drain: '200ms', ...changes.proxy },
      dns: { listen: dns, upstream: [], ...changes.dns },
    })
  await write()
  const child = spawn(process.execPath, ['bin/starlane.js', 'run', '-c', world.file], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  t.teardown(() => stop(child))
  const log = logOf(child)
  await log.times('ready', 1)
  let reloads = 0
  const reload = async (changes: object) => {
    await write(changes)
    child.kill('SIGHUP')
    await log.times('reload.done', ++reloads)
  }
  const status = async () => (await (await fetch(`http://${admin}/v1/status`)).json()) as Status
  const service = async () =>
    (await (await fetch(`http://${admin}/v1/services/default/rebel-base`)).json()) as ServiceView
  return { world, vip, udpVip, dns, reload, status, service }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return
  const closed = once(child, 'close')
  child.kill('SIGKILL')
  await closed
}

function logOf(child: ChildProcess) {
  let text = ''
  child.stderr?.on('data', chunk => {
    text += chunk
  })
  /** Resolves when the event has been logged so often. */
  const times = (event: string, most: number) =>
    eventually(() => {
      assert.ok(!text.includes('"event":"reload.refused"'), text)
      assert.ok(text.split(`"event":"${event}"`).length > most, `no "${event}" in the log: ${text}`)
    }, 30_000)
  return { times }
}

/** A connection that stays; `more` sends lines and waits for each to come back. */
async function echo(t: Test, host: string) {
  const socket = connect({ host, port: 7000 })
  t.teardown(() => socket.destroy())
  let ended = false
  socket
    .on('error', () => {})
    .on('close', () => {
      ended = true
    })
  await line(socket)
  const more = async (times: number) => {
    for (let i = 0; i < times; i++) {
      socket.write('.\n')
      await line(socket)
    }
  }
  return { more, ended: () => ended }
}

async function line(socket: Socket): Promise<void> {
  for (let heard = ''; !heard.includes('\n'); ) {
    const [chunk] = await Promise.race([
      once(socket, 'data'),
      once(socket, 'close').then(() => assert.fail('the connection was cut')),
    ])
    heard += chunk
  }
}

/** One UDP session, and the backends that have answered it. */
async function udpEcho(t: Test, host: string) {
  const socket = createSocket('udp4')
  t.teardown(() => socket.close())
  const backends = new Set<string>()
  const more = async (times: number) => {
    for (let i = 0; i < times; i++) {
      socket.send('x', 7000, host)
      const [message] = await once(socket, 'message', { signal: AbortSignal.timeout(5000) })
      backends.add(`${message}`.split(':')[0] as string)
    }
  }
  await more(1)
  return { more, backends }
}

/** One new connection after another. */
function newcomers(t: Test, host: string) {
  return repeated(t, async () => assert.equal(await ask(host), 'pod'))
}

/** One question after another, each from a new socket. */
function asked(t: Test, server: string) {
  return repeated(t, async () => void (await addressOf(server)))
}

function addressOf(server: string): Promise<string[]> {
  const resolver = new Resolver({ timeout: 2000, tries: 1 })
  resolver.setServers([server])
  return resolver.resolve4('rebel-base.default.svc.cluster.local')
}

/** Does it again and again until `stop`, which resolves with what went wrong. */
function repeated(t: Test, attempt: () => Promise<void>) {
  const faults: unknown[] = []
  let done = 0
  let stopped = false
  const run = (async () => {
    while (!stopped) {
      await attempt().catch(error => faults.push(error))
      done++
    }
  })()
  const more = (times: number) => {
    const upTo = done + times
    return eventually(() => assert.ok(done >= upTo), 10_000)
  }
  const stop = async () => {
    stopped = true
    await run
    return faults
  }
  t.teardown(stop)
  return { more, stop }
}
