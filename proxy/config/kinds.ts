/** Fields that only the configuration needs. Paths come out absolute: the caller says what they are relative to. */
import { canonicalAddress, endpointText, parseEndpoint } from '../model/address.ts'
import { isClusterName } from '../model/cluster.ts'
import { isPluginName } from '../model/plugin-name.ts'
import { durationText } from '../model/text/duration.ts'
import type { Json } from '../model/text/json.ts'
import { parseServicePattern } from '../model/text/service-pattern.ts'
import { bad, checked, type Field, field, list, optional, record, scalar, shown, text } from './fields.ts'

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

/** Upstreams by domain. Domains come out in lower case, without the dot at their ends. */
export function routes(help: string, resolve: Resolve): Field<Readonly<Record<string, readonly string[]>>> {
  const servers = checked(list('Its resolvers.', upstream('A resolver.', resolve)), given =>
    given.length > 0 ? undefined : 'is empty; name a resolver, or leave the domain out',
  )
  const mapping = record(help, servers, {})
  const key = domain('The domain.')
  return {
    ...mapping,
    parse: (value, path, report) => {
      const parsed = mapping.parse(value, path, report)
      if (!parsed) return undefined
      const named = new Map<string, readonly string[]>()
      for (const [written, given] of Object.entries(parsed)) {
        const name = key.parse(written, [...path, written], report)
        if (name === undefined) return undefined
        if (named.has(name)) {
          report({ path: [...path, written], message: `${name} is given twice; keep one of the two` })
          return undefined
        }
        named.set(name, given)
      }
      return Object.fromEntries(named)
    },
  }
}

const bytesPerUnit = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 } as const

/** `64KiB`, `16MiB`, `1GiB`: bytes in the program, as is the range. */
export function size(help: string, fallback: string, range: { min: number; max: number }): Field<number> {
  return field('size', help, fallback, value => {
    const [, amount, unit] = /^(\d{1,9})([KMG]iB)$/.exec(scalar(value)) ?? []
    if (unit === undefined) return bad(`${shown(value)} is not a size; write 64KiB, 16MiB or 1GiB`)
    const bytes = Number(amount) * bytesPerUnit[unit as keyof typeof bytesPerUnit]
    const fits = bytes >= range.min && bytes <= range.max
    return fits ? bytes : bad(`${shown(value)} is not from ${sizeText(range.min)} to ${sizeText(range.max)}`)
  })
}

function sizeText(bytes: number): string {
  const [unit, size] = Object.entries(bytesPerUnit).findLast(([, size]) => bytes >= size) ?? ['KiB', 1024]
  return `${bytes / size}${unit}`
}

/** Several tries, of which one alone must not take longer than all. */
export function withinBudget<T extends { readonly timeout: number; readonly budget: number }>(
  tries: Field<T>,
): Field<T> {
  return checked(tries, ({ timeout, budget }) =>
    timeout > budget
      ? `timeout (${durationText(timeout)}) is longer than budget (${durationText(budget)}), the time for all attempts together`
      : undefined,
  )
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
    const url = URL.parse(scalar(value))
    const sound = url && /^https?:$/.test(url.protocol) && url.href === `${url.origin}/`
    return sound ? url.origin : bad(`${shown(value)} is no server; write https://HOST:2379`)
  })
}

/** Which services, as the tenancy plugin has it; it stays as it was written. */
export function servicePattern(help: string): Field<string> {
  return field('NAMESPACE/NAME', help, undefined, value => {
    const written = scalar(value)
    return parseServicePattern(written)
      ? written
      : bad(`${shown(value)} names no services; write namespace/name, with * for any`)
  })
}

/**
 * Which plugin: a bare word is a built-in one, `./my.js` a file, `npm:NAME` a package, never guessed from one another. It
 * stays as it was written, for status to show; whoever loads it starts from the configuration's folder.
 */
export function pluginUse(help: string, resolve: Resolve): Field<string> {
  return field('name, path or npm:NAME', help, undefined, value => {
    const written = scalar(value)
    if (isPath(written)) return written.startsWith('~') ? resolve(written) : written
    return /^npm:\S+$/.test(written) || isPluginName(written)
      ? written
      : bad(`${shown(value)} is no plugin; write the name of a built-in one, ./my-plugin.js for a file or npm:NAME`)
  })
}

/** What stands for a plugin in status, metrics and refusals. */
export function pluginName(help: string): Field<string> {
  return checked({ ...text(help), type: 'name' }, name =>
    isPluginName(name) ? undefined : `${shown(name)} is not a valid name; use a-z, 0-9 and -, starting with a letter`,
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
