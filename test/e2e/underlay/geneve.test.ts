/** The pods of two clusters in network namespaces, joined by Geneve; where the kernel has none, by VXLAN whose routes name the node too. */
import { spawnSync } from 'node:child_process'
import t from 'tap'
import { createIpRoute, type IpRoute } from '../../../proxy/underlay/iproute.ts'
import type { UnderlayOptions } from '../../../proxy/underlay/plan.ts'
import { listFor, nodeOf, stateOf, underlayOf, vxlan } from '../../support/underlay/applied.ts'
import { type NodeMachine, UnderlayWorld, whyNoUnderlay } from '../../support/underlay/machines.ts'
import { captured, curl, isOfNodes, monitored, ping, serve } from '../../support/underlay/traffic.ts'

const options: UnderlayOptions = { ...vxlan, mode: 'geneve', port: 6181 }
const hasGeneve = spawnSync('unshare', ['--net', 'ip', 'link', 'add', 'type', 'geneve', 'external']).status === 0
const skip = whyNoUnderlay('ping', 'curl', 'tcpdump')

t.test('geneve', { skip: skip || (hasGeneve ? false : 'this kernel has no geneve'), timeout: 60_000 }, async t => {
  await joined(t, node => createIpRoute(node.machine.prefix))
})

/** The same commands, routes and neighbours, on another device. */
t.test('vxlan in the place of geneve', { skip, timeout: 60_000 }, async t => {
  await joined(t, node => {
    const iproute = createIpRoute(node.machine.prefix)
    const standIn: IpRoute = {
      ...iproute,
      query: async (program, args) => {
        const text = JSON.stringify(await iproute.query(program, args))
        return JSON.parse(text.replace('"info_kind":"vxlan"', '"info_kind":"geneve"'))
      },
      execute: commands =>
        iproute.execute(commands.map(each => ({ ...each, line: each.line.replace('type geneve', 'type vxlan') }))),
    }
    return standIn
  })
})

async function joined(t: Tap, iprouteOf: (node: NodeMachine) => IpRoute): Promise<void> {
  const world = await UnderlayWorld.start(t, { routed: true, nodesPerCluster: 1 })
  const [a1, b1] = [world.node('a1'), world.node('b1')]
  const before = await Promise.all(world.nodes.map(stateOf))
  const [one, other] = [a1, b1].map(node => underlayOf(node, options, iprouteOf(node)))
  if (!one || !other) throw new Error('there are two nodes')
  const apply = () => Promise.all([one.apply(listFor(a1, world.nodes)), other.apply(listFor(b1, world.nodes))])
  for (const { plan } of await apply()) t.same([plan.leftOut, plan.device?.mtu], [[], 1450])
  const stop = await serve(b1.pod, 'b1')
  t.teardown(stop)
  const seen = await captured(world.wire, 'a1', async () => {
    for (const [i, address] of b1.podAddresses.entries()) {
      await ping(a1.pod, address, { size: 1450, whole: true })
      t.match(await curl(a1.pod, address), new RegExp(`^b1 (::ffff:)?${a1.podAddresses[i]}$`))
      t.equal((await curl(a1.pod, address, '/large')).length, 400_000)
    }
  })
  t.same(
    seen.filter(packet => packet.some(address => !isOfNodes(address))),
    [],
    `${seen.length} packets between the nodes have node addresses only`,
  )
  t.equal(await monitored(a1.machine, apply), '', 'a second run changes nothing')

  // The nodes lose their IPv4 addresses for each other.
  const six = world.nodes.map(node => ({ ...nodeOf(node), addresses: [node.addresses[1]] }))
  for (const { plan } of await Promise.all([one.apply(six), other.apply([...six].reverse())]))
    t.equal(plan.device?.mtu, 1430)
  for (const address of b1.podAddresses) await ping(a1.pod, address, { size: 1430, whole: true })
  t.same((await one.propose(six)).commands, [], 'between IPv6 addresses as well')

  await Promise.all([one.remove(), other.remove()])
  t.same(await Promise.all(world.nodes.map(stateOf)), before, 'all is removed, nothing else')
}

type Tap = Parameters<typeof UnderlayWorld.start>[0]
