/** Finds fields of a configuration that still work and will be removed. */
import type { Json } from '../model/text/json.ts'
import type { Fault, Fields, Path } from './fields.ts'

/** Each deprecated field that is given, with what to write instead. */
export function* deprecations(fields: Fields, value: Json, path: Path = []): Iterable<Fault> {
  if (typeof value !== 'object' || value === null) return
  if (Array.isArray(value)) {
    for (const [i, entry] of value.entries()) yield* deprecations(fields, entry, [...path, i])
    return
  }
  for (const [key, inner] of Object.entries(value)) {
    const field = Object.hasOwn(fields, key) ? fields[key] : undefined
    if (!field) continue
    if (field.deprecated !== undefined) yield { path: [...path, key], message: `is deprecated: ${field.deprecated}` }
    const { tables = [], step = '' } = field
    const values: [Path, Json][] =
      step.startsWith('.*') && typeof inner === 'object' && inner !== null
        ? Object.entries(inner).map(([name, each]) => [[...path, key, name], each])
        : [[[...path, key], inner]]
    for (const table of tables) for (const [at, each] of values) yield* deprecations(table, each, at)
  }
}
