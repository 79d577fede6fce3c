/** Double HBONE: the gateway passes the inner tunnel on, and the workload behind it is known by its own certificate. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Backend } from '../../../proxy/model/backend.ts'
import { serviceNames } from '../../../proxy/runtime/tunnel/service-names.ts'
import { echo, hashOf, pattern, tcpBackend } from '../../support/backend.ts'
import { eventually } from '../../support/eventually.ts'
import { backend as backendOf, FakeDirectory } from '../../support/model.ts'
import { carry } from '../../support/tunnel/carry.ts'
import { folderFor, idOf, TunnelAuthority } from '../../support/tunnel/certificates.ts'
import { behindGateway, sharedService, startClient, startGateway } from '../../support/tunnel/rig.ts'

const authority = await TunnelAuthority.create()
const workloadId = 'spiffe://mesh.test/ns/default/sa/rebel-base'

/** A workload at an address of its own, which ends tunnels at port 15008, behind a gateway that passes them on. */
async function world(t: Test, address: string, { workloads = [workloadId], id = workloadId } = {}) {
  const folder = t.testdir()
  const { backend: at } = await tcpBackend(t, echo, { host: address })
  const files = (name: string, of: string) => folderFor(join(folder, name), authority, of)
  const services = [sharedService([at])]
  const workload = await startGateway(t, {
    folder: await files('workload', id),
    services,
    ...{ host: address, port: 15_008 },
  })
  const peers = [{ cluster: 'cluster-1', trustDomain: 'mesh.test', ids: [], workloads: [] }]
  const gateway = await startGateway(t, {
    folder: await files('gateway', idOf('cluster-2', 'gateway')),
    services,
    peers,
  })
  const identity = { cluster: 'cluster-2', trustDomain: 'mesh.test', ids: [], workloads }
  const proxy = await startClient(t, {
    folder: await files('proxy', idOf('cluster-1')),
    gateways: [gateway.at],
    identity,
  })
  await proxy.open()
  const [behind] = behindGateway([at]) as [Backend]
  return { workload, gateway, proxy, behind }
}

t.test('bytes both ways and the ends of both sides, through a gateway that cannot read them', async t => {
  const { workload, gateway, proxy, behind } = await world(t, '127.77.14.9')
  const stream = await proxy.dial(behind)
  t.equal(stream.localAddress, '127.0.0.1', 'where the outer tunnel comes from')
  const { client, done } = await carry(t, stream)
  t.equal(gateway.gateway.view().streams, 1)
  t.equal(workload.gateway.view().streams, 1)
  const question = pattern(3 << 20)
  client.end(question)
  const chunks: Buffer[] = []
  for await (const chunk of client) chunks.push(chunk as Buffer)
  t.equal(hashOf(Buffer.concat(chunks)), hashOf(question))
  t.equal(await done, 'done')
  await eventually(() => {
    assert.equal(gateway.gateway.view().streams, 0)
    assert.equal(workload.gateway.view().sessions, 0, 'an inner session is for one connection')
  })
  const cut = await carry(t, await proxy.dial(behind))
  cut.client.resetAndDestroy()
  t.equal(await cut.done, 'client-reset')
  await eventually(() => assert.equal(gateway.gateway.view().streams + workload.gateway.view().streams, 0))
})

t.test('a workload that has another id, and one that serves something else', async t => {
  const wrong = await world(t, '127.77.14.10', { id: 'spiffe://mesh.test/ns/default/sa/deathstar' })
  await t.rejects(wrong.proxy.dial(wrong.behind), {
    message: /it is not one of the workloads of cluster-2: spiffe:\/\/mesh\.test\/ns\/default\/sa\/rebel-base/,
  })
  await eventually(() => assert.equal(wrong.gateway.gateway.view().streams, 0))
  const other = await world(t, '127.77.14.11')
  other.workload.directory.set(sharedService([]))
  await t.rejects(other.proxy.dial(other.behind), { message: /the gateway answers 401/, code: 'EACCES' })
  other.workload.stop()
  await t.rejects(other.proxy.dial(other.behind), { message: /the gateway answers 503/, code: 'ECONNREFUSED' })
})

t.test('gateways of Istio are asked for a service', async t => {
  const one = backendOf({ address: '10.0.0.7', port: 8080, cluster: 'cluster-2' })
  const service = sharedService([one])
  const directory = new FakeDirectory(service)
  const nameOf = serviceNames(directory)
  const [frontend] = service.frontends
  t.equal(nameOf('cluster-2', '10.0.0.7', 8080), `rebel-base.default.svc.cluster.local:${frontend?.port}`)
  t.equal(nameOf('cluster-1', '10.0.0.7', 8080), undefined)
})
