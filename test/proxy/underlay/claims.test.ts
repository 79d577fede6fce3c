// Of two nodes that claim the same addresses, the first in the order gets them; everything else goes on.
import t from 'tap'
import { withoutConnected, withoutOverlaps } from '../../../proxy/underlay/claims.ts'
import type { UnderlayNode } from '../../../proxy/underlay/node.ts'

const node = (cluster: string, name: string, addresses: string[], ...podCidrs: string[]): UnderlayNode => ({
  ...{ cluster, name, addresses, podCidrs },
})

t.test('disjoint networks are all kept, of both families', async t => {
  const nodes = [
    node('c1', 'a', ['192.0.2.1', 'fd00:9::1'], '10.1.1.0/24', 'fd00:1:1::/64'),
    node('c2', 'b', ['192.0.2.2', 'fd00:9::2'], '10.2.1.0/24', 'fd00:2:1::/64'),
  ]
  t.same(withoutOverlaps(nodes), { nodes, leftOut: [] })
})

t.test('a network that contains another, or lies in it, is refused to the second, with both names', async t => {
  for (const [first, second] of [
    ['10.1.0.0/16', '10.1.3.0/24'],
    ['10.1.3.0/24', '10.1.0.0/16'],
    ['10.1.3.0/24', '10.1.3.0/24'],
  ] as const) {
    const { nodes, leftOut } = withoutOverlaps([
      node('c1', 'a', [], first),
      node('c2', 'b', [], second, '10.9.0.0/24'),
      node('c3', 'c', [], '10.3.0.0/24'),
    ])
    t.same(
      nodes.map(({ podCidrs }) => podCidrs),
      [[first], ['10.9.0.0/24'], ['10.3.0.0/24']],
      'the rest is kept',
    )
    t.match(leftOut, [
      { node: 'c2/b', overlap: true, why: `its pod network ${second} overlaps ${first} of c1/a; give` },
    ])
  }
})

t.test('a network may contain addresses of its own node, but not those of others', async t => {
  const { nodes, leftOut } = withoutOverlaps([
    node('c1', 'a', ['10.1.1.1', '192.0.2.1'], '10.1.1.0/24'),
    node('c2', 'b', ['192.0.2.2'], '192.0.2.0/24'),
    node('c3', 'c', ['192.0.2.1', '192.0.2.3'], '10.3.0.0/24'),
  ])
  t.same(nodes[0]?.addresses, ['10.1.1.1', '192.0.2.1'])
  t.same(nodes[1]?.podCidrs, [], 'it would take the way to the first node')
  t.same(nodes[2]?.addresses, ['192.0.2.3'], 'an address that another one has is not used')
  t.equal(leftOut.length, 2)
})

t.test('the same network twice in one node is no overlap', async t => {
  const { nodes, leftOut } = withoutOverlaps([node('c1', 'a', [], '10.1.1.0/24', '10.1.1.0/24', 'nonsense')])
  t.same([nodes[0]?.podCidrs, leftOut], [['10.1.1.0/24'], []])
})

t.test('three that overlap, and one that overlaps two', async t => {
  const { nodes } = withoutOverlaps([
    node('c1', 'a', [], '10.1.0.0/24'),
    node('c1', 'b', [], '10.1.1.0/24'),
    node('c2', 'c', [], '10.1.0.0/16'),
    node('c3', 'd', [], '10.1.0.0/20', '10.1.7.0/24'),
  ])
  t.same(
    nodes.map(({ podCidrs }) => podCidrs),
    [['10.1.0.0/24'], ['10.1.1.0/24'], [], ['10.1.7.0/24']],
  )
})

t.test('what the machine is connected to is not routed to a node', async t => {
  const docker = { device: 'docker0', address: '172.17.0.1', bits: 16 }
  const inside = withoutConnected(node('c2', 'b', [], '172.17.5.0/24', '10.2.1.0/24'), [docker])
  t.same(inside.node.podCidrs, ['10.2.1.0/24'])
  t.match(inside.leftOut, [
    { why: 'its pod network 172.17.5.0/24 overlaps 172.17.0.1/16, a network of this machine (docker0)' },
  ])
  t.same(withoutConnected(node('c2', 'b', [], '172.16.0.0/12'), [docker]).node.podCidrs, [])
})

t.test('5000 nodes take no time', async t => {
  const nodes = Array.from({ length: 5000 }, (_, i) =>
    node('c1', `n${i}`, [`172.16.${i >> 8}.${i & 255}`], `10.${i >> 8}.${i & 255}.0/24`, `fd00:${i.toString(16)}::/64`),
  )
  const started = performance.now()
  t.equal(withoutOverlaps(nodes).leftOut.length, 0)
  t.ok(performance.now() - started < 5000, `${Math.round(performance.now() - started)} ms`)
})
