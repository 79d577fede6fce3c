/** `starlane mesh` joins two clusters whose API servers are real; skipped without one. See test/support/kube-apiserver.ts. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { runLine, type Said, startLine } from '../../proxy/cli/stage.ts'
import { eventually } from '../../support/eventually.ts'
import { writeKubeconfig } from '../../support/kube-api/kubeconfig.ts'
import type { KubeObject } from '../../support/kube-api/types.ts'
import { type RealApi, skipped, startKubeApiserver } from '../../support/kube-apiserver.ts'
import { needsKustomize } from '../../support/kubectl.ts'

t.test(
  'three commands join two clusters with API servers of Kubernetes',
  { ...needsKustomize, ...skipped },
  async t => {
    const { apis, mesh, both, kubeconfig } = await openClusters(t)
    const [one, two] = apis
    t.match(await mesh(`enable ${both} --dry-run`), { code: 0, out: /kind: DaemonSet/ })
    t.equal(await one.get('/api/v1/namespaces/starlane'), undefined, 'a dry run changes nothing')

    const enabled = await mesh(`enable ${both} --image registry.example/starlane:1.0`)
    t.match(enabled, { code: 0, out: /kind-1: .*with id 1\.\nkind-2: .*with id 2\./ }, enabled.err)
    const connected = await mesh(`connect ${both}`)
    t.match(connected, { code: 0, out: /kind-1: kind-1 reads kind-2 \(new tokens for kind-2; configuration changed\)/ })
    t.match(parse((await one.get(config))?.data['starlane.yaml']).clusters, [{ name: 'kind-1' }, { name: 'kind-2' }])

    const token = await tokenIn(one, 'kind-2')
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
    t.ok(claims.exp - claims.iat >= 86_400, `${(claims.exp - claims.iat) / 86_400} days`)
    t.equal(claims.sub, 'system:serviceaccount:starlane:starlane-peer-kind-1')
    const may = async (...words: string[]) => {
      const answer = await two
        .kubectl(['auth', 'can-i', ...words, '--token', token, '--kubeconfig', await withoutUser(two)])
        .catch((error: { stdout?: string }) => error.stdout ?? '')
      return answer.trim()
    }
    t.equal(await may('watch', 'endpointslices.discovery.k8s.io', '-A'), 'yes')
    t.equal(await may('get', 'secrets', '-A'), 'no')
    t.equal(await may('create', 'services', '-A'), 'no')
    const renew = await one.kubectl([
      ...['auth', 'can-i', 'update', 'secrets/starlane-clusters', '-n', 'starlane'],
      '--as=system:serviceaccount:starlane:starlane',
    ])
    t.equal(renew.trim(), 'yes', 'the process may renew the tokens it reads with')

    await mesh(`enable ${both} --image registry.example/starlane:1.0`)
    const before = await versions(apis)
    t.match(await mesh(`connect ${both}`), { code: 0, out: /nothing to change\)\n.*nothing to change\)/ })
    t.match(await mesh(`enable ${both} --image registry.example/starlane:1.0`), { code: 0 })
    t.same(await versions(apis), before, 'again: nothing is written')

    const waiting = startLine(`mesh status ${both} --wait --kubeconfig ${kubeconfig}`.split(' '), { wall: Date.now })
    await eventually(() => assert.match(waiting.said.err, /waiting: kind-1: DaemonSet/))
    for (const api of apis) await rollOut(api)
    t.match(await waiting.ended, {
      code: 0,
      out: /✓ DaemonSet starlane: 1 Pod ready\n {2}✓ kind-2: readable, the token lasts/,
    })

    t.match(await mesh(`disconnect ${both}`), { code: 0, out: /kind-1 no longer reads kind-2/ })
    t.notOk((await one.get(secret))?.data?.['kind-2'])
    t.equal(await two.get('/api/v1/namespaces/starlane/serviceaccounts/starlane-peer-kind-1'), undefined)
    t.match(await mesh(`status ${both}`), { code: 1, out: /✗ does not read kind-2; run "starlane mesh connect"/ })
  },
)

const config = '/api/v1/namespaces/starlane/configmaps/starlane'
const secret = '/api/v1/namespaces/starlane/secrets/starlane-clusters'
const daemonSet = '/apis/apps/v1/namespaces/starlane/daemonsets/starlane'

async function openClusters(t: Test) {
  const apis = (await Promise.all([startKubeApiserver(t), startKubeApiserver(t)])) as [RealApi, RealApi]
  const folder = t.testdir({})
  const kubeconfig = join(folder, 'both')
  writeKubeconfig(
    kubeconfig,
    apis.map(({ entry }, i) => ({ ...entry, name: `kind-${i + 1}` })),
  )
  const env = { KUBECONFIG: kubeconfig, KUBECACHEDIR: join(folder, 'cache') }
  const mesh = (line: string): Promise<Said> =>
    runLine(['mesh', ...line.split(' '), '--kubeconfig', kubeconfig], { env, wall: Date.now })
  return { apis, mesh, kubeconfig, both: '--context kind-1 --context kind-2' }
}

/** A kubeconfig of its server alone, since a user of a kubeconfig counts before `--token`. */
async function withoutUser(api: RealApi): Promise<string> {
  const file = `${api.kubeconfig}-bare`
  writeKubeconfig(file, [{ ...api.entry, user: {} }])
  return file
}

async function tokenIn(api: RealApi, name: string): Promise<string> {
  const text = Buffer.from((await api.get(secret))?.data[name], 'base64').toString()
  return parse(text).users[0].user.token
}

/** Of what the commands write. */
async function versions(apis: readonly RealApi[]): Promise<(string | undefined)[]> {
  const objects = await Promise.all(apis.flatMap(api => [config, secret, daemonSet].map(path => api.get(path))))
  return objects.map(object => object?.metadata.resourceVersion)
}

/** As the controller of DaemonSets and the kubelet would. */
async function rollOut(api: RealApi): Promise<void> {
  const { generation } = ((await api.get(daemonSet)) as KubeObject).metadata
  const counts = { desiredNumberScheduled: 1, currentNumberScheduled: 1, updatedNumberScheduled: 1 }
  const status = {
    observedGeneration: generation,
    ...counts,
    numberMisscheduled: 0,
    numberReady: 1,
    numberAvailable: 1,
  }
  const patch = ['patch', 'daemonset', 'starlane', '-n', 'starlane', '--subresource=status', '--type=merge']
  await api.kubectl([...patch, '-p', JSON.stringify({ status })])
}
