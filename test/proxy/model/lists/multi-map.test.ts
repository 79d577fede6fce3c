/** What belongs to a name, against a Map of Sets. */
import fc from 'fast-check'
import t from 'tap'
import { MultiMap } from '../../../../proxy/model/lists/multi-map.ts'

const names = ['10.0.0.1', '10.0.0.2', '2001:db8::1']
const things = ['default/a', 'default/b', 'default/c']
const step = fc.record({
  name: fc.constantFrom(...names),
  thing: fc.constantFrom(...things),
  isGone: fc.boolean(),
})

t.test('names have what was added and is not deleted, whichever order', async t => {
  const property = fc.property(fc.array(step, { maxLength: 60 }), steps => {
    const map = new MultiMap<string>()
    const plain = new Map<string, Set<string>>()
    for (const { name, thing, isGone } of steps) {
      const known = plain.get(name) ?? new Set()
      if (isGone) {
        const isLast = known.delete(thing) && known.size === 0
        if (known.size === 0) plain.delete(name)
        if (map.delete(name, thing) !== isLast) return false
      } else {
        if (map.add(name, thing) !== (known.size === 0)) return false
        plain.set(name, known.add(thing))
      }
    }
    return (
      map.size === plain.size &&
      [...map.names()].every(name => plain.has(name)) &&
      names.every(name => {
        const known = plain.get(name) ?? new Set<string>()
        const all = map.get(name)
        return (
          map.has(name) === plain.has(name) &&
          all.length === known.size &&
          all.every(thing => known.has(thing)) &&
          map.first(name) === all[0] &&
          things.every(thing => map.includes(name, thing) === known.has(thing)) &&
          things.every(thing => map.hasOther(name, thing) === [...known].some(one => one !== thing))
        )
      })
    )
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 500 }))
})
