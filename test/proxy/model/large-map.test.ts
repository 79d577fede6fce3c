/** The map for many entries, against one of the language. */
import t from 'tap'
import { LargeMap } from '../../../proxy/model/lists/large-map.ts'

t.test('it holds what a Map holds, before and after its entries are spread', async t => {
  const large = new LargeMap<number>()
  const plain = new Map<string, number>()
  for (let i = 0; i < 9000; i++) {
    const key = `10.${i % 7}.${((i * 31) % 5000) >> 8}.${(i * 31) % 256}:8080/TCP`
    if (i % 3 === 2) {
      if (large.delete(key) !== plain.delete(key)) t.fail(key)
      continue
    }
    large.set(key, i)
    plain.set(key, i)
  }
  t.ok(plain.size > 2048, 'they are spread')
  t.equal(large.size, plain.size)
  t.ok([...plain].every(([key, value]) => large.get(key) === value && large.has(key)))
  t.same(new Set(large.keys()), new Set(plain.keys()))
  t.same([...large.values()].sort(), [...plain.values()].sort())
  for (const key of plain.keys()) large.delete(key)
  t.equal(large.size, 0)
  t.equal(large.get('10.0.0.0:8080/TCP'), undefined)
})
