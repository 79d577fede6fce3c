/** The JSON Schema (draft 7) of the configuration, from the fields: for editors, which complete and check while one writes. */
import type { Field, Fields } from './fields.ts'
import { schema } from './schema.ts'

type Schema = { readonly [key: string]: unknown }

export function renderJsonSchema(): string {
  const all = objectOf(schema(path => path))
  const whole = { $schema: 'http://json-schema.org/draft-07/schema#', title: 'Configuration of Starlane', ...all }
  return `${JSON.stringify(whole, null, 2)}\n`
}

function objectOf(fields: Fields): Schema {
  const required = Object.entries(fields).flatMap(([name, { fallback }]) => (fallback === undefined ? [name] : []))
  return {
    type: 'object',
    additionalProperties: false,
    ...(required.length > 0 && { required }),
    properties: Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, schemaOf(field)])),
  }
}

function schemaOf(field: Field<unknown>): Schema {
  const { type, help, fallback, tables = [], deprecated } = field
  const standard = typeof fallback === 'symbol' || fallback === undefined ? {} : { default: fallback }
  const nothing =
    typeof fallback === 'symbol' || (tables.length > 0 && fallback !== undefined) ? [{ type: 'null' }] : []
  const shape = shapeOf(type, tables)
  const notes = { description: help, ...standard, ...(deprecated !== undefined && { deprecated: true }) }
  return nothing.length > 0 ? { ...notes, anyOf: [shape, ...nothing] } : { ...notes, ...shape }
}

function shapeOf(type: string, tables: readonly Fields[]): Schema {
  const [, item] = /^list of (.+)$/.exec(type) ?? []
  if (item !== undefined) {
    const one = shapeOf(item === 'mappings' ? 'mapping' : item, tables)
    return { anyOf: [{ type: 'array', items: one }, one] }
  }
  const [, value] = /^mapping to (.+)$/.exec(type) ?? []
  if (value !== undefined) return { type: 'object', additionalProperties: shapeOf(value, tables) }
  const words = type.split(' | ')
  if (words.includes('mapping')) {
    const others = words.filter(word => word !== 'mapping').map(word => ({ const: word }))
    return anyOf([...others, ...tables.map(objectOf)])
  }
  return anyOf([...words.map(scalarOf), variable])
}

function anyOf(shapes: readonly Schema[]): Schema {
  const [first = {}, ...more] = shapes
  return more.length === 0 ? first : { anyOf: shapes }
}

/** A value with a variable, which is put in later. */
const variable: Schema = { type: 'string', pattern: '\\$\\{\\w+(:-[^}]*)?\\}' }

const scalars: Readonly<Record<string, Schema>> = {
  duration: { type: ['string', 'integer'], pattern: '^(0|(\\d+(\\.\\d+)?(ms|s|m|h|d))+)$', maximum: 0 },
  size: { type: ['string', 'integer'] },
  percent: { type: 'string', pattern: '^\\d+(\\.\\d+)?%$' },
  true: { enum: [true, null] },
  false: { const: false },
}

/** Words in small letters are values; all else says what kind of text it is. */
function scalarOf(word: string): Schema {
  const [, min, max] = /^integer (\d+)\.\.(\d+)$/.exec(word) ?? []
  if (min !== undefined) return { type: 'integer', minimum: Number(min), maximum: Number(max) }
  const known = scalars[word]
  if (known) return known
  const isKind = /[ ,:]|^[A-Z]|^(string|path|domain|address|name)$/.test(word)
  return isKind ? { type: ['string', 'integer'] } : { const: word }
}
