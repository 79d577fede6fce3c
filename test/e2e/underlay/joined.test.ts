/** The pods of two clusters in network namespaces, joined by VXLAN across a router, and by routes on one link. */
import t from 'tap'
import { applyAll, listFor, stateOf, underlayOf, vxlan } from '../../support/underlay/applied.ts'
import { UnderlayWorld, whyNoUnderlay } from '../../support/underlay/machines.ts'
import { captured, curl, isOfNodes, monitored, pairsOf, ping, serve, udp } from '../../support/underlay/traffic.ts'

const skip = whyNoUnderlay('ping', 'curl', 'tcpdump')

t.test(
  'vxlan: pods of clusters on different links reach each other, both families',
  { skip, timeout: 60_000 },
  async t => {
    const world = await UnderlayWorld.start(t, { routed: true })
    const [a1, b1] = [world.node('a1'), world.node('b1')]
    await t.rejects(ping(a1.pod, b1.podAddresses[0], { seconds: 1 }), 'before, there is no way')
    const before = await Promise.all(world.nodes.map(stateOf))

    for (const { plan } of await applyAll(world)) t.same([plan.leftOut, plan.device?.mtu], [[], 1450])
    await Promise.all(
      pairsOf(world.nodes).flatMap(([from, to]) => to.podAddresses.map(address => ping(from.pod, address))),
    )
    t.pass('every pod pings every pod of the other cluster')
    await Promise.all(b1.podAddresses.map(address => ping(a1.machine, address)))
    t.pass('so does a node')

    for (const address of b1.podAddresses) {
      await ping(a1.pod, address, { size: 1450, whole: true })
      await t.rejects(ping(a1.pod, address, { size: 1451, whole: true, seconds: 1 }), /100% packet loss/)
      await ping(a1.pod, address, { size: 4000 })
    }

    const stop = await serve(b1.pod, 'b1')
    t.teardown(stop)
    const seen = await captured(world.wire, 'a1', async () => {
      for (const [i, address] of b1.podAddresses.entries()) {
        const client = a1.podAddresses[i]
        t.match(await curl(a1.pod, address), new RegExp(`^b1 (::ffff:)?${client}$`), 'the client has its own address')
        t.equal((await curl(a1.pod, address, '/large')).length, 400_000)
        t.equal(await udp(a1.pod, address, 3000), '3000\n')
      }
    })
    t.ok(seen.length > 100, `${seen.length} packets were seen`)
    t.same(
      seen.filter(packet => packet.some(address => !isOfNodes(address))),
      [],
      'between the nodes there are node addresses only',
    )

    const own = underlayOf(a1)
    t.equal(await monitored(a1.machine, () => own.apply(listFor(a1, world.nodes))), '', 'a second run changes nothing')
    const fewer = world.nodes.filter(node => node !== b1)
    t.match(
      await monitored(a1.machine, () => own.apply(listFor(a1, fewer))),
      /Deleted 10\.2\.1\.0\/24/,
      'one with a node less does',
    )

    await Promise.all(world.nodes.map(node => underlayOf(node).remove()))
    t.same(await Promise.all(world.nodes.map(stateOf)), before, 'all is removed, nothing else')
  },
)

t.test(
  'direct: pods of nodes on one link, by routes; masquerade towards the outside alone',
  { skip: skip || whyNoUnderlay('nft'), timeout: 60_000 },
  async t => {
    const world = await UnderlayWorld.start(t)
    const [a1, b1] = [world.node('a1'), world.node('b1')]
    // A CNI that would masquerade all that leaves the node, and a host outside of all clusters.
    await a1.machine.do(`nft -f - <<'END'
table ip cni { chain post { type nat hook postrouting priority srcnat; ip saddr 10.1.1.0/24 oifname "eth0" masquerade; }; }
END`)
    await world.wire.do('ip addr add 192.0.1.200/24 dev link1')
    const stopOutside = await serve(world.wire, 'outside')
    t.teardown(stopOutside)
    const stop = await serve(b1.pod, 'b1')
    t.teardown(stop)
    const options = { ...vxlan, mode: 'direct' as const, masquerade: true }
    const before = await Promise.all(world.nodes.map(stateOf))
    for (const { plan } of await applyAll(world, { options })) t.same([plan.leftOut, plan.routes.length], [[], 4])
    await Promise.all(
      pairsOf(world.nodes).flatMap(([from, to]) =>
        to.podAddresses.map(address => ping(from.pod, address, { size: 1500, whole: true })),
      ),
    )
    t.pass('every pod reaches every pod of the other cluster, with the whole MTU')
    const seen = await captured(world.wire, 'a1', async () => {
      t.match(
        await curl(a1.pod, b1.podAddresses[0]),
        /^b1 (::ffff:)?10\.1\.1\.2$/,
        'the CNI does not change the address',
      )
      t.match(await curl(a1.pod, b1.podAddresses[1]), /^b1 fd00:1:1::2$/)
    })
    t.ok(
      seen.some(([from, to]) => from === a1.podAddresses[0] && to === b1.podAddresses[0]),
      'pod addresses are seen between the nodes',
    )
    t.match(
      await curl(a1.pod, '192.0.1.200'),
      /^outside (::ffff:)?192\.0\.1\.11$/,
      'outside, it is the address of the node',
    )
    const own = underlayOf(a1, options)
    t.same(
      await own.propose(listFor(a1, world.nodes)).then(({ commands, rules }) => [commands, rules]),
      [[], undefined],
      'nothing is left to do',
    )
    await Promise.all(world.nodes.map(node => underlayOf(node, options).remove()))
    t.same(await Promise.all(world.nodes.map(stateOf)), before, 'all is removed')
    t.notMatch(await a1.machine.do('nft list tables'), /starlane/)
  },
)
