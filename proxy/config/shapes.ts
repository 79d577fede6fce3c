/** Fields whose value has one of several shapes. */
import { type Field, type Fields, type Options, parseFields, shown, unknownKey } from './fields.ts'

/** Either one word or a mapping of one of several shapes. */
export function wordOr<const W extends string, const S extends readonly Fields[]>(
  help: string,
  word: W,
  ...shapes: S
): Field<W | Options<S[number]>> {
  const keys = shapes.flatMap(fields => Object.keys(fields)).join(', ')
  const mapping = oneShape('', ...shapes)
  return {
    type: `${word} | mapping`,
    help,
    fallback: word,
    tables: shapes,
    parse: (value, path, report) => {
      if (value === word) return word
      if (typeof value === 'object' && value !== null) return mapping.parse(value, path, report)
      report({ path, message: `${shown(value)} is neither ${word} nor a mapping with ${keys}` })
      return undefined
    },
  }
}

/**
 * A mapping of one of several shapes, told apart by their keys, which cannot be combined. An empty value takes the first
 * shape without required fields, if there is one.
 */
export function oneShape<const S extends readonly Fields[]>(help: string, ...shapes: S): Field<Options<S[number]>> {
  const known = shapes.flatMap(shape => Object.keys(shape))
  const marks = shapes.map(shape => Object.keys(shape)[0]).join(', ')
  return {
    type: 'mapping',
    help,
    fallback: undefined,
    tables: shapes,
    parse: (value, path, report) => {
      if (typeof value !== 'object' || Array.isArray(value)) {
        report({ path, message: `${shown(value)} is not a mapping; give one of ${marks}` })
        return undefined
      }
      const given: [string, unknown][] = Object.entries(value ?? {})
      const shape = shapeOf(shapes, given)
      if (!shape) {
        for (const [key] of given) report({ path: [...path, key], message: unknownKey(key, known) })
        if (given.length === 0) report({ path, message: `is empty; give one of ${marks}` })
        return undefined
      }
      const others = shapes.filter(each => each !== shape)
      const isOwn = (key: string) => Object.hasOwn(shape, key) && !others.some(each => Object.hasOwn(each, key))
      const mark = given.find(([key]) => isOwn(key))?.[0] ?? Object.keys(shape)[0]
      const strays = given.map(([key]) => key).filter(key => !Object.hasOwn(shape, key) && known.includes(key))
      for (const key of strays)
        report({ path: [...path, key], message: `cannot be combined with "${mark}"; remove one of them` })
      const own = Object.fromEntries(given.filter(([key]) => !strays.includes(key)))
      const parsed = parseFields(shape, own, path, report)
      return strays.length === 0 ? (parsed as Options<S[number]> | undefined) : undefined
    },
  }
}

function shapeOf(shapes: readonly Fields[], given: readonly [string, unknown][]): Fields | undefined {
  const fits = shapes.map(shape => given.filter(([key]) => Object.hasOwn(shape, key)).length)
  const best = Math.max(...fits)
  return (
    (best > 0 ? shapes[fits.indexOf(best)] : undefined) ??
    shapes.find(shape => Object.values(shape).every(({ fallback }) => fallback !== undefined))
  )
}
