/** Rehearsals: of a running Starlane with the flows that it has recorded, and of manifests with a recording. */
import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { runProgram } from '../../../proxy/cli/program.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { a, fakeUpstream } from '../../proxy/dns/upstream.ts'
import { eventually } from '../../support/eventually.ts'
import { ask, createWorld, startPod, type World } from '../../support/world.ts'

const policyFor = (app: string, name = 'guard') => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name, namespace: 'default' },
  spec: {
    podSelector: { matchLabels: { app: 'base' } },
    ingress: [{ from: [{ podSelector: { matchLabels: { app } } }] }],
  },
})

async function open(t: Test) {
  // No checks: the backends are equal from the first flow on, however busy the machine is.
  const config = { plugins: [{ use: 'policy' }, { use: 'affinity' }], health: { active: { type: 'none' } } }
  const world = await createWorld(t, { config })
  const [vip, base, far, xwing, tie] = [world.ip(1), world.ip(11), world.ip(12), world.ip(21), world.ip(22)] as const
  await startPod(t, base, 'base')
  await startPod(t, far, 'far')
  await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: base }] })
  await world.declare('cluster-2', { clusterIP: world.ip(2), pods: [{ ip: far }] })
  const pod = (name: string, ip: string, app: string) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', labels: { app } },
    status: { phase: 'Running', podIP: ip },
  })
  const near = [pod('base-0', base, 'base'), pod('xwing-0', xwing, 'xwing'), pod('tie-0', tie, 'tie')]
  await put(world, 'cluster-1/pods.yaml', ...near)
  await put(world, 'cluster-2/pods.yaml', pod('far-0', far, 'base'))
  return { world, vip, base, far, xwing, tie }
}

async function put(world: World, file: string, ...objects: object[]): Promise<string> {
  const path = join(world.folder, file)
  await writeFile(path, objects.map(object => stringify(object)).join('---\n'))
  return path
}

/** One command line, as a user types it. */
async function run(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const said = { out: '', err: '' }
  const say = (to: 'out' | 'err', text: string) => {
    said[to] += text
  }
  const io = {
    stdout: { write: (text: string) => say('out', text) },
    stderr: { write: (text: string) => say('err', text) },
    env: {},
    clock: systemClock,
    process: process,
  }
  return { code: await runProgram(['rehearse', ...argv], io), ...said }
}

t.test('a policy, over the flows that were recorded', async t => {
  const { world, vip, xwing, tie } = await open(t)
  await world.start()
  const { admin } = await world.runtime().ready
  for (const client of [xwing, tie, tie, tie]) await ask(vip, 7000, client)
  await mkdir(join(world.folder, 'new'))
  const file = await put(world, 'new/guard.yaml', policyFor('xwing'))
  const asked = (...argv: string[]) => run('--admin', admin, ...argv)

  let answer = await asked('--policy', file, '-o', 'json')
  await eventually(async () => {
    answer = await asked('--policy', file, '-o', 'json')
    assert.equal(JSON.parse(answer.out).flows, 4)
  })
  // The backend of cluster-2 is not in the policies of cluster-1.
  t.equal(answer.code, 0, 'none would be refused')
  const { changes, skipped, problems } = JSON.parse(answer.out)
  t.match(changes, [{ pod: 'default/tie-0', service: 'default/rebel-base', to: 'moved', why: /guard/ }])
  t.equal(changes.length, 1)
  t.same([skipped, problems], [{}, []])
})

t.test('a policy that refuses, one that changes nothing, and one that opens', async t => {
  const { world, vip, xwing, tie } = await open(t)
  await world.undeclare('cluster-2')
  await world.start()
  const { admin } = await world.runtime().ready
  for (const client of [xwing, tie, tie, tie]) await ask(vip, 7000, client)
  await mkdir(join(world.folder, 'new'))
  const guard = await put(world, 'new/guard.yaml', policyFor('xwing'))
  const asked = (...argv: string[]) => run('--admin', admin, ...argv)
  const decided = async () => assert.equal(JSON.parse((await asked('--policy', guard, '-o', 'json')).out).flows, 4)
  await eventually(decided)

  const shown = await asked('--policy', join(world.folder, 'new'), '--last', '1h')
  t.equal(shown.code, 1)
  t.match(shown.out, /^4 recorded flows: 3 would be refused, 0 would be allowed, 0 would go to another backend$/m)
  t.match(
    shown.out,
    /default\/tie-0 +default\/rebel-base +refused +3 +.*no rule of NetworkPolicy default\/guard \(.*guard\.yaml:1\) allows it/,
  )
  t.equal(await ask(vip, 7000, tie), 'base', 'nothing was applied')

  const opening = await put(world, 'open.yaml', { ...policyFor('x'), spec: { podSelector: {}, ingress: [{}] } })
  const same = await asked('--policy', opening)
  t.equal(same.code, 0, same.out)
  t.match(same.out, /0 would be refused/)

  await put(world, 'cluster-1/policy.yaml', policyFor('xwing'))
  await eventually(() => assert.rejects(ask(vip, 7000, tie)), 15_000)
  const opened = JSON.parse((await asked('--policy', opening, '-o', 'json')).out)
  t.match(opened.changes, [{ pod: 'default/tie-0', to: 'allowed', why: /NetworkPolicy default\/guard/ }])

  const layer7 = {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name: 'l7', namespace: 'default' },
    spec: { endpointSelector: {}, ingress: [{ toPorts: [{ ports: [{ port: '80' }], rules: { http: [{}] } }] }] },
  }
  const reported = await asked('--policy', await put(world, 'l7.yaml', layer7))
  t.match(reported.out, /note {2}cluster-1 .*l7\.yaml:1 {2}CiliumNetworkPolicy default\/l7: .*layer 7/)
})

t.test('names that only the new policy is about, by the DNS answers that were recorded', async t => {
  const hosts = new Map<string, string>()
  const upstream = await fakeUpstream(t, ({ name, type }) => ({
    answers: type === 'A' ? [a(name, hosts.get(name) ?? '192.0.2.1')] : [],
  }))
  const dns = { listen: '127.0.0.1:0', upstream: [upstream.text] }
  const world = await createWorld(t, { config: { plugins: [{ use: 'policy' }], dns } })
  const [vip, outside, xwing] = [world.ip(1), world.ip(11), world.ip(21)] as const
  hosts.set('api.example', outside)
  await startPod(t, outside, 'outside')
  await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: outside }] })
  const pod = {
    ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'xwing-0', namespace: 'default', labels: { app: 'xwing' } } },
    status: { phase: 'Running', podIP: xwing },
  }
  await put(world, 'cluster-1/pods.yaml', pod)
  const allow = (name: string) => ({
    ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: 'names', namespace: 'default' } },
    spec: { endpointSelector: { matchLabels: { app: 'xwing' } }, egress: [{ toFQDNs: [{ matchName: name }] }] },
  })
  const [right, wrong] = [
    await put(world, 'right.yaml', allow('api.example')),
    await put(world, 'wrong.yaml', allow('b.example')),
  ]
  await world.start()
  const { admin } = await world.runtime().ready
  t.same(await world.resolve('api.example'), [outside])
  t.equal(await ask(vip, 7000, xwing), 'outside')
  const recorded = async () => (await fetch(`http://${admin}/v1/flows?last=100`)).text()
  await eventually(async () =>
    assert.match(await recorded(), /"state":"ended".*"kind":"connection"|"kind":"connection".*"state":"ended"/),
  )
  const recording = join(world.folder, 'flows.jsonl')
  await writeFile(recording, await recorded())
  const ways = { running: ['--admin', admin], offline: ['--offline', '-c', world.file, '--flows', recording] }
  for (const [way, argv] of Object.entries(ways)) {
    const kept = await run(...argv, '--policy', right, '-o', 'json')
    t.match(JSON.parse(kept.out), { flows: 1, changes: [], problems: [] }, way)
    t.equal(kept.code, 0)
    const refused = await run(...argv, '--policy', wrong, '-o', 'json')
    t.match(JSON.parse(refused.out), { flows: 1, changes: [{ to: 'refused', why: /names/ }] }, way)
    t.equal(refused.code, 1)
  }
})

t.test('the loss of a cluster', async t => {
  const { world, vip, xwing } = await open(t)
  await world.declare('cluster-2', { name: 'only-far', clusterIP: 'None', pods: [{ ip: world.ip(13) }] })
  await world.declare('cluster-1', { name: 'only-far', clusterIP: world.ip(3), pods: [] })
  await startPod(t, world.ip(13), 'only')
  await world.start()
  const { admin } = await world.runtime().ready
  for (let i = 0; i < 4; i++) await ask(vip, 7000, xwing)
  let answer = await run('--admin', admin, '--without', 'cluster-2', '-o', 'json')
  await eventually(async () => {
    answer = await run('--admin', admin, '--without', 'cluster-2', '-o', 'json')
    assert.equal(JSON.parse(answer.out).flows, 2)
  })
  t.equal(answer.code, 1)
  t.match(JSON.parse(answer.out).services, [
    { service: 'default/only-far', state: 'none', before: 1, after: 0, load: {} },
    { service: 'default/rebel-base', state: 'some', before: 2, after: 1, moved: 2, load: { 'cluster-1': 1 } },
  ])
  const shown = await run('--admin', admin, '--without', 'cluster-2')
  t.match(shown.out, /Without cluster-2: 1 service would have no backend/)
  t.match(shown.out, /default\/rebel-base +some +2 → 1 +2 +cluster-1 100%/)
})

t.test('offline, from manifests and a recording', async t => {
  const { world, vip, tie, xwing } = await open(t)
  await world.undeclare('cluster-2')
  await world.write()
  const guard = await put(world, 'guard.yaml', policyFor('xwing'))
  const line = (client: string, pod: string) =>
    JSON.stringify({
      node_name: 'n1',
      time: '2026-01-01T00:00:00Z',
      flow: {
        IP: { source: client },
        source: { namespace: 'default', pod_name: pod },
        starlane: { kind: 'connection', service: 'default/rebel-base', frontend: `${vip}:7000/TCP` },
      },
    })
  const question = JSON.stringify({ flow: { IP: { source: tie }, source: {}, starlane: { kind: 'question' } } })
  const recording = join(world.folder, 'flows.json')
  await writeFile(
    recording,
    [
      line(tie, 'tie-0'),
      line(tie, 'tie-0'),
      line(xwing, 'xwing-0'),
      line(xwing, 'another'),
      line('127.99.0.1', 'gone'),
      question,
      '',
    ].join('\n'),
  )
  const offline = ['--offline', '-c', world.file, '--policy', guard, '--flows', recording]
  const { code, out, err } = await run(...offline, '-o', 'json')
  t.equal(code, 1, err)
  t.match(JSON.parse(out), {
    flows: 3,
    changes: [{ client: tie, pod: 'default/tie-0', to: 'refused', flows: 2 }],
    skipped: { 'the address of the client is another Pod’s now': 1, 'the Pod of the client is gone': 1 },
  })
  t.match((await run(...offline)).out, /1 flow left out: the Pod of the client is gone/)

  await writeFile(recording, '{}\n')
  const bad = await run(...offline)
  t.equal(bad.code, 2)
  t.match(bad.err, /flows\.json:1 cannot be read: is not a flow that Starlane has recorded/)
})

t.test('wrong usage', async t => {
  const { world } = await open(t)
  await world.start()
  const { admin } = await world.runtime().ready
  const file = await put(world, 'guard.yaml', policyFor('xwing'))
  const broken = join(world.folder, 'broken.yaml')
  await writeFile(broken, 'a: [')
  const cases: [argv: string[], why: RegExp][] = [
    [[], /give either --policy FILE or --without CLUSTER/],
    [['--policy', file, '--without', 'cluster-2'], /give either/],
    [['--policy', join(world.folder, 'nothing')], /cannot be read: ENOENT/],
    [['--policy', join(world.folder, 'cluster-1', 'empty')], /cannot be read/],
    [['--policy', broken], /broken\.yaml:1 cannot be read/],
    [['--policy', file, '--last', 'soon'], /--last soon is not a duration/],
    [['--policy', file, '--last', '1h', '--flows', file], /give it or --flows/],
    [['--policy', file, '--cluster', 'cluster-9'], /there is no cluster "cluster-9"; there are cluster-1, cluster-2/],
    [['--without', 'cluster-1'], /is the local cluster/],
    [['--without', 'cluster-9'], /there is no cluster/],
    [['--without', 'cluster-2', '--cluster', 'cluster-1'], /--cluster says for which cluster/],
    [['--offline', '--policy', file, '--flows', file], /cannot be read/],
    [['--offline', '--without', 'cluster-2'], /give -c FILE/],
  ]
  for (const [argv, why] of cases) {
    const { code, err } = await run(...(argv.includes('--offline') ? [] : ['--admin', admin]), ...argv)
    t.equal(code, 2, argv.join(' '))
    t.match(err, why)
  }
  const post = (body: string, headers: Record<string, string> = { 'content-type': 'application/json' }) =>
    fetch(`http://${admin}/v1/rehearse`, { method: 'POST', body, headers })
  t.equal((await post('{')).status, 400)
  t.equal((await post('{"flows":[{"client":"x"}]}')).status, 400)
  t.equal((await post('{}', { 'content-type': 'text/plain' })).status, 415, 'as a page of another origin could send it')
  t.equal((await fetch(`http://${admin}/v1/rehearse`)).status, 405)
  t.equal((await fetch(`http://${admin}/v1/status`, { method: 'POST' })).status, 405)
})

t.test('without the plugin Pods are not known', async t => {
  const world = await createWorld(t, { config: { plugins: [] } })
  await world.declare('cluster-1', { clusterIP: world.ip(1), pods: [] })
  await world.start()
  const { admin } = await world.runtime().ready
  const file = await put(world, 'guard.yaml', policyFor('xwing'))
  const { code, err } = await run('--admin', admin, '--policy', file)
  t.equal(code, 2)
  t.match(err, /add the plugin policy, with audit: true/)
})
