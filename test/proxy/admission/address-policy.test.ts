import t from 'tap'
import { refusalOf } from '../../../proxy/admission/address-policy.ts'

const cases: Readonly<Record<string, readonly string[]>> = {
  'link-local': ['169.254.169.254', '169.254.0.1', 'fe80::1', 'febf::1'],
  unspecified: ['0.0.0.0', '0.1.2.3', '::'],
  multicast: ['224.0.0.1', '239.255.255.250', 'ff02::1'],
  metadata: ['168.63.129.16', '100.100.100.200', '192.0.0.192', 'fd00:ec2::254', 'fd20:ce::254'],
  broadcast: ['255.255.255.255'],
  loopback: ['127.0.0.1', '127.96.0.10', '::1'],
}
const usable = [
  '10.0.0.1',
  '1.1.1.1',
  '100.64.0.1',
  '169.253.1.1',
  '240.0.0.1',
  '223.255.255.255',
  'fd00::1',
  '2001:db8::1',
]

t.test('ranges that no cluster may name, and loopback unless it may', async t => {
  for (const [reason, addresses] of Object.entries(cases)) {
    for (const address of addresses) {
      t.equal(refusalOf(address, { loopback: false })?.reason, reason, address)
      t.equal(refusalOf(address, { loopback: true })?.reason, reason === 'loopback' ? undefined : reason, address)
    }
  }
  for (const address of usable) t.equal(refusalOf(address, { loopback: false }), undefined, address)
})

t.test('an IPv6 address that stands for an IPv4 address is judged as that one', async t => {
  const spellings = (hex: string) => [
    `::ffff:${hex}`,
    `::ffff:0:${hex}`,
    `64:ff9b::${hex}`,
    `2002:${hex}::1`,
    `::${hex}`,
    `64:ff9b:1::${hex}`,
    `fd00::200:5efe:${hex}`,
    `fd00::5efe:${hex}`,
    // Teredo: the server, and the client with its bits inverted
    `2001:0:${hex}::f5ff:fffe`,
    `2001:0:808:808::${inverted(hex)}`,
  ]
  const reason = (address: string) => refusalOf(address, { loopback: false })?.reason
  for (const address of spellings('a9fe:a9fe')) t.equal(reason(address), 'link-local', address)
  for (const address of spellings('7f00:1')) t.equal(reason(address), 'loopback', address)
  for (const address of spellings('e000:1')) t.equal(reason(address), 'multicast', address)
  for (const address of spellings('ffff:ffff')) t.equal(reason(address), 'broadcast', address)
  for (const address of spellings('a00:1')) t.equal(reason(address), undefined, address)
})

t.test('NAT64 with a prefix of the network itself, of each length (RFC 6052, 2.2)', async t => {
  const reason = (address: string) => refusalOf(address, { loopback: false })?.reason
  const linkLocal = [
    '64:ff9b:1:a9fe:a9:fe00::',
    '64:ff9b:1:a9:fe:a9fe::',
    '64:ff9b:1:0:a9:fea9:fe00:0',
    '64:ff9b:1::a9fe:a9fe',
  ]
  for (const address of linkLocal) t.equal(reason(address), 'link-local', address)
  const plain = ['64:ff9b:1:a00:0:100::', '64:ff9b:1:a:0:1::', '64:ff9b:1:0:a:0:100:0', '64:ff9b:1::a00:1']
  for (const address of plain) t.equal(reason(address), undefined, address)
})

/** As Teredo writes an address: all bits inverted. */
function inverted(hex: string): string {
  return hex
    .split(':')
    .map(group => (Number.parseInt(group, 16) ^ 0xffff).toString(16))
    .join(':')
}
