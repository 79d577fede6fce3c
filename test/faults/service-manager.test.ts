/**
 * Starlane under a service manager (`test/support/programs/manager.c`), which listens at a real NOTIFY_SOCKET and keeps descriptors:
 * what it is told, and that a restart refuses nobody.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { findAddon } from '../../proxy/dataplane/native/addon.ts'
import { connections, datagrams, failures, questions, tallyText } from '../../scripts/faults/load.ts'
import { type Engine, type LogLine, Stage, Starlane } from '../../scripts/faults/stage.ts'
import { eventually } from '../support/eventually.ts'
import { program } from '../support/programs/program.ts'

const found = findAddon()
const skip = 'addon' in found ? false : found.why
const bin = fileURLToPath(new URL('../../bin/starlane.js', import.meta.url))

/** What the service manager is told in a restart. */
const restarted = [
  'STOPPING=1, 0, 0',
  // TCP and UDP frontends, DNS over both, admin.
  'FDSTORE=1 FDNAME=starlane FDPOLL=0, 5, 5',
  'exited',
  'FDSTOREREMOVE=1 FDNAME=starlane, 0, 0',
  'MAINPID=N READY=1, 0, 0',
]

for (const engine of ['streams', 'native'] as const) {
  t.test(`${engine}: a restart refuses nobody, since the service manager keeps the sockets`, { skip }, async t => {
    const managed = await manage(t, engine)
    if (!managed) return t.comment('no C compiler')
    const { stage, told, say, starlane } = managed
    t.same(textsOf(told), ['FDSTOREREMOVE=1 FDNAME=starlane, 0, 0', 'MAINPID=N READY=1, 0, 0'])
    // Clients that wait as long as it takes: a process starts slowly on a busy machine.
    const clients = connections(stage.tcp, 20, 60_000)
    const sessions = datagrams(stage.udp, 10, 100, 60_000)
    await eventually(() => assert.ok(sessions.tally.answered > 10))
    const sender = createSocket('udp4')
    t.teardown(() => sender.close())
    const answers: string[] = []
    sender.on('message', message => void answers.push(String(message)))
    told.splice(0)
    say('restart')
    await starlane.logged('stop.done')
    sender.send('asked while none runs', stage.udp.port, stage.udp.host)
    const loads = [clients, sessions, questions(stage.dns, 'tcp.default.svc.cluster.local', 20, 60_000)]
    await isReady(told)
    for (const { tally } of loads) await eventually(() => assert.ok(tally.answered > 5))
    t.same(textsOf(told), restarted)
    for (const tally of await Promise.all(loads.map(load => load.stop()))) {
      t.equal(failures(tally), 0, tallyText(tally))
    }
    await eventually(() => assert.deepEqual(answers, ['asked while none runs']))
    // A frontend that goes away after a restart refuses, since nobody else keeps it open.
    stage.declareOther('tcp', 7009, [stage.ip(10)])
    await eventually(async () => assert.equal(await reach(stage.tcp), 'ECONNREFUSED'), 60_000)
    say('stop')
    await eventually(() => assert.equal(told.at(-1)?.event, 'exited'), 60_000)
  })
}

t.test(
  'a handover tells the service manager the new process, whose restart refuses nobody either',
  { skip },
  async t => {
    const managed = await manage(t, 'native')
    if (!managed) return t.comment('no C compiler')
    const { stage, told, say } = managed
    const first = mainPid(told)
    told.splice(0)
    process.kill(first, 'SIGUSR2')
    await isReady(told)
    t.not(mainPid(told), first)
    await eventually(() => assert.ok(told.some(({ replaced }) => replaced)), 60_000)
    // Nothing is in progress, so that it ends at once: the service has another main process before.
    const [main, ...rest] = textsOf(told)
    t.equal(main, 'MAINPID=N, 0, 0')
    t.same(rest.sort(), ['FDSTOREREMOVE=1 FDNAME=starlane, 0, 0', 'MAINPID=N READY=1, 0, 0', 'exited'])
    t.equal(
      told.find(({ text }) => /MAINPID/.test(String(text)))?.child,
      true,
      'it is the child of the service manager',
    )
    told.splice(0)
    const load = connections(stage.tcp, 50, 60_000)
    say('restart')
    await isReady(told)
    const tally = await load.stop()
    t.equal(failures(tally), 0, tallyText(tally))
    t.same(textsOf(told), restarted)
    say('stop')
    await eventually(() => assert.equal(told.at(-1)?.event, 'exited'), 60_000)
  },
)

interface Managed {
  readonly stage: Stage
  /** What the service manager has heard and seen. */
  readonly told: LogLine[]
  readonly say: (order: string) => void
  /** The log of all processes. */
  readonly starlane: Starlane
}

/** Undefined without a C compiler. */
async function manage(t: Test, engine: Engine): Promise<Managed | undefined> {
  const manager = program(t, fileURLToPath(new URL('../support/programs/manager.c', import.meta.url)))
  if (manager === undefined) return undefined
  const stage = new Stage({ engine, drain: '10s', isPatient: true })
  t.teardown(() => stage.close())
  await stage.backends([stage.ip(10)])
  const pods = { 'cluster-1': [stage.ip(10)], 'cluster-2': [] }
  stage.declare('tcp', pods)
  stage.declare('udp', pods)
  const command = [join(stage.folder, 'notify'), process.execPath, bin, 'run', '-c', stage.file]
  const child = spawn(manager, command, { env: { ...process.env, STARLANE_NATIVE: '1' } })
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.stdin.end()
    await once(child, 'exit')
  })
  const told: LogLine[] = []
  createInterface({ input: child.stdout }).on('line', line => void told.push(JSON.parse(line)))
  const starlane = new Starlane(child)
  await isReady(told)
  return { stage, told, say: order => void child.stdin.write(`${order}\n`), starlane }
}

/** Waits for the readiness of a process. Its predecessor may have ended right after it. */
async function isReady(told: readonly LogLine[]): Promise<void> {
  await eventually(() => assert.ok(readiness(told)), 60_000)
}

function mainPid(told: readonly LogLine[]): number {
  return Number(readiness(told)?.[1])
}

function readiness(told: readonly LogLine[]): RegExpExecArray | undefined {
  const found = told.map(({ text }) => /MAINPID=([0-9]+)\s+READY=1/.exec(String(text)))
  return found.find(match => match !== null) ?? undefined
}

/** With how many descriptors came along, and how many are stored then. */
function textsOf(told: readonly LogLine[]): string[] {
  return told.map(({ event, text, descriptors, stored }) =>
    event === 'exited' ? event : `${String(text).replace(/PID=[0-9]+/, 'PID=N')}, ${descriptors}, ${stored}`,
  )
}

/** The error of a connection, or `open`. */
function reach(to: { host: string; port: number }): Promise<string> {
  return new Promise(resolve => {
    const socket = connect(to)
    socket.on('error', error => resolve((error as NodeJS.ErrnoException).code ?? error.message))
    socket.on('connect', () => {
      socket.destroy()
      resolve('open')
    })
  })
}
