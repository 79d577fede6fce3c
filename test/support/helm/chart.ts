/** Renders the chart of a folder as `helm template` does, for machines without Helm: with the functions that our template calls. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse, stringify } from 'yaml'
import { faults } from '../json-schema/faults.ts'
import { type Functions, isTrue, render } from './template.ts'

type Table = Record<string, unknown>

/** `values` are put over those of the chart. Throws for values that its schema refuses, and for a template that it does not understand. */
export function renderChart(chart: string, namespace: string, values: Table): string {
  const read = (name: string): string => readFileSync(join(chart, name), 'utf8')
  const { name, version, appVersion } = parse(read('Chart.yaml')) as Table
  const all = merge(structuredClone(values), parse(read('values.yaml')) as Table)
  const refused = faults(JSON.parse(read('values.schema.json')), all)
  if (refused.length > 0) throw new Error(`values.schema.json refuses ${refused.join(', ')}`)
  const dot = {
    Values: all,
    Chart: { Name: name, Version: version, AppVersion: appVersion },
    Release: { Service: 'Helm', Namespace: namespace },
    Files: { Get: read },
  }
  return render(read('templates/all.yaml'), dot, functions)
}

/** The values of `--set a.b=c`: whole numbers, true and false are such, and the rest is text. */
export function valuesOf(settings: readonly string[]): Table {
  const parts = settings.map(setting => {
    const [, path = '', text = ''] = /^([^=]*)=(.*)$/s.exec(setting) ?? []
    const value = /^(true|false|\d+)$/.test(text) ? JSON.parse(text) : text
    return path.split('.').reduceRight<unknown>((inner, key) => ({ [key]: inner }), value) as Table
  })
  return parts.reduce((all, part) => merge(part, all), {})
}

/** https://masterminds.github.io/sprig/ and Helm's own. */
const functions: Functions = {
  and: (...values: unknown[]) => values.find(value => !isTrue(value)) ?? values.at(-1),
  append: (list: unknown[], value: unknown) => [...list, value],
  default: (otherwise: unknown, value: unknown) => (isTrue(value) ? value : otherwise),
  dict: (...pairs: unknown[]) =>
    Object.fromEntries(pairs.flatMap((key, at) => (at % 2 === 0 ? [[key, pairs[at + 1]]] : []))),
  eq: (one: unknown, other: unknown) => one === other,
  fromYaml: (text: string) => parse(text),
  has: (value: unknown, list: unknown[]) => list.includes(value),
  hasKey: (table: Table, key: string) => key in table,
  index: (of: Table, key: string) => of[key],
  list: (...values: unknown[]) => values,
  merge: (into: Table, ...others: Table[]) => others.reduce(merge, into),
  not: (value: unknown) => !isTrue(value),
  or: (...values: unknown[]) => values.find(isTrue) ?? values.at(-1),
  printf: (format: string, ...values: unknown[]) =>
    format.split('%s').reduce((text, part, at) => `${text}${String(values[at - 1])}${part}`),
  set: (table: Table, key: string, value: unknown) => Object.assign(table, { [key]: value }),
  sha256sum: (text: string) => createHash('sha256').update(text).digest('hex'),
  splitList: (separator: string, text: string) => text.split(separator),
  toYaml: (value: unknown) => stringify(value, { aliasDuplicateObjects: false }),
  trunc: (length: number, text: string) => text.slice(0, length),
}

/** What `into` lacks comes from `other`; tables are merged key by key. Changes `into`, as sprig's does. */
function merge(into: Table, other: Table): Table {
  for (const [key, value] of Object.entries(other)) {
    const own = into[key]
    if (isTable(own) && isTable(value)) merge(own, value)
    else if (!(key in into)) into[key] = structuredClone(value)
  }
  return into
}

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
