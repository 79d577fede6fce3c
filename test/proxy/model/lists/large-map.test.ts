/** The map for many entries, and one of its tables, against those of the language. */
import fc from 'fast-check'
import t from 'tap'
import { LargeMap } from '../../../../proxy/model/lists/large-map.ts'
import { TextTable } from '../../../../proxy/model/lists/text-table.ts'

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

t.test('whoever iterates may delete and add meanwhile', async t => {
  const large = new LargeMap<number>()
  for (let i = 0; i < 5000; i++) large.set(`key-${i}`, i)
  const seen: string[] = []
  for (const key of large.keys()) {
    seen.push(key)
    large.delete(key)
  }
  t.equal(new Set(seen).size, 5000, 'each is seen')
  t.equal(seen.length, 5000, 'once')
  t.equal(large.size, 0)
})

/** Hashes that meet in few places, at the end of the table too. */
const keys = Array.from({ length: 60 }, (_, i) => ({
  key: `k${i}`,
  hash: i % 4 === 0 ? 2 ** 32 - 1 : 1 + (i % 5) * 0x30000000,
}))
const step = fc.record({ at: fc.integer({ min: 0, max: keys.length - 1 }), isGone: fc.boolean() })

t.test('a table finds what it has, whatever has come and gone and wherever hashes meet', async t => {
  const property = fc.property(fc.array(step, { maxLength: 400 }), steps => {
    const table = new TextTable<number>()
    const plain = new Map<string, number>()
    for (const [i, { at, isGone }] of steps.entries()) {
      const { key, hash } = keys[at] as (typeof keys)[number]
      if (isGone) {
        if (table.delete(key, hash) !== plain.delete(key)) return false
      } else {
        table.set(key, hash, i)
        plain.set(key, i)
      }
    }
    const isSame = keys.every(({ key, hash }) => {
      return table.get(key, hash) === plain.get(key) && table.has(key, hash) === plain.has(key)
    })
    const found = new Map(table.entries())
    return isSame && table.size === plain.size && [...plain].every(([key, value]) => found.get(key) === value)
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 500 }))
})
