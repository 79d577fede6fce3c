/** A rehearsal where nothing is enforced yet: it says what would be refused. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { stringify } from 'yaml'
import { eventually } from '../../support/eventually.ts'
import { createWorld } from '../../support/world.ts'
import { rehearse } from './support.ts'

const guard = (app: string, metadata: object = {}) => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'guard', namespace: 'default', ...metadata },
  spec: {
    podSelector: { matchLabels: { app: 'base' } },
    ingress: [{ from: [{ podSelector: { matchLabels: { app } } }] }],
  },
})

t.test('with the option audit, of a running Starlane and offline; the annotation holds', async t => {
  const world = await createWorld(t, { config: { plugins: [{ use: 'policy', options: { audit: true } }] } })
  const [vip, base, xwing, tie] = [world.ip(1), world.ip(11), world.ip(21), world.ip(22)] as const
  const put = async (file: string, ...objects: object[]) => {
    const path = join(world.folder, file)
    await writeFile(path, objects.map(object => stringify(object)).join('---\n'))
    return path
  }
  const pods = Object.entries({ base, xwing, tie }).map(([app, podIP]) => ({
    ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: `${app}-0`, namespace: 'default', labels: { app } } },
    status: { phase: 'Running', podIP },
  }))
  await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: base }] })
  await put('cluster-1/pods.yaml', ...pods)
  const flows = join(world.folder, 'flows.json')
  const flow = (source: string, name: string) =>
    JSON.stringify({
      flow: {
        IP: { source },
        source: { namespace: 'default', pod_name: name },
        starlane: { kind: 'connection', service: 'default/rebel-base', frontend: `${vip}:7000/TCP` },
      },
    })
  await writeFile(flows, `${flow(tie, 'tie-0')}\n${flow(xwing, 'xwing-0')}\n`)
  await world.start()
  const { admin } = await world.runtime().ready
  const ways = [
    ['--admin', admin],
    ['--offline', '-c', world.file],
  ]
  const asked = async (way: readonly string[], policy: string) => {
    const { code, out } = await rehearse(...way, '--policy', policy, '--flows', flows, '-o', 'json')
    const changes = (JSON.parse(out) as { changes: { pod: string; to: string }[] }).changes
    return { code, changes: changes.map(({ pod, to }) => `${pod} ${to}`) }
  }
  const xwings = await put('xwings.yaml', guard('xwing'))
  const ties = await put('ties.yaml', guard('tie'))
  const audited = await put('audited.yaml', guard('xwing', { annotations: { 'starlane.dev/audit': 'true' } }))
  for (const way of ways) {
    t.same(await asked(way, xwings), { code: 1, changes: ['default/tie-0 refused'] })
    t.same(await asked(way, audited), { code: 0, changes: [] })
  }
  await put('cluster-1/policy.yaml', guard('xwing'))
  await eventually(async () => assert.equal((await asked(['--admin', admin], xwings)).code, 0))
  for (const way of ways) {
    const { code, changes } = await asked(way, ties)
    t.same([code, changes.sort()], [1, ['default/tie-0 allowed', 'default/xwing-0 refused']], 'beside one in audit')
  }
})
