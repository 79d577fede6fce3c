/** A rehearsal of the first policy, before which a cluster read from an API server is not asked for Pods. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { eventually } from '../../support/eventually.ts'
import type { Rule } from '../../support/kube-api/authorize.ts'
import { writeKubeconfig } from '../../support/kube-api/kubeconfig.ts'
import { startKubeApi } from '../../support/kube-api/server.ts'
import { ask, createWorld, manifests, startPod } from '../../support/world.ts'
import { rehearse } from './support.ts'

/** One service of a cluster that is read from an API server, without a policy; and a file with one that isolates its backend. */
async function open(t: Test, rules?: readonly Rule[]) {
  const api = await startKubeApi(rules ? { users: { weak: { name: 'weak', rules } } } : {})
  t.teardown(() => api.stop())
  const config = {
    plugins: [{ use: 'policy' }],
    clusters: [
      { name: 'cluster-1', id: 1, source: { kubernetes: { kubeconfig: './kubeconfig' } }, allow: { loopback: true } },
    ],
  }
  const world = await createWorld(t, { clusters: ['cluster-1'], config })
  const login = { name: 'east', server: api.url, ...(rules && { user: { token: 'weak' } }) }
  writeKubeconfig(join(world.folder, 'kubeconfig'), [login])
  const [vip, base, tie] = [world.ip(1), world.ip(11), world.ip(21)] as const
  await startPod(t, base, 'base')
  for (const object of manifests({ clusterIP: vip, pods: [{ ip: base }] }, 'rebel-base')) api.put(object as never)
  for (const [app, podIP] of Object.entries({ base, tie })) {
    api.put({
      ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: `${app}-0`, namespace: 'default', labels: { app } } },
      ...{ spec: { containers: [] }, status: { phase: 'Running', podIP } },
    })
  }
  await world.start()
  const { admin } = await world.runtime().ready
  await eventually(async () => assert.equal(await ask(vip, 7000, tie), 'base'))
  const guard = join(world.folder, 'guard.json')
  const spec = { podSelector: { matchLabels: { app: 'base' } } }
  const metadata = { name: 'guard', namespace: 'default' }
  await writeFile(guard, JSON.stringify({ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata, spec }))
  return { api, world, admin, guard, vip, tie }
}

t.test('Pods are read for it', async t => {
  const { api, admin, guard, vip, tie } = await open(t)
  t.equal(api.watches.count('pods'), 0, 'without a policy')
  let answer = await rehearse('--admin', admin, '--policy', guard, '-o', 'json')
  await eventually(async () => {
    answer = await rehearse('--admin', admin, '--policy', guard, '-o', 'json')
    assert.equal(JSON.parse(answer.out).flows, 1)
  })
  t.match(JSON.parse(answer.out), { changes: [{ client: tie, to: 'refused' }], problems: [] })
  t.equal(answer.code, 1)
  t.equal(await ask(vip, 7000, tie), 'base', 'nothing is enforced')
})

t.test('without the right to read Pods: it says so, and nothing else changes', async t => {
  const rules = [
    { apiGroups: ['*'], resources: ['services', 'namespaces', 'endpointslices', 'nodes'], verbs: ['list', 'watch'] },
    { apiGroups: ['networking.k8s.io', 'cilium.io'], resources: ['*'], verbs: ['list', 'watch'] },
  ]
  const { api, world, admin, guard, vip, tie } = await open(t, rules)
  const answer = await rehearse('--admin', admin, '--policy', guard, '-o', 'json')
  t.equal(answer.code, 1, 'a pipeline does not go on')
  const { changes, incomplete, problems } = JSON.parse(answer.out)
  t.match({ changes, incomplete, problems }, { changes: [], incomplete: true, problems: [{ where: 'Pods' }] })
  const text = await rehearse('--admin', admin, '--policy', guard)
  t.match(text.out, /Pods {2}those of a cluster could not be read in time/)
  t.equal((await fetch(`http://${admin}/readyz`)).status, 200, 'still ready')
  t.equal(await ask(vip, 7000, tie), 'base')
  await eventually(() => assert.equal(api.watches.count('pods'), 0))
  t.ok(world.status().ready)
})
