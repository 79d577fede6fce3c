/** The gateway of a cluster is found through the cluster’s etcd: a Service names it, and its Starlane publishes that. */
import assert from 'node:assert/strict'
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { stringify } from 'yaml'
import { noEtcd, startEtcd } from '../../support/etcd/etcd.ts'
import { eventually } from '../../support/eventually.ts'
import { folderFor, idOf, TunnelAuthority } from '../../support/tunnel/certificates.ts'
import { createWorld, startPod, tally } from '../../support/world.ts'

t.test('a gateway is learned from etcd, and followed when it moves', { skip: noEtcd }, async t => {
  const etcd = await startEtcd(t)
  const publish = { endpoints: [etcd.url] }
  const authority = await TunnelAuthority.create()
  const tls = t.testdir()
  const gatewayFolder = await folderFor(join(tls, 'gateway'), authority, idOf('east', 'gateway'))
  const proxyFolder = await folderFor(join(tls, 'proxy'), authority, idOf('west'))
  const local = (name: string, id: number) => ({ name, id, source: { manifests: `./${name}` } })
  const clusters = [local('east', 1), { ...local('west', 2), source: { manifests: './west' } }]
  const gateway = { listen: '127.0.0.1:0', certificates: gatewayFolder }
  const east = await createWorld(t, { clusters: ['east', 'west'], config: { clusters, publish, gateway } })
  const other = await createWorld(t, { clusters: ['east', 'west'], config: { clusters, gateway } })
  const west = await createWorld(t, {
    clusters: ['west'],
    config: {
      clusters: [
        local('west', 2),
        { name: 'east', id: 1, source: { etcd: publish }, allow: { loopback: true }, route: 'tunnel' },
      ],
      tunnel: { certificates: proxyFolder },
    },
  })
  const [vip, pod] = [west.ip(1), east.ip(11)]
  await startPod(t, pod, 'east')
  const shared = { clusterIP: east.ip(1), pods: [{ ip: pod }] }
  await east.declare('east', shared)
  await other.declare('east', shared)
  await west.declare('west', { clusterIP: vip, pods: [] })
  await east.start()
  await other.start()
  await west.start()
  t.match(
    west.status().problems.filter(({ code }) => code === 'TUNNEL'),
    [{ where: 'east', message: /its source names no gateway; .*starlane\.dev\/gateway/ }],
  )
  const name = async (address = '') => {
    const [ip, port] = address.split(':')
    const file = join(east.folder, 'east', 'gateway.yaml')
    const service = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'gateway', namespace: 'starlane', labels: { 'starlane.dev/gateway': 'true' } },
      spec: { type: 'LoadBalancer', clusterIP: '10.96.0.9', ports: [{ name: 'hbone', port: Number(port) }] },
      status: { loadBalancer: { ingress: [{ ip }] } },
    }
    await writeFile(`${file}.new`, stringify(service))
    await rename(`${file}.new`, file)
  }
  const gateways = () =>
    west
      .status()
      .clusters.find(({ name }) => name === 'east')
      ?.tunnels?.map(({ gateway, state }) => `${gateway} ${state}`)
  const first = east.status().gateway?.address
  await name(first)
  await eventually(() => assert.deepEqual(gateways(), [`${first} open`]))
  await eventually(async () => assert.deepEqual(await tally(4, vip), { east: 4 }))
  const second = other.status().gateway?.address
  await name(second)
  await eventually(() => assert.deepEqual(gateways(), [`${second} open`]))
  await eventually(async () => assert.deepEqual(await tally(4, vip), { east: 4 }))
  t.ok((other.status().gateway?.sessions ?? 0) > 0, 'through the other gateway now')

  // The publisher starts again: nobody is told in between that there is no gateway.
  const seen = new Set<string>()
  const watch = setInterval(() => seen.add(gateways()?.[0] ?? 'none'), 5)
  t.teardown(() => clearInterval(watch))
  await east.runtime().close()
  await east.start()
  await east.declare('east', { ...shared, pods: [{ ip: pod }, { ip: east.ip(12) }] })
  const backends = () => west.runtime().service('default', 'rebel-base')?.backends.length
  await eventually(() => assert.equal(backends(), 2, 'what the new publisher has written is read'))
  clearInterval(watch)
  t.same([...seen], [`${second} open`])
})
