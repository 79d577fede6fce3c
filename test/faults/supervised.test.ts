/** Restarts by those who supervise Starlane: a service manager that holds the sockets, and Kubernetes with a DaemonSet that surges. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import t from 'tap'
import { parse } from 'yaml'
import { findAddon } from '../../proxy/dataplane/native/addon.ts'
import { descriptorOf } from '../../proxy/model/sockets/passing.ts'
import { connections, failures, tallyText } from '../../scripts/faults/load.ts'
import { Stage, Starlane } from '../../scripts/faults/stage.ts'
import { eventually } from '../support/eventually.ts'

const found = findAddon()
const skip = 'addon' in found ? false : found.why

t.test('in plain Node sockets of the service manager stay open over a restart', async t => {
  const stage = new Stage({ engine: 'streams', drain: '10s', config: { state: undefined }, isPatient: true })
  t.teardown(() => stage.close())
  await stage.backends([stage.ip(10)])
  stage.declare('tcp', { 'cluster-1': [stage.ip(10)], 'cluster-2': [] })
  const servers = await Promise.all([listening(stage.tcp), listening(stage.admin)])
  // A shell that keeps the sockets, and does not accept, in place of the service manager.
  const once =
    'echo "{\\"event\\":\\"pid\\",\\"pid\\":$$}" >&2; export LISTEN_PID=$$ LISTEN_FDS=2; exec "$0" bin/starlane.js run -c "$1"'
  const twice = 'sh -c "$0" "$@"; read go; sh -c "$0" "$@"'
  const shell = spawn('sh', ['-c', twice, once, process.execPath, stage.file], {
    stdio: ['pipe', 'ignore', 'pipe', ...servers.map(server => descriptorOf(server) ?? -1)],
    env: { ...process.env, STARLANE_NATIVE: '0', XDG_RUNTIME_DIR: '' },
  })
  t.teardown(() => shell.kill('SIGKILL'))
  for (const server of servers) server.close()
  const starlane = new Starlane(shell)
  const serving = async () => {
    const { pid } = await starlane.logged('pid')
    await starlane.logged('ready')
    return Number(pid)
  }
  const first = await serving()
  await ask(stage)
  process.kill(first, 'SIGTERM')
  await starlane.logged('stop.done')
  starlane.lines.splice(0)
  const waiting = Promise.all(Array.from({ length: 10 }, () => ask(stage)))
  shell.stdin?.write('go\n')
  const second = await serving()
  await waiting
  t.pass('they waited in the backlog')
  process.kill(second, 'SIGTERM')
  t.equal(await starlane.ended, 0)
})

t.test(
  'as the Pods of a DaemonSet that surges: the new one is ready when it has taken over, then the old one is stopped',
  { skip },
  async t => {
    const overlay = new URL('../../deploy/overlays/node-agent/', import.meta.url)
    const daemonSet = parse(readFileSync(new URL('daemon-set.yaml', overlay), 'utf8'))
    const { updateStrategy, template } = daemonSet.spec
    t.same(updateStrategy.rollingUpdate, { maxSurge: 1, maxUnavailable: 0 })
    const [container] = template.spec.containers
    const { path } = template.spec.volumes.find(({ name }: { name: string }) => name === 'state').hostPath
    const { state } = parse(readFileSync(new URL('starlane.yaml', overlay), 'utf8'))
    t.ok(state.startsWith(`${path}/`), 'in a folder of its own, which Starlane makes private')
    t.same(container.readinessProbe.exec, container.startupProbe.exec)
    const [program, ...words] = container.readinessProbe.exec.command
    t.equal(program, 'starlane', 'which is in every image')

    const stage = new Stage({ engine: 'native', drain: '10s', isPatient: true })
    t.teardown(() => stage.close())
    await stage.backends([stage.ip(10)])
    stage.declare('tcp', { 'cluster-1': [stage.ip(10)], 'cluster-2': [] })
    /** As the kubelet runs it in the container. */
    const probed = async (pod: string) => {
      const env = { ...process.env, POD_NAME: pod, STARLANE_ADMIN: `${stage.admin.host}:${stage.admin.port}` }
      const child = spawn(process.execPath, ['bin/starlane.js', ...words], { env })
      const [code] = await once(child, 'exit')
      return code === 0
    }
    let pod = stage.run(undefined, { POD_NAME: 'pod-0' })
    await pod.logged('ready')
    t.equal(await probed('pod-0'), true)
    t.equal(await probed('pod-1'), false, 'the old Pod does not answer for the new one')
    const load = connections(stage.tcp, 50, 60_000)
    for (const name of ['pod-1', 'pod-2']) {
      const next = stage.run(undefined, { POD_NAME: name })
      await eventually(async () => assert.ok(await probed(name)), 60_000)
      pod.child.kill('SIGTERM')
      t.equal(await pod.ended, 0)
      pod = next
    }
    const tally = await load.stop()
    t.equal(failures(tally), 0, tallyText(tally))
  },
)

/** One request. */
async function ask(stage: Stage): Promise<void> {
  const load = connections(stage.tcp, 20, 60_000)
  await eventually(() => assert.ok(load.tally.answered > 0), 60_000)
  const tally = await load.stop()
  assert.equal(failures(tally), 0, tallyText(tally))
}

async function listening(place: { host: string; port: number }): Promise<Server> {
  const server = createServer()
  await once(server.listen({ ...place, backlog: 64 }), 'listening')
  return server
}
