/** `starlane run`: signals, reload, log lines, and the whole program once. */
import { spawn } from 'node:child_process'
import { EventEmitter } from 'node:events'
import { closeSync, existsSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import t, { type Test } from 'tap'
import { serve } from '../../../proxy/cli/serve.ts'
import type { Io } from '../../../proxy/cli/terminal/io.ts'
import type { Loaded } from '../../../proxy/config/load.ts'
import type { Ready, Runtime } from '../../../proxy/runtime.ts'
import { freePort } from '../../support/backend.ts'
import { FakeClock } from '../../support/clock.ts'
import { eventually } from '../../support/eventually.ts'
import { runLine } from './stage.ts'

/** `starlane run` with a runtime that only records its calls. */
function start(t: Test, given: Partial<Runtime> = {}, { isTTY = false, env = {} as Io['env'] } = {}) {
  const file = join(t.testdir({}), 'starlane.yaml')
  const configure = (more = '') =>
    writeFileSync(file, `cluster: one\nclusters: [{ name: one, id: 1, source: { manifests: . } }]\n${more}\n`)
  configure()
  const asked: string[] = []
  const drain = Promise.withResolvers<{ connections: number; udpSessions: number }>()
  const ready = Promise.withResolvers<Ready>()
  const handover = Promise.withResolvers<void>()
  const told: string[] = []
  let respawned = 0
  const loads: Loaded[] = []
  const runtime: Runtime = {
    start: async () => void asked.push('start'),
    ready: ready.promise,
    status: () => {
      throw new Error('nobody asks')
    },
    service: () => undefined,
    reload: async loaded => void loads.push(loaded),
    close: () => {
      asked.push('close')
      return drain.promise
    },
    handedOver: handover.promise,
    notify: text => void told.push(text),
    destroy: () => void asked.push('destroy'),
    ...given,
  }
  let text = ''
  const clock = new FakeClock()
  const world = new EventEmitter()
  const output = {
    isTTY,
    write: (written: string) => {
      text += written
    },
  }
  const io: Io = {
    stdout: output,
    stderr: output,
    env,
    clock,
    process: world,
    respawn: () => void respawned++,
  }
  const ended = serve(io, file, async () => runtime)
  const lines = () => text.trim().split('\n').filter(Boolean)
  const logged = (event: string) =>
    eventually(() => {
      const line = lines()
        .map(line => JSON.parse(line))
        .find(line => line.event === event)
      if (!line) throw new Error(`"${event}" is not in the log: ${text}`)
      return line
    })
  const started = () =>
    eventually(() => {
      if (world.eventNames().length === 0 || !asked.includes('start')) throw new Error('it has not started')
    })
  return {
    ended,
    started,
    asked,
    loads,
    world,
    logged,
    lines,
    configure,
    ready,
    drain,
    handover,
    told,
    clock,
    respawned: () => respawned,
    text: () => text,
  }
}

const addresses = { dns: '127.0.0.1:5353', admin: '127.0.0.1:9911', engine: 'streams', listeners: 4, services: 3 }

t.test('the log line ready has the addresses', async t => {
  const { ready, logged, world, drain, ended } = start(t)
  ready.resolve(addresses)
  t.match(await logged('ready'), { level: 'info', time: '2027-01-15T08:00:00.000Z', ...addresses, ms: 0 })
  world.emit('SIGTERM', 'SIGTERM')
  drain.resolve({ connections: 2, udpSessions: 1 })
  t.equal(await ended, 0)
})

t.test('the runtime gets the environment: node and API server of a Pod, KUBECONFIG of a user', async t => {
  const file = join(t.testdir({}), 'starlane.yaml')
  writeFileSync(file, 'cluster: one\nclusters: [{ name: one, id: 1, source: { manifests: . } }]\n')
  const env = { NODE_NAME: 'node-1', KUBERNETES_SERVICE_HOST: '10.96.0.1' }
  const silent = { write: () => {} }
  const io: Io = { stdout: silent, stderr: silent, env, clock: new FakeClock(), process: new EventEmitter() }
  const told = await new Promise(resolve => {
    void serve(io, file, async parts => {
      resolve(parts.env)
      throw new Error('that is enough')
    }).catch(() => {})
  })
  t.same(told, env)
})

t.test('a first signal drains, and the exit code is 0', async t => {
  for (const signal of ['SIGTERM', 'SIGINT']) {
    const { started, world, logged, asked, drain, ended } = start(t)
    await started()
    world.emit(signal, signal)
    t.match(await logged('stop.draining'), { signal })
    t.strictSame(asked, ['start', 'close'])
    drain.resolve({ connections: 2, udpSessions: 1 })
    t.equal(await ended, 0)
    t.match(await logged('stop.done'), { cutConnections: 2, cutSessions: 1 })
    t.same(world.eventNames(), [], 'nothing listens on')
  }
})

t.test(
  'the watchdog of the service manager hears twice in its interval, and no more from a process that is replaced',
  async t => {
    const env = { WATCHDOG_USEC: '30000000', WATCHDOG_PID: '1' }
    const { started, clock, handover, drain, told, logged, ended } = start(t, {}, { env })
    await started()
    await clock.advance(31_000)
    t.same(told, ['WATCHDOG=1', 'WATCHDOG=1'])
    handover.resolve()
    await logged('handover.draining')
    await clock.advance(60_000)
    t.equal(told.length, 2)
    drain.resolve({ connections: 0, udpSessions: 0 })
    await ended

    const without = start(t)
    await without.started()
    await without.clock.advance(60_000)
    t.same(without.told, [])
    without.world.emit('SIGTERM', 'SIGTERM')
    without.drain.resolve({ connections: 0, udpSessions: 0 })
    await without.ended
  },
)

t.test('SIGUSR2 starts the program anew, and once that serves, this process drains and ends well', async t => {
  const { started, world, logged, asked, drain, handover, told, respawned, ready, ended } = start(t)
  await started()
  ready.resolve(addresses)
  await logged('ready')
  t.same(told, [`MAINPID=${process.pid}\nREADY=1`])
  world.emit('SIGUSR2', 'SIGUSR2')
  t.equal(respawned(), 1)
  t.strictSame(asked, ['start'])
  handover.resolve()
  await logged('handover.draining')
  world.emit('SIGTERM', 'SIGTERM')
  t.strictSame(asked, ['start', 'close'], 'it drains already')
  drain.resolve({ connections: 0, udpSessions: 0 })
  t.equal(await ended, 0)
  t.equal(told.length, 1, 'the service manager follows the other process')
})

t.test('a second signal stops at once', async t => {
  const { started, world, logged, asked, ended } = start(t)
  await started()
  world.emit('SIGTERM', 'SIGTERM')
  world.emit('SIGINT', 'SIGINT')
  await logged('stop.cut')
  t.equal(await ended, 1)
  t.ok(asked.includes('destroy'))
})

t.test('SIGHUP reloads a good file; a bad one changes nothing', async t => {
  const { started, world, logged, loads, configure, lines } = start(t)
  await started()
  configure('log: { level: debug }')
  world.emit('SIGHUP', 'SIGHUP')
  await logged('reload.done')
  t.equal(loads[0]?.config.log.level, 'debug')

  configure('log: { level: loud }')
  world.emit('SIGHUP', 'SIGHUP')
  const refused = await logged('reload.refused')
  t.match(refused.why, /starlane\.yaml:3 .*"loud"/)
  t.equal(loads.length, 1)

  configure('log: { level: error }')
  world.emit('SIGHUP', 'SIGHUP')
  await eventually(() => {
    if (loads.length < 2) throw new Error('not yet reloaded')
  })
  world.emit('SIGTERM', 'SIGTERM')
  t.notMatch(lines().at(-1), 'draining', 'the new level holds')
})

t.test('a reload that the runtime refuses is logged, and it keeps running', async t => {
  const { started, world, logged, drain, ended } = start(t, {
    reload: () => Promise.reject(new Error('plugin is broken')),
  })
  await started()
  world.emit('SIGHUP', 'SIGHUP')
  t.match(await logged('reload.refused'), { level: 'error', why: 'plugin is broken' })
  world.emit('SIGTERM', 'SIGTERM')
  drain.resolve({ connections: 2, udpSessions: 1 })
  t.equal(await ended, 0)
})

t.test('an unhandled rejection is logged; an uncaught exception is logged and stops the process', async t => {
  const { started, world, logged, asked, ended } = start(t)
  await started()
  world.emit('unhandledRejection', new Error('forgotten'))
  t.match(await logged('promise.rejected'), { level: 'error', error: /Error: forgotten\n.*run\.test/ })
  t.notOk(asked.includes('destroy'))
  world.emit('uncaughtException', new Error('torn'))
  t.match(await logged('process.exception'), { error: /Error: torn/ })
  t.equal(await ended, 1)
  t.ok(asked.includes('destroy'))
})

t.test('an uncaught exception during startup stops the process too', async t => {
  const { ended, world, asked, drain } = start(t, { start: () => new Promise(() => {}) })
  await eventually(() => {
    if (!world.eventNames().includes('uncaughtException')) throw new Error('it does not listen yet')
  })
  world.emit('uncaughtException', new Error('torn'))
  drain.resolve({ connections: 2, udpSessions: 1 })
  t.equal(await ended, 1)
  t.ok(asked.includes('destroy'))
})

t.test('a runtime that cannot start is closed, and its error is thrown', async t => {
  const failure = new Error('the port is taken')
  const { ended, asked, drain, world } = start(t, { start: () => Promise.reject(failure) })
  drain.resolve({ connections: 2, udpSessions: 1 })
  await t.rejects(ended, failure)
  t.same(asked, ['close'])
  t.same(world.eventNames(), [])
})

t.test('on a terminal the log is readable text', async t => {
  const { ready, text, world, drain, ended } = start(t, {}, { isTTY: true })
  ready.resolve(addresses)
  await eventually(() => {
    if (!text().includes('ready')) throw new Error(`it says "${text()}"`)
  })
  t.match(
    stripVTControlCharacters(text()),
    /^\[[\d:]+\] INFO: ready dns=127\.0\.0\.1:5353 admin=127\.0\.0\.1:9911 engine=streams listeners=4 services=3 ms=0\n$/,
  )
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours
  t.match(text(), /\x1b\[\d+m/)
  world.emit('SIGTERM', 'SIGTERM')
  drain.resolve({ connections: 2, udpSessions: 1 })
  await ended
})

t.test('warnings of the configuration are logged', async t => {
  const { started, configure, world, logged } = start(t)
  await started()
  configure('admin: { listen: 0.0.0.0:9911 }')
  world.emit('SIGHUP', 'SIGHUP')
  t.match(await logged('config.warning'), { level: 'warn', text: /starlane\.yaml:3 .*admin\.listen/ })
})

/** The program itself, on ports of the kernel's choice. */
function starlane(t: Test, file: string) {
  const child = spawn(process.execPath, ['bin/starlane.js', 'run', '-c', file])
  let text = ''
  child.stderr.on('data', chunk => {
    text += chunk
  })
  const code = new Promise(resolve => child.once('close', resolve))
  t.teardown(() => child.kill('SIGKILL'))
  const logged = (event: string) =>
    eventually(() => {
      const line = text.split('\n').find(line => line.includes(`"event":"${event}"`))
      if (!line) throw new Error(`"${event}" is not in the log: ${text}`)
      return JSON.parse(line)
    }, 30_000)
  return { child, code, logged, text: () => text }
}

t.test(
  'a disk that is full of logs stops nothing',
  { skip: !existsSync('/dev/full') && 'no /dev/full here' },
  async t => {
    const admin = `127.0.0.1:${await freePort('127.0.0.1')}`
    const file = join(t.testdir({ manifests: {} }), 'starlane.yaml')
    writeFileSync(
      file,
      `cluster: one\nclusters: [{ name: one, id: 1, source: { manifests: ./manifests } }]\ndns: { listen: '127.0.0.1:0', upstream: [] }\nadmin: { listen: '${admin}' }\n`,
    )
    const full = openSync('/dev/full', 'w')
    const child = spawn(process.execPath, ['bin/starlane.js', 'run', '-c', file], { stdio: ['ignore', 'ignore', full] })
    t.teardown(() => child.kill('SIGKILL'))
    closeSync(full)
    const code = new Promise(resolve => child.once('close', resolve))
    t.equal((await runLine(['status', '--wait', '--timeout', '30s', '--admin', admin])).code, 0)
    child.kill('SIGTERM')
    t.equal(await code, 0)
  },
)

t.test('the program runs, answers, reloads and stops', async t => {
  const file = join(t.testdir({ manifests: {} }), 'starlane.yaml')
  const configure = (admin: string) =>
    writeFileSync(
      file,
      `cluster: one\nclusters: [{ name: one, id: 1, source: { manifests: ./manifests } }]\ndns: { listen: '127.0.0.1:0', upstream: [] }\nadmin: { listen: '${admin}' }\n`,
    )
  configure('127.0.0.1:0')
  const { child, code, logged } = starlane(t, file)
  const { admin, dns } = await logged('ready')
  t.match(dns, /^127\.0\.0\.1:\d+$/)
  const asked = await runLine(['status', '--admin', admin, '-o', 'json'])
  t.equal(asked.code, 0)
  t.match(JSON.parse(asked.out), { cluster: 'one', ready: true, dns: { address: dns, domain: 'cluster.local' } })

  configure(admin)
  const second = starlane(t, file)
  t.equal(await second.code, 1)
  t.match(second.text(), `starlane: LISTEN  admin address ${admin} is in use`)

  configure('nowhere')
  child.kill('SIGHUP')
  t.match(await logged('reload.refused'), { why: /admin\.listen: "nowhere"/ })
  t.equal((await runLine(['status', '--admin', admin])).code, 0, 'it runs on')
  configure('127.0.0.1:0')
  child.kill('SIGHUP')
  await logged('reload.done')
  child.kill('SIGTERM')
  t.equal(await code, 0)
})
