/**
 * Fields of the configuration and of plugin options. One field is a parser, a default and a line of the reference page.
 * Input is `unknown`, as the YAML parser returns it; a default is written as a user would write it, and parsed like input.
 */
import { type Cidr, parseCidr, parseEndpoint } from '../model/address.ts'
import { durationText, parseDuration } from '../model/text/duration.ts'
import { didYouMean, shown, unknownKey } from '../model/text/spelling.ts'

export { didYouMean, shown, unknownKey } from '../model/text/spelling.ts'

export interface Field<T> {
  /** For the reference page: `duration`, `integer 1..255`, `local | remote | none`. */
  readonly type: string
  readonly help: string
  /** The default, as a user would write it; undefined for a required field. */
  readonly fallback: unknown
  /** What to write instead, for a field that will be removed; `load` warns of it. */
  readonly deprecated?: string
  /** For the reference page: the tables of nested fields, and the path step from the field to them (`[]` for a list). */
  readonly tables?: readonly Fields[] | undefined
  readonly step?: string
  /** Returns the value, or reports every fault and returns undefined. `value` is never undefined. */
  parse(value: unknown, path: Path, report: Report): T | undefined
}

export type Path = readonly (string | number)[]
export type Report = (fault: Fault) => void

/** One thing wrong with one value. `message` says what was found and how to fix it. */
export interface Fault {
  readonly path: Path
  readonly message: string
}

export type Fields = Readonly<Record<string, Field<unknown>>>

export type Options<F extends Fields> = { readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never }

/** `plugins[2].options.rest`; a step that is not a plain word is quoted, so that the text stays on one line. */
export function pathText(path: Path): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`
    if (!/^\w[\w-]{0,59}$/.test(step)) return `${text}[${shown(step)}]`
    return text === '' ? step : `${text}.${step}`
  }, '')
}

/** Parses a mapping by a table of fields. An unknown key is a fault, whose message names the nearest known key. */
export function parseFields<F extends Fields>(
  fields: F,
  value: unknown,
  path: Path,
  report: Report,
): Options<F> | undefined {
  let valid = true
  const parsed = parseValidFields(fields, value, path, fault => {
    valid = false
    report(fault)
  })
  return valid ? (parsed as Options<F>) : undefined
}

/** Like {@link parseFields}, but returns the valid fields of a faulty mapping too, so that further checks can run on them. */
export function parseValidFields<F extends Fields>(
  fields: F,
  value: unknown,
  path: Path,
  report: Report,
): Partial<Options<F>> {
  if (value === null || value === undefined) return parseValidFields(fields, {}, path, report)
  if (typeof value !== 'object' || Array.isArray(value)) {
    const known = Object.keys(fields).join(', ') || 'it has none'
    report({ path, message: `${shown(value)} is not a mapping of options (${known})` })
    return {}
  }
  const given = value as Record<string, unknown>
  for (const key of Object.keys(given)) {
    if (!Object.hasOwn(fields, key)) report({ path: [...path, key], message: unknownKey(key, Object.keys(fields)) })
  }
  const parsed: Record<string, unknown> = {}
  for (const [key, field] of Object.entries(fields)) {
    const raw = Object.hasOwn(given, key) && given[key] !== undefined ? given[key] : field.fallback
    const left = raw === absent || (raw === null && field.fallback === absent)
    if (raw === undefined) report({ path: [...path, key], message: `is missing; give ${article(field.type)}` })
    else parsed[key] = left ? undefined : field.parse(raw, [...path, key], report)
  }
  return parsed as Partial<Options<F>>
}

/** A field as the reference page prints it; its key is like `clusters[].name`. Optional fields have an empty `fallback`. */
export type Described = Readonly<Record<'key' | 'type' | 'fallback' | 'help', string>>

/** Each field of a table, followed by its nested fields. `must` stands as the default of a required field. */
export function describe(fields: Fields, under = '', must = 'required'): readonly Described[] {
  return Object.entries(fields).flatMap(([name, { type, fallback, help, tables = [], step = '' }]) => {
    const key = under + name
    const inside = tables.length > 1 ? 'alternative' : 'required'
    const inner = tables.flatMap(table => describe(table, `${key}${step}.`, inside))
    return [{ key, type, fallback: fallback === undefined ? must : fallbackText(fallback), help }, ...inner]
  })
}

/** The default of an {@link optional} field: no value at all. */
const absent = Symbol('absent')

/** A field that may be missing or empty; its value is undefined then. */
export function optional<T>(field: Field<T>): Field<T | undefined> {
  return { ...field, fallback: absent }
}

/** A field that still works and will be removed. `instead`: what to write in its place, with the version it is removed in. */
export function deprecated<T>(field: Field<T>, instead: string): Field<T | undefined> {
  return { ...optional(field), deprecated: instead, help: `Deprecated: ${instead}. ${field.help}` }
}

/** Adds a rule: `complaint` returns what is wrong with a parsed value and how to fix it, or undefined. */
export function checked<T>(given: Field<T>, complaint: (value: T) => string | undefined): Field<T> {
  return {
    ...given,
    parse: (value, path, report) => {
      const parsed = given.parse(value, path, report)
      const message = parsed === undefined ? undefined : complaint(parsed)
      if (message === undefined) return parsed
      report({ path, message })
      return undefined
    },
  }
}

const maxTimerMs = 2 ** 31 - 1

/** `500ms`, `5s`, `10m`, `1h30m`; the value and the range are in milliseconds. A bare 0 needs no unit. */
export function duration(help: string, fallback?: string, range: { min?: number; max?: number } = {}): Field<number> {
  const { min = 0, max = maxTimerMs } = range
  return field('duration', help, fallback, value => {
    const written = scalar(value)
    const ms = parseDuration(written)
    if (ms === undefined && /^\d{1,12}(\.\d+)?$/.test(written)) {
      return bad(`${shown(value)} has no unit; write ${written}s or ${written}ms`)
    }
    if (ms === undefined) return bad(`${shown(value)} is not a duration; write 500ms, 5s, 10m or 1h`)
    if (ms > 0 && ms < 1) return bad(`${shown(value)} is less than 1ms, the resolution of timers`)
    if (ms > maxTimerMs) return bad(`${shown(value)} is longer than 24 days, the maximum of timers`)
    if (ms < min) return bad(`${shown(value)} is too short; the minimum is ${durationText(min)}`)
    if (ms > max) return bad(`${shown(value)} is too long; the maximum is ${durationText(max)}`)
    return Math.round(ms)
  })
}

/** Accepts quoted digits too, so that `"${REPLICAS}"` works. */
export function integer(help: string, range: { min: number; max: number }, fallback?: number): Field<number> {
  return field(`integer ${range.min}..${range.max}`, help, fallback, value => {
    const number = typeof value === 'string' && /^-?\d{1,16}$/.test(value) ? Number(value) : value
    const fits = typeof number === 'number' && Number.isInteger(number) && number >= range.min && number <= range.max
    return fits ? number : bad(`${shown(value)} is not a whole number from ${range.min} to ${range.max}`)
  })
}

/** Accepts `"true"` and `"false"` in quotes too, so that `"${DEBUG}"` works. */
export function boolean(help: string, fallback?: boolean): Field<boolean> {
  return field('true | false', help, fallback, value => {
    if (value === true || value === 'true') return true
    return value === false || value === 'false' ? false : bad(`${shown(value)} is neither true nor false`)
  })
}

/** `50%`; the value is a fraction from 0 to 1. */
export function percent(help: string, fallback?: string): Field<number> {
  return field('percent', help, fallback, value => {
    const match = /^(\d+(?:\.\d+)?)%$/.exec(scalar(value))
    const fraction = match ? Number(match[1]) / 100 : Number.NaN
    return fraction >= 0 && fraction <= 1 ? fraction : bad(`${shown(value)} is not a percentage; write 0% to 100%`)
  })
}

export function text(help: string, fallback?: string): Field<string> {
  return field('string', help, fallback, value => {
    if (typeof value === 'string' && value !== '') return value
    return bad(`${shown(value)} is not a string${typeof value === 'number' ? `; write "${value}"` : ''}`)
  })
}

export function oneOf<const T extends string>(help: string, values: readonly T[], fallback?: T): Field<T> {
  return field(values.join(' | '), help, fallback, value => {
    const found = values.find(v => v === value)
    return found ?? bad(`${shown(value)} is not one of ${values.join(', ')}${didYouMean(scalar(value), values)}`)
  })
}

/** `10.0.0.0/8`, `fd00::/64`. */
export function cidr(help: string, fallback?: string): Field<Cidr> {
  return field('CIDR', help, fallback, value => {
    const parsed = parseCidr(scalar(value))
    return parsed ?? bad(`${shown(value)} is not a CIDR; write 10.0.0.0/8, with no bits set beyond the prefix`)
  })
}

/** `127.0.0.1:9911`, `[::1]:9911`. Port 0 lets the kernel choose. */
export function endpoint(help: string, fallback?: string): Field<{ readonly address: string; readonly port: number }> {
  return field('address:port', help, fallback, value => {
    const parsed = parseEndpoint(scalar(value))
    const [, port] = /:(\d+)$/.exec(scalar(value)) ?? []
    if (!parsed && Number(port) > 65_535) return bad(`${shown(value)} has port ${port}; the highest is 65535`)
    return parsed ?? bad(`${shown(value)} is not an address and port; write 127.0.0.1:9911 or [::1]:9911`)
  })
}

/** A list. A single value is taken as a list of one. */
export function list<T>(help: string, item: Field<T>, fallback?: readonly unknown[]): Field<readonly T[]> {
  return {
    type: `list of ${item.type}${item.type === 'mapping' ? 's' : ''}`,
    help,
    fallback,
    tables: item.tables,
    step: `[]${item.step ?? ''}`,
    parse: (value, path, report) => {
      if (value === null) {
        report({ path, message: 'is empty; write [] for an empty list' })
        return undefined
      }
      const parsed = (Array.isArray(value) ? value : [value]).map((entry, i) => {
        if (entry !== null && entry !== undefined) return item.parse(entry, [...path, i], report)
        report({ path: [...path, i], message: `is empty; give ${article(item.type)}` })
        return undefined
      })
      return parsed.some(entry => entry === undefined) ? undefined : (parsed as T[])
    },
  }
}

/** A mapping with keys chosen by the user. */
export function record<T>(
  help: string,
  item: Field<T>,
  fallback?: Readonly<Record<string, unknown>>,
): Field<Readonly<Record<string, T>>> {
  return {
    type: `mapping to ${item.type}`,
    help,
    fallback,
    tables: item.tables,
    step: `.*${item.step ?? ''}`,
    parse: (value, path, report) => {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        report({ path, message: `${shown(value)} is not a mapping` })
        return undefined
      }
      const parsed = Object.entries(value).map(
        ([key, entry]) => [key, item.parse(entry, [...path, key], report)] as const,
      )
      return parsed.some(([, entry]) => entry === undefined)
        ? undefined
        : (Object.fromEntries(parsed) as Record<string, T>)
    },
  }
}

/** A nested table of fields. Without `fallback` its default is made of the defaults of its fields. */
export function table<F extends Fields>(help: string, fields: F, fallback: unknown = {}): Field<Options<F>> {
  return {
    type: 'mapping',
    help,
    fallback,
    tables: [fields],
    parse: (value, path, report) => parseFields(fields, value, path, report),
  }
}

/** Builds a field from a function that returns the value or {@link bad}. */
export function field<T>(type: string, help: string, fallback: unknown, read: (value: unknown) => T | Bad): Field<T> {
  return {
    type,
    help,
    fallback,
    parse: (value, path, report) => {
      const result = read(value)
      if (!(result instanceof Bad)) return result
      report({ path, message: result.message })
      return undefined
    },
  }
}

class Bad {
  readonly message: string
  constructor(message: string) {
    this.message = message
  }
}

export function bad(message: string): Bad {
  return new Bad(message)
}

/** The text of a scalar, for fields that parse text; empty for lists and mappings. */
export function scalar(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : ''
}

function fallbackText(value: unknown): string {
  const written = value === absent ? '' : typeof value === 'string' ? value : JSON.stringify(value)
  return written === '{}' ? '' : written
}

function article(type: string): string {
  return /^[aeio]/.test(type) ? `an ${type}` : `a ${type}`
}
