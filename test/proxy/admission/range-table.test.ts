import fc from 'fast-check'
import t from 'tap'
import { RangeTable } from '../../../proxy/admission/range-table.ts'
import { addressText, type Cidr, parseCidr } from '../../../proxy/model/address.ts'

const range = (text: string) => parseCidr(text) as Cidr

t.test('the values of the ranges that contain an address', async t => {
  const table = new RangeTable<string>()
  for (const [text, value] of [
    ['10.0.0.0/8', 'a'],
    ['10.1.0.0/16', 'b'],
    ['10.1.2.3/32', 'c'],
    ['0.0.0.0/0', 'all'],
    ['fd00::/16', 'six'],
    ['fd00:1:0:8000::/49', 'odd'],
  ] as const) {
    table.add(range(text), value)
  }
  t.same(table.at('10.1.2.3').sort(), ['a', 'all', 'b', 'c'])
  t.same(table.at('11.0.0.1'), ['all'])
  t.same(table.at('fd00::1'), ['six'])
  t.same(table.at('fd00:1:0:8001::1').sort(), ['odd', 'six'])
  t.same(table.at('fd00:1:0:1::1'), ['six'])
  t.same([table.has('10.1.0.1', 'b'), table.has('10.2.0.1', 'b')], [true, false])
  t.same([table.hasOther('11.0.0.1', 'all'), table.hasOther('10.9.0.1', 'all')], [false, true])
  table.delete(range('0.0.0.0/0'), 'all')
  table.delete(range('10.0.0.0/8'), 'someone')
  t.same([table.contains('11.0.0.1'), table.contains('10.200.0.1')], [false, true])
})

t.test('it agrees with `contains` of each range', async t => {
  const bytes = (count: number) => fc.uint8Array({ minLength: count, maxLength: count })
  const cidrs = fc.oneof(
    fc.record({ bytes: bytes(4), bits: fc.integer({ min: 0, max: 32 }) }),
    fc.record({ bytes: bytes(16), bits: fc.integer({ min: 0, max: 128 }) }),
  )
  fc.assert(
    fc.property(fc.array(cidrs, { maxLength: 12 }), fc.oneof(bytes(4), bytes(16)), (given, asked) => {
      const ranges = given.flatMap(({ bytes, bits }) => {
        const network = bytes.map((byte, i) => byte & (0xff << Math.max(0, 8 - Math.max(0, bits - i * 8))))
        return parseCidr(`${addressText(network)}/${bits}`) ?? []
      })
      const table = new RangeTable<Cidr>()
      for (const one of ranges) table.add(one, one)
      const addresses = [addressText(asked), ...ranges.map(one => one.at(0))]
      return addresses.every(address => {
        const expected = ranges.filter(one => one.contains(address)).map(({ text }) => text)
        const found = table.at(address).map(({ text }) => text)
        return expected.sort().join() === found.sort().join()
      })
    }),
  )
  t.pass()
})
