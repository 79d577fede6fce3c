/**
 * A SPIRE server and its agent give the certificates of a tunnel: both ends, rotation, and an entry that is taken away. `STARLANE_SPIRE` names the folder
 * of the programs `spire-server` and `spire-agent`.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import type { Backend } from '../../proxy/model/backend.ts'
import { echo, freePort, tcpBackend } from '../support/backend.ts'
import { eventually } from '../support/eventually.ts'
import { idOf } from '../support/tunnel/certificates.ts'
import { behindGateway, gatewayKinds, sharedService, startClient, startGateway } from '../support/tunnel/rig.ts'

const { STARLANE_SPIRE: programs } = process.env
const skip = programs === undefined ? 'STARLANE_SPIRE names no folder with spire-server and spire-agent' : false
const domain = 'mesh.test'
const agentId = `spiffe://${domain}/agent`

const run = promisify(execFile)

/** A program that is stopped with the test; what it has said is in its error. */
function start(t: Test, name: string, args: readonly string[]): ChildProcess {
  const child = spawn(join(programs ?? '', name), args, { stdio: ['ignore', 'ignore', 'ignore'] })
  t.teardown(async () => {
    if (child.exitCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  return child
}

/** A server with an agent that attests processes of this user. */
async function startSpire(t: Test) {
  const folder = await mkdtemp(join(tmpdir(), 'spire-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const port = await freePort('127.0.0.1')
  const api = join(folder, 'server.sock')
  await writeFile(
    join(folder, 'server.conf'),
    `server {
  bind_address = "127.0.0.1"
  bind_port = "${port}"
  socket_path = "${api}"
  trust_domain = "${domain}"
  data_dir = "${folder}"
  log_level = "ERROR"
  ca_ttl = "1h"
}
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = "${join(folder, 'store')}" } }
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "memory" { plugin_data {} }
}
`,
  )
  start(t, 'spire-server', ['run', '-config', join(folder, 'server.conf')])
  const server = async (...args: string[]) =>
    (await run(join(programs ?? '', 'spire-server'), [...args, '-socketPath', api])).stdout
  const token = await eventually(async () => {
    const said = await server('token', 'generate', '-spiffeID', agentId)
    return /Token: (\S+)/.exec(said)?.[1] ?? Promise.reject(new Error(said))
  }, 60_000)
  const bundle = join(folder, 'bundle.pem')
  await writeFile(bundle, await server('bundle', 'show'))
  const socket = join(folder, 'agent.sock')
  await writeFile(
    join(folder, 'agent.conf'),
    `agent {
  data_dir = "${folder}"
  log_level = "ERROR"
  server_address = "127.0.0.1"
  server_port = "${port}"
  socket_path = "${socket}"
  trust_bundle_path = "${bundle}"
  trust_domain = "${domain}"
  join_token = "${token}"
}
plugins {
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "memory" { plugin_data {} }
  WorkloadAttestor "unix" { plugin_data {} }
}
`,
  )
  start(t, 'spire-agent', ['run', '-config', join(folder, 'agent.conf')])
  const register = async (id: string, seconds: number) => {
    const selector = `unix:uid:${process.getuid?.()}`
    const given = ['-parentID', agentId, '-spiffeID', id, '-selector', selector, '-x509SVIDTTL', String(seconds)]
    const said = await server('entry', 'create', ...given)
    return /Entry ID\s*: (\S+)/.exec(said)?.[1] ?? Promise.reject(new Error(said))
  }
  const version = (await run(join(programs ?? '', 'spire-server'), ['--version'])).stderr.trim()
  return { endpoint: `unix://${socket}`, bundle, server, register, version }
}

t.test('a tunnel with the certificates of SPIRE', { skip, timeout: 180_000 }, async t => {
  const spire = await startSpire(t)
  t.comment(`SPIRE ${spire.version}`)
  const [proxyId, gatewayId] = [idOf('cluster-1'), idOf('cluster-2', 'gateway')]
  // It renews when half of the time is over.
  const proxyEntry = await spire.register(proxyId, 30)
  await spire.register(gatewayId, 3600)
  const { backend } = await tcpBackend(t, echo)
  const [behind] = behindGateway([backend]) as [Backend]

  for (const { kind, inPump } of gatewayKinds) {
    await t.test(`${kind}: both ends take theirs, by name, and the roots`, async t => {
      const server = await startGateway(t, {
        from: { workloadApi: spire.endpoint, id: gatewayId },
        services: [sharedService([backend])],
        inPump,
      })
      await eventually(() => assert.equal(server.credentials.material?.id.id, gatewayId), 60_000)
      const at = await eventually(() => {
        const port = server.gateway.address?.port
        return port
          ? { host: '127.0.0.1', port, text: `127.0.0.1:${port}` }
          : Promise.reject(new Error('not listening'))
      })
      const proxy = await startClient(t, { from: { workloadApi: spire.endpoint, id: proxyId }, gateways: [at] })
      await eventually(() => assert.equal(proxy.credentials.material?.id.id, proxyId), 60_000)
      await eventually(() => proxy.open())
      const root = await readFile(spire.bundle, 'utf8')
      t.equal(server.credentials.serverPem()?.roots.trim(), root.trim(), 'the roots are the bundle')
      const stream = await proxy.dial(behind)
      const serial = () => proxy.credentials.material?.leaf.serialNumber
      const before = serial()
      await eventually(() => assert.notEqual(serial(), before), 60_000)
      await proxy.open()
      t.equal(server.gateway.view().streams, 1, 'what is in progress goes on while it renews')
      ;(await proxy.dial(behind)).reset()
      stream.reset()
    })
  }

  await t.test('an entry that is taken away is not renewed, and is a problem', async t => {
    const proxy = await startClient(t, { from: { workloadApi: spire.endpoint, id: proxyId }, gateways: [] })
    await eventually(() => assert.equal(proxy.credentials.material?.id.id, proxyId), 60_000)
    await spire.server('entry', 'delete', '-entryID', proxyEntry)
    const problem = await eventually(
      () => proxy.credentials.problems()[0]?.message ?? Promise.reject(new Error('no problem yet')),
      60_000,
    )
    t.match(problem, proxyId)
  })
})
