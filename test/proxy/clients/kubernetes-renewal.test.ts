/** Bound tokens are renewed in the second half of their life, by one of several processes, and used without a restart. */
import assert from 'node:assert/strict'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { accessObjects, renewalObjects } from '../../../proxy/cli/kubernetes/access.ts'
import { createKubernetesClient } from '../../../proxy/clients/kubernetes/connect.ts'
import { TokenRenewal } from '../../../proxy/clients/kubernetes/renewal/token-renewal.ts'
import { fileStore, secretStore, type TokenStore } from '../../../proxy/clients/kubernetes/renewal/token-stores.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { eventually } from '../../support/eventually.ts'
import { base64, kubeconfigText } from '../../support/kube-api/kubeconfig.ts'
import { type KubeApi, startKubeApi } from '../../support/kube-api/server.ts'
import { issueToken } from '../../support/kube-api/tokens.ts'
import type { KubeObject } from '../../support/kube-api/types.ts'
import { createWorld } from '../../support/world.ts'

/** Past the half of the ten minutes that the test server gives at least, and before their end. */
const lateMs = 400_000
const late = { ...systemClock, wall: () => Date.now() + lateMs }
const world = { clock: late, random: () => 0.5, log: silentLog, env: {} }

t.test('a file: one new token, with the rights that connect gives, and the mode stays', async t => {
  const { api, token, file } = await openRemote(t)
  const renewal = start(t, file, fileStore(file))
  await eventually(() => assert.notEqual(tokenIn(file), token))
  t.equal(renewal.problem(), undefined)
  t.equal(statSync(file).mode & 0o777, 0o640)
  t.equal(api.count('create', 'serviceaccounts'), 1)
  const text = readFileSync(file, 'utf8')
  t.equal(text.replace(tokenIn(file), token), kubeconfig(api, token), 'nothing else has changed')
})

t.test('before its half nothing is asked for', async t => {
  const { api, token, file } = await openRemote(t)
  let reads = 0
  const store = fileStore(file)
  const counting: TokenStore = {
    ...store,
    read: async signal => {
      reads++
      return store.read(signal)
    },
  }
  start(t, file, counting, { ...world, clock: systemClock })
  await eventually(() => assert.equal(reads, 1))
  t.equal(tokenIn(file), token)
  t.equal(api.count('create', 'serviceaccounts'), 0)
})

t.test('a Secret, by two processes at once: one wins and the other is content', async t => {
  const { api, token, file } = await openRemote(t)
  const local = await startKubeApi({ users: { own: { name: 'starlane', rules: rulesOf(renewalObjects()) } } })
  t.teardown(() => local.stop())
  const place = { namespace: 'starlane', name: 'starlane-clusters', key: 'cluster-2' }
  const metadata = { namespace: place.namespace, name: place.name }
  const data = { 'cluster-2': base64(readFileSync(file, 'utf8')), 'cluster-3': base64('kept') }
  local.put({ apiVersion: 'v1', kind: 'Secret', metadata, data })
  const own = `${file}-own`
  writeFileSync(own, kubeconfigText([{ name: 'local', server: local.url, user: { token: 'own' } }]))
  const client = createKubernetesClient({ kubeconfig: own }, world)
  t.teardown(() => client.close())
  const stores = [0, 1].map(() => secretStore(() => client, place))
  // Both have read before either writes.
  const bothRead = Promise.withResolvers<void>()
  let reads = 0
  let writes: boolean[] = []
  const renewals = stores.map(store =>
    start(t, file, {
      read: async signal => {
        const text = await store.read(signal)
        if (++reads === 2) bothRead.resolve()
        return text
      },
      write: async (text, signal) => {
        await bothRead.promise
        const isWritten = await store.write(text, signal)
        writes = [...writes, isWritten]
        return isWritten
      },
    }),
  )
  await eventually(() => assert.equal(writes.length, 2))
  t.same(writes.sort(), [false, true])
  t.same(
    renewals.map(renewal => renewal.problem()),
    [undefined, undefined],
  )
  const secret = local.get('Secret', 'starlane-clusters', 'starlane')
  const kept = Buffer.from(secret?.data['cluster-2'], 'base64').toString()
  t.notMatch(kept, token)
  t.match(kept, api.url)
  t.equal(secret?.data['cluster-3'], base64('kept'))
})

t.test('what keeps it from being renewed is a problem, with the day and the remedy', async t => {
  const { api, file } = await openRemote(t)
  api.remove('Role', 'starlane-peer-cluster-1', 'starlane')
  const renewal = start(t, file, fileStore(file))
  await eventually(() => assert.ok(renewal.problem()))
  t.match(renewal.problem(), {
    where: 'cluster cluster-2',
    message: /cannot be renewed: .*forbidden.*; the one in use ends on 20\d\d-.*; run "starlane mesh connect"/,
  })
  writeFileSync(file, kubeconfig(api, 'not-a-bound-token'))
  const other = start(t, file, fileStore(file))
  await eventually(() => assert.match(other.problem()?.message ?? '', /not bound to a ServiceAccount/))
})

t.test('a running Starlane goes on with the new token, and loses nothing meanwhile', async t => {
  const { api, token, file } = await openRemote(t)
  const kubernetes = { kubeconfig: file, renew: 'file' }
  const mesh = await createWorld(t, {
    clusters: ['cluster-1'],
    clock: late,
    config: {
      clusters: [
        { name: 'cluster-1', id: 1, source: { manifests: './cluster-1' } },
        { name: 'cluster-2', id: 2, source: { kubernetes } },
      ],
    },
  })
  await mesh.start()
  await eventually(() => assert.notEqual(tokenIn(file), token))
  // The next request after it has noticed has the new one.
  await eventually(() => {
    api.watches.end('services')
    const seen = api.seen.findLast(({ resource }) => resource === 'services')
    assert.equal(seen?.headers.authorization, `Bearer ${tokenIn(file)}`)
  }, 15_000)
  const link = mesh.status().clusters.find(({ name }) => name === 'cluster-2')?.link.state
  t.equal(link, 'live')
  t.same(
    mesh.status().problems.filter(({ code }) => code === 'CERTIFICATE_ENDS'),
    [],
  )
})

/** A cluster with the account of cluster-1 as `starlane mesh connect` makes it, and a kubeconfig with its token. */
async function openRemote(t: Test) {
  const api = await startKubeApi({ users: {} })
  t.teardown(() => api.stop())
  const reading = { apiGroups: ['*'], resources: ['*'], verbs: ['list', 'watch'] }
  const role = { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole', metadata: { name: 'starlane-read' } }
  api.put({ ...role, rules: [reading] } as KubeObject)
  for (const object of accessObjects('cluster-1')) api.put(structuredClone(object) as KubeObject)
  const account = { namespace: 'starlane', name: 'starlane-peer-cluster-1' }
  const answer = issueToken(api, account as never, { spec: { expirationSeconds: 600 } }) as KubeObject
  const { token } = answer.status
  const file = join(t.testdir({}), 'cluster-2')
  writeFileSync(file, kubeconfig(api, token), { mode: 0o640 })
  return { api, token: token as string, file }
}

function start(t: Test, file: string, store: TokenStore, given = world): TokenRenewal {
  const client = createKubernetesClient({ kubeconfig: file }, given)
  const renewal = new TokenRenewal({ cluster: 'cluster-2', store, client, world: given })
  t.teardown(() => renewal.close())
  renewal.start()
  return renewal
}

function kubeconfig(api: KubeApi, token: string): string {
  return kubeconfigText([{ name: 'cluster-2', server: api.url, user: { token } }])
}

function tokenIn(file: string): string {
  return JSON.parse(readFileSync(file, 'utf8')).users[0].user.token
}

function rulesOf(objects: readonly object[]) {
  return (objects as KubeObject[]).flatMap(({ kind, rules }) => (kind === 'Role' ? rules : []))
}
