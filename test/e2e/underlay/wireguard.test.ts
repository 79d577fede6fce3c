/** The pods of two clusters in network namespaces, joined by WireGuard: the kernel's, or a program's where the kernel has none. */
import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { UnderlayOptions } from '../../../proxy/underlay/plan.ts'
import { ensurePublicKey } from '../../../proxy/underlay/wireguard/key.ts'
import { listFor, stateOf, underlayOf, vxlan } from '../../support/underlay/applied.ts'
import { type NodeMachine, UnderlayWorld, whyNoUnderlay } from '../../support/underlay/machines.ts'
import {
  curl,
  isOfNodes,
  monitored,
  outerAddresses,
  pairsOf,
  ping,
  recorded,
  serve,
  udp,
} from '../../support/underlay/traffic.ts'

const skip = whyNoUnderlay('ping', 'curl', 'tcpdump') || whyNoWireguard()

function whyNoWireguard(): string | false {
  if (spawnSync('wg', ['--version']).error) return 'there is no wg'
  if (spawnSync('unshare', ['--net', 'ip', 'link', 'add', 'type', 'wireguard']).status === 0) return false
  return spawnSync('wireguard-go', ['--version']).error
    ? 'the kernel has no WireGuard, and there is no wireguard-go'
    : false
}

/** Sockets of wireguard-go are files, by the name of the device: each node has a name of its own. */
function optionsOf({ name }: NodeMachine, folder: string): UnderlayOptions {
  const device = `wg${process.pid}${name}`.slice(-15).replace(/^\d+/, 'w')
  return { ...vxlan, mode: 'wireguard', device, port: 51_840, keyFile: join(folder, name, 'wireguard.key') }
}

t.test(
  'wireguard: pods reach each other, and nothing between the nodes can be read',
  { skip, timeout: 90_000 },
  async t => {
    const world = await UnderlayWorld.start(t, { routed: true })
    const { nodes, folder } = world
    const [a1, b1, b2] = [world.node('a1'), world.node('b1'), world.node('b2')]
    const before = await Promise.all(nodes.map(stateOf))
    const underlays = new Map(nodes.map(node => [node, underlayOf(node, optionsOf(node, folder))]))
    const apply = (node: NodeMachine, list = listFor(node, nodes)) => {
      const underlay = underlays.get(node)
      if (!underlay) throw new Error(`there is no ${node.name}`)
      return underlay.apply(list)
    }
    t.teardown(() => Promise.all([...underlays.values()].map(underlay => underlay.remove())))

    const [first] = await Promise.all([apply(a1)])
    t.match(first?.plan.leftOut[0]?.why, /no WireGuard key/, 'a node whose key is not known is left out')
    for (const node of nodes) {
      const { keyFile = '' } = optionsOf(node, folder)
      node.key = await ensurePublicKey(keyFile)
      t.equal(statSync(keyFile).mode & 0o777, 0o600)
    }
    for (const { plan } of await Promise.all(nodes.map(node => apply(node)))) {
      t.same([plan.leftOut, plan.device?.mtu], [[], 1440])
    }
    await Promise.all(pairsOf(nodes).flatMap(([from, to]) => to.podAddresses.map(address => ping(from.pod, address))))
    t.pass('every pod pings every pod of the other cluster')
    for (const address of b1.podAddresses) {
      await ping(a1.machine, address)
      await ping(a1.pod, address, { size: 1440, whole: true })
      await t.rejects(ping(a1.pod, address, { size: 1441, whole: true, seconds: 1 }), /100% packet loss/)
    }

    t.teardown(await serve(b1.pod, 'rebel-base'))
    const packets = await recorded(world.wire, 'a1', async () => {
      for (const [i, address] of b1.podAddresses.entries()) {
        const client = a1.podAddresses[i]
        t.match(await curl(a1.pod, address), new RegExp(`^rebel-base (::ffff:)?${client}$`))
        t.equal((await curl(a1.pod, address, '/large')).length, 2_000_000)
        t.equal(await udp(a1.pod, address, 3000), '3000\n')
      }
    })
    const seen = outerAddresses(packets)
    t.ok(seen.length > 1000, `${seen.length} packets were seen`)
    t.same(
      seen.filter(packet => packet.some(address => !isOfNodes(address))),
      [],
      'node addresses only',
    )
    t.notOk(packets.includes('rebel-base'), 'what pods send cannot be read')

    t.equal(await monitored(a1.machine, () => apply(a1)), '', 'a second run changes nothing')
    t.same((await apply(a1)).commands, [])

    // Who claims the key of another node does not get its packets.
    const thief = listFor(a1, nodes).map(node => (node.name === 'b2' ? { ...node, wireguardKey: b1.key ?? '' } : node))
    const { plan, commands } = await apply(a1, thief)
    t.match(plan.leftOut, [{ node: 'cluster-2/b2', why: /its WireGuard key is that of cluster-2\/b1/ }])
    t.ok(
      commands.some(({ line }) => line.includes(`peer ${b2.key} remove`)),
      'the key that nobody has any more is removed',
    )
    await ping(a1.pod, b1.podAddresses[0])
    await t.rejects(ping(a1.pod, b2.podAddresses[0], { seconds: 1 }))
    await apply(a1)
    await ping(a1.pod, b2.podAddresses[0])

    // A node gets a new key.
    const { keyFile = '' } = optionsOf(b1, folder)
    b1.key = await ensurePublicKey(`${keyFile}.new`)
    const renewed = underlayOf(b1, { ...optionsOf(b1, folder), keyFile: `${keyFile}.new` })
    await renewed.apply(listFor(b1, nodes))
    await apply(a1)
    await ping(a1.pod, b1.podAddresses[1])
    t.pass('a node with a new key is reached')

    await Promise.all([...underlays.values()].map(underlay => underlay.remove()))
    t.same(await Promise.all(nodes.map(stateOf)), before, 'all is removed, nothing else')
  },
)
