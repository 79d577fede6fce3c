/** A whole Starlane that reads its clusters from API servers, which kubectl changes. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { eventually } from '../support/eventually.ts'
import { serveFolder } from '../support/kube-api/folder.ts'
import { writeKubeconfig } from '../support/kube-api/kubeconfig.ts'
import { type KubeApi, startKubeApi } from '../support/kube-api/server.ts'
import { needsKubectl } from '../support/kubectl.ts'
import { createWorld, startPod, tally } from '../support/world.ts'

t.test('kubectl triggers a failover, and an unreachable API server removes nothing', needsKubectl, async t => {
  const { world, apis, vip, run } = await openMesh(t)
  t.match(await tally(20, vip), { one: /\d/, two: /\d/ }, 'both answer')

  await run('cluster-2', 'patch', 'endpointslice', 'rebel-base', '--type=merge', '-p', '{"endpoints":[]}')
  await eventually(async () => assert.deepEqual(await tally(6, vip), { one: 6 }), 15_000)
  await run('cluster-2', 'apply', '-f', join(world.folder, 'cluster-2.json'))
  await eventually(
    async () => assert.deepEqual(new Set(Object.keys(await tally(6, vip))), new Set(['one', 'two'])),
    15_000,
  )

  await run('cluster-1', 'annotate', 'service', 'rebel-base', 'service.cilium.io/affinity=local')
  await eventually(async () => assert.deepEqual(await tally(6, vip), { one: 6 }), 15_000)
  await run('cluster-1', 'annotate', 'service', 'rebel-base', 'service.cilium.io/affinity-')

  await apis[1]?.stop()
  const link = () => world.status().clusters.find(({ name }) => name === 'cluster-2')?.link
  await eventually(() => assert.equal(link()?.state, 'lost'), 15_000)
  t.match(link()?.error, /does not answer: .*ECONNREFUSED/)
  await eventually(
    async () => assert.deepEqual(new Set(Object.keys(await tally(6, vip))), new Set(['one', 'two'])),
    15_000,
  )
  await apis[1]?.start()
  await eventually(() => assert.equal(link()?.state, 'live'), 30_000)
})

t.test('names of pods follow the Pods of the local cluster once dns.pods is verified', async t => {
  const { world, apis, config } = await openMesh(t)
  const [local, remote] = apis as [KubeApi, KubeApi]
  const put = (api: KubeApi, ip: string) =>
    api.put({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'bare', namespace: 'default' }, status: { podIP: ip } })
  put(local, '10.1.0.7')
  put(remote, '10.2.0.7')
  const answer = (ip: string) => world.resolve(`${ip.replaceAll('.', '-')}.default.pod.cluster.local`)
  const reload = async (pods: string) => {
    await world.write({ ...config, dns: { listen: '127.0.0.1:0', upstream: [], pods } })
    await world.runtime().reload(await world.load())
  }
  await reload('verified')
  await eventually(async () => assert.deepEqual(await answer('10.1.0.7'), ['10.1.0.7']), 15_000)
  await t.rejects(answer('10.2.0.7'), { code: 'ENOTFOUND' }, 'of another cluster')
  t.equal(remote.count('list', 'pods'), 0, 'its Pods are not watched')
  await eventually(() => assert.ok(local.watches.count('pods') > 0))
  local.remove('Pod', 'bare')
  await eventually(() => assert.rejects(answer('10.1.0.7'), { code: 'ENOTFOUND' }))
  await reload('disabled')
  await eventually(() => assert.equal(local.watches.count('pods'), 0))
})

t.test('a folder behind an API server follows kubectl, and kubectl follows the folder', needsKubectl, async t => {
  const deployment = (replicas: number) =>
    `apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: rebel-base }\nspec: { replicas: ${replicas} }\n`
  const folder = t.testdir({ 'rebel-base.yaml': deployment(2), 'endpointslice.yaml': slice('10.0.0.1', '10.0.0.2') })
  const api = await startKubeApi()
  t.teardown(() => api.stop())
  t.teardown(serveFolder(api, folder))
  const run = kubectl(t, [['cluster-1', api]])
  t.match(await run('cluster-1', 'get', 'deploy'), /rebel-base +2 +2 /)
  await run('cluster-1', 'scale', 'deployment', 'rebel-base', '--replicas=0')
  writeFileSync(join(folder, 'endpointslice.yaml'), slice())
  await eventually(async () => {
    const ready = await run('cluster-1', 'get', 'deploy/rebel-base', '-o', 'jsonpath={.status.readyReplicas}')
    assert.equal(ready, '0')
  }, 20_000)
  t.equal(api.get('Deployment', 'rebel-base')?.spec.replicas, 0, 'an older content of the file changes nothing')
  writeFileSync(join(folder, 'rebel-base.yaml'), deployment(3))
  await eventually(() => assert.equal(api.get('Deployment', 'rebel-base')?.spec.replicas, 3))
})

/** Two clusters with an API server and one pod each. */
async function openMesh(t: Test) {
  const apis = await Promise.all([startKubeApi(), startKubeApi()])
  t.teardown(() => Promise.all(apis.map(api => api.stop())))
  const clusters = apis.map((_, i) => ({
    name: `cluster-${i + 1}`,
    id: i + 1,
    source: { kubernetes: { kubeconfig: './kubeconfig', context: `cluster-${i + 1}` } },
    allow: { loopback: true },
  }))
  const config = { clusters }
  const world = await createWorld(t, { config })
  const named = apis.map((api, i) => [`cluster-${i + 1}`, api] as const)
  writeKubeconfig(
    join(world.folder, 'kubeconfig'),
    named.map(([name, api]) => ({ name, server: api.url })),
  )
  const vip = world.ip(1)
  for (const [i, [name, api]] of named.entries()) {
    const ip = world.ip(11 + i)
    await startPod(t, ip, i === 0 ? 'one' : 'two')
    const ports = [{ name: 'main', port: 8000, protocol: 'TCP' }]
    const labels = { 'kubernetes.io/service-name': 'rebel-base' }
    const metadata = { name: 'rebel-base', namespace: 'default' }
    const endpointSlice = {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { ...metadata, labels },
      addressType: 'IPv4',
      endpoints: [{ addresses: [ip], conditions: { ready: true } }],
      ports,
    }
    api.put(endpointSlice)
    writeFileSync(join(world.folder, `${name}.json`), JSON.stringify(endpointSlice))
    api.put({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { ...metadata, annotations: { 'service.cilium.io/global': 'true' } },
      spec: { clusterIP: i === 0 ? vip : '10.96.0.10', ports: [{ name: 'main', port: 7000, targetPort: 8000 }] },
    })
  }
  await world.start()
  return { world, apis, vip, config, run: kubectl(t, named) }
}

function kubectl(t: Test, clusters: readonly (readonly [string, KubeApi])[]) {
  // Not a testdir, since a test has only one.
  const folder = mkdtempSync(join(tmpdir(), 'starlane-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const config = join(folder, 'config')
  writeKubeconfig(
    config,
    clusters.map(([name, api]) => ({ name, server: api.url })),
  )
  return async (context: string, ...args: string[]) => {
    const own = ['--kubeconfig', config, '--cache-dir', join(folder, 'cache'), '--context', context]
    const { stdout } = await promisify(execFile)('kubectl', [...own, ...args], { timeout: 30_000 })
    return stdout
  }
}

function slice(...addresses: string[]): string {
  return JSON.stringify({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'rebel-base', labels: { 'kubernetes.io/service-name': 'rebel-base' } },
    addressType: 'IPv4',
    endpoints: addresses.map(address => ({ addresses: [address], conditions: { ready: true } })),
  })
}
