/** Deep equality of plain values. */
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { plainEqual, same } from '../../../../proxy/model/lists/plain-equal.ts'

t.test('as the general one, for plain values', async t => {
  const value = fc.json({ maxDepth: 3 })
  const property = fc.property(value, value, (one, other) => {
    const [a, b] = [JSON.parse(one), JSON.parse(other)]
    return plainEqual(a, b) === isDeepStrictEqual(a, b) && plainEqual(a, JSON.parse(one))
  })
  t.doesNotThrow(() => fc.assert(property))
  t.notOk(plainEqual({ a: 1 }, { a: 1, b: undefined }))
  t.notOk(plainEqual([1], { 0: 1 }))
  t.notOk(plainEqual(null, {}))
})

t.test('what is not plain is equal to itself alone', async t => {
  const map = new Map([[1, 2]])
  t.ok(plainEqual({ map }, { map }))
  t.notOk(plainEqual({ map }, { map: new Map(map) }))
})

t.test('but for some properties', async t => {
  t.ok(same<{ a: number; b?: number }>({ a: 1, b: 1 }, { a: 1 }, ['b']))
  t.notOk(same<{ a: number; b?: number }>({ a: 1, b: 1 }, { a: 2 }, ['b']))
})
