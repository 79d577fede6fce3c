/** `starlane mesh enable | connect | status | disconnect` over contexts, with API servers that know ServiceAccounts and RBAC. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parse, parseAllDocuments } from 'yaml'
import { parseConfig } from '../../../../proxy/config/load.ts'
import { eventually } from '../../../support/eventually.ts'
import { Authority } from '../../../support/kube-api/certificates.ts'
import { writeKubeconfig } from '../../../support/kube-api/kubeconfig.ts'
import { type KubeApi, startKubeApi } from '../../../support/kube-api/server.ts'
import type { KubeObject } from '../../../support/kube-api/types.ts'
import { needsKustomize } from '../../../support/kubectl.ts'
import { runLine, type Said, startLine } from '../stage.ts'

t.test('three commands join two clusters', needsKustomize, async t => {
  const { apis, mesh, both, kubeconfig } = await openClusters(t)
  const [one, two] = apis
  const dry = await mesh(`enable ${both} --dry-run`)
  t.equal(dry.code, 0, dry.err)
  t.match(kinds(dry.out), [
    'Namespace',
    'ServiceAccount',
    'ClusterRole',
    'ClusterRoleBinding',
    'ConfigMap',
    'DaemonSet',
  ])
  t.equal(one.get('Namespace', 'starlane'), undefined, 'a dry run changes nothing')

  t.match(await mesh(`connect ${both}`), {
    code: 2,
    err: /kind-1, kind-2: Starlane is not enabled there; run "starlane mesh enable --context kind-1 --context kind-2" first/,
  })
  const enabled = await mesh(`enable ${both} --image registry.example/starlane:1.0`)
  t.match(
    enabled,
    { code: 0, out: /kind-1: .*cluster kind-1 with id 1\.\nkind-2: .*cluster kind-2 with id 2\./ },
    enabled.err,
  )
  t.same(
    configOf(one).clusters.map(({ name }) => name),
    ['kind-1'],
  )
  const daemonSet = one.get('DaemonSet', 'starlane', 'starlane')
  t.equal(daemonSet?.spec.template.spec.containers[0].image, 'registry.example/starlane:1.0')
  t.match(daemonSet?.spec.template.spec.volumes, [{}, { name: 'config', configMap: { name: 'starlane' } }, {}])

  const planned = await mesh(`connect ${both} --dry-run`)
  t.same(kinds(planned.out), ['ServiceAccount', 'ClusterRoleBinding', 'Role', 'RoleBinding', 'Secret', 'ConfigMap'])
  t.notOk(one.get('Secret', 'starlane-clusters', 'starlane'), 'a dry run changes nothing')
  const connected = await mesh(`connect ${both}`)
  t.match(connected, { code: 0, err: /address of this machine.*--server kind-1=URL/ })
  t.match(connected.out, /kind-1: kind-1 reads kind-2 \(new tokens for kind-2; configuration changed\)/)
  t.match(configOf(one).clusters, [
    { name: 'kind-1', id: 1 },
    { name: 'kind-2', id: 2 },
  ])
  t.match(configOf(two).clusters, [
    { name: 'kind-2', id: 2 },
    { name: 'kind-1', id: 1 },
  ])
  t.not(
    one.get('DaemonSet', 'starlane', 'starlane')?.spec.template.metadata.annotations['starlane.dev/configuration'],
    daemonSet?.spec.template.metadata.annotations['starlane.dev/configuration'],
    'the Pods are replaced',
  )

  const token = tokenIn(one, 'kind-2')
  const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
  t.ok(claims.exp - claims.iat >= 86_400, 'a day or more')
  t.equal(claims.sub, 'system:serviceaccount:starlane:starlane-peer-kind-1')
  t.equal(await ask(two, token, '/api/v1/services'), 200, 'it may read')
  t.match(configOf(one).clusters[1]?.source, { kubernetes: { renew: 'secret' } }, 'renewed by the process')
  t.equal(await ask(two, token, '/api/v1/secrets'), 403, 'no Secrets')
  t.equal(await ask(two, token, '/api/v1/namespaces/default/services', 'POST'), 403, 'and write nothing')

  // What is applied again after a change by another command is noted in an annotation.
  await mesh(`enable ${both} --image registry.example/starlane:1.0`)
  const revisions = () => apis.map(api => api.store.revision)
  const before = revisions()
  t.match(await mesh(`connect ${both}`), { code: 0, out: /nothing to change\)\n.*nothing to change\)/ })
  t.match(await mesh(`enable ${both} --image registry.example/starlane:1.0`), { code: 0 })
  t.same(revisions(), before, 'again: nothing is written')

  t.match(await mesh(`status ${both}`), { code: 1, out: /DaemonSet starlane: Kubernetes has not begun with it/ })
  const line = `mesh status ${both} --wait --kubeconfig ${kubeconfig}`
  const waiting = startLine(line.split(' '), { wall: Date.now })
  await eventually(() => assert.match(waiting.said.err, /waiting: kind-1: DaemonSet/))
  for (const api of apis) rollOut(api)
  const status = await waiting.ended
  t.match(status, {
    code: 0,
    out: /✓ DaemonSet starlane: 1 Pod ready\n {2}✓ kind-2: readable, the token lasts (90d|89d)/,
  })

  const late = () => Date.now() + 46 * 86_400_000
  t.match(await mesh(`status ${both}`, late), { code: 0, out: /! kind-2: readable.*run "starlane mesh connect"/ })
  t.match(await mesh(`connect ${both}`, late), { code: 0, out: /new tokens for kind-2\)/ }, 'renewed at half its life')

  t.match(await mesh(`disconnect ${both}`), { code: 0, out: /kind-1 no longer reads kind-2/ })
  t.equal(await ask(two, token, '/api/v1/services'), 401, 'the token ends with the account')
  t.same(
    configOf(one).clusters.map(({ name }) => name),
    ['kind-1'],
  )
  t.equal(one.get('Secret', 'starlane-clusters', 'starlane')?.data['kind-2'], undefined)
  t.match(await mesh(`disconnect ${both}`), { code: 0 }, 'again')
  t.match(await mesh(`status ${both}`), { code: 1, out: /✗ does not read kind-2; run "starlane mesh connect"/ })
  t.match(await mesh(`connect ${both} --server kind-2=https://192.0.2.1:6443`), { code: 0 })
  t.match(parse(kubeconfigIn(one, 'kind-2')).clusters, [{ cluster: { server: 'https://192.0.2.1:6443' } }])
})

t.test('names and ids that clash are refused, with the remedy', needsKustomize, async t => {
  const { mesh, both, apis } = await openClusters(t)
  t.match(await mesh('enable --context kind-1'), { code: 0 })
  t.match(await mesh('enable --context kind-2 --name kind-1 --id 7'), { code: 0 })
  t.match(await mesh(`connect ${both}`), { code: 2, err: /both called kind-1; change one with .* --name NAME/ })
  t.match(await mesh('enable --context kind-2 --name west --id 1'), { code: 0 })
  t.match(await mesh(`connect ${both}`), { code: 2, err: /both have the id 1; change one with .* --id NUMBER/ })
  t.match(await mesh('enable --context kind-2 --id 3'), { code: 0 })
  t.match(configOf(apis[1]), { cluster: 'west', clusters: [{ name: 'west', id: 3 }] }, 'the name stays')
  for (const [line, why] of [
    ['connect --context kind-1', /two or more/],
    [`connect ${both} --token-days 0`, /--token-days 0/],
    [`connect ${both} --server kind-3=https://x`, /one of the contexts/],
    ['enable --context kind-1 --context kind-1', /named twice/],
    [`enable ${both} --id 4`, /--id once for each/],
    [`enable ${both} --id 512 4`, /1 to 511/],
  ] as const)
    t.match(await mesh(line), { code: 2, err: why }, line)
  t.match(await mesh('enable --context nowhere'), { code: 1, err: /nowhere: kubectl: .*nowhere/ })
})

t.test('an id above 255 makes each configuration that has it one of a mesh of 511', needsKustomize, async t => {
  const { mesh, both, apis } = await openClusters(t)
  const sizes = () => apis.map(api => configOf(api).maxConnectedClusters)
  t.match(await mesh(`enable ${both} --id 255 511`), { code: 0, out: /kind-2 with id 511/ })
  t.same(sizes(), [255, 511])
  t.match(await mesh(`connect ${both}`), { code: 0 })
  t.same(sizes(), [511, 511], 'who reads it, too')
  t.match(await mesh(`connect ${both}`), { code: 0, out: /nothing to change\)\n.*nothing to change\)/ })
})

t.test('what starlane install has installed is taken over, with its configuration', needsKustomize, async t => {
  const { mesh, apis, kubeconfig, folder } = await openClusters(t)
  const config = join(folder, 'ours.yaml')
  writeFileSync(
    config,
    `cluster: east
clusters: [{ name: east, id: 9, source: { kubernetes: { inCluster: true } } }]
dns: { ttl: 7s } # ours
`,
  )
  const env = { KUBECONFIG: kubeconfig }
  t.match(await runLine(['install', 'node-agent', '-c', config, '--context', 'kind-1'], { env }), { code: 0 })
  t.match(await mesh('enable --context kind-1 --name east --id 9'), { code: 0 })
  t.match(configOf(apis[0]), { cluster: 'east', dns: { ttl: 7000 } })
  t.match(apis[0].get('ConfigMap', 'starlane', 'starlane')?.data['starlane.yaml'], /# ours/, 'comments too')
})

async function openClusters(t: Test) {
  const authority = new Authority()
  t.teardown(() => authority.close())
  // kubectl sends tokens over TLS only.
  const options = { users: { secret: { name: 'admin' } }, tls: authority.issue('kube-apiserver', ['IP:127.0.0.1']) }
  const apis = [await startKubeApi(options), await startKubeApi(options)] as const
  t.teardown(() => Promise.all(apis.map(api => api.stop())))
  const folder = t.testdir({})
  const kubeconfig = join(folder, 'kubeconfig')
  const entry = (api: KubeApi, i: number) => ({
    name: `kind-${i + 1}`,
    server: api.url,
    ca: authority.cert,
    user: { token: 'secret' },
  })
  writeKubeconfig(kubeconfig, apis.map(entry))
  const env = { KUBECONFIG: kubeconfig, KUBECACHEDIR: join(folder, 'cache') }
  const mesh = (line: string, wall: () => number = Date.now): Promise<Said> =>
    runLine(['mesh', ...line.split(' '), '--kubeconfig', kubeconfig], { env, wall })
  return { apis, mesh, kubeconfig, folder, both: '--context kind-1 --context kind-2' }
}

function kinds(text: string): string[] {
  const all = parseAllDocuments(text).flatMap(document => (document.toJS() as KubeObject | null)?.kind ?? [])
  return [...new Set(all)]
}

/** As the controller of DaemonSets and the kubelet would. */
function rollOut(api: KubeApi): void {
  const daemonSet = api.get('DaemonSet', 'starlane', 'starlane') as KubeObject
  const { generation } = daemonSet.metadata
  const counts = { desiredNumberScheduled: 1, updatedNumberScheduled: 1, numberReady: 1, numberAvailable: 1 }
  api.put({ ...daemonSet, status: { observedGeneration: generation, ...counts } })
}

function configOf(api: KubeApi) {
  return parseConfig(api.get('ConfigMap', 'starlane', 'starlane')?.data['starlane.yaml'], 'starlane.yaml', {}).config
}

function kubeconfigIn(api: KubeApi, name: string): string {
  return Buffer.from(api.get('Secret', 'starlane-clusters', 'starlane')?.data[name], 'base64').toString()
}

function tokenIn(api: KubeApi, name: string): string {
  return parse(kubeconfigIn(api, name)).users[0].user.token
}

/** The status of the answer. */
function ask(api: KubeApi, token: string, path: string, method = 'GET'): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}` }
    const options = { method, headers, rejectUnauthorized: false, agent: false }
    request(`${api.url}${path}`, options, answer => resolve(answer.resume().statusCode))
      .once('error', reject)
      .end(method === 'POST' ? JSON.stringify({ metadata: { name: 'x' } }) : undefined)
  })
}
