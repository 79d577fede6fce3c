/** Policies at the gateway of the backend's cluster, for clients of a cluster that enforces nothing itself. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { eventually } from '../../support/eventually.ts'
import { folderFor, idOf, TunnelAuthority } from '../../support/tunnel/certificates.ts'
import { ask, createWorld, startPod, type World } from '../../support/world.ts'
import { fromOutside, ownAddress as own } from './support.ts'

const authority = await TunnelAuthority.create()

const podObject = (name: string, ip: string, app: string) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default', labels: { app } },
  status: { phase: 'Running', podIP: ip },
})
const write = (world: World, file: string, ...objects: object[]) =>
  writeFile(join(world.folder, file), objects.map(object => stringify(object)).join('---\n'))

async function joined(t: Test, { listen = '127.0.0.1', engine = 'auto' } = {}) {
  const certificates = await folderFor(join(t.testdir(), 'gateway'), authority, idOf('cluster-2', 'gateway'))
  const there = await createWorld(t, {
    clusters: ['cluster-2', 'cluster-1'],
    config: { gateway: { listen: `${listen}:0`, certificates }, plugins: [{ use: 'policy' }] },
  })
  const pod = there.ip(21)
  await startPod(t, pod, 'far')
  await there.declare('cluster-2', { clusterIP: there.ip(2), pods: [{ ip: pod }] })
  await there.start()
  const gateway = there.status().gateway?.address ?? ''
  const tunnel = await folderFor(join(t.testdir(), 'proxy'), authority, idOf('cluster-1'))
  const here = await createWorld(t, {
    config: {
      tunnel: { certificates: tunnel },
      plugins: [],
      proxy: { engine, drain: '300ms' },
      clusters: [
        { name: 'cluster-1', id: 1, source: { manifests: './cluster-1' } },
        { name: 'cluster-2', id: 2, source: { manifests: './cluster-2' }, route: 'tunnel', gateways: [gateway] },
      ],
    },
  })
  const [vip, xwing, tie] = [here.ip(1), here.ip(31), here.ip(32)] as const
  await here.declare('cluster-1', { clusterIP: vip, pods: [] })
  await here.declare('cluster-2', { clusterIP: there.ip(2), pods: [{ ip: pod }] })
  await write(there, 'cluster-2/pods.yaml', podObject('base-0', pod, 'base'))
  await write(there, 'cluster-1/pods.yaml', podObject('xwing-0', xwing, 'xwing'), podObject('tie-0', tie, 'tie'))
  await here.start()
  await eventually(async () => assert.equal(await ask(vip, 7000, tie), 'far'), 15_000)
  return { there, here, vip, pod, xwing, tie }
}

t.test('a gateway decides by the Pod that the other cluster names, among its own', async t => {
  const { there, here, vip, pod, xwing, tie } = await joined(t)
  const policy = (selector: object) => ({
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name: 'guard', namespace: 'default' },
    spec: { endpointSelector: { matchLabels: { app: 'base' } }, ingress: [{ fromEndpoints: [selector] }] },
  })
  const fromOne = (app: string) => policy({ matchLabels: { app, 'io.cilium.k8s.policy.cluster': 'cluster-1' } })
  await write(there, 'cluster-2/policy.yaml', fromOne('xwing'))
  await eventually(() => assert.rejects(ask(vip, 7000, tie)), 15_000)
  t.equal(await ask(vip, 7000, xwing), 'far')
  await t.rejects(ask(vip, 7000, here.ip(99)), 'a client whose Pod is not known')
  const health = () => here.runtime().service('default', 'rebel-base')?.backends[0]?.health
  await eventually(() => assert.equal(health(), 'up'))
  t.equal(health(), 'up', 'the gateway still tells the health of what some client may reach')

  const { admin } = await there.runtime().ready
  const metrics = await (await fetch(`http://${admin}/metrics`)).text()
  t.match(metrics, /starlane_plugin_policy_refused_total\{policy="default\/guard"\} [1-9]/)

  await write(there, 'cluster-2/policy.yaml', policy({ matchLabels: { app: 'base' } }))
  await eventually(() => assert.rejects(ask(vip, 7000, xwing)), 15_000)
  t.ok(pod)
})

for (const engine of process.env.STARLANE_NATIVE === '0' ? ['streams'] : ['native', 'streams']) {
  t.test(`${engine}: the gateway knows the Pod of a sidecar`, fromOutside, async t => {
    const { there, vip } = await joined(t, { listen: own, engine })
    const sidecar = (app: string) => podObject('own-0', own, app)
    await write(there, 'cluster-1/own.yaml', sidecar('tie'))
    const policy = {
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumNetworkPolicy',
      metadata: { name: 'guard', namespace: 'default' },
      spec: {
        endpointSelector: { matchLabels: { app: 'base' } },
        ingress: [{ fromEndpoints: [{ matchLabels: { app: 'xwing', 'io.cilium.k8s.policy.cluster': 'cluster-1' } }] }],
      },
    }
    await write(there, 'cluster-2/policy.yaml', policy)
    await eventually(() => assert.rejects(ask(vip, 7000, '127.0.0.1')), 15_000)
    await write(there, 'cluster-1/own.yaml', sidecar('xwing'))
    await eventually(async () => assert.equal(await ask(vip, 7000, '127.0.0.1'), 'far'), 15_000)
    t.pass('its application is at a loopback address there')
  })
}
