/**
 * Fields of the configuration and of plugin options: one field is a parser, a default and a line for the reference page.
 * Values come as YAML gave them (`unknown`); a default is written the way a user would write it and parsed like input.
 */
import { type Cidr, parseCidr, parseEndpoint } from '../model/address.ts'

export interface Field<T> {
  /** For the reference page: `duration`, `integer 1..255`, `local | remote | none`. */
  readonly type: string
  readonly help: string
  /** As a user would write it; undefined means that the field must be given. */
  readonly fallback: unknown
  /** Reports every fault and returns undefined, or returns the value. `value` is never undefined. */
  parse(value: unknown, path: Path, report: Report): T | undefined
}

export type Path = readonly (string | number)[]
export type Report = (fault: Fault) => void

/** One thing wrong with one value. `message` says what was found and what would do. */
export interface Fault {
  readonly path: Path
  readonly message: string
}

export type Fields = Readonly<Record<string, Field<unknown>>>

export type Options<F extends Fields> = { readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never }

/** `plugins[2].options.rest` */
export function pathText(path: Path): string {
  return path.reduce<string>(
    (text, step) => (typeof step === 'number' ? `${text}[${step}]` : text === '' ? step : `${text}.${step}`),
    '',
  )
}

/** Parses a table of fields. Unknown keys are faults that name the nearest known key. */
export function parseFields<F extends Fields>(
  fields: F,
  value: unknown,
  path: Path,
  report: Report,
): Options<F> | undefined {
  if (value === null || value === undefined) return parseFields(fields, {}, path, report)
  if (typeof value !== 'object' || Array.isArray(value)) {
    report({ path, message: `${shown(value)} is not a table of options (${Object.keys(fields).join(', ') || 'it has none'})` })
    return undefined
  }
  const given = value as Record<string, unknown>
  let sound = true
  const fail: Report = fault => {
    sound = false
    report(fault)
  }
  for (const key of Object.keys(given)) {
    if (!Object.hasOwn(fields, key)) fail({ path: [...path, key], message: unknownKey(key, Object.keys(fields)) })
  }
  const parsed: Record<string, unknown> = {}
  for (const [key, field] of Object.entries(fields)) {
    const raw = Object.hasOwn(given, key) && given[key] !== undefined ? given[key] : field.fallback
    if (raw === undefined) fail({ path: [...path, key], message: `is missing; give ${article(field.type)}` })
    else parsed[key] = raw === absent ? undefined : field.parse(raw, [...path, key], fail)
  }
  return sound ? (parsed as Options<F>) : undefined
}

/** What the reference page and `--help` print of a table. */
export function describe(fields: Fields): { key: string; type: string; fallback: string; help: string }[] {
  return Object.entries(fields).map(([key, field]) => ({
    key,
    type: field.type,
    fallback: field.fallback === undefined ? 'required' : field.fallback === absent ? '' : written(field.fallback),
    help: field.help,
  }))
}

/** The default of an {@link optional} field: no value at all. */
const absent = Symbol('absent')

/** May be left out; then the value is undefined. */
export function optional<T>(field: Field<T>): Field<T | undefined> {
  return { ...field, fallback: absent }
}

const msPerUnit: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const maxTimerMs = 2 ** 31 - 1

/** `500ms`, `5s`, `10m`, `1h30m`; milliseconds in the program. A bare 0 needs no unit. */
export function duration(help: string, fallback?: string): Field<number> {
  return field('duration', help, fallback, value => {
    if (value === 0 || value === '0') return 0
    if (typeof value === 'number') return bad(`${value} has no unit; write ${value}s or ${value}ms`)
    if (typeof value !== 'string') return bad(`${shown(value)} is not a duration; write 500ms, 5s, 10m or 1h`)
    if (/^\d+(\.\d+)?$/.test(value)) return bad(`"${value}" has no unit; write ${value}s or ${value}ms`)
    if (!/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(value)) return bad(`"${value}" is not a duration; write 500ms, 5s, 10m or 1h`)
    const ms = [...value.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)].reduce(
      (sum, [, amount, unit]) => sum + Number(amount) * (msPerUnit[unit ?? ''] ?? 0),
      0,
    )
    return ms <= maxTimerMs ? ms : bad(`"${value}" is longer than 24 days, the longest a timer can wait`)
  })
}

export function integer(help: string, range: { min: number; max: number }, fallback?: number): Field<number> {
  return field(`integer ${range.min}..${range.max}`, help, fallback, value =>
    typeof value === 'number' && Number.isInteger(value) && value >= range.min && value <= range.max
      ? value
      : bad(`${shown(value)} is not a whole number from ${range.min} to ${range.max}`),
  )
}

export function boolean(help: string, fallback?: boolean): Field<boolean> {
  return field('true | false', help, fallback, value =>
    typeof value === 'boolean' ? value : bad(`${shown(value)} is neither true nor false`),
  )
}

/** `50%`: a fraction from 0 to 1 in the program. */
export function percent(help: string, fallback?: string): Field<number> {
  return field('percent', help, fallback, value => {
    const match = typeof value === 'string' && /^(\d+(?:\.\d+)?)%$/.exec(value)
    const fraction = match ? Number(match[1]) / 100 : Number.NaN
    return fraction >= 0 && fraction <= 1 ? fraction : bad(`${shown(value)} is not a percentage; write 0% to 100%`)
  })
}

export function text(help: string, fallback?: string): Field<string> {
  return field('text', help, fallback, value =>
    typeof value === 'string' && value !== '' ? value : bad(`${shown(value)} is not a text`),
  )
}

export function oneOf<const T extends string>(help: string, values: readonly T[], fallback?: T): Field<T> {
  return field(values.join(' | '), help, fallback, value => {
    const found = values.find(v => v === value)
    return found ?? bad(`${shown(value)} is none of ${values.join(', ')}${didYouMean(String(value), values)}`)
  })
}

/** `10.0.0.0/8`, `fd00::/64`. */
export function cidr(help: string, fallback?: string): Field<Cidr> {
  return field('CIDR', help, fallback, value => {
    const parsed = typeof value === 'string' ? parseCidr(value) : undefined
    return parsed ?? bad(`${shown(value)} is not a CIDR; write 10.0.0.0/8, with no bits set behind the prefix`)
  })
}

/** `127.0.0.1:9911`, `[::1]:9911`. Port 0 lets the kernel choose. */
export function endpoint(help: string, fallback?: string): Field<{ readonly address: string; readonly port: number }> {
  return field('address:port', help, fallback, value => {
    const parsed = typeof value === 'string' ? parseEndpoint(value) : undefined
    return parsed ?? bad(`${shown(value)} is not an address and port; write 127.0.0.1:9911 or [::1]:9911`)
  })
}

/** A sequence; a single value stands for a list of one. */
export function list<T>(help: string, item: Field<T>, fallback?: readonly unknown[]): Field<readonly T[]> {
  return {
    type: `list of ${item.type}`,
    help,
    fallback,
    parse: (value, path, report) => {
      const items = Array.isArray(value) ? value : [value]
      let sound = true
      const parsed = items.map((entry, i) =>
        entry === null || entry === undefined
          ? report({ path: [...path, i], message: `is empty; give ${article(item.type)}` })
          : item.parse(entry, [...path, i], fault => {
              sound = false
              report(fault)
            }),
      )
      return sound && !items.some(entry => entry === null || entry === undefined) ? (parsed as T[]) : undefined
    },
  }
}

/** A mapping with names of the user's choosing. */
export function record<T>(help: string, item: Field<T>, fallback?: Readonly<Record<string, unknown>>): Field<Readonly<Record<string, T>>> {
  return {
    type: `mapping to ${item.type}`,
    help,
    fallback,
    parse: (value, path, report) => {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        report({ path, message: `${shown(value)} is not a mapping` })
        return undefined
      }
      const parsed = Object.entries(value).map(([key, entry]) => [key, item.parse(entry, [...path, key], report)] as const)
      return parsed.some(([, entry]) => entry === undefined) ? undefined : (Object.fromEntries(parsed) as Record<string, T>)
    },
  }
}

/** A nested table of fields. With `fallback` omitted its own fields' defaults make it up. */
export function table<F extends Fields>(help: string, fields: F, fallback: unknown = {}): Field<Options<F>> {
  return { type: 'table', help, fallback, parse: (value, path, report) => parseFields(fields, value, path, report) }
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

export function unknownKey(key: string, known: readonly string[]): string {
  const which = known.length > 0 ? `known here: ${known.join(', ')}` : 'none is known here'
  return `is not a known key${didYouMean(key, known)} (${which})`
}

/** `; did you mean "remote"?` when one of the known words is near. */
export function didYouMean(word: string, known: readonly string[]): string {
  const near = known
    .map(other => ({ other, distance: editDistance(word.toLowerCase(), other.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)[0]
  return near && near.distance <= Math.max(1, Math.floor(word.length / 3)) ? `; did you mean "${near.other}"?` : ''
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (const [i, x] of [...a].entries()) {
    const next = [i + 1]
    for (const [j, y] of [...b].entries()) {
      next.push(Math.min((row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1, (row[j] ?? 0) + (x === y ? 0 : 1)))
    }
    row = next
  }
  return row[b.length] ?? 0
}

function shown(value: unknown): string {
  return typeof value === 'string' ? `"${value}"` : value === null ? 'nothing' : JSON.stringify(value)
}

function written(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function article(type: string): string {
  return /^[aeio]/.test(type) ? `an ${type}` : `a ${type}`
}
