/** The pods of two clusters in network namespaces, joined by WireGuard: the kernel's, wireguard-go where the kernel has none, and boringtun. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createIpRoute } from '../../../proxy/underlay/iproute.ts'
import type { UnderlayOptions } from '../../../proxy/underlay/plan.ts'
import { ensurePublicKey } from '../../../proxy/underlay/wireguard/key.ts'
import { eventually } from '../../support/eventually.ts'
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

const noBoringtun = spawnSync('boringtun-cli', ['--version']).error ? 'there is no boringtun-cli' : whyBoringtun()

/** The kernel's comes first wherever it is. */
function whyBoringtun(): string | false {
  return spawnSync('unshare', ['--net', 'ip', 'link', 'add', 'type', 'wireguard']).status === 0
    ? 'the kernel has WireGuard'
    : false
}

t.test('wireguard: pods reach each other, and nothing between the nodes can be read', { skip, timeout: 90_000 }, t =>
  joined(t),
)

t.test('the same by boringtun', { skip: skip || noBoringtun, timeout: 90_000 }, t => joined(t, 'boringtun-cli'))

async function joined(t: Test, program?: string): Promise<void> {
  const world = await UnderlayWorld.start(t, { routed: true })
  const { nodes, folder } = world
  const [a1, b1, b2] = [world.node('a1'), world.node('b1'), world.node('b2')]
  const before = await Promise.all(nodes.map(stateOf))
  const iprouteOf = (node: NodeMachine) => createIpRoute(node.machine.prefix, program)
  const underlays = new Map(nodes.map(node => [node, underlayOf(node, optionsOf(node, folder), iprouteOf(node))]))
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
  // boringtun does not say which key it has, nor does it hear another one from a peer at the same address.
  if (program !== undefined) await Promise.all([a1, b1].map(node => underlays.get(node)?.remove()))
  const renewed = underlayOf(b1, { ...optionsOf(b1, folder), keyFile: `${keyFile}.new` }, iprouteOf(b1))
  await renewed.apply(listFor(b1, nodes))
  await apply(a1)
  await ping(a1.pod, b1.podAddresses[1])
  t.pass('a node with a new key is reached')

  await Promise.all([...underlays.values()].map(underlay => underlay.remove()))
  t.same(await Promise.all(nodes.map(stateOf)), before, 'all is removed, nothing else')
  const own = nodes.map(node => optionsOf(node, folder).device)
  await eventually(async () =>
    assert.deepEqual(
      own.filter(
        device =>
          spawnSync('pgrep', ['-f', `(wireguard-go|boringtun-cli --disable-connected-udp) ${device}$`]).status === 0,
      ),
      [],
      'their programs have ended',
    ),
  )
}
