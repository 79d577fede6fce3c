/** The pods of two clusters in network namespaces, joined by VXLAN across a router, and by routes on one link. */
import t from 'tap'
import { applyAll, listFor, stateOf, underlayOf } from '../../support/underlay/applied.ts'
import { UnderlayWorld, whyNoUnderlay } from '../../support/underlay/machines.ts'
import { captured, curl, monitored, pairsOf, ping, serve, udp } from '../../support/underlay/traffic.ts'

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
      seen.filter(packet => packet.some(address => !/^(192\.0\.[12]\.|fd00:c0:[12]:|fe80:|ff02:)/.test(address))),
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
