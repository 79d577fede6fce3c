// What iproute2 says: routes with packets around packets in JSON, and a kernel that lacks a device.
import { join } from 'node:path'
import t from 'tap'
import { createIpRoute } from '../../../proxy/underlay/iproute.ts'
import { parseShown, readPresent } from '../../../proxy/underlay/present.ts'

// As iproute2 6.1 prints them.
const v4 =
  '[{"dst":"default","gateway":"192.0.2.1","dev":"eth0","protocol":"3"},' +
  '{"dst":"10.2.1.0/24","encap":"ip","id":7,"src":"192.0.2.11","dst":"192.0.2.21","ttl":0,"tos":0,"gateway":"10.2.1.0","dev":"vx","protocol":"171","flags":["onlink"]}]'
const v6 =
  '[{"dst":"fd00:2:2::/64","encap":"ip6","id":7,"src":"fd00:9::11","dst":"fd00:9::21","hoplimit":0,"tc":0,"csum":true,"gateway":"fd00:2:2::","dev":"vx","protocol":"171","metric":1024,"flags":["onlink"],"pref":"medium"},' +
  '{"dst":"fd00:7::/64","encap":"mpls","dst":"16","dev":"eth0","protocol":"4"},' +
  '{"dst":"fe80::/64","dev":"vx","protocol":"2"}]'
const links =
  '[{"ifname":"vx","flags":["UP"],"mtu":1450,"address":"02:00:00:00:00:01","ifalias":"starlane-underlay","addr_info":[],' +
  '"linkinfo":{"info_kind":"geneve","info_data":{"external":true,"port":6181}}}]'

t.test('a route says the network, and the node that its packets are sent to', async t => {
  const texts: Record<string, string> = { '-d addr show': links, '-N -4 route show table main': v4 }
  const present = await readPresent(
    async (_, args) => parseShown(texts[args.join(' ')] ?? (args[1] === '-6' ? v6 : '')),
    'vx',
    async () => undefined,
  )
  t.same(present.routes, [
    {
      ...{ cidr: '10.2.1.0/24', via: '10.2.1.0', device: 'vx', protocol: '171' },
      within: { vni: 7, local: '192.0.2.11', node: '192.0.2.21' },
    },
    {
      ...{ cidr: 'fd00:2:2::/64', via: 'fd00:2:2::', device: 'vx', protocol: '171' },
      within: { vni: 7, local: 'fd00:9::11', node: 'fd00:9::21' },
    },
  ])
  t.match(present.device, { kind: 'geneve', isOurs: true, isExternal: true, port: 6181 })
})

t.test('a kernel without the device: what to do, once', async t => {
  const folder = t.testdir({ says: '#!/bin/sh\ncat > /dev/null\nprintf "%b" "$SAYS" >&2\nexit 1\n' })
  const said = 'Error: Unknown device type.\\nCommand failed -:1\\nCannot find device \\"vx\\"\\nCommand failed -:2\\n'
  const iproute = createIpRoute(['env', `SAYS=${said}`, 'sh', join(folder, 'says')])
  const commands = ['link add dev vx mtu 1450 type geneve external dstport 6181', 'link set dev vx up']
  await t.rejects(iproute.execute(commands.map(line => ({ program: 'ip' as const, line }))), {
    message: 'the kernel has no geneve; load its module (modprobe geneve), or use underlay.mode: vxlan',
  })
})
