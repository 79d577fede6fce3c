// What is printed for routing daemons, and the packet rules.
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { birdConfig } from '../../../proxy/underlay/daemons/bird.ts'
import { frrConfig } from '../../../proxy/underlay/daemons/frr.ts'
import { kubeRouterConfig } from '../../../proxy/underlay/daemons/kube-router.ts'
import { masqueradeText } from '../../../proxy/underlay/masquerade.ts'
import type { UnderlayNode } from '../../../proxy/underlay/node.ts'

const node = (cluster: string, name: string, addresses: string[], ...podCidrs: string[]): UnderlayNode => ({
  ...{ cluster, name, addresses, podCidrs },
})
const own = node('c1', 'a1', ['192.0.2.11', 'fd00:9::11'], '10.1.1.0/24', 'fd00:1:1::/64')
const peers = [
  node('c2', 'b1', ['192.0.2.21', 'fd00:9::21'], '10.2.1.0/24'),
  node('c2', 'evil}\nprotocol device {}', ['192.0.2.22'], '10.2.2.0/24'),
]

t.test('BIRD: a session for each node and family, and names that cannot break out of a comment', async t => {
  const text = birdConfig(peers, own)
  t.match(text, 'router id 192.0.2.11;')
  t.match(text, 'route 10.1.1.0/24 unreachable;')
  t.equal(text.match(/neighbor 192\.0\.2\.2[12] as 64512/g)?.length, 2)
  t.equal(text.match(/neighbor fd00:9::21 as 64512/g)?.length, 1)
  t.notMatch(text, /^protocol device \{\}[\s\S]*^protocol device \{\}/m)
  t.throws(() => birdConfig(peers, node('c1', 'x', ['fd00:9::11'])), /node c1\/x has no IPv4 address, which BIRD needs/)
  if (spawnSync('bird', ['--version']).error) return t.comment('there is no bird to parse it')
  const file = join(t.testdir({}), 'bird.conf')
  writeFileSync(file, text)
  const { status, stderr } = spawnSync('bird', ['-p', '-c', file], { encoding: 'utf8' })
  t.equal(status, 0, stderr)
})

t.test('FRR: the same', async t => {
  const text = frrConfig(peers, own)
  const lines = text.split('\n')
  for (const line of [
    'router bgp 64512',
    ' bgp router-id 192.0.2.11',
    ' neighbor 192.0.2.21 remote-as 64512',
    ' neighbor fd00:9::21 remote-as 64512',
    '  network 10.1.1.0/24',
    '  network fd00:1:1::/64',
    '  neighbor 192.0.2.22 activate',
  ])
    t.ok(lines.includes(line), line)
  t.notOk(lines.some(line => line.startsWith('protocol')))
  if (spawnSync('vtysh', ['--help']).error) return t.comment('there is no FRR to parse it')
  const file = join(t.testdir({}), 'frr.conf')
  const parsed = (content: string) => {
    writeFileSync(file, content)
    return spawnSync('vtysh', ['-C', '-f', file], { encoding: 'utf8' })
  }
  const { status, stdout, stderr } = parsed(text)
  t.equal(status, 0, stdout + stderr)
  t.not(parsed(text.replace('remote-as', 'remote-at')).status, 0, 'it does look')
})

t.test('kube-router: arguments, and a patch with the nodes of the other clusters', async t => {
  const text = kubeRouterConfig([node('c1', 'a2', ['192.0.2.12'], '10.1.2.0/24'), ...peers], own)
  t.match(text, '--cluster-asn=64512')
  t.match(text, '--advertise-pod-cidr=true')
  const patch = parse(text) as { metadata: { annotations: Record<string, string> } }
  const { annotations } = patch.metadata
  t.same(parse(annotations['kube-router.io/peers'] ?? ''), [
    { remoteip: '192.0.2.21', remoteasn: 64512 },
    { remoteip: 'fd00:9::21', remoteasn: 64512 },
    { remoteip: '192.0.2.22', remoteasn: 64512 },
  ])
  t.equal(annotations['kube-router.io/peer.ips'], '192.0.2.21,fd00:9::21,192.0.2.22')
  t.equal(annotations['kube-router.io/peer.asns'], '64512,64512,64512')
  t.notMatch(
    kubeRouterConfig(peers, node('c1', 'x', ['192.0.2.11'])),
    'fd00',
    'no session without an address of the family',
  )
  t.throws(() => kubeRouterConfig(peers, node('c1', 'x', ['fd00:9::11'])), /no IPv4 address, which kube-router needs/)
  if (spawnSync('kubectl', ['version', '--client']).error) return t.comment('there is no kubectl to apply it')
  const folder = t.testdir({ 'patch.yaml': text, 'node.yaml': 'apiVersion: v1\nkind: Node\nmetadata: { name: a1 }\n' })
  const args = ['patch', '--local', '-f', 'node.yaml', '--patch-file', 'patch.yaml', '-o', 'json']
  const { stdout, stderr } = spawnSync('kubectl', args, { cwd: folder, encoding: 'utf8' })
  t.same(stdout && JSON.parse(stdout).metadata.annotations, annotations, stderr)
})

t.test('masquerade: what lies in another range is left out, and the mark follows from the content', async t => {
  const one = masqueradeText({ own: ['10.1.1.0/24'], inside: ['10.2.0.0/16', '10.2.3.0/24', '192.0.2.1'] })
  t.match(
    one.script,
    'set inside4 { type ipv4_addr; flags interval; elements = { 10.1.1.0/24, 10.2.0.0/16, 192.0.2.1/32 } }',
  )
  const other = masqueradeText({ own: ['10.1.1.0/24'], inside: ['192.0.2.1', '10.2.0.0/16'] })
  t.equal(one.mark, other.mark, 'the order does not matter')
  t.not(one.mark, masqueradeText({ own: ['10.1.1.0/24'], inside: ['10.2.0.0/17'] }).mark)
})
