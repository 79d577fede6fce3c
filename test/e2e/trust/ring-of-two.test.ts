/** A ring through a second Starlane: each has the other's frontend as its backend. Two processes, one of each engine. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import { findAddon } from '../../../proxy/dataplane/native/addon.ts'
import type { Status } from '../../../proxy/model/views.ts'
import { freePort } from '../../support/backend.ts'
import { eventually } from '../../support/eventually.ts'
import { createWorld } from '../../support/world.ts'

const native = findAddon()
// Most of the time they wait.
t.jobs = 2

const skip = process.platform === 'linux' ? false : 'needs /proc'

for (const protocol of ['TCP', 'UDP'] as const) {
  t.test(`${protocol}: it is found, shown and broken, and takes few descriptors`, { skip }, async t => {
    const vips = protocol === 'TCP' ? (['127.98.1.1', '127.98.1.2'] as const) : (['127.98.2.1', '127.98.2.2'] as const)
    const engines = ['streams', 'why' in native ? 'streams' : 'native'] as const
    const both = await Promise.all([0, 1].map(i => member(t, engines[i], protocol, vips[i], vips[1 - i])))
    let most = 0
    const watching = setInterval(() => {
      most = Math.max(most, ...both.map(({ descriptors }) => descriptors()))
    }, 50)
    t.teardown(() => clearInterval(watching))

    const stop = knock(t, protocol, vips[0])
    const found = await eventually(async () => {
      const problems = (await Promise.all(both.map(({ problems }) => problems()))).flat()
      assert.ok(problems.length > 0, 'no ring was found yet')
      return problems
    }, 60_000)
    for (const { where, message } of found) {
      t.equal(where, 'cluster-2 default/rebel-base')
      t.match(message, /127\.98\.[12]\.[12]:7000.* come back .*list the addresses of pods in cluster-2 instead/)
    }
    stop()
    // Sessions end when they are idle, connections as soon as the chain is broken.
    await eventually(async () => {
      for (const { open } of both) assert.ok((await open()) < 10, `${await open()} flows are still open`)
    }, 40_000)
    t.ok(most < 1500, `${most} descriptors at most`)
    if (protocol === 'TCP') t.ok(await refused(vips[0]), 'the next client is refused at once')
  })
}

/** A Starlane with one service, whose only backend is the other's frontend. */
async function member(t: Test, engine: string | undefined, protocol: 'TCP' | 'UDP', own = '', other = '') {
  const world = await createWorld(t)
  const ports = { port: 7000, targetPort: 7000, protocol }
  await world.declare('cluster-1', { clusterIP: own, ...ports, pods: [] })
  await world.declare('cluster-2', { ...ports, pods: [{ ip: other }] })
  const admin = `127.0.0.1:${await freePort('127.0.0.1')}`
  await world.write({
    admin: { listen: admin },
    health: { active: { type: 'none' } },
    proxy: { engine, drain: '300ms', idle: { udp: '15s' } },
    log: { format: 'json' },
  })
  const child = spawn(process.execPath, ['bin/starlane.js', 'run', '-c', world.file], {
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
  const get = async (path: string) => await fetch(`http://${admin}${path}`)
  return {
    descriptors: () => readdirSync(`/proc/${child.pid}/fd`).length,
    problems: async () =>
      ((await (await get('/v1/status')).json()) as Status).problems.filter(({ code }) => code === 'LOOP'),
    open: async () => {
      const { components } = (await (await get('/v1/status')).json()) as Status
      const detail = components.find(({ name }) => name === 'Proxy')?.detail ?? ''
      const [, connections, sessions] = /(\d+) connections?, (\d+) UDP/.exec(detail) ?? []
      return Number(connections) + Number(sessions)
    },
  }
}

/** Clients that come one after another, and give up only when told to. */
function knock(t: Test, protocol: 'TCP' | 'UDP', host: string): () => void {
  let stopped = false
  const open: { end(): void }[] = []
  const again = () => {
    if (stopped) return
    if (protocol === 'TCP') {
      const socket = connect(7000, host).on('error', () => {})
      socket.on('close', () => setTimeout(again, 100))
      open.push({ end: () => socket.destroy() })
    } else {
      const socket = createSocket('udp4')
      socket.send('round', 7000, host)
      open.push({ end: () => socket.close() })
    }
  }
  const stop = () => {
    stopped = true
    for (const one of open.splice(0)) one.end()
  }
  t.teardown(stop)
  again()
  return stop
}

function refused(host: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(7000, host)
    socket.on('error', () => {})
    socket.on('close', () => resolve(true))
    setTimeout(() => {
      socket.destroy()
      resolve(false)
    }, 3000).unref()
  })
}
