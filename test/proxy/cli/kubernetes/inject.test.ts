/** `starlane inject`: what the sidecar adds to a workload, and what it leaves alone. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parseAllDocuments } from 'yaml'
import type { KubeObject } from '../../../support/kube-api/types.ts'
import { needsKubectl } from '../../../support/kubectl.ts'
import { runLine } from '../stage.ts'

const input = `# ours
apiVersion: v1
kind: Service
metadata: { name: web } # kept
spec: { ports: [{ port: 80 }] }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: shop }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      serviceAccountName: web
      securityContext: { fsGroup: 1000 }
      initContainers: [{ name: migrate, image: "migrate:1" }]
      containers:
        - name: web # the application
          image: web:1
          volumeMounts: [{ name: data, mountPath: /data }]
      volumes: [{ name: data, emptyDir: {} }]
`

t.test('the sidecar of deploy/ is added, and nothing is taken away', async t => {
  const image = ['--image', 'registry.example/starlane:1.0']
  const said = await runLine(['inject', '-f', fileWith(t, input), ...image])
  t.equal(said.code, 0, said.err)
  t.match(said.out, /# ours[\s\S]*# kept[\s\S]*# the application/, 'comments stay')
  const [service, deployment, binding] = objectsOf(said.out)
  t.same(service?.spec, { ports: [{ port: 80 }] }, 'other objects stay')
  const { metadata, spec } = deployment?.spec.template ?? {}
  t.same(metadata.labels, { app: 'web', 'starlane.dev/component': 'sidecar' })
  t.equal(spec.serviceAccountName, 'web', 'its ServiceAccount stays')
  t.same(spec.containers, [{ name: 'web', image: 'web:1', volumeMounts: [{ name: 'data', mountPath: '/data' }] }])
  t.match(spec.initContainers, [
    { name: 'starlane', image: 'registry.example/starlane:1.0', restartPolicy: 'Always' },
    { name: 'migrate' },
  ])
  const mounts = spec.initContainers[0].volumeMounts.map(({ mountPath }: KubeObject) => mountPath)
  t.ok(mounts.includes('/var/run/secrets/kubernetes.io/serviceaccount'), 'a token for Starlane')
  const token = spec.volumes.find(({ name }: { name: string }) => name === 'starlane-token')
  t.match(token.projected.sources, [{ serviceAccountToken: { path: 'token' } }, { configMap: {} }, { downwardAPI: {} }])
  t.equal(spec.volumes[0].name, 'data')
  t.equal(spec.securityContext.fsGroup, 1000)
  t.match(spec.securityContext.sysctls, [{ name: 'net.ipv4.ip_unprivileged_port_start' }])
  t.equal(spec.dnsConfig.searches[0], 'shop.svc.cluster.local', 'short names are those of its namespace')
  t.match(binding, { kind: 'ClusterRoleBinding', roleRef: { name: 'starlane-read' } })
  t.match(said.out, /\nkind: ClusterRoleBinding\n/, 'in YAML, as the rest')
  t.same(binding?.subjects, [{ kind: 'ServiceAccount', name: 'web', namespace: 'shop' }])
  const again = await runLine(['inject', '-f', fileWith(t, said.out), ...image])
  t.same(objectsOf(again.out), objectsOf(said.out), 'again: nothing changes')
})

t.test('standard input, lists and other kinds', async t => {
  const pod = { containers: [{ name: 'a', image: 'a' }] }
  const job = { schedule: '* * * * *', jobTemplate: { spec: { template: { spec: pod } } } }
  const list = {
    apiVersion: 'v1',
    kind: 'List',
    items: [
      { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a' }, spec: pod },
      { apiVersion: 'batch/v1', kind: 'CronJob', metadata: { name: 'b' }, spec: job },
    ],
  }
  const argv = ['bin/starlane.js', 'inject', '-f', '-', '-n', 'jobs']
  const { stdout, status } = spawnSync(process.execPath, argv, { input: JSON.stringify(list), encoding: 'utf8' })
  t.equal(status, 0)
  const [all, binding, ...more] = objectsOf(stdout)
  t.match(all?.items[0].spec.initContainers, [{ name: 'starlane' }])
  t.match(all?.items[1].spec.jobTemplate.spec.template.spec.initContainers, [{ name: 'starlane' }])
  t.match(binding?.subjects, [{ name: 'default', namespace: 'jobs' }])
  t.same(more, [], 'one binding for one account')
})

t.test('as a patch: kubectl gives the same Pods, and the application keeps what it has', needsKubectl, async t => {
  const image = ['--image', 'registry.example/starlane:1.0']
  const file = fileWith(t, input.split('---\n')[1] ?? '')
  const patch = await runLine(['inject', '--patch', 'deployment', '-n', 'shop', ...image])
  t.match(patch, {
    code: 0,
    err: /create clusterrolebinding starlane-sidecar-shop-ACCOUNT --clusterrole=starlane-read/,
  })
  const argv = ['patch', '--local', '-f', file, '-p', patch.out, '-o', 'json']
  const { stdout, stderr } = spawnSync('kubectl', argv, { encoding: 'utf8' })
  const patched = JSON.parse(stdout || `{"error":${JSON.stringify(stderr)}}`)
  const [injected] = objectsOf((await runLine(['inject', '-f', file, ...image])).out)
  const { metadata, spec } = patched.spec.template
  t.same(metadata.labels, injected?.spec.template.metadata.labels)
  const byName = (list: { name: string }[]) => [...list].sort((a, b) => (a.name < b.name ? -1 : 1))
  for (const key of ['initContainers', 'volumes'])
    t.same(byName(spec[key]), byName(injected?.spec.template.spec[key]), key)
  t.same(spec.securityContext, injected?.spec.template.spec.securityContext)
  t.same(spec.dnsConfig, injected?.spec.template.spec.dnsConfig)
  t.equal(spec.serviceAccountName, 'web')
  t.match(await runLine(['inject', '--patch', 'pod']), { code: 2, err: /containers of a Pod cannot change/ })
  t.match(await runLine(['inject']), { code: 2, err: /-f FILE, or --patch KIND/ })
})

t.test('what cannot have a sidecar is refused', async t => {
  for (const [text, why] of [
    [
      input.replace('serviceAccountName: web', 'hostNetwork: true'),
      /Deployment\/web: its Pods have the network of the node/,
    ],
    ['kind: Service\n', /has no workload: Deployment,/],
    ['a: [', /is not YAML/],
  ] as const)
    t.match(await runLine(['inject', '-f', fileWith(t, text)]), { code: 2, out: '', err: why })
  t.match(await runLine(['inject', '-f', '/nowhere/deploy.yaml']), {
    code: 2,
    out: '',
    err: /deploy\.yaml does not exist/,
  })
})

function fileWith(t: Test, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'starlane-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'deploy.yaml')
  writeFileSync(file, text)
  return file
}

function objectsOf(text: string): KubeObject[] {
  return parseAllDocuments(text).map(document => document.toJS() as KubeObject)
}
