/**
 * The declarations of shared memory in a C++ header: `constexpr` numbers, `enum class`, and `struct`s of int32_t, uint8_t and
 * double with their offsets, by the rules of the platform's ABI. Everything else in the header is passed over, and a
 * declaration inside a struct that this cannot read is an error.
 */
export interface Header {
  readonly constants: Readonly<Record<string, number>>
  readonly enums: Readonly<Record<string, Readonly<Record<string, number>>>>
  readonly structs: Readonly<Record<string, Struct>>
}

/** In bytes. */
export interface Struct {
  readonly size: number
  readonly align: number
  /** Offsets. Fields of unions and of structs without a name stand with those around them. */
  readonly fields: Readonly<Record<string, number>>
}

const scalars: Readonly<Record<string, Struct>> = {
  uint8_t: { size: 1, align: 1, fields: {} },
  int32_t: { size: 4, align: 4, fields: {} },
  double: { size: 8, align: 8, fields: {} },
}

export function readHeader(text: string): Header {
  const code = text.replaceAll(/\/\/.*$/gm, '')
  const constants: Record<string, number> = {}
  const enums: Record<string, Record<string, number>> = {}
  const structs: Record<string, Struct> = {}
  for (const [, name = '', value = ''] of code.matchAll(/constexpr (?:int32_t|int|size_t) (k\w+) = ([^;]+);/g)) {
    constants[name] = evaluate(value, constants)
  }
  for (const [, name = '', body = ''] of code.matchAll(/enum class (\w+) : int32_t \{([^}]*)\}/g)) {
    const members = body.split(',').filter(member => member.trim() !== '')
    enums[name] = Object.fromEntries(members.map(member => memberOf(member, constants)))
  }
  for (const match of code.matchAll(/^struct (\w+) (?=\{)/gm)) {
    const body = bodyAt(code, match.index + match[0].length)
    structs[match[1] as string] = layoutOf(body, constants, structs, false)
  }
  return { constants, enums, structs }
}

function memberOf(member: string, constants: Readonly<Record<string, number>>): [string, number] {
  const [name, value] = member.split('=').map(part => part.trim())
  if (!name || !value) throw new Error(`an enum member without a number: ${member}`)
  return [name, evaluate(value, constants)]
}

/** Sums and products of numbers and constants. */
function evaluate(expression: string, constants: Readonly<Record<string, number>>): number {
  const factor = (text: string): number => {
    const value = constants[text.trim()] ?? (/^\d+$/.test(text.trim()) ? Number(text) : undefined)
    if (value === undefined) throw new Error(`not a number: ${text}`)
    return value
  }
  const product = (text: string) => text.split('*').reduce((all, each) => all * factor(each), 1)
  return expression.split('+').reduce((sum, each) => sum + product(each), 0)
}

/** What stands between the brace at `start` and the one that closes it. */
function bodyAt(code: string, start: number): string {
  let depth = 0
  for (let i = start; i < code.length; i++) {
    if (code[i] === '{') depth++
    if (code[i] === '}' && --depth === 0) return code.slice(start + 1, i)
  }
  throw new Error('a brace is not closed')
}

function layoutOf(
  body: string,
  constants: Readonly<Record<string, number>>,
  structs: Record<string, Struct>,
  union: boolean,
): Struct {
  const fields: Record<string, number> = {}
  let [size, align, end] = [0, 1, 0]
  const place = (type: Struct, count: number): number => {
    const offset = union ? 0 : Math.ceil(end / type.align) * type.align
    end = offset + type.size * count
    size = Math.max(size, end)
    align = Math.max(align, type.align)
    return offset
  }
  for (let rest = body.trim(); rest !== ''; rest = rest.trim()) {
    const nested = /^(struct|union) (\w+ )?(?=\{)/.exec(rest)
    if (nested) {
      const inner = bodyAt(rest, nested[0].length)
      const type = layoutOf(inner, constants, structs, nested[1] === 'union')
      const after = rest.slice(nested[0].length + inner.length + 2)
      rest = after.slice(after.indexOf(';') + 1)
      if (nested[2]) {
        structs[nested[2].trim()] = type
        continue
      }
      const base = place(type, 1)
      for (const [name, offset] of Object.entries(type.fields)) fields[name] = base + offset
      continue
    }
    const field = /^(\w+) (\w+)((?:\[[^\]]+\])*);/.exec(rest)
    const type = field && (scalars[field[1] as string] ?? structs[field[1] as string])
    if (!field || !type) throw new Error(`not a field: ${rest.split('\n')[0]}`)
    const dimensions = [...(field[3] ?? '').matchAll(/\[([^\]]+)\]/g)].map(([, size = '']) => evaluate(size, constants))
    fields[field[2] as string] = place(
      type,
      dimensions.reduce((all, each) => all * each, 1),
    )
    rest = rest.slice(field[0].length)
  }
  return { size: Math.ceil(size / align) * align, align, fields }
}
