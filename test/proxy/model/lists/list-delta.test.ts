/** What has gone from a list and come to it, against a plain look at both. */
import fc from 'fast-check'
import t from 'tap'
import { listDelta } from '../../../../proxy/model/lists/list-delta.ts'
import { touchedOf } from '../../../../proxy/model/lists/touched.ts'

const objects = Array.from({ length: 40 }, (_, i) => ({ address: `10.0.0.${i % 15}` }))
const list = fc
  .uniqueArray(fc.integer({ min: 0, max: 39 }), { maxLength: 40 })
  .map(all => all.map(i => objects[i] as object))

/** Whether the delta has just what only one of the lists has, in its order. */
function isRight(before: readonly object[], after: readonly object[]): boolean {
  const { gone, come } = listDelta(before, after)
  const [inBefore, inAfter] = [new Set(before), new Set(after)]
  const isSame = (a: readonly object[], b: readonly object[]) => a.length === b.length && a.every((x, i) => x === b[i])
  const [left, arrived] = [before.filter(x => !inAfter.has(x)), after.filter(x => !inBefore.has(x))]
  return isSame(gone, left) && isSame(come, arrived)
}

t.test('what has gone and what has come, by identity', async t => {
  const property = fc.property(list, list, fc.boolean(), (one, other, isAlike) => {
    const after = isAlike ? one.filter((_, i) => i % 7 !== 3) : other
    return isRight(one, after)
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 300 }))
})

t.test('long lists of which some have gone, come and moved', async t => {
  const many = Array.from({ length: 400 }, () => ({}))
  const places = (most: number) => fc.uniqueArray(fc.integer({ min: 0, max: 299 }), { maxLength: most })
  const property = fc.property(places(40), places(40), places(3), (left, arrived, moved) => {
    const before = many.slice(0, 300)
    const after = before.filter((_, i) => !left.includes(i))
    for (const [i, place] of arrived.entries()) after.splice(place, 0, many[300 + i] as object)
    for (const place of moved) after.unshift(...after.splice(place, 1))
    return isRight(before, after)
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 300 }))
})

t.test('the part that a change touches has all at its addresses, in order', async t => {
  const [a, b, c, d] = ['1', '2', '1', '3'].map(address => ({ address })) as [Item, Item, Item, Item]
  const fresh = { address: '1' }
  t.same(touchedOf([a, b, c], [a, b, c]), { before: [], after: [] })
  const { before, after } = touchedOf<Item>([a, b, c], [fresh, b, c, d])
  t.same(
    [before, after].map(all => all.map(({ address }) => address)),
    [
      ['1', '1'],
      ['1', '1', '3'],
    ],
  )
  t.equal(after[0], fresh)
  t.equal(after[1], c)
})

interface Item {
  readonly address: string
}
