/** A wall clock that is wrong, or jumps: nothing that lasts is measured by it. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createKubernetesClient } from '../../../proxy/clients/kubernetes/connect.ts'
import { Mesh } from '../../../proxy/mesh/mesh.ts'
import { MeshError } from '../../../proxy/model/error.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import type { Clock } from '../../../proxy/model/time/clock.ts'
import { createKubernetesSource } from '../../../proxy/sources/kubernetes/kubernetes-source.ts'
import { Lease } from '../../../proxy/writeback/lease.ts'
import { RecordingSink } from '../../conformance/source.ts'
import { FakeClock } from '../../support/clock.ts'
import { eventually } from '../../support/eventually.ts'
import { jumpy } from '../../support/kube-api/clock.ts'
import { writeKubeconfig } from '../../support/kube-api/kubeconfig.ts'
import { type KubeApi, type KubeApiOptions, startKubeApi } from '../../support/kube-api/server.ts'
import { clusterService, endpoint } from '../../support/model.ts'

const hour = 3_600_000
const day = 24 * hour
const signal = new AbortController().signal

t.test('a token that the wrong clock calls expired is used until the server refuses it', async t => {
  const users: Record<string, { name: string }> = { 'token-1': { name: 'me' } }
  const api = await startApi(t, { users })
  const folder = t.testdir({ runs: '' })
  const plugin = join(folder, 'plugin.sh')
  // One more line in `runs` for each run; the token is numbered, and good for an hour of true time.
  const script = [
    '#!/bin/sh',
    `echo >> '${join(folder, 'runs')}'`,
    `n=$(grep -c '' '${join(folder, 'runs')}')`,
    'end=$(date -u -d "+1 hour" +%Y-%m-%dT%H:%M:%SZ)',
    'echo "{\\"apiVersion\\": \\"client.authentication.k8s.io/v1\\", \\"kind\\": \\"ExecCredential\\","',
    'echo "\\"status\\": {\\"token\\": \\"token-$n\\", \\"expirationTimestamp\\": \\"$end\\"}}"',
  ].join('\n')
  writeFileSync(plugin, script, { mode: 0o700 })
  const runs = () => readFileSync(join(folder, 'runs'), 'utf8').length

  // No faster than real time, so that an hour stays one.
  const clock = jumpy(1)
  clock.jump(2 * hour)
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: plugin, interactiveMode: 'Never' }
  const { client, kubeconfig } = open(t, api, clock, { exec })
  const ask = () => client.json({ path: '/api/v1/services' }, signal)
  for (let i = 0; i < 20; i++) await ask()
  t.equal(runs(), 1, 'two hours ahead: the plugin is not run for every request')

  for (const jump of [-4 * hour, 30 * day, -60 * day]) {
    clock.jump(jump)
    await ask()
  }
  t.equal(runs(), 1, 'nor when the clock jumps')
  delete users['token-1']
  users['token-2'] = { name: 'me' }
  await ask()
  t.equal(runs(), 2, 'but when the server refuses what it gave')

  const sink = new RecordingSink()
  const world = { clock, random: Math.random, log: silentLog, env: process.env }
  const source = createKubernetesSource({ cluster: 'cluster-1', kubeconfig }, world)
  t.teardown(() => source.close())
  users['token-3'] = { name: 'me' }
  source.start(sink)
  await eventually(() => assert.equal(sink.link, 'live'), 15_000)
  clock.jump(day)
  api.watches.end()
  await eventually(() => assert.ok(api.watches.count('services') > 0), 15_000)
  t.notOk(sink.calls.includes('lost'), 'a source goes on in the same way')
  t.equal(runs(), 3)
})

t.test('a date in Retry-After is meant by the server’s clock, whatever ours says', async t => {
  for (const jump of [-hour, hour]) {
    const api = await startApi(t)
    const clock = jumpy(1)
    clock.jump(jump)
    const retryAfter = new Date(Date.now() + 20_000).toUTCString()
    api.faults.add({ answer: { status: 429, reason: 'TooManyRequests', retryAfter } })
    const { client } = open(t, api, clock)
    const refused = await client.json({ path: '/api/v1/services' }, signal).then(
      () => undefined,
      error => error,
    )
    t.equal(refused?.status, 429)
    t.ok(refused.retryAfterMs >= 18_000 && refused.retryAfterMs <= 21_000, `${refused.retryAfterMs} ms`)
  }
})

t.test('the lease stays with its holder, however the clocks of the replicas jump', async t => {
  const api = await startApi(t)
  const replicas = ['one', 'two'].map(identity => {
    // A lease is 15 s of it: this process may be without a processor for half a second.
    const clock = jumpy(25)
    const { client } = open(t, api, clock)
    const place = { namespace: 'starlane', name: 'starlane-write' }
    const lease = new Lease({ client, clock, log: silentLog, ...place, identity, changed: () => {} })
    const stop = new AbortController()
    const running = lease.run(stop.signal)
    t.teardown(async () => {
      stop.abort()
      await running
    })
    return { identity, clock, lease, stop }
  })
  const stored = () => api.get('Lease', 'starlane-write', 'starlane')
  const holder = () => stored()?.spec.holderIdentity
  const renewals = async (count: number) => {
    const versions = new Set<string>()
    await eventually(() => assert.ok(versions.add(String(stored()?.metadata.resourceVersion)).size > count), 10_000)
  }
  await eventually(() => assert.ok(holder()))
  const leader = replicas.find(({ identity }) => identity === holder())
  const other = replicas.find(replica => replica !== leader)
  assert.ok(leader && other)
  for (const [its, others] of [
    [day, -day],
    [-2 * day, 2 * day],
  ] as const) {
    leader.clock.jump(its)
    other.clock.jump(others)
    await renewals(5)
    t.equal(holder(), leader.identity)
    await eventually(() => assert.deepEqual([leader.lease.held, other.lease.held], [true, false]))
  }
  leader.stop.abort()
  await eventually(() => assert.equal(holder(), other.identity), 10_000)
  t.pass('and passes on when the holder is gone')
})

t.test('a lost cluster goes stale by time that passed, and its countdown says how much is left', async t => {
  const clock = new FakeClock()
  const mesh = new Mesh({
    clusters: ['cluster-1', 'cluster-2'].map((name, i) => ({ name, id: i + 1, local: i === 0 })),
    staleAfterMs: 600_000,
    dropAfterMs: 900_000,
    services: 'global',
    health: () => 'unknown',
    clock,
    log: silentLog,
  })
  t.teardown(() => mesh.close())
  mesh.sink('cluster-1').reset({ services: [clusterService()], namespaces: [] })
  const remote = clusterService({ cluster: 'cluster-2', endpoints: [endpoint({ address: '10.2.0.1' })] })
  mesh.sink('cluster-2').reset({ services: [remote], namespaces: [] })
  mesh.sink('cluster-2').lost(new MeshError('SOURCE_READ', 'nobody answers'))
  const backends = () => mesh.directory.service('default/rebel-base')?.backends.length
  const leftMs = () => {
    const link = mesh.link('cluster-2')
    if (link.state === 'stale') return (link.dropAt ?? 0) - clock.wall()
    return link.state === 'lost' ? (link.staleAt ?? 0) - clock.wall() : link.state
  }
  for (const jump of [day, -2 * day, day]) {
    clock.jump(jump)
    await clock.advance(100_000)
    t.equal(backends(), 1)
  }
  t.equal(leftMs(), 300_000)
  await clock.advance(300_000)
  t.equal(leftMs(), 300_000)
  t.equal(backends(), 1)
  clock.jump(-day)
  await clock.advance(300_000)
  t.equal(leftMs(), 'dropped')
  t.equal(backends(), 0)
})

async function startApi(t: Test, options?: KubeApiOptions): Promise<KubeApi> {
  const api = await startKubeApi(options)
  t.teardown(() => api.stop())
  return api
}

function open(t: Test, api: KubeApi, clock: Clock, user: Readonly<Record<string, unknown>> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'starlane-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const kubeconfig = join(folder, 'config')
  writeKubeconfig(kubeconfig, [{ name: 'east', server: api.url, user }])
  const world = { clock, random: Math.random, log: silentLog, env: process.env }
  const client = createKubernetesClient({ kubeconfig }, world)
  t.teardown(() => client.close())
  return { client, kubeconfig }
}
