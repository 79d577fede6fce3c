/** Write-back to a real API server, with exactly the roles of deploy/; skipped without one. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import t from 'tap'
import { parseAllDocuments, stringify } from 'yaml'
import { eventually } from '../../support/eventually.ts'
import type { KubeObject } from '../../support/kube-api/types.ts'
import {
  account,
  exportOf,
  mcsVersion as mcs,
  skipped,
  startKubeApiserver,
  webObjects,
  without,
} from '../../support/kube-apiserver.ts'
import { createWorld } from '../../support/world.ts'

const options = { ...skipped, timeout: 115_000 }

t.test('write-back', options, async t => {
  const api = await startKubeApiserver(t)
  await api.kubectl(['apply', '-f', 'test/fixtures/crds/multicluster.yaml'])
  const folder = t.testdir({})
  writeFileSync(
    join(folder, 'kustomization.yaml'),
    stringify({
      resources: [relative(folder, 'deploy/base')],
      components: [relative(folder, 'deploy/components/write-back')],
    }),
  )
  const rendered = await api.kubectl(['kustomize', '--load-restrictor=LoadRestrictionsNone', folder])
  await api.kubectl(['apply', '-f', '-'], rendered)
  const login = api.login(await api.token(account.namespace, account.name))
  const affinity = 'service.cilium.io/affinity'
  const synced = { 'service.cilium.io/global-sync-endpoint-slices': 'true', [affinity]: 'lokal' }
  await api.apply(...webObjects(synced), exportOf('web'), exportOf('nobody'))
  const starlane = await createWorld(t, {
    config: {
      clusters: [
        { name: 'cluster-1', id: 1, source: { kubernetes: { kubeconfig: login } } },
        { name: 'cluster-2', id: 2, source: { manifests: './cluster-2' } },
      ],
      proxy: { vips: { cidr: '127.99.0.0/24' } },
      writeBack: { endpointSlices: true, serviceImports: true, derivedServices: true, events: true },
    },
  })
  const far = {
    kind: 'ServiceExport',
    apiVersion: mcs,
    metadata: { name: 'web', creationTimestamp: '2020-01-01T00:00:00Z' },
  }
  const remote = webObjects({}, { port: 8080, address: '10.2.0.1' })
  writeFileSync(
    join(starlane.folder, 'cluster-2', 'web.yaml'),
    [...remote, far].map(each => stringify(each)).join('---\n'),
  )
  await starlane.start()
  const [slices, imports, exports] = ['discovery.k8s.io/v1', mcs, mcs].map(
    (group, i) => `/apis/${group}/namespaces/default/${['endpointslices', 'serviceimports', 'serviceexports'][i]}`,
  )
  const mirrored = async () =>
    (await api.list(slices ?? '')).filter(
      ({ metadata }) => metadata.labels?.['multicluster.kubernetes.io/source-cluster'],
    )

  t.test('the API accepts all objects', async t => {
    await eventually(async () => assert.equal((await mirrored()).length, 1), 20_000)
    t.match((await mirrored())[0], { endpoints: [{ addresses: ['10.2.0.1'] }] })
    const events = () => api.list('/api/v1/namespaces/default/events')
    await eventually(async () => assert.match((await events())[0]?.message ?? '', /lokal/), 20_000)
    const lease = await api.get('/apis/coordination.k8s.io/v1/namespaces/starlane/leases/starlane-write')
    t.ok(lease?.spec.holderIdentity)
  })

  t.test('an import, its status, its derived Service with an address of the cluster, and the exports', async t => {
    const ready = async () => {
      const found = await api.get(`${imports}/web`)
      assert.equal(found?.status?.conditions?.[0]?.status, 'True')
      return found as KubeObject
    }
    const found = await eventually(ready, 20_000)
    const name = found.metadata.annotations?.['multicluster.kubernetes.io/derived-service']
    const derived = await api.get(`/api/v1/namespaces/default/services/${name}`)
    t.match(derived?.spec.clusterIP, /^10\.96\./)
    t.same(derived?.metadata.ownerReferences?.[0].uid, found.metadata.uid)
    t.match(
      found.spec,
      { type: 'ClusterSetIP', ports: [{ name: 'http', port: 80 }] },
      'the local export decides, though it is younger',
    )
    t.same(found.status.clusters, [{ cluster: 'cluster-1' }, { cluster: 'cluster-2' }])
    const conditions = async (name: string) => (await api.get(`${exports}/${name}`))?.status?.conditions ?? []
    await eventually(async () => assert.equal((await conditions('web'))[2]?.reason, 'PortConflict'), 20_000)
    t.match(
      (await conditions('web'))[2]?.message,
      /"http" 80\/TCP is as in cluster-1, so "http" 8080\/TCP of cluster-2/,
    )
    await eventually(async () => assert.equal((await conditions('nobody'))[0]?.reason, 'NoService'), 20_000)
    const own = await eventually(() => {
      const service = starlane.runtime().service('default', String(name))
      assert.ok(service && service.frontends.length > 0)
      return service
    }, 20_000)
    t.same(own.backends.map(({ address }) => address).sort(), ['10.1.0.1', '10.2.0.1'], 'it leads to both clusters')
  })

  t.test('a changed type replaces the derived Service', async t => {
    const retype = async (...objects: KubeObject[]) => {
      // A Service cannot become headless.
      await api.kubectl(['delete', 'service', 'web'])
      await api.apply(...objects)
    }
    const all = () => api.list('/api/v1/namespaces/default/services')
    const derived = async () =>
      (await all()).find(({ metadata }) => metadata.name.startsWith('derived-'))?.spec.clusterIP ?? ''
    await retype(...webObjects(synced, { clusterIP: 'None' }))
    await eventually(async () => assert.equal(await derived(), 'None'), 20_000)
    await retype(...webObjects(synced))
    await eventually(async () => assert.match(await derived(), /^10\.96\./), 20_000)
    t.pass('and back')
  })

  t.test('a missing rule is named', async t => {
    const roles = parseAllDocuments(rendered).map(document => document.toJS() as KubeObject)
    const role = roles.find(({ kind, metadata }) => kind === 'ClusterRole' && metadata.name === 'starlane-write')
    const touch: Record<string, () => Promise<unknown>> = {
      endpointslices: async () => {
        for (const { metadata } of await mirrored()) await api.kubectl(['delete', 'endpointslice', metadata.name])
      },
      services: () => api.kubectl(['delete', 'service', '-l', 'starlane.dev/derived=true']),
      serviceimports: () => api.kubectl(['delete', 'serviceimports', 'web']),
      'serviceimports/status': () => api.kubectl(['delete', 'serviceimports', 'web']),
      'serviceexports/status': async () => {
        await api.kubectl(['delete', 'serviceexports', 'nobody'])
        await api.apply(exportOf('nobody'))
      },
      events: async () => {
        const annotation = (value: string) =>
          api.kubectl(['annotate', '--overwrite', 'service', 'web', `${affinity}=${value}`])
        await annotation('remote-ish')
      },
    }
    for (const [resource, act] of Object.entries(touch)) {
      await api.apply(without(role as KubeObject, resource))
      await act()
      const message = new RegExp(`may not write ${resource}; its role needs {.*resources: \\[${resource}\\]`)
      const problems = () => starlane.status().problems.map(({ message }) => message)
      await eventually(
        () =>
          assert.ok(
            problems().some(each => message.test(each)),
            problems().join('\n'),
          ),
        30_000,
      )
      await api.apply(role as KubeObject)
      await eventually(
        () => assert.ok(!problems().some(each => /may not write/.test(each)), problems().join('\n')),
        60_000,
      )
      t.pass(`${resource}: named, and written once it is allowed`)
    }
  })
})
