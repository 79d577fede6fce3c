/** The manifests in `deploy/`: rights, overlays and what they start. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { parseAllDocuments } from 'yaml'
import { parseConfig } from '../../../proxy/config/load.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { createKubernetesSource } from '../../../proxy/sources/kubernetes/kubernetes-source.ts'
import { RecordingSink } from '../../conformance/source.ts'
import { eventually } from '../../support/eventually.ts'
import type { Rule } from '../../support/kube-api/authorize.ts'
import { writeKubeconfig } from '../../support/kube-api/kubeconfig.ts'
import { type KubeApi, startKubeApi } from '../../support/kube-api/server.ts'
import {
  builtIn,
  ciliumPolicies,
  gkeImports,
  type KubeObject,
  multicluster,
  nodeNetworks,
  type ResourceType,
} from '../../support/kube-api/types.ts'
import { isOldKubectl, needsKubectl, needsKustomize } from '../../support/kubectl.ts'

t.test('kubectl takes the test server for a cluster', needsKubectl, async t => {
  const { api, run } = await openCluster(t)
  const manifest = join(t.testdir({}), 'web.yaml')
  const write = (replicas: number, port: number) => writeFileSync(manifest, webManifest(replicas, port))
  write(2, 80)
  t.match(await run('apply', '-f', manifest), /deployment.apps\/web created\nservice\/web created/, 'apply')
  t.match(await run('apply', '-f', manifest), /deployment.apps\/web unchanged\nservice\/web unchanged/, 'apply again')
  write(3, 81)
  t.match(
    await run('apply', '-f', manifest),
    /deployment.apps\/web configured\nservice\/web configured/,
    'apply a change',
  )
  t.match(api.get('Service', 'web')?.spec.ports, [{ name: 'http', port: 81 }])
  t.match(await run('get', 'deploy,svc'), /NAME +DESIRED +AVAILABLE +AGE\n.*web +3 /, 'get')
  t.match(await run('get', 'svc', 'web', '-o', 'jsonpath={.spec.clusterIP}'), /^10\.96\.0\.10$/, 'get -o jsonpath')
  t.match(await run('get', 'pods'), /^$/, 'nothing found is not an error')
  t.match(await run('scale', 'deployment', 'web', '--replicas=0'), /deployment.apps\/web scaled/, 'scale')
  t.equal(api.get('Deployment', 'web')?.spec.replicas, 0)
  const annotation = 'service.cilium.io/affinity'
  t.match(await run('annotate', 'service', 'web', `${annotation}=local`), /service\/web annotated/, 'annotate')
  t.equal(api.get('Service', 'web')?.metadata.annotations?.[annotation], 'local')
  t.match(await run('annotate', 'service', 'web', `${annotation}-`), /annotated/, 'and take it back')
  t.notOk(api.get('Service', 'web')?.metadata.annotations?.[annotation])

  const deployment = api.get('Deployment', 'web') as KubeObject
  const waiting = run('wait', 'deploy/web', '--for=condition=Available', '--timeout=20s')
  await eventually(() => assert.ok(api.watches.count('deployments') > 0))
  api.put({ ...deployment, status: { conditions: [{ type: 'Available', status: 'True' }] } })
  t.match(await waiting, /condition met/, 'wait for a condition')
  t.match(await run('patch', 'svc', 'web', '-p', '{"spec":{"ports":[{"port":90,"name":"b"}]}}'), /patched/, 'patch')
  t.equal(api.get('Service', 'web')?.spec.ports.length, 2, 'ports are merged by number')
  const gone = run('wait', 'svc/web', '--for=delete', '--timeout=20s')
  await eventually(() => assert.ok(api.watches.count('services') > 0))
  t.match(await run('delete', 'svc', 'web'), /service "web" deleted/, 'delete')
  await gone
  t.equal(api.get('Service', 'web'), undefined)
  t.match(await run('apply', '--server-side', '-f', manifest), /service\/web serverside-applied/, 'server-side apply')
  await t.rejects(run('get', 'svc', 'nobody'), /services "nobody" not found/)
})

t.test('the deployment files', async t => {
  const overlays = globSync('deploy/overlays/*').sort()
  t.same(
    overlays.map(path => path.split('/').at(-1)),
    ['gateway', 'node-agent', 'node-agent-offload', 'sidecar', 'tunnel-gateway'],
  )

  for (const path of overlays) {
    t.test(path, needsKustomize, async t => {
      const { api, run } = await openCluster(t)
      const text = await run('kustomize', path)
      const objects = parseAllDocuments(text).map(document => document.toJS() as KubeObject)
      const rendered = join(t.testdir({}), 'all.yaml')
      writeFileSync(rendered, text)

      t.match(await run('apply', '--dry-run=client', '--validate=false', '-f', rendered), /created \(dry run\)/)
      await run('apply', '-f', rendered)
      t.ok(api.get('ServiceAccount', 'starlane', 'starlane'), 'kubectl applies it')

      for (const { spec } of objects.filter(({ kind }) => /^(Deployment|DaemonSet)$/.test(kind))) {
        const pod = spec.template.spec
        const container = [...pod.containers, ...(pod.initContainers ?? [])].find(({ name }) => name === 'starlane')
        t.match(container.securityContext, {
          readOnlyRootFilesystem: true,
          allowPrivilegeEscalation: false,
          capabilities: { drop: ['ALL'] },
        })
        t.ok(container.resources.limits.memory, 'memory is limited')
        const mounted = container.volumeMounts.map(({ name }: { name: string }) => name)
        const volumes = pod.volumes.map(({ name }: { name: string }) => name)
        t.same(mounted.sort(), volumes.sort())
      }
      const config = objects.find(({ kind }) => kind === 'ConfigMap')
      const { config: parsed } = parseConfig(config?.data['starlane.yaml'], 'starlane.yaml', {})
      t.equal(parsed.cluster, 'cluster-1', 'the configuration in it is sound')
      t.ok(parsed.clusters.every(({ source }) => 'kubernetes' in source))
    })
  }

  t.test(
    'for a cluster that is read from elsewhere: an identity that may read, and its token',
    needsKustomize,
    async t => {
      const { run } = await openCluster(t)
      const objects = parseAllDocuments(await run('kustomize', 'deploy/remote-access')).map(
        each => each.toJS() as KubeObject,
      )
      const kinds = objects.map(({ kind }) => kind).sort()
      t.same(kinds, ['ClusterRole', 'ClusterRoleBinding', 'Namespace', 'Secret', 'ServiceAccount'])
    },
  )

  t.test('the image has only what it needs, and does not run as root', async t => {
    const dockerfile = readFileSync('Dockerfile', 'utf8')
    t.match(dockerfile, /^USER 65532:65532$/m)
    const admitted: string[] = readFileSync('.dockerignore', 'utf8').match(/(?<=^!).+$/gm) ?? []
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, files = '']) => files.split(' '))
    t.same(copied.sort(), admitted.sort(), '.dockerignore lets through what is copied, and nothing else')
  })
})

t.test('starlane install fills in an overlay', needsKustomize, async t => {
  const { api, config } = await openCluster(t)
  const file = join(temporary(t), 'starlane.yaml')
  writeFileSync(file, 'cluster: one\nclusters: [{ name: one, id: 1, source: { kubernetes: { inCluster: true } } }]\n')
  const starlane = async (...args: string[]) => {
    const env = { ...process.env, KUBECONFIG: config }
    const argv = ['bin/starlane.js', 'install', ...args]
    const { stdout } = await promisify(execFile)(process.execPath, argv, { env, timeout: 60_000 })
    return stdout
  }
  const image = 'registry.example:5000/starlane:1.0'
  for (const way of ['sidecar', 'node-agent', 'gateway', 'tunnel-gateway']) {
    const printed = await starlane(way, '-c', file, '--image', image, '--print')
    t.match(printed, /cluster: one/, way)
    t.notMatch(printed, /cluster: cluster-1/)
    t.match(printed, `image: ${image}`)
    t.notMatch(printed, /starlane-pods/)
  }
  const plain = readFileSync(file, 'utf8')
  writeFileSync(file, `${plain}plugins: [{ use: policy }]\n`)
  t.match(
    await starlane('node-agent', '-c', file, '--print'),
    /ciliumnetworkpolicies/,
    'with the rights of its plugins',
  )
  writeFileSync(file, `${plain}underlay: { mode: vxlan }\n`)
  t.match(await starlane('node-agent', '-c', file, '--print'), /ciliumnodes/, 'with the rights of its underlay')
  writeFileSync(file, `${plain}dns: { pods: verified }\n`)
  const roles = parseAllDocuments(await starlane('sidecar', '-c', file, '--print')).map(
    each => each.toJS() as KubeObject,
  )
  const binding = roles.find(({ kind, metadata }) => kind === 'ClusterRoleBinding' && metadata.name === 'starlane-pods')
  t.same(binding?.subjects, [{ kind: 'ServiceAccount', name: 'starlane', namespace: 'starlane' }], 'who verifies pods')
  writeFileSync(file, plain)
  t.notOk(api.get('ServiceAccount', 'starlane', 'starlane'), 'printing changes nothing')
  t.match(await starlane('node-agent', '-c', file, '--context', 'cluster-2'), /daemonset.apps\/starlane created/)
  const daemonSet = api.get('DaemonSet', 'starlane', 'starlane')
  const [configMap] = api.list('ConfigMap')
  t.match(configMap?.data['starlane.yaml'], /cluster: one/)
  const mounted = daemonSet?.spec.template.spec.volumes.map((volume: KubeObject) => volume.configMap?.name)
  t.ok(mounted.includes(configMap?.metadata.name), 'the Pods mount what was generated')
  writeFileSync(file, 'cluster: one\n')
  await t.rejects(starlane('sidecar', '-c', file, '--print'), /clusters/, 'a bad configuration goes nowhere')
})

const notOld = isOldKubectl ? {} : { skip: 'kubectl is new enough' }
t.test('starlane install with a kubectl that is too old says which one it needs', notOld, async t => {
  const file = join(temporary(t), 'starlane.yaml')
  writeFileSync(file, 'cluster: one\nclusters: [{ name: one, id: 1, source: { kubernetes: { inCluster: true } } }]\n')
  const argv = ['bin/starlane.js', 'install', 'sidecar', '-c', file, '--print']
  await t.rejects(promisify(execFile)(process.execPath, argv), /kubectl v1\.\d+\.\d+ is too old.*1\.21 or newer/)
})

t.test('the role for names of pods', async t => {
  const rules = rulesOf('deploy/base/read.yaml', 'ClusterRole')
  const more = rulesOf('deploy/components/verified-pods/pods.yaml', 'ClusterRole')
  t.same(more, [{ apiGroups: [''], resources: ['pods'], verbs: ['list', 'watch'] }])
  const enough = await readWith(t, [...rules, ...more], { pods: true })
  await eventually(() => assert.ok(enough.api.watches.count('pods') > 0))
  t.same(enough.sink.problemList, [])

  const { sink } = await readWith(t, rules, { pods: true })
  const message = /may not read pods; its role needs {apiGroups: \[""\], resources: \[pods\], verbs: \[list, watch\]}/
  await eventually(() => assert.match(sink.problemList[0]?.message ?? '', message))
  await eventually(() => assert.equal(sink.link, 'live', 'the rest is read'))
})

t.test('the role for policies', async t => {
  const rules = rulesOf('deploy/base/read.yaml', 'ClusterRole')
  const more = rulesOf('deploy/components/policies/policies.yaml', 'ClusterRole')
  const all = [...rules, ...more]
  const enough = await readWith(t, all, { workloads: 'needed' })
  const asked = more.flatMap(({ resources }) => resources)
  await eventually(() => assert.ok(asked.every(resource => enough.api.watches.count(resource) > 0)))
  t.equal(enough.sink.link, 'live')
  t.same(enough.sink.problemList, [])
  t.ok(asked.includes('pods') && asked.includes('networkpolicies'))

  for (const resource of asked) {
    const less = all.map(rule => ({ ...rule, resources: rule.resources.filter(each => each !== resource) }))
    const message = new RegExp(`may not read ${resource}; its role needs {.*resources: \\[${resource}\\]`)
    const needed = await readWith(t, less, { workloads: 'needed' })
    await eventually(() => assert.match(needed.sink.error?.message ?? '', message))
    t.equal(needed.sink.link, 'lost', `the local cluster waits for ${resource}`)
    t.notOk(needed.sink.calls.includes('reset'))
    const wanted = await readWith(t, less, { workloads: 'wanted' })
    await eventually(() => assert.match(wanted.sink.problemList[0]?.message ?? '', message))
    await eventually(() => assert.equal(wanted.sink.link, 'live', 'of a remote cluster the rest is read'))
  }
})

t.test('the role for the underlay', async t => {
  const rules = rulesOf('deploy/components/underlay/node-networks.yaml', 'ClusterRole')
  const enough = await readWith(t, rules, { nodes: 'only' })
  await eventually(() => assert.equal(enough.sink.link, 'live'))
  t.same(enough.sink.problemList, [])

  const less = rules.filter(({ resources }) => !resources.includes('ciliumnodes'))
  const { sink } = await readWith(t, less, { nodes: 'only' })
  const message = /may not read ciliumnodes; its role needs {.*resources: \[ciliumnodes\]/
  await eventually(() => assert.match(sink.problemList.map(problem => problem.message).join('\n'), message))
  await eventually(() => assert.equal(sink.link, 'live', 'the rest is read'))
})

t.test('the reading role', async t => {
  const rules = rulesOf('deploy/base/read.yaml', 'ClusterRole')

  t.test('is enough, and not more than is used', async t => {
    const { api, sink } = await readWith(t, rules)
    await eventually(() => assert.equal(sink.link, 'live'))
    const watched = () => new Set(api.seen.filter(({ verb }) => verb === 'watch').map(({ resource }) => resource))
    const allowed = new Set(rules.flatMap(({ resources }) => resources))
    await eventually(() => assert.deepEqual([...watched()].sort(), [...allowed].sort()))
    t.same(sink.problemList, [])
    t.same(new Set(rules.flatMap(({ verbs }) => verbs)), new Set(['list', 'watch']))
  })

  t.test('is enough for the imports of GKE, and an older one is for a cluster without them', async t => {
    const isOfGke = ({ apiGroups }: Rule) => apiGroups.includes('net.gke.io')
    for (const types of [
      [...builtIn, ...nodeNetworks],
      [...builtIn, ...nodeNetworks, ...gkeImports],
    ]) {
      const isGke = types.length > builtIn.length + nodeNetworks.length
      const { api, sink } = await readWith(t, isGke ? rules : rules.filter(rule => !isOfGke(rule)), { types })
      await eventually(() => assert.equal(sink.link, 'live'))
      t.same(sink.problemList, [])
      const isWatched = () => api.seen.some(({ verb, resource }) => verb === 'watch' && resource === 'serviceimports')
      if (isGke) await eventually(() => assert.ok(isWatched()))
    }
  })

  const vital = ['services', 'endpointslices', 'namespaces']
  for (const resource of new Set(rules.flatMap(({ resources }) => resources))) {
    const isVital = vital.includes(resource)
    t.test(
      `without ${resource} ${isVital ? 'nothing is read' : 'the rest is read'}, and the rule is named`,
      async t => {
        const less = rules.map(rule => ({ ...rule, resources: rule.resources.filter(each => each !== resource) }))
        const { sink } = await readWith(t, less)
        const message = new RegExp(
          `may not read ${resource}; its role needs {.*resources: \\[${resource}\\], verbs: \\[list, watch\\]}`,
        )
        await eventually(() => assert.match(sink.problemList[0]?.message ?? '', message))
        if (isVital) t.match(sink.error, { message })
        else await eventually(() => assert.equal(sink.link, 'live'))
        t.equal(sink.problemList.length, 1)
      },
    )
  }
})

/** A user with these rules reads a cluster that has everything. */
async function readWith(
  t: Test,
  rules: readonly Rule[],
  {
    types = [...builtIn, ...multicluster, ...ciliumPolicies, ...nodeNetworks],
    ...options
  }: { pods?: boolean; workloads?: 'needed' | 'wanted'; nodes?: 'only'; types?: readonly ResourceType[] } = {},
) {
  const api = await startKubeApi({
    users: { secret: { name: 'starlane', rules } },
    types,
  })
  t.teardown(() => api.stop())
  // Pods are read only for policies.
  if (options.workloads) {
    const metadata = { name: 'deny', namespace: 'default' }
    api.put({ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata, spec: { podSelector: {} } })
  }
  const file = join(temporary(t), 'config')
  writeKubeconfig(file, [{ name: 'east', server: api.url, user: { token: 'secret' } }])
  const world = { clock: systemClock, random: Math.random, log: silentLog, env: {} }
  const source = createKubernetesSource({ cluster: 'cluster-1', kubeconfig: file, ...options }, world)
  t.teardown(() => source.close())
  const sink = new RecordingSink()
  source.start(sink)
  return { api, sink }
}

async function openCluster(
  t: Test,
): Promise<{ api: KubeApi; config: string; run: (...args: string[]) => Promise<string> }> {
  const api = await startKubeApi()
  t.teardown(() => api.stop())
  const folder = temporary(t)
  const config = join(folder, 'config')
  writeKubeconfig(config, [{ name: 'cluster-2', server: api.url }])
  const run = async (...args: string[]) => {
    const own = ['--kubeconfig', config, '--cache-dir', join(folder, 'cache'), '--context', 'cluster-2']
    const { stdout } = await promisify(execFile)('kubectl', [...own, ...args], { timeout: 30_000 })
    return stdout
  }
  return { api, config, run }
}

function temporary(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'starlane-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

function rulesOf(file: string, kind: string): Rule[] {
  const objects = parseAllDocuments(readFileSync(file, 'utf8')).map(document => document.toJS())
  return objects.filter(object => object.kind === kind).flatMap(({ rules }) => rules)
}

function webManifest(replicas: number, port: number): string {
  return `
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: ${replicas}
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: web, image: nginx, ports: [{ containerPort: 80 }] }] }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { clusterIP: 10.96.0.10, ports: [{ name: http, port: ${port} }] }
`
}
