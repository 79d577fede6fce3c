/** Fields that only the configuration needs. Paths come out absolute: the caller says what they are relative to. */
import { canonicalAddress, endpointText, parseEndpoint } from '../model/address.ts'
import { isClusterName } from '../model/cluster.ts'
import type { Json } from '../model/json.ts'
import {
  bad,
  checked,
  type Field,
  type Fields,
  field,
  type Options,
  optional,
  parseFields,
  scalar,
  shown,
  text,
  unknownKey,
} from './fields.ts'

/** Makes a path absolute: `~/` is the home directory, the rest is relative to the configuration file. */
export type Resolve = (path: string) => string

export function path(help: string, resolve: Resolve, fallback?: string): Field<string> {
  return field('path', help, fallback, value => {
    const sound = typeof value === 'string' && value !== '' && !value.includes('\0')
    return sound ? resolve(value) : bad(`${shown(value)} is not a path`)
  })
}

/** Paths that could be taken for a name must begin so. */
export function isPath(written: string): boolean {
  return /^(~|\.\.?)?\//.test(written)
}

export function clusterName(help: string): Field<string> {
  return checked({ ...text(help), type: 'cluster name' }, name => {
    if (!isClusterName(name))
      return `${shown(name)} is no name for a cluster; write 1 to 32 of a-z, 0-9 and -, no - at the ends`
    return name === 'default'
      ? '"default" is what Cilium calls a cluster outside any mesh; give it a name of its own'
      : undefined
  })
}

const label = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/

/** A domain in lower case, without the dot at its end. */
export function domain(help: string, fallback?: string): Field<string> {
  return field('domain', help, fallback, value => {
    const name = scalar(value).toLowerCase().replace(/\.$/, '')
    const sound = name.length <= 200 && name.split('.').every(part => label.test(part))
    return sound ? name : bad(`${shown(value)} is not a domain; write cluster.local`)
  })
}

/** Where questions for other zones go: a server as `10.0.0.10:53`, or the path of a file like resolv.conf. */
export function upstream(help: string, resolve: Resolve): Field<string> {
  return field('address, address:port or path', help, undefined, value => {
    const written = scalar(value)
    if (isPath(written)) return resolve(written)
    const address = canonicalAddress(written)
    const server = address === undefined ? parseEndpoint(written) : { address, port: 53 }
    return server && server.port > 0
      ? endpointText(server.address, server.port)
      : bad(`${shown(value)} is no resolver; write 10.0.0.10, 10.0.0.10:53, [fd00::10]:53 or /etc/resolv.conf`)
  })
}

export interface StatusRange {
  readonly min: number
  readonly max: number
}

/** HTTP statuses: `200-299`, or one alone. */
export function statusRange(help: string, fallback: string): Field<StatusRange> {
  return field('status range', help, fallback, value => {
    const [, min, max = min] = /^([1-5]\d\d)(?:-([1-5]\d\d))?$/.exec(scalar(value)) ?? []
    return min !== undefined && Number(min) <= Number(max)
      ? { min: Number(min), max: Number(max) }
      : bad(`${shown(value)} is not a range of HTTP statuses; write 200-299 or 204`)
  })
}

/** An etcd server as etcd's own client files name it. */
export function serverUrl(help: string): Field<string> {
  return field('URL', help, undefined, value => {
    const url = URL.canParse(scalar(value)) ? new URL(scalar(value)) : undefined
    const sound =
      url && /^https?:$/.test(url.protocol) && url.hostname !== '' && /^\/?$/.test(url.pathname + url.search + url.hash)
    return sound ? url.origin : bad(`${shown(value)} is no server; write https://HOST:2379`)
  })
}

const pluginWord = /^[a-z][a-z0-9-]{0,62}$/

/**
 * Which plugin: a bare word is a built-in one, `./my.js` a file, `npm:NAME` a package, never guessed from one another. It
 * stays as it was written, for status to show; whoever loads it starts from the configuration's folder.
 */
export function pluginUse(help: string, resolve: Resolve): Field<string> {
  return field('name, path or npm:NAME', help, undefined, value => {
    const written = scalar(value)
    if (isPath(written)) return written.startsWith('~') ? resolve(written) : written
    return /^npm:\S+$/.test(written) || pluginWord.test(written)
      ? written
      : bad(`${shown(value)} is no plugin; write the name of a built-in one, ./my-plugin.js for a file or npm:NAME`)
  })
}

/** What stands for a plugin in status, metrics and refusals. */
export function pluginName(help: string): Field<string> {
  return checked({ ...text(help), type: 'name' }, name =>
    pluginWord.test(name) ? undefined : `${shown(name)} is no name; write a-z, 0-9 and -, a letter first`,
  )
}

/** Whatever is written there, for somebody else to check. */
export function raw(help: string): Field<Json | undefined> {
  return optional(field<Json>('table', help, undefined, value => value as Json))
}

/** Nothing but `true`: the key says it all. */
export function present(help: string): Field<true> {
  return field('true', help, undefined, value =>
    value === true || value === 'true'
      ? true
      : bad(`${shown(value)} means nothing here; write true or leave the key out`),
  )
}

/** One word, or a table in its place. */
export function wordOr<const W extends string, F extends Fields>(
  help: string,
  word: W,
  fields: F,
): Field<W | Options<F>> {
  const keys = Object.keys(fields).join(', ')
  return {
    type: `${word} | table`,
    help,
    fallback: word,
    tables: [fields],
    parse: (value, path, report) => {
      if (value === word) return word
      if (typeof value === 'object' && value !== null) return parseFields(fields, value, path, report)
      report({ path, message: `${shown(value)} is neither ${word} nor a table with ${keys}` })
      return undefined
    },
  }
}

/**
 * A table of one of several shapes, told apart by their keys, which do not mix. Nothing given means the shape that asks
 * for nothing, if there is one.
 */
export function oneShape<const S extends readonly Fields[]>(help: string, ...shapes: S): Field<Options<S[number]>> {
  const known = shapes.flatMap(shape => Object.keys(shape))
  const marks = shapes.map(shape => Object.keys(shape)[0]).join(', ')
  return {
    type: 'table',
    help,
    fallback: undefined,
    tables: shapes,
    parse: (value, path, report) => {
      if (typeof value !== 'object' || Array.isArray(value)) {
        report({ path, message: `${shown(value)} is not a table; give one of ${marks}` })
        return undefined
      }
      const given: [string, unknown][] = Object.entries(value ?? {})
      const shape = shapeOf(shapes, given)
      if (!shape) {
        for (const [key] of given) report({ path: [...path, key], message: unknownKey(key, known) })
        if (given.length === 0) report({ path, message: `is empty; give one of ${marks}` })
        return undefined
      }
      const mark = given.find(([key]) => Object.hasOwn(shape, key))?.[0]
      const strays = given.map(([key]) => key).filter(key => !Object.hasOwn(shape, key) && known.includes(key))
      for (const key of strays)
        report({ path: [...path, key], message: `does not go with "${mark}"; keep one of the two` })
      const own = Object.fromEntries(given.filter(([key]) => !strays.includes(key)))
      const parsed = parseFields(shape, own, path, report)
      return strays.length === 0 ? (parsed as Options<S[number]> | undefined) : undefined
    },
  }
}

function shapeOf(shapes: readonly Fields[], given: readonly [string, unknown][]): Fields | undefined {
  return (
    shapes.find(shape => given.some(([key]) => Object.hasOwn(shape, key))) ??
    shapes.find(shape => Object.values(shape).every(({ fallback }) => fallback !== undefined))
  )
}
