/** `starlane status --all` over clusters with Kubernetes API servers. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { runLine } from '../../proxy/cli/stage.ts'
import { writeKubeconfig } from '../../support/kube-api/kubeconfig.ts'
import { type KubeApi, startKubeApi } from '../../support/kube-api/server.ts'
import type { KubeObject } from '../../support/kube-api/types.ts'

const component = (value: string) => ({ 'starlane.dev/component': value })
const template = (image: string) => ({ spec: { containers: [{ name: 'starlane', image }] } })

function pod(
  name: string,
  node: string,
  given: { component?: string; ready?: boolean; image?: string; waiting?: object } = {},
) {
  const { component: label, ready = true, image = 'starlane:1.0', waiting } = given
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'starlane', ...(label ? { labels: component(label) } : {}) },
    spec: {
      nodeName: node,
      hostNetwork: label === 'node-agent',
      containers: [{ name: label ? 'starlane' : 'app', image }],
    },
    status: {
      phase: 'Running',
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
      containerStatuses: [{ name: 'starlane', restartCount: 3, state: waiting ? { waiting } : {} }],
    },
  } as unknown as KubeObject
}

function install(api: KubeApi, ready: number): void {
  const put = (object: object) => api.put(object as KubeObject)
  for (const name of ['n1', 'n2']) put({ apiVersion: 'v1', kind: 'Node', metadata: { name } })
  put({
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: 'starlane', namespace: 'starlane', labels: component('node-agent') },
    spec: { template: template('starlane:1.0') },
    status: { desiredNumberScheduled: 2, numberReady: ready, numberAvailable: ready },
  })
  put({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'gateway', namespace: 'starlane', labels: component('gateway') },
    spec: { replicas: 1, template: template('starlane:1.1') },
    status: { readyReplicas: 1, availableReplicas: 1 },
  })
  put({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'other', namespace: 'starlane' },
    spec: { replicas: 5, template: template('other:1') },
    status: {},
  })
  put(pod('agent-1', 'n1', { component: 'node-agent' }))
  put(
    pod('agent-2', 'n2', {
      component: 'node-agent',
      ready: ready > 1,
      ...(ready > 1
        ? {}
        : { waiting: { reason: 'ImagePullBackOff', message: 'Back-off pulling image "starlane:1.0"' } }),
    }),
  )
  put(pod('gateway-1', 'n1', { component: 'gateway', image: 'starlane:1.1' }))
  put(pod('app-1', 'n1'))
  put(pod('app-2', 'n2'))
}

async function clusters(t: Test) {
  const [one, two, empty] = await Promise.all([startKubeApi(), startKubeApi(), startKubeApi()])
  for (const api of [one, two, empty]) t.teardown(() => api.stop())
  install(one, 2)
  install(two, 1)
  const kubeconfig = join(t.testdir(), 'kubeconfig')
  writeKubeconfig(
    kubeconfig,
    [
      ['kind-1', one.url],
      ['kind-2', two.url],
      ['kind-3', empty.url],
      ['gone', 'http://127.0.0.1:1'],
    ].map(([name = '', server = '']) => ({ name, server })),
  )
  return (line: string) => runLine(['status', '--all', '--kubeconfig', kubeconfig, ...line.split(' ')], { columns: 80 })
}

t.test('status --all shows components, images, nodes and Pods of each cluster', async t => {
  const run = await clusters(t)
  const { code, out } = await run('--kube-context kind-1 kind-2')
  t.equal(code, 1)
  const [first = '', second = ''] = out.split('\n\n')
  t.match(first, /^context kind-1 of \S+: OK\n/)
  t.match(first, /^ {2}DaemonSet +starlane\/starlane +node-agent +2 +2 +2$/m)
  t.match(first, /^ {2}Deployment +starlane\/gateway +gateway +1 +1 +1$/m)
  t.notMatch(first, /other/)
  t.match(first, /Images +starlane:1\.0, 2 Pods\n +starlane:1\.1, 1 Pod\n/)
  t.match(first, /Nodes +2 of 2 managed\n {2}Pods +3 of 3 managed\n/)
  t.match(first, /warning {2}Pods run different images: starlane:1\.0, starlane:1\.1/)
  t.match(second, /^context kind-2 of \S+: 2 errors\n/)
  t.match(second, /DaemonSet +starlane\/starlane +node-agent +2 +1 +1$/m)
  t.match(second, /Nodes +1 of 2 managed\n {2}Pods +2 of 3 managed\n/)
  t.match(second, /error +DaemonSet starlane\/starlane: 1 of 2 Pods are not ready/)
  t.match(second, /error +Pod starlane\/agent-2: ImagePullBackOff \(3 restarts\): Back-off pulling/)

  t.equal((await run('--kube-context kind-1')).code, 0)
  t.equal((await run('--kube-context kind-1 --strict')).code, 1)
  t.match(JSON.parse((await run('--kube-context kind-1 -o json')).out), [
    {
      components: [{ desired: 2, ready: 2, available: 2, images: ['starlane:1.0'] }, {}],
      nodes: { total: 2, managed: 2 },
    },
  ])
})

t.test('with sidecars alone the workloads are those of their Pods, which have the label', async t => {
  const api = await startKubeApi()
  t.teardown(() => api.stop())
  const put = (name: string, owner: [kind: string, name: string] | undefined, ready = true, phase = 'Running') => {
    const made = pod(name, 'n1', { component: 'sidecar', ready }) as unknown as { metadata: object; status: object }
    const ownerReferences = owner ? [{ apiVersion: 'apps/v1', kind: owner[0], name: owner[1], controller: true }] : []
    const labels = { ...component('sidecar'), 'pod-template-hash': '5d9' }
    const metadata = { ...made.metadata, labels, ownerReferences }
    api.put({ ...made, metadata, status: { ...made.status, phase } } as unknown as KubeObject)
  }
  put('web-5d9-a', ['ReplicaSet', 'web-5d9'])
  put('web-5d9-b', ['ReplicaSet', 'web-5d9'], false)
  put('db-0', ['StatefulSet', 'db'])
  put('nightly-x', ['Job', 'nightly'], false, 'Succeeded')
  put('by-hand', undefined)
  // Its Deployment has the label too, and is listed once.
  put('mail-5d9-a', ['ReplicaSet', 'mail-5d9'])
  api.put({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'mail', namespace: 'starlane', labels: component('sidecar') },
    spec: { replicas: 1, template: template('starlane:1.0') },
    status: { readyReplicas: 1, availableReplicas: 1 },
  } as unknown as KubeObject)
  const kubeconfig = join(t.testdir(), 'kubeconfig')
  writeKubeconfig(kubeconfig, [{ name: 'kind-1', server: api.url }])
  const { code, out } = await runLine(['status', '--all', '--kubeconfig', kubeconfig], { columns: 80 })
  t.equal(code, 1)
  t.match(out, /^ {2}Deployment +starlane\/web +sidecar +2 +1 +1$/m)
  t.match(out, /^ {2}StatefulSet +starlane\/db +sidecar +1 +1 +1$/m)
  t.match(out, /^ {2}Pod +starlane\/by-hand +sidecar +1 +1 +1$/m)
  t.equal(out.match(/starlane\/mail/g)?.length, 1)
  t.match(out, /1 error[\s\S]*Deployment starlane\/web: 1 of 2 Pods are not ready/)
  t.notMatch(out, /nightly|nothing with the label/)
})

t.test('a cluster without an installation, and one that cannot be read, are errors', async t => {
  const run = await clusters(t)
  t.match(await run('--kube-context kind-3'), {
    code: 1,
    out: /nothing with the label starlane\.dev\/component is installed/,
  })
  t.match(await run('--kube-context gone kind-1'), { code: 1, out: /^gone: 1 error\n[\s\S]*context kind-1 of \S+: OK/ })
  t.match(await run('--kube-context kind-9'), { code: 1, out: /no context "kind-9"/ })
})
