/** Policies end to end: real connections between Pods of two clusters, DNS, explain, validate and status. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { stringify } from 'yaml'
import { validate } from '../../../proxy/runtime.ts'
import { a, fakeUpstream } from '../../proxy/dns/upstream.ts'
import { eventually } from '../../support/eventually.ts'
import { ask, createWorld, startPod, startUdpPod, type World } from '../../support/world.ts'
import { fromOutside, ownAddress as own } from './support.ts'

interface Pod {
  readonly name: string
  readonly ip: string
  readonly app: string
}

const podObject = ({ name, ip, app }: Pod) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default', labels: { app } },
  status: { phase: 'Running', podIP: ip },
})
const allowFrom = (app: string, more: object = {}) => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'guard', namespace: 'default', ...more },
  spec: {
    podSelector: { matchLabels: { app: 'base' } },
    ingress: [{ from: [{ podSelector: { matchLabels: { app } } }] }],
  },
})
const write = (world: World, cluster: string, file: string, ...objects: object[]) =>
  writeFile(join(world.folder, cluster, file), objects.map(object => stringify(object)).join('---\n'))

async function open(t: import('tap').Test, options: object = {}) {
  const world = await createWorld(t, { config: { plugins: [{ use: 'policy', options }, { use: 'affinity' }] } })
  const [vip, base, xwing, tie] = [world.ip(1), world.ip(11), world.ip(21), world.ip(22)] as const
  await startPod(t, base, 'base')
  await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: base }] })
  const pods = [
    { name: 'base-0', ip: base, app: 'base' },
    { name: 'xwing-0', ip: xwing, app: 'xwing' },
    { name: 'tie-0', ip: tie, app: 'tie' },
  ]
  await write(world, 'cluster-1', 'pods.yaml', ...pods.map(podObject))
  return { world, vip, base, xwing, tie }
}

t.test('a NetworkPolicy holds for connections through Starlane, from the moment it is there', async t => {
  const { world, vip, xwing, tie } = await open(t)
  await world.start()
  t.equal(await ask(vip, 7000, tie), 'base', 'no policy yet')
  await write(world, 'cluster-1', 'policy.yaml', allowFrom('xwing'))
  await eventually(() => assert.rejects(ask(vip, 7000, tie), { code: 'ECONNRESET' }), 15_000)
  t.equal(await ask(vip, 7000, xwing), 'base')

  const path = '/v1/explain/default/rebel-base?from=default/tie-0'
  t.match(await world.look(path), {
    client: tie,
    frontends: [
      {
        steps: [
          {
            step: 'policy',
            left: 0,
            removed: [{ why: /^ingress: no rule of NetworkPolicy default\/guard \(.*\) allows it$/ }],
          },
        ],
        refusal: {
          code: 'policy',
          why: /^default\/tie-0 of cluster-1 may not reach default\/rebel-base: ingress: no rule of NetworkPolicy default\/guard \(.*cluster-1\/policy\.yaml:1\) allows it/,
        },
      },
    ],
  })
  t.match(await world.look('/v1/explain/default/rebel-base?from=default/xwing-0'), {
    client: xwing,
    frontends: [{ decidedBy: 'balancer' }],
  })
  t.match(world.runtime().service('default', 'rebel-base')?.backends, [{ selected: true }], 'for some client')
  const { admin } = await world.runtime().ready
  const metrics = await (await fetch(`http://${admin}/metrics`)).text()
  t.match(metrics, /starlane_plugin_policy_refused_total\{policy="default\/guard"\} \d+/)
  t.match(await world.look(`/v1/dns?name=rebel-base.default.svc.cluster.local&from=${tie}`), { rcode: 'NOERROR' })

  await write(world, 'cluster-1', 'policy.yaml', allowFrom('tie'))
  await eventually(async () => assert.equal(await ask(vip, 7000, tie), 'base'), 15_000)
  await t.rejects(ask(vip, 7000, xwing), { code: 'ECONNRESET' })
})

t.test('in a sidecar, the application is its Pod', fromOutside, async t => {
  const { world, vip } = await open(t)
  const sidecar = (app: string) => podObject({ name: 'own-0', ip: own, app })
  await write(world, 'cluster-1', 'own.yaml', sidecar('tie'))
  await write(world, 'cluster-1', 'policy.yaml', allowFrom('xwing'))
  await world.start()
  await t.rejects(ask(vip, 7000, '127.0.0.1'), { code: 'ECONNRESET' })
  await write(world, 'cluster-1', 'own.yaml', sidecar('xwing'))
  await eventually(async () => assert.equal(await ask(vip, 7000, '127.0.0.1'), 'base'), 15_000)
  const { admin } = await world.runtime().ready
  const flows = await (await fetch(`http://${admin}/v1/flows?last=20`)).text()
  t.match(flows, /"pod_name":"own-0"/, 'flows name it')
})

t.test('backends in another cluster have the policies of their cluster, and failover stays within them', async t => {
  const { world, vip, base, xwing, tie } = await open(t)
  const far = world.ip(31)
  await startPod(t, far, 'far')
  await world.declare('cluster-2', { clusterIP: world.ip(2), pods: [{ ip: far }] })
  await write(world, 'cluster-2', 'pods.yaml', podObject({ name: 'base-far', ip: far, app: 'base' }))
  const cilium = (selector: object) => ({
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name: 'far', namespace: 'default' },
    spec: { endpointSelector: { matchLabels: { app: 'base' } }, ingress: [{ fromEndpoints: [selector] }] },
  })
  const fromNear = { matchLabels: { app: 'xwing', 'io.cilium.k8s.policy.cluster': 'cluster-1' } }
  await write(world, 'cluster-2', 'policy.yaml', cilium(fromNear))
  await world.start()
  const seen = async (client: string) =>
    new Set(await Promise.all(Array.from({ length: 12 }, () => ask(vip, 7000, client)))).size
  // Until the first check of a backend has passed, those that have passed theirs come before it.
  await eventually(async () => assert.equal(await seen(xwing), 2, 'an allowed Pod reaches both'), 15_000)
  t.equal(await seen(tie), 1, 'another one the local backend alone')
  await write(world, 'cluster-2', 'policy.yaml', cilium({ matchLabels: { app: 'xwing' } }))
  await eventually(async () => assert.equal(await seen(xwing), 1), 15_000)
  t.pass('without a cluster label it means Pods of its own cluster')
  t.ok(base)
})

t.test('UDP, audit and dns: hide', async t => {
  const { world, vip, base, xwing, tie } = await open(t, { dns: 'hide' })
  await startUdpPod(t, base, 'base')
  await write(world, 'cluster-1', 'policy.yaml', allowFrom('xwing'))
  await world.start()
  const name = 'rebel-base.default.svc.cluster.local'
  t.match(await world.look(`/v1/dns?name=${name}&from=${tie}`), {
    rcode: 'NXDOMAIN',
    way: [/./, /hidden from this client by policy/, /./],
  })
  t.match(await world.look(`/v1/dns?name=${name}&from=${xwing}`), { rcode: 'NOERROR' })
  await write(world, 'cluster-1', 'policy.yaml', allowFrom('xwing', { annotations: { 'starlane.dev/audit': 'true' } }))
  await eventually(async () => assert.equal(await ask(vip, 7000, tie), 'base'), 15_000)
  const { admin } = await world.runtime().ready
  const metrics = await (await fetch(`http://${admin}/metrics`)).text()
  t.match(metrics, /starlane_plugin_policy_audited_total\{policy="default\/guard"\} [1-9]/)
  t.match(await world.look(`/v1/dns?name=${name}&from=${tie}`), { rcode: 'NOERROR' })
})

t.test('rules that cannot be decided are problems, of a running Starlane and of validate', async t => {
  const { world, base } = await open(t)
  t.ok(base)
  await write(world, 'cluster-1', 'policy.yaml', {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name: 'l7', namespace: 'default' },
    spec: { endpointSelector: {}, ingress: [{ toPorts: [{ ports: [{ port: '80' }], rules: { http: [{}] } }] }] },
  })
  await world.write()
  const expected = {
    code: 'PLUGIN_FINDING',
    where: /^cluster-1 .*cluster-1\/policy\.yaml:1$/,
    message: /^CiliumNetworkPolicy default\/l7: spec\.ingress\[0\]\.toPorts\[0\]\.rules: is a rule of layer 7/,
  }
  const findings = (problems: readonly { code: string }[]) => problems.filter(({ code }) => code === 'PLUGIN_FINDING')
  t.match(findings((await validate(await world.load())).problems), [expected])
  await world.start()
  t.match(findings(world.status().problems), [expected])
})

t.test(
  'toFQDNs: an address counts once DNS has answered it, also where the answer was cached before the policy came',
  async t => {
    const hosts = new Map<string, string>()
    let asked = 0
    const upstream = await fakeUpstream(t, ({ name, type }) => {
      asked++
      return { answers: type === 'A' ? [a(name, hosts.get(name) ?? '192.0.2.1')] : [] }
    })
    const world = await createWorld(t, {
      config: { plugins: [{ use: 'policy' }], dns: { listen: '127.0.0.1:0', upstream: [upstream.text] } },
    })
    const [vip, outside, xwing] = [world.ip(1), world.ip(11), world.ip(21)] as const
    hosts.set('api.example', outside)
    await startPod(t, outside, 'outside')
    await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: outside }] })
    await write(world, 'cluster-1', 'pods.yaml', podObject({ name: 'xwing-0', ip: xwing, app: 'xwing' }))
    await world.start()
    t.same(await world.resolve('api.example'), [outside])
    const before = asked
    await write(world, 'cluster-1', 'policy.yaml', {
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumNetworkPolicy',
      metadata: { name: 'names', namespace: 'default' },
      spec: { endpointSelector: { matchLabels: { app: 'xwing' } }, egress: [{ toFQDNs: [{ matchPattern: 'api.*' }] }] },
    })
    await eventually(() => assert.rejects(ask(vip, 7000, xwing), { code: 'ECONNRESET' }), 15_000)
    t.same(await world.resolve('api.example'), [outside])
    t.equal(await ask(vip, 7000, xwing), 'outside')
    t.equal(asked, before, 'from the cache')
    t.same(world.status().problems, [])
  },
)
