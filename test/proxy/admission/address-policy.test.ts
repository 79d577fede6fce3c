import t from 'tap'
import { refusalOf } from '../../../proxy/admission/address-policy.ts'

const cases: Readonly<Record<string, readonly string[]>> = {
  'link-local': ['169.254.169.254', '169.254.0.1', 'fe80::1', 'febf::1'],
  unspecified: ['0.0.0.0', '0.1.2.3', '::'],
  multicast: ['224.0.0.1', '239.255.255.250', 'ff02::1'],
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
  ]
  const reason = (address: string) => refusalOf(address, { loopback: false })?.reason
  for (const address of spellings('a9fe:a9fe')) t.equal(reason(address), 'link-local', address)
  for (const address of spellings('7f00:1')) t.equal(reason(address), 'loopback', address)
  for (const address of spellings('e000:1')) t.equal(reason(address), 'multicast', address)
  for (const address of spellings('ffff:ffff')) t.equal(reason(address), 'broadcast', address)
  for (const address of spellings('a00:1')) t.equal(reason(address), undefined, address)
})
