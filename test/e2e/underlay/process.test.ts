/** `starlane underlay` on every node of two clusters, through what may happen to them. Takes a minute: `npm run test:underlay`. */
import assert from 'node:assert/strict'
import t from 'tap'
import { eventually } from '../../support/eventually.ts'
import { Agent } from '../../support/underlay/agent.ts'
import { stateOf } from '../../support/underlay/applied.ts'
import { UnderlayWorld, whyNoUnderlay } from '../../support/underlay/machines.ts'
import { monitored, pairsOf, ping } from '../../support/underlay/traffic.ts'

const long = process.env.STARLANE_UNDERLAY ? false : 'takes a minute: npm run test:underlay'
const skip = whyNoUnderlay('ping') || long

const options = { skip, timeout: 240_000 }

for (const mode of ['vxlan', 'direct'] as const) {
  t.test(`${mode}: nodes that come, go, move and fail`, options, async t => {
    const world = await UnderlayWorld.start(t, { routed: mode === 'vxlan' })
    const [a1, b1, b2] = [world.node('a1'), world.node('b1'), world.node('b2')]
    const before = await stateOf(a1)
    const underlay = ['underlay', '--mode', mode]
    const agents = world.nodes.map(node => new Agent(t, world, node, underlay))
    await Promise.all(agents.map(agent => agent.says(/underlay\.ready/)))
    for (const [from, to] of pairsOf(world.nodes)) for (const address of to.podAddresses) await ping(from.pod, address)
    t.pass('all pods reach each other')

    const print = new Agent(t, world, a1, [...underlay, '--print'])
    t.match(await print.ended(), { code: 0, log: /^nothing to do$/m }, 'a second run would change nothing')
    const second = new Agent(t, world, a1, underlay)
    t.match(await second.ended(), { code: 1, log: /another Starlane keeps the underlay of this machine/ })

    // A node comes.
    const b3 = await world.add(2, 3)
    agents.push(new Agent(t, world, b3, underlay))
    await agents.at(-1)?.says(/underlay\.failed/)
    let since = performance.now()
    world.write()
    const route = /10\.2\.3\.0\/24/
    await eventually(async () => assert.match(await stateOf(a1), route), 10_000)
    t.ok(performance.now() - since < 2500, `its route is there after ${Math.round(performance.now() - since)} ms`)
    await eventually(() => ping(a1.pod, b3.podAddresses[0], { seconds: 1 }), 20_000)
    t.pass('its pod is reached')

    // A node goes.
    const left = world.nodes.filter(node => node !== b2)
    since = performance.now()
    world.write(left)
    await eventually(async () => assert.doesNotMatch(await stateOf(a1), /10\.2\.2\.0/), 10_000)
    t.ok(performance.now() - since < 2500, `what led to it is gone after ${Math.round(performance.now() - since)} ms`)
    await ping(a1.pod, b1.podAddresses[1])

    // A node gets another address.
    const [, , link] = (b1.addresses[0] ?? '').split('.')
    const moved = { ...b1, addresses: [`192.0.${link}.77`, `fd00:c0:${link}::77`] as const }
    const renumber = b1.addresses.map((address, i) => {
      const bits = i === 0 ? 24 : 64
      return `ip addr del ${address}/${bits} dev eth0; ip addr add ${moved.addresses[i]}/${bits} dev eth0 ${i === 1 ? 'nodad' : ''}`
    })
    await b1.machine.do(renumber.join('\n'))
    if (mode === 'vxlan')
      await b1.machine.do(
        `ip route replace default via 192.0.${link}.254; ip route replace default via fd00:c0:${link}::fe`,
      )
    world.write(left.map(node => (node === b1 ? moved : node)))
    await eventually(() => ping(a1.pod, b1.podAddresses[0], { seconds: 1 }), 20_000)
    await eventually(() => ping(a1.pod, b1.podAddresses[1], { seconds: 1 }), 20_000)
    t.pass('a node with other addresses is reached again')

    // Its link fails and comes back, at the far end and at the near one.
    await world.wire.do('ip link set b1 down')
    await t.rejects(ping(a1.pod, b1.podAddresses[0], { seconds: 1 }))
    await ping(a1.pod, b3.podAddresses[0])
    await world.wire.do('ip link set b1 up')
    await eventually(() => ping(a1.pod, b1.podAddresses[0], { seconds: 1 }), 20_000)
    await a1.machine.do('ip link set eth0 down; ip link set eth0 up')
    if (mode === 'vxlan') await a1.machine.do('ip route replace default via 192.0.1.254')
    await eventually(() => ping(a1.pod, b1.podAddresses[0], { seconds: 1 }), 20_000)
    t.pass('links that fail and come back')

    // Somebody takes away what was set.
    await a1.machine.do(mode === 'vxlan' ? 'ip link del starlane-vx' : 'ip route del 10.2.1.0/24')
    await eventually(() => ping(a1.pod, b1.podAddresses[0], { seconds: 1 }), 20_000)
    t.pass('it is set again')

    // A crash leaves a network that works, and a successor takes over what is there.
    await agents[0]?.stop('SIGKILL')
    await ping(a1.pod, b1.podAddresses[0])
    const events = await monitored(a1.machine, async () => {
      agents[0] = new Agent(t, world, a1, underlay)
      await agents[0].says(/"changes":0,"event":"underlay\.ready"/)
    })
    t.same(
      events.split('\n').filter(line => line !== '' && !/fe80:| master pods /.test(line)),
      [],
      'it changes nothing',
    )

    const codes = await Promise.all(agents.map(agent => agent.stop()))
    t.same(new Set(codes), new Set([0]))
    const strip = (text: string) =>
      text
        .split('\n')
        .map(line => line.replace(/ fd00:c0:[^ ]+\/64$/, ''))
        .filter(line => !/^(fd00:c0|default|fe80)|^dev \S+ proto kernel/.test(line))
        .sort()
        .join('\n')
    t.equal(strip(await stateOf(a1)), strip(before), 'at the end everything is removed')
  })
}

t.test('overlapping pod networks are refused with both names, and the others joined', options, async t => {
  const world = await UnderlayWorld.start(t)
  const [a1, b1, b2] = [world.node('a1'), world.node('b1'), world.node('b2')]
  const greedy = { ...b2, networks: ['10.1.2.0/25', b2.networks[1]] as const }
  world.write([...world.nodes.filter(node => node !== b2), greedy])
  const once = new Agent(t, world, a1, ['underlay', '--once'])
  const { code, log } = await once.ended()
  t.equal(code, 1)
  t.match(log, /left out: cluster-2\/b2: its pod network 10\.1\.2\.0\/25 overlaps 10\.1\.2\.0\/24 of cluster-1\/a2/)
  const other = new Agent(t, world, b1, ['underlay', '--once'])
  await other.ended()
  await ping(a1.pod, b1.podAddresses[0])
  const removed = new Agent(t, world, a1, ['underlay', '--remove'])
  t.match(await removed.ended(), { code: 0, log: /^removed$/m })
  await t.rejects(ping(a1.pod, b1.podAddresses[0], { seconds: 1 }))
})
