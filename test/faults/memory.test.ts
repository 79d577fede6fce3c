/** A restart without any control plane, and an hour without the other cluster's, by a virtual clock. */
import assert from 'node:assert/strict'
import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { FakeClock, settled } from '../support/clock.ts'
import { eventually } from '../support/eventually.ts'
import { seeded } from '../support/random.ts'
import { ask, createWorld, startPod, tally } from '../support/world.ts'

t.test('a restart without any control plane serves at once from memory, until the sources answer', async t => {
  const world = await createWorld(t, { config: { state: './state' } })
  const vip = world.ip(1)
  for (const [last, name] of [
    [11, 'one'],
    [21, 'two'],
    [22, 'new'],
  ] as const)
    await startPod(t, world.ip(last), name)
  await world.declare('cluster-1', { clusterIP: vip, pods: [{ ip: world.ip(11) }] })
  await world.declare('cluster-2', { clusterIP: world.ip(2), pods: [{ ip: world.ip(21) }] })
  await (await world.start()).close()
  for (const name of ['cluster-1', 'cluster-2'])
    await rename(join(world.folder, name), join(world.folder, `${name}-away`))

  const began = performance.now()
  await world.start()
  t.ok(performance.now() - began < 1500, 'no grace is waited for')
  t.same(Object.keys(await tally(8, vip)).sort(), ['one', 'two'])
  t.same(await world.resolve('rebel-base.default.svc.cluster.local'), [vip])
  const links = () => world.status().clusters.map(({ link }) => link.state)
  t.same(links(), ['remembered', 'remembered'])
  const { detail = '' } = world.status().components.find(({ name }) => name === 'Sources') ?? {}
  t.match(detail, /from memory: cluster-1, cluster-2/)
  for (const name of ['cluster-1', 'cluster-2'])
    await rename(join(world.folder, `${name}-away`), join(world.folder, name))
  await world.declare('cluster-2', { clusterIP: world.ip(2), pods: [{ ip: world.ip(22) }] })
  await eventually(() => assert.deepEqual(links(), ['live', 'live']), 10_000)
  await eventually(async () => assert.deepEqual(Object.keys(await tally(8, vip)).sort(), ['new', 'one']))
})

t.test('an hour between control planes: no request fails that a healthy backend could serve', async t => {
  const clock = new FakeClock()
  const random = seeded(17)
  const world = await createWorld(t, {
    clock,
    config: { health: { active: { interval: '5s', timeout: '4s', fall: 2 } }, stale: { after: '10m' } },
  })
  const vip = world.ip(1)
  const running = new Map<string, { close(): Promise<void> }>()
  const pods: Record<'cluster-1' | 'cluster-2', string[]> = { 'cluster-1': [], 'cluster-2': [] }
  let lastIp = 10
  const begin = async (cluster: 'cluster-1' | 'cluster-2') => {
    const ip = world.ip(++lastIp)
    running.set(ip, await startPod(t, ip, cluster))
    pods[cluster].push(ip)
  }
  const end = async (cluster: 'cluster-1' | 'cluster-2') => {
    const [ip = ''] = pods[cluster].splice(Math.floor(random() * pods[cluster].length), 1)
    await running.get(ip)?.close()
  }
  let isCut = false
  const declare = async () => {
    await world.declare('cluster-1', { clusterIP: vip, pods: pods['cluster-1'].map(ip => ({ ip })) })
    if (!isCut)
      await world.declare('cluster-2', { clusterIP: world.ip(2), pods: pods['cluster-2'].map(ip => ({ ip })) })
  }
  const moving = setInterval(() => void clock.advance(100), 5)
  for (const cluster of ['cluster-1', 'cluster-2'] as const) for (let i = 0; i < 3; i++) await begin(cluster)
  await declare()
  await world.start()
  await eventually(async () => assert.equal(Object.keys(await tally(4, vip)).length, 2))
  clearInterval(moving)

  const link = () => world.status().clusters[1]?.link.state
  const folder = join(world.folder, 'cluster-2')
  await rename(folder, `${folder}-away`)
  isCut = true
  await eventually(async () => {
    await clock.advance(1000)
    assert.equal(link(), 'lost')
  })
  const served: Record<string, number> = {}
  const failed: string[] = []
  const states = new Set<string>()
  for (let second = 0; second < 3600; second++) {
    await clock.advance(1000)
    states.add(link() ?? '')
    if (second % 60 === 20) {
      // The pods of cluster-2 that are known here become fewer; new ones are not seen.
      if (second % 600 === 20 && second < 1800) await end('cluster-2')
      if (random() < 0.5) await begin('cluster-2')
      // For five minutes the local cluster has none at all.
      const local = pods['cluster-1']
      if (second >= 2000 && second < 2300) while (local.length > 0) await end('cluster-1')
      else if (local.length > 1 && random() < 0.5) await end('cluster-1')
      else await begin('cluster-1')
      await declare()
    }
    // What has just changed is on its way: files are watched in real time.
    await settled()
    try {
      const name = await ask(vip)
      served[name] = (served[name] ?? 0) + 1
    } catch (error) {
      failed.push(`${second} s: ${(error as Error).message}, alive: ${JSON.stringify(pods)}`)
    }
  }
  t.same(failed, [])
  t.same([...states].sort(), ['lost', 'stale'])
  t.ok((served['cluster-2'] ?? 0) > 100, `both served: ${JSON.stringify(served)}`)
  await rename(`${folder}-away`, folder)
  isCut = false
  await declare()
  const healed = await eventually(async () => {
    await clock.advance(1000)
    assert.equal(link(), 'live')
    const names = await tally(30, vip)
    assert.equal(Object.keys(names).length, 2)
    return names
  }, 20_000)
  t.ok(healed)
  t.same(
    world
      .runtime()
      .service('default', 'rebel-base')
      ?.backends.map(({ address }) => address)
      .sort(),
    [...pods['cluster-1'], ...pods['cluster-2']].sort(),
    'as it is on both sides',
  )
})
