/** Istio's own HBONE package speaks with Starlane's gateway, and Starlane's tunnels with Istio's. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { parseEndpoint } from '../../proxy/model/address.ts'
import type { Backend } from '../../proxy/model/backend.ts'
import { echo, tcpBackend } from '../support/backend.ts'
import { eventually } from '../support/eventually.ts'
import { carry } from '../support/tunnel/carry.ts'
import { folderFor, idOf, TunnelAuthority } from '../support/tunnel/certificates.ts'
import { behindGateway, gatewayKinds, sharedService, startClient, startGateway } from '../support/tunnel/rig.ts'
import { goProgram } from './go-program.ts'

const hbone = goProgram('hbone')
const skip = hbone.missing

t.test('Starlane reaches a backend through a server of Istio', { skip }, async t => {
  const authority = await TunnelAuthority.create()
  const folder = t.testdir()
  const id = 'spiffe://mesh.test/ns/istio-system/sa/ztunnel'
  const serverFolder = await folderFor(join(folder, 'server'), authority, id)
  const clientFolder = await folderFor(join(folder, 'client'), authority, idOf('cluster-1'))
  const server = spawn(hbone.path, ['server', serverFolder], { stdio: ['pipe', 'pipe', 'ignore'] })
  t.teardown(() => server.kill('SIGKILL'))
  const address = parseEndpoint(String((await once(server.stdout, 'data'))[0]).trim())
  if (!address) throw new Error('the server has printed no address')
  const gateway = { host: address.address, port: address.port, text: `${address.address}:${address.port}` }
  const identity = { cluster: 'cluster-2', trustDomain: 'mesh.test', ids: [id] }
  const proxy = await startClient(t, { folder: clientFolder, gateways: [gateway], identity })
  await proxy.open()
  const { backend } = await tcpBackend(t, echo)
  const [behind] = behindGateway([backend]) as [Backend]

  const { client, done } = await carry(t, await proxy.dial(behind))
  const question = Buffer.alloc(3 << 20, 'y')
  client.end(question)
  const chunks: Buffer[] = []
  for await (const chunk of client) chunks.push(chunk)
  t.ok(Buffer.concat(chunks).equals(question))
  t.equal(await done, 'done')

  await eventually(() => {
    const told = proxy.client.healthOf('cluster-2', '127.0.0.1', backend.port, 'TCP')
    if (told !== undefined) throw new Error(`it cannot tell, and says ${told}`)
  })
})

for (const { inPump, kind } of gatewayKinds) {
  t.test(
    `${kind}: a client of Istio reaches a backend through a gateway of Starlane, and no other`,
    { skip },
    async t => {
      const authority = await TunnelAuthority.create()
      const folder = t.testdir()
      const { backend } = await tcpBackend(t, echo)
      const { backend: other } = await tcpBackend(t, echo)
      const gatewayFolder = await folderFor(join(folder, 'gateway'), authority, idOf('cluster-2', 'gateway'))
      const clientFolder = await folderFor(join(folder, 'client'), authority, idOf('cluster-1'))
      const { at } = await startGateway(t, { folder: gatewayFolder, services: [sharedService([backend])], inPump })
      const ask = async (target: string, question: string) => {
        const child = spawn(hbone.path, ['client', at.text, target, clientFolder, idOf('cluster-2', 'gateway')])
        t.teardown(() => child.kill('SIGKILL'))
        child.stdin.end(question)
        const [answer, said, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
        return { answer, said, code }
      }
      t.match(await ask(`127.0.0.1:${backend.port}`, 'may the force'), { answer: /may the force$/, code: 0 })
      t.match(await ask('rebel-base.default.svc.cluster.local:80', 'be with you'), { answer: /be with you$/, code: 0 })
      t.match(await ask(`127.0.0.1:${other.port}`, 'x'), { said: /round trip failed: 401/, code: 1 })
      const large = 'x'.repeat(3 << 20)
      t.ok((await ask(`127.0.0.1:${backend.port}`, large)).answer.endsWith(large), 'after what the package logs')
    },
  )

  t.test(
    `${kind}: double HBONE: a client of Istio, a gateway of Starlane, a server of Istio as the workload; and Starlane as the client`,
    { skip },
    async t => {
      const authority = await TunnelAuthority.create()
      const folder = t.testdir()
      const host = '127.77.15.9'
      const workload = 'spiffe://mesh.test/ns/default/sa/rebel-base'
      const files = (name: string, id: string) => folderFor(join(folder, name), authority, id)
      const { backend } = await tcpBackend(t, echo, { host })
      const server = spawn(hbone.path, ['server', await files('workload', workload), `${host}:15008`], {
        stdio: ['pipe', 'pipe', 'ignore'],
      })
      t.teardown(() => server.kill('SIGKILL'))
      await once(server.stdout, 'data')
      const peers = [{ cluster: 'cluster-1', trustDomain: 'mesh.test', ids: [], workloads: [] }]
      const services = [sharedService([backend])]
      const gatewayId = idOf('cluster-2', 'gateway')
      const { at, gateway } = await startGateway(t, {
        folder: await files('gateway', gatewayId),
        services,
        peers,
        inPump,
      })
      const clientFolder = await files('client', idOf('cluster-1'))
      const ask = async (id: string, question: string) => {
        const given = ['double', at.text, `${host}:${backend.port}`, clientFolder, gatewayId, id]
        const child = spawn(hbone.path, given)
        t.teardown(() => child.kill('SIGKILL'))
        child.stdin.end(question)
        const [answer, said, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
        return { answer, said, code }
      }
      t.match(await ask(workload, 'may the force'), { answer: /may the force$/, code: 0 })
      t.match(await ask(idOf('cluster-3'), 'x'), { said: /it has \[spiffe:.*rebel-base\], and not/, code: 1 })

      const identity = { cluster: 'cluster-2', trustDomain: 'mesh.test', ids: [], workloads: [workload] }
      const proxy = await startClient(t, { folder: clientFolder, gateways: [at], identity })
      await proxy.open()
      const { client, done } = await carry(t, await proxy.dial(behindGateway([backend])[0] as Backend))
      const question = Buffer.alloc(1 << 20, 'y')
      client.end(question)
      const chunks: Buffer[] = []
      for await (const chunk of client) chunks.push(chunk)
      t.ok(Buffer.concat(chunks).equals(question))
      t.equal(await done, 'done')
      await eventually(() => {
        if (gateway.view().streams > 0) throw new Error(`${gateway.view().streams} streams`)
      })
    },
  )
}
