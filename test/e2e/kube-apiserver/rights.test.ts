/** The deployment files and their roles, against a real API server; skipped without one. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { parseAllDocuments } from 'yaml'
import { silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { createKubernetesSource } from '../../../proxy/sources/kubernetes/kubernetes-source.ts'
import { RecordingSink } from '../../conformance/source.ts'
import { eventually } from '../../support/eventually.ts'
import type { KubeObject } from '../../support/kube-api/types.ts'
import { account, exportOf, skipped, startKubeApiserver, webObjects, without } from '../../support/kube-apiserver.ts'

const options = { ...skipped, timeout: 110_000 }
const world = { clock: systemClock, random: Math.random, log: silentLog, env: {} }

t.test('the deployment and its roles', options, async t => {
  const api = await startKubeApiserver(t)
  await api.kubectl(['apply', '-f', 'test/fixtures/crds/multicluster.yaml'])
  const config = join(t.testdir({}), 'starlane.yaml')
  writeFileSync(config, 'cluster: one\nclusters: [{ name: one, id: 1, source: { kubernetes: { inCluster: true } } }]\n')

  for (const way of ['sidecar', 'node-agent', 'gateway']) {
    t.test(`starlane install ${way} --print is applied whole, without a warning`, async t => {
      const argv = [
        'bin/starlane.js',
        'install',
        way,
        '-c',
        config,
        '--image',
        'registry.example/starlane:1',
        '--print',
      ]
      const { stdout } = await promisify(execFile)(process.execPath, argv)
      const kinds = parseAllDocuments(stdout).map(document => document.toJS() as KubeObject)
      const said = await api.kubectl(['apply', '--validate=true', '-f', '-'], stdout)
      t.equal(said.trim().split('\n').length, kinds.length, said)
      t.notMatch(said, /Warning/)
    })
  }
  t.test(
    'the Pods of the node agent take no port of the node, so that an update can put a second one there',
    async t => {
      const set = await api.get('/apis/apps/v1/namespaces/starlane/daemonsets/starlane')
      assert.ok(set)
      t.match(set.spec.updateStrategy.rollingUpdate, { maxSurge: 1, maxUnavailable: 0 })
      const { metadata, spec } = set.spec.template
      await api.apply({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { ...metadata, name: 'agent', namespace: 'starlane' },
        spec,
      })
      const pod = await api.get('/api/v1/namespaces/starlane/pods/agent')
      t.equal(pod?.spec.hostNetwork, true)
      t.same(
        pod?.spec.containers.flatMap(({ ports = [] }: { ports?: unknown[] }) => ports),
        [],
      )
    },
  )
  t.test('the manifests for a cluster that is read from another one are applied too', async () => {
    await api.kubectl(['apply', '-k', 'deploy/remote-access'])
  })

  t.test('the reading role', async t => {
    await api.apply(...webObjects(), exportOf('web'))
    const role = parseAllDocuments(readFileSync('deploy/base/read.yaml', 'utf8'))
      .map(document => document.toJS() as KubeObject)
      .find(({ kind }) => kind === 'ClusterRole')
    const read = async (t: Test) => {
      const login = { kubeconfig: api.login(await api.token(account.namespace, account.name)) }
      const source = createKubernetesSource({ cluster: 'one', ...login }, world)
      t.teardown(() => source.close())
      const sink = new RecordingSink()
      source.start(sink)
      return sink
    }
    t.test('is enough', async t => {
      const sink = await read(t)
      await eventually(() => assert.equal(sink.link, 'live'), 20_000)
      t.same(sink.problemList, [])
      t.match(sink.services.get('default/web'), {
        exported: { createdAt: Number },
        endpoints: [{ address: '10.1.0.1' }],
      })
    })
    for (const resource of ['services', 'namespaces', 'endpointslices', 'nodes', 'serviceexports', 'serviceimports']) {
      t.test(`without ${resource} the rule is named`, async t => {
        await api.apply(without(role as KubeObject, resource))
        t.teardown(() => api.apply(role as KubeObject))
        const sink = await eventuallyDenied(t, read, resource)
        const message = new RegExp(
          `may not read ${resource}; its role needs {.*\\[${resource}\\], verbs: \\[list, watch\\]}`,
        )
        assert.match(sink, message)
      })
    }
  })
})

/** The server applies a changed role a moment later; a source that started before is restarted. */
async function eventuallyDenied(t: Test, read: (t: Test) => Promise<RecordingSink>, resource: string): Promise<string> {
  const sink = await read(t)
  return eventually(async () => {
    const found = sink.problemList.find(({ message }) => message.includes(`may not read ${resource}`))
    assert.ok(found, JSON.stringify(sink.problemList))
    return found.message
  }, 20_000)
}
