// The plan of both modes, and the commands that lead to it.
import t from 'tap'
import { commandsFor, commandsToRemove } from '../../../proxy/underlay/commands.ts'
import type { UnderlayNode } from '../../../proxy/underlay/node.ts'
import { ownNode } from '../../../proxy/underlay/own-node.ts'
import type { Mode, UnderlayOptions } from '../../../proxy/underlay/plan.ts'
import { planUnderlay } from '../../../proxy/underlay/planner.ts'
import type { Present, PresentRoute } from '../../../proxy/underlay/present.ts'

const node = (cluster: string, name: string, addresses: string[], ...podCidrs: string[]): UnderlayNode => ({
  ...{ cluster, name, addresses, podCidrs },
})
const a1 = node('c1', 'a1', ['192.0.2.11', 'fd00:9::11'], '10.1.1.0/24', 'fd00:1:1::/64')
const a2 = node('c1', 'a2', ['192.0.2.12', 'fd00:9::12'], '10.1.2.0/24', 'fd00:1:2::/64')
const b1 = node('c2', 'b1', ['192.0.2.21', 'fd00:9::21'], '10.2.1.0/24', 'fd00:2:1::/64')
const b2 = node('c2', 'b2', ['198.51.100.22', 'fd00:a::22'], '10.2.2.0/24', 'fd00:2:2::/64')
const all = [a1, a2, b1, b2]
const options = (mode: Mode, more: Partial<UnderlayOptions> = {}): UnderlayOptions => ({
  ...{ mode, device: 'vx', vni: 7, port: 4789, within: false, masquerade: false },
  ...more,
})
const eth0 = {
  ...{ name: 'eth0', mtu: 1500 },
  addresses: [
    { address: '192.0.2.11', bits: 24 },
    { address: 'fd00:9::11', bits: 64 },
  ],
}
const empty: Present = {
  ...{
    links: [eth0],
    device: undefined,
    formerDevices: [],
    neighbours: [],
    forwarding: [],
    routes: [],
    foreign: new Map(),
  },
}
const plan = (given: Partial<UnderlayOptions> & { mode: Mode }, nodes = all, present = empty) =>
  planUnderlay(nodes, a1, present, options(given.mode, given))
const lines = (...args: Parameters<typeof commandsFor>) =>
  commandsFor(...args).map(({ program, line }) => `${program} ${line}`)

t.test('vxlan: an entry for each node of the other clusters, and a way to each of its networks', async t => {
  const { device, neighbours, forwarding, routes, peers, leftOut } = plan({ mode: 'vxlan' })
  t.match(device, {
    name: 'vx',
    vni: 7,
    port: 4789,
    local: '192.0.2.11',
    mtu: 1450,
    addresses: ['10.1.1.0/32', 'fd00:1:1::/128'],
  })
  t.same(
    forwarding.map(({ node }) => node),
    ['192.0.2.21', '198.51.100.22'],
  )
  t.same(
    routes.map(({ cidr, via }) => `${cidr} ${via}`),
    ['10.2.1.0/24 10.2.1.0', 'fd00:2:1::/64 fd00:2:1::', '10.2.2.0/24 10.2.2.0', 'fd00:2:2::/64 fd00:2:2::'],
  )
  t.same(new Set(neighbours.map(({ mac }) => mac)).size, 2)
  t.match(peers[0], { cluster: 'c2', name: 'b1', address: '192.0.2.21', probe: '10.2.1.0' })
  t.same(leftOut, [])
})

t.test('the address of a device on the link follows from the name of its node: all nodes agree on it', async t => {
  const seen = plan({ mode: 'vxlan' }).forwarding[0]?.mac
  const link = { ...eth0, addresses: [{ address: '192.0.2.21', bits: 24 }] }
  const theirs = planUnderlay([b1, b2, a1, a2], b1, { ...empty, links: [link] }, options('vxlan'))
  t.match(theirs.device, { kind: 'vxlan', mac: seen })
  t.match(seen, /^02:/, 'locally administered')
})

t.test('within: the nodes of the own cluster too', async t => {
  t.same(
    plan({ mode: 'vxlan', within: true }).peers.map(({ name }) => name),
    ['a2', 'b1', 'b2'],
  )
})

t.test('IPv6 between nodes where one has no IPv4 address; a smaller MTU', async t => {
  const six = node('c2', 'b3', ['fd00:9::23'], '10.2.3.0/24')
  const { device, forwarding } = plan({ mode: 'vxlan' }, [...all, six])
  t.match(device, { local: 'fd00:9::11', mtu: 1430 })
  t.same(
    forwarding.map(({ node }) => node),
    ['fd00:9::21', 'fd00:a::22', 'fd00:9::23'],
  )
})

t.test('the MTU: as configured, at most what the link leaves, and never below that of IPv6', async t => {
  t.equal(plan({ mode: 'vxlan', mtu: 1400 }).device?.mtu, 1400)
  t.equal(plan({ mode: 'vxlan', mtu: 9000 }).device?.mtu, 1450)
  const small = { ...empty, links: [{ ...eth0, mtu: 1320 }] }
  t.throws(() => plan({ mode: 'vxlan' }, all, small), /eth0 has an MTU of 1320, and VXLAN needs 1330/)
})

t.test('direct: a route through the node where it is on a link of this one; others are left out', async t => {
  const { device, routes, leftOut } = plan({ mode: 'direct' })
  t.equal(device, undefined)
  t.same(routes, [
    { cidr: '10.2.1.0/24', via: '192.0.2.21', device: 'eth0' },
    { cidr: 'fd00:2:1::/64', via: 'fd00:9::21', device: 'eth0' },
  ])
  t.match(leftOut, [
    { node: 'c2/b2', why: 'so 10.2.2.0/24 has no route' },
    { node: 'c2/b2', why: 'use mode vxlan' },
  ])
})

t.test('what cannot be reached is said, and the rest is not held up', async t => {
  const unknown = node('c2', 'b0', ['192.0.2.20'])
  const nowhere = node('c2', 'b4', [], '10.2.4.0/24')
  const greedy = node('c3', 'g', ['192.0.2.33'], '10.0.0.0/8', '10.3.0.0/24')
  const result = plan({ mode: 'vxlan' }, [...all, unknown, nowhere, greedy])
  t.same(
    result.peers.map(({ name }) => name),
    ['b1', 'b2', 'g'],
  )
  t.same(
    result.leftOut.map(({ node, why }) => `${node}: ${why.split(/[;,]/)[0]}`),
    [
      'c3/g: its pod network 10.0.0.0/8 overlaps 10.1.1.0/24 of c1/a1',
      'c2/b0: its pod network is not known',
      'c2/b4: it has no IPv4 address to send packets to',
    ],
  )
})

t.test('a route that somebody else has set stays, and is said', async t => {
  const theirs: PresentRoute = { cidr: '10.2.1.0/24', via: '192.0.2.1', device: 'eth0', protocol: '12' }
  const { routes, leftOut } = plan({ mode: 'vxlan' }, all, { ...empty, foreign: new Map([[theirs.cidr, theirs]]) })
  t.notOk(routes.some(({ cidr }) => cidr === theirs.cidr))
  t.match(leftOut, [{ node: 'c2/b1', why: 'there is a route to 10.2.1.0/24 already (dev eth0, protocol 12)' }])
})

t.test('which node this is', async t => {
  const find = (given: string | undefined, links = empty.links) =>
    ownNode(all, { cluster: 'c1', node: given, links }).name
  t.equal(find(undefined), 'a1')
  t.equal(find('a2'), 'a2')
  t.equal(find('192.0.2.12'), 'a2')
  t.throws(() => find('b1'), /cluster c1 has no node with the name or address b1; it has a1, a2/)
  t.throws(
    () => find(undefined, []),
    /no node of cluster c1 has an address of this machine; it has a1, a2; name the node with --node/,
  )
})

/** What is there after the plan has been carried out. */
function after(mode: Mode, more: Partial<UnderlayOptions> = {}): Present {
  const { device, neighbours, forwarding, routes } = plan({ mode, ...more })
  return {
    ...empty,
    device:
      device && device.kind !== 'wireguard'
        ? {
            ...device,
            ...{ isOurs: true, isUp: true, learns: false, wireguard: undefined, isExternal: mode === 'geneve' },
          }
        : undefined,
    ...{ neighbours, forwarding, routes },
  }
}

t.test('once it is as planned there is nothing to do', async t => {
  for (const mode of ['vxlan', 'geneve', 'direct'] as const) {
    t.ok(lines(plan({ mode }), empty).length > 1)
    t.same(lines(plan({ mode }), after(mode)), [], mode)
  }
})

t.test('a node that goes takes its own entries along, and nothing else', async t => {
  const [mac] = plan({ mode: 'vxlan' }, [a1, b2]).forwarding.map(each => each.mac)
  t.same(lines(plan({ mode: 'vxlan' }, [a1, a2, b1]), after('vxlan')), [
    'ip route del 10.2.2.0/24 via 10.2.2.0 dev vx proto 171',
    'ip route del fd00:2:2::/64 via fd00:2:2:: dev vx proto 171',
    'ip neigh del 10.2.2.0 dev vx',
    'ip neigh del fd00:2:2:: dev vx',
    `bridge fdb del ${mac} dev vx dst 198.51.100.22 self`,
  ])
  t.same(
    lines(plan({ mode: 'vxlan' }, [a1, a2, b1]), after('vxlan'), { keep: true }),
    [],
    'not before all have been read',
  )
})

t.test('a node with another address: its entry is replaced', async t => {
  const moved = { ...b2, addresses: ['198.51.100.99'] }
  const commands = lines(plan({ mode: 'vxlan' }, [a1, a2, b1, moved]), after('vxlan'))
  t.match(commands, [/^bridge fdb replace 02:\S+ dev vx dst 198.51.100.99 self permanent$/])
  t.equal(commands.length, 1)
})

t.test('another VNI, mode or name of the device: the device is made anew, or goes', async t => {
  const other = lines(plan({ mode: 'vxlan', vni: 8 }), after('vxlan'))
  t.equal(other[0], 'ip link del dev vx')
  t.equal(other.filter(line => line.startsWith('ip route replace')).length, 4)
  const direct = lines(plan({ mode: 'direct' }), after('vxlan'))
  t.ok(
    direct.includes('ip link del dev vx') &&
      direct.includes('ip route replace 10.2.1.0/24 via 192.0.2.21 dev eth0 proto 171'),
  )
  const renamed = lines(plan({ mode: 'vxlan', device: 'new' }), {
    ...empty,
    formerDevices: ['vx'],
    routes: after('vxlan').routes,
  })
  t.ok(renamed.includes('ip link del dev vx') && renamed.some(line => line.startsWith('ip link add dev new ')))
})

t.test('geneve: the route to each network names the node, and the device takes what comes', async t => {
  const { device, forwarding, neighbours, routes, peers } = plan({ mode: 'geneve', port: 6181 })
  t.match(device, { kind: 'geneve', port: 6181, mtu: 1450, addresses: ['10.1.1.0/32', 'fd00:1:1::/128'] })
  t.same(forwarding, [])
  t.equal(neighbours.length, 4)
  t.same(routes[3], {
    ...{ cidr: 'fd00:2:2::/64', via: 'fd00:2:2::', device: 'vx' },
    within: { vni: 7, local: '192.0.2.11', node: '198.51.100.22' },
  })
  t.match(peers[1], { address: '198.51.100.22', probe: '10.2.2.0', mtu: 1450 })
  const batch = lines(plan({ mode: 'geneve', port: 6181 }), empty)
  const mac = device?.kind === 'geneve' ? device.mac : ''
  t.equal(batch[0], `ip link add dev vx address ${mac} mtu 1450 type geneve external dstport 6181`)
  t.same(
    batch.filter(line => line.startsWith('ip route')),
    [
      'ip route replace 10.2.1.0/24 encap ip id 7 src 192.0.2.11 dst 192.0.2.21 via 10.2.1.0 dev vx onlink proto 171',
      'ip route replace fd00:2:1::/64 encap ip id 7 src 192.0.2.11 dst 192.0.2.21 via fd00:2:1:: dev vx onlink proto 171',
      'ip route replace 10.2.2.0/24 encap ip id 7 src 192.0.2.11 dst 198.51.100.22 via 10.2.2.0 dev vx onlink proto 171',
      'ip route replace fd00:2:2::/64 encap ip id 7 src 192.0.2.11 dst 198.51.100.22 via fd00:2:2:: dev vx onlink proto 171',
    ],
  )
})

t.test('geneve between IPv6 addresses: with checksums, and 70 bytes less', async t => {
  const six = node('c2', 'b3', ['fd00:9::23'], '10.2.3.0/24')
  const found = plan({ mode: 'geneve' }, [a1, six])
  t.equal(found.device?.mtu, 1430)
  t.match(lines(found, empty).at(-1), /10\.2\.3\.0\/24 encap ip6 id 7 src fd00:9::11 dst fd00:9::23 csum via/)
})

t.test('geneve: a node that has moved or gone changes its own routes; another VNI changes every route', async t => {
  const moved = { ...b2, addresses: ['198.51.100.99'] }
  t.same(lines(plan({ mode: 'geneve' }, [a1, a2, b1, moved]), after('geneve')), [
    'ip route replace 10.2.2.0/24 encap ip id 7 src 192.0.2.11 dst 198.51.100.99 via 10.2.2.0 dev vx onlink proto 171',
    'ip route replace fd00:2:2::/64 encap ip id 7 src 192.0.2.11 dst 198.51.100.99 via fd00:2:2:: dev vx onlink proto 171',
  ])
  t.same(lines(plan({ mode: 'geneve' }, [a1, a2, b1]), after('geneve')), [
    'ip route del 10.2.2.0/24 via 10.2.2.0 dev vx proto 171',
    'ip route del fd00:2:2::/64 via fd00:2:2:: dev vx proto 171',
    'ip neigh del 10.2.2.0 dev vx',
    'ip neigh del fd00:2:2:: dev vx',
  ])
  t.equal(lines(plan({ mode: 'geneve', vni: 8 }), after('geneve'))[0], 'ip link del dev vx')
  t.equal(lines(plan({ mode: 'vxlan' }), after('geneve'))[0], 'ip link del dev vx', 'another mode: another device')
})

t.test('a device of the name that is not ours is not touched', async t => {
  const present = after('vxlan')
  const foreign = { ...present, device: present.device && { ...present.device, isOurs: false } }
  t.throws(() => lines(plan({ mode: 'vxlan' }), foreign), /a device vx is there that Starlane has not made/)
})

t.test('removing takes the device and the routes of both modes', async t => {
  const texts = (present: Present) => commandsToRemove(present).map(({ line }) => line)
  t.same(texts(after('vxlan')), ['link del dev vx'], 'what is on the device goes with it')
  t.same(texts(after('direct')), [
    'route del 10.2.1.0/24 via 192.0.2.21 dev eth0 proto 171',
    'route del fd00:2:1::/64 via fd00:9::21 dev eth0 proto 171',
  ])
  t.same(texts(empty), [])
})
