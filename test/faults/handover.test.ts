/** A new process takes over from one that runs: by signal, and when it fails on the way. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { findAddon } from '../../proxy/dataplane/native/addon.ts'
import { Channel, protocol } from '../../proxy/handover/messages.ts'
import { connections, datagrams, failures, questions, tallyText } from '../../scripts/faults/load.ts'
import { type Engine, Stage, type Starlane } from '../../scripts/faults/stage.ts'
import { eventually } from '../support/eventually.ts'

const found = findAddon()
const skip = 'addon' in found ? false : found.why

for (const engine of ['streams', 'native'] as const) {
  t.test(`${engine}: a successor that fails, at any point, changes nothing`, { skip }, async t => {
    const { stage, starlane } = await staged(t, engine)
    const load = connections(stage.tcp, 50, 60_000)
    stage.write({ proxy: { engine, drain: '2s', vips: 'nonsense' } as object })
    t.equal(await stage.run().ended, 1, 'its configuration is bad')
    stage.write({ dns: { listen: '203.0.113.1:53' } })
    t.equal(await stage.run().ended, 1, 'it cannot bind DNS')
    await starlane.logged('handover.failed')
    starlane.lines.splice(0)
    stage.write()
    for (const until of ['hello', 'memories', 'take', 'passed'] as const) {
      const channel = new Channel(connect(join(stage.folder, 'state/handover.sock')))
      channel.send({ hello: { starlane: 'handover', protocol, version: 'x', pid: 1, cluster: 'cluster-1' } })
      await channel.receive('hello')
      if (until !== 'hello') while (!(await channel.line()).includes('"end"'));
      if (until === 'take' || until === 'passed') channel.send({ take: true })
      if (until === 'passed') t.ok((await channel.receive('passed')).sockets.length >= 5)
      channel.close()
      await eventually(() => assert.equal(starlane.lines.filter(({ event }) => event === 'handover.failed').length, 1))
      starlane.lines.splice(0)
    }
    await ask(stage)
    const tally = await load.stop()
    t.equal(failures(tally), 0, tallyText(tally))
    const queues = acceptQueues(stage)
    // Two that start at once: one after the other takes over, and no moment is without somebody to take over from.
    const both = [stage.run(), stage.run()]
    const socket = statSync(join(stage.folder, 'state/handover.sock')).ino
    await Promise.all(both.map(each => each.logged('ready')))
    t.equal(await starlane.ended, 0, 'and the next one takes over')
    t.equal(await Promise.race(both.map(each => each.ended)), 0, 'and the one after it')
    t.equal(statSync(join(stage.folder, 'state/handover.sock')).ino, socket, 'at the same unix socket')
    t.same(acceptQueues(stage), queues, 'as many clients may wait as before')
    await ask(stage)
  })
}

t.test('another protocol, and another cluster, are refused', { skip }, async t => {
  const { stage } = await staged(t, 'streams')
  for (const [given, why] of [
    [{ protocol: protocol + 1, cluster: 'cluster-1' }, /speaks protocol 2/],
    [{ protocol, cluster: 'cluster-2' }, /the local cluster is cluster-1 here/],
  ] as const) {
    const channel = new Channel(connect(join(stage.folder, 'state/handover.sock')))
    channel.send({ hello: { starlane: 'handover', version: 'x', pid: 1, ...given } })
    await t.rejects(channel.receive('hello'), { code: 'STATE', message: why })
  }
})

t.test(
  'SIGUSR2 starts the program anew, and long connections stay where they are to the end of the drain',
  { skip },
  async t => {
    const { stage, starlane } = await staged(t, 'native')
    const held = connect(stage.tcp)
    await once(held, 'connect')
    held.write('before')
    await once(held, 'data')
    starlane.child.kill('SIGUSR2')
    await starlane.logged('handover.draining')
    held.write('still')
    t.equal(String((await once(held, 'data'))[0]), 'still')
    await ask(stage)
    t.match(await once(held, 'error'), [{ code: 'ECONNRESET' }])
    t.equal(await starlane.ended, 0)
    t.match(
      starlane.lines.find(({ event }) => event === 'stop.done'),
      { cutConnections: 1 },
    )
    await ask(stage)
    const status = (await (await fetch(`http://${stage.admin.host}:${stage.admin.port}/v1/status`)).json()) as {
      ready: boolean
    }
    t.equal(status.ready, true)
    // It is nobody's child any more, and logs where its predecessor did.
    const took = (await starlane.logged('handover.found')) as { pid: number }
    t.equal(took.pid, starlane.pid)
    const began = (await starlane.logged('handover.began')) as { pid: number }
    process.kill(began.pid, 'SIGTERM')
    await eventually(() => assert.throws(() => process.kill(began.pid, 0)), 60_000)
  },
)

t.test('a process that was told to stop still hands over while it announces its end', { skip }, async t => {
  const { stage, starlane } = await staged(t, 'streams', '20s')
  const load = connections(stage.tcp, 50, 60_000)
  starlane.child.kill('SIGTERM')
  await starlane.logged('stop.draining')
  await stage.run().logged('ready')
  t.equal(await starlane.ended, 0)
  const tally = await load.stop()
  t.equal(failures(tally), 0, tallyText(tally))
})

t.test('one that starts while another drains takes over what is still open', { skip }, async t => {
  const { stage, starlane } = await staged(t, 'native', '0', '60s')
  const held = connect(stage.tcp)
  await speak(held)
  const loads = [datagrams(stage.udp, 5, 50, 60_000), questions(stage.dns, 'tcp.default.svc.cluster.local', 50, 60_000)]
  const answered = () => eventually(() => assert.ok(loads.every(({ tally }) => tally.answered > 10)), 60_000)
  await answered()
  starlane.child.kill('SIGTERM')
  await starlane.logged('stop.draining')
  await stage.run().logged('ready')
  await ask(stage)
  await speak(held)
  held.destroy()
  t.equal(await starlane.ended, 0)
  await starlane.logged('handover.draining')
  await ask(stage)
  for (const tally of await Promise.all(loads.map(load => load.stop()))) t.equal(failures(tally), 0, tallyText(tally))
})

async function staged(
  t: Test,
  engine: Engine,
  announce = '0',
  drain = '2s',
): Promise<{ stage: Stage; starlane: Starlane }> {
  const stage = new Stage({ engine, drain, announce, isPatient: true })
  t.teardown(() => stage.close())
  await stage.backends([stage.ip(10)])
  const pods = { 'cluster-1': [stage.ip(10)], 'cluster-2': [] }
  stage.declare('tcp', pods)
  stage.declare('udp', pods)
  const starlane = stage.run()
  await starlane.logged('ready')
  return { stage, starlane }
}

/** How many clients may wait in each socket that listens. */
function acceptQueues({ network }: Stage): string[] {
  const { stdout } = spawnSync('ss', ['-ltnH'], { encoding: 'utf8' })
  const found = (stdout ?? '').split('\n').map(line => line.split(/\s+/))
  return found
    .flatMap(([, , most, at = '']) => (at.startsWith(network) && !at.endsWith(':8000') ? `${at} ${most}` : []))
    .sort()
}

/** A word over a connection, and its echo. */
async function speak(socket: Socket): Promise<void> {
  socket.write('word')
  await once(socket, 'data')
}

/** One request. */
async function ask(stage: Stage): Promise<void> {
  const load = connections(stage.tcp, 20, 60_000)
  await eventually(() => assert.ok(load.tally.answered > 0), 60_000)
  const tally = await load.stop()
  assert.equal(failures(tally), 0, tallyText(tally))
}
