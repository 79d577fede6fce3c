/** The part of JSON Schema that our schemas use: https://json-schema.org/draft-07/json-schema-validation. */

export interface Schema {
  readonly [key: string]: unknown
}

/** Paths of what does not fit, as `$.image.tag`. */
export function faults(rule: Schema, value: unknown, path = '$'): string[] {
  const {
    type,
    enum: values,
    pattern,
    minLength,
    minimum,
    maximum,
    anyOf,
    required = [],
    properties = {},
    items,
  } = rule
  const fault = (is: boolean) => (is ? [path] : [])
  const alternatives = anyOf as Schema[] | undefined
  const isTable = typeof value === 'object' && value !== null && !Array.isArray(value)
  return [
    ...fault(type !== undefined && ![type].flat().includes(typeOf(value))),
    ...fault(values !== undefined && !(values as unknown[]).includes(value)),
    ...fault('const' in rule && rule.const !== value),
    ...fault(typeof value === 'string' && pattern !== undefined && !new RegExp(pattern as string).test(value)),
    ...fault(typeof value === 'string' && minLength !== undefined && value.length < (minLength as number)),
    ...fault(typeof value === 'number' && minimum !== undefined && value < (minimum as number)),
    ...fault(typeof value === 'number' && maximum !== undefined && value > (maximum as number)),
    ...fault(alternatives?.every(each => faults(each, value).length > 0) ?? false),
    ...(Array.isArray(value) && items
      ? value.flatMap((each, i) => faults(items as Schema, each, `${path}[${i}]`))
      : []),
    ...(isTable ? (required as string[]).flatMap(key => (key in value ? [] : [`${path}.${key}`])) : []),
    ...(isTable
      ? Object.entries(value).flatMap(([key, each]) => {
          const known = (properties as Record<string, Schema>)[key]
          const other = rule.additionalProperties
          if (known) return faults(known, each, `${path}.${key}`)
          if (other === false) return [`${path}.${key}`]
          return typeof other === 'object' ? faults(other as Schema, each, `${path}.${key}`) : []
        })
      : []),
  ]
}

function typeOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  return Number.isInteger(value) ? 'integer' : typeof value
}
