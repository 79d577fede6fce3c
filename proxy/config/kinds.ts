/** Fields that only the configuration uses, not plugins: paths, cluster names, domains, resolvers, sizes. */
import { canonicalAddress, endpointText, parseEndpoint } from '../model/address.ts'
import { isClusterName } from '../model/cluster.ts'
import { durationText } from '../model/text/duration.ts'
import type { Json } from '../model/text/json.ts'
import { isPluginName } from '../model/text/plugin-name.ts'
import { parseServicePattern } from '../model/text/service-pattern.ts'
import {
  bad,
  checked,
  duration,
  type Field,
  field,
  integer,
  list,
  optional,
  record,
  scalar,
  shown,
  text,
} from './fields.ts'

/** Makes a path absolute: `~/` is the home directory, the rest is relative to the configuration file. */
export type Resolve = (path: string) => string

export function path(help: string, resolve: Resolve, fallback?: string): Field<string> {
  return field('path', help, fallback, value => {
    const valid = typeof value === 'string' && value !== '' && !value.includes('\0')
    return valid ? resolve(value) : bad(`${shown(value)} is not a path`)
  })
}

/** An address that a socket can be bound to, but not one that stands for all. */
export function boundAddress(help: string): Field<string> {
  return field('address', help, undefined, value => {
    const address = canonicalAddress(scalar(value))
    return address !== undefined && address !== '0.0.0.0' && address !== '::'
      ? address
      : bad(`${shown(value)} is not an address of one machine; write 127.0.0.1, ::1 or an address of the node`)
  })
}

/** A path in a file system of the kernel, or none. */
export function pathOrNone(help: string, fallback: string): Field<string> {
  return field('path | none', help, fallback, value => {
    const valid = typeof value === 'string' && (value === 'none' || value.startsWith('/')) && !value.includes('\0')
    return valid ? value : bad(`${shown(value)} is neither none nor a path that begins with /`)
  })
}

/** A path must start like this where a name is accepted too. */
export function isPath(written: string): boolean {
  return /^(~|\.\.?)?\//.test(written)
}

/** A duration of at least 1 ms, or `never`, which is 0. */
export function durationOrNever(help: string, fallback: string): Field<number> {
  const limited = duration(help, fallback, { min: 1 })
  return {
    ...limited,
    type: 'duration | never',
    parse: (value, path, report) => (value === 'never' ? 0 : limited.parse(value, path, report)),
  }
}

/** A whole number, or `auto`. */
export function integerOrAuto(help: string, range: { min: number; max: number }): Field<number | 'auto'> {
  const named = integer(help, range)
  const type = `auto | ${named.type}`
  return {
    ...named,
    type,
    fallback: 'auto',
    parse: (value, path, report) => {
      if (value === 'auto') return value
      const message = `${shown(value)} is neither auto nor a whole number from ${range.min} to ${range.max}`
      return named.parse(value, path, problem => report({ ...problem, message }))
    },
  }
}

export function clusterName(help: string): Field<string> {
  return checked({ ...text(help), type: 'cluster name' }, name => {
    if (!isClusterName(name))
      return `${shown(name)} is not a valid cluster name; use 1 to 32 of a-z, 0-9 and -, without - at either end`
    return name === 'default'
      ? '"default" is what Cilium calls a cluster outside of any mesh; use another name'
      : undefined
  })
}

const label = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/

/** A domain. The value is in lower case, without the trailing dot. */
export function domain(help: string, fallback?: string): Field<string> {
  return field('domain', help, fallback, value => {
    const name = scalar(value).toLowerCase().replace(/\.$/, '')
    const valid = name.length <= 200 && name.split('.').every(part => label.test(part))
    return valid ? name : bad(`${shown(value)} is not a domain; write cluster.local`)
  })
}

/** An upstream resolver: an address as `10.0.0.10:53`, or the path of a file like resolv.conf. */
export function upstream(help: string, resolve: Resolve): Field<string> {
  return field('address, address:port or path', help, undefined, value => {
    const written = scalar(value)
    if (isPath(written)) return resolve(written)
    const address = canonicalAddress(written)
    const server = address === undefined ? parseEndpoint(written) : { address, port: 53 }
    return server && server.port > 0
      ? endpointText(server.address, server.port)
      : bad(`${shown(value)} is not a resolver; write 10.0.0.10, 10.0.0.10:53, [fd00::10]:53 or /etc/resolv.conf`)
  })
}

/** Upstream resolvers by domain. The domains of the value are in lower case, without the trailing dot. */
export function routes(help: string, resolve: Resolve): Field<Readonly<Record<string, readonly string[]>>> {
  const servers = checked(list('Its resolvers.', upstream('A resolver.', resolve)), given =>
    given.length > 0 ? undefined : 'is empty; give a resolver, or leave the domain out',
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
          report({ path: [...path, written], message: `${name} is given twice; remove one of them` })
          return undefined
        }
        named.set(name, given)
      }
      return Object.fromEntries(named)
    },
  }
}

const bytesPerUnit = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 } as const

/** `64KiB`, `16MiB`, `1GiB`; the value and the range are in bytes. */
export function size(help: string, fallback: string, range: { min: number; max: number }): Field<number> {
  return field('size', help, fallback, value => {
    const [, amount, unit] = /^(\d{1,9})([KMG]iB)$/.exec(scalar(value)) ?? []
    if (unit === undefined) return bad(`${shown(value)} is not a size; write 64KiB, 16MiB or 1GiB`)
    const bytes = Number(amount) * bytesPerUnit[unit as keyof typeof bytesPerUnit]
    const fits = bytes >= range.min && bytes <= range.max
    return fits ? bytes : bad(`${shown(value)} is out of range; use ${sizeText(range.min)} to ${sizeText(range.max)}`)
  })
}

function sizeText(bytes: number): string {
  const [unit, size] = Object.entries(bytesPerUnit).findLast(([, size]) => bytes >= size) ?? ['KiB', 1024]
  return `${bytes / size}${unit}`
}

/** Adds the rule that the timeout of one attempt is not longer than the budget of all. */
export function withinBudget<T extends { readonly timeout: number; readonly budget: number }>(
  attempts: Field<T>,
): Field<T> {
  return checked(attempts, ({ timeout, budget }) =>
    timeout > budget
      ? `timeout (${durationText(timeout)}) is longer than budget (${durationText(budget)}), the time for all attempts together`
      : undefined,
  )
}

export interface StatusRange {
  readonly min: number
  readonly max: number
}

/** HTTP status codes: `200-299`, or a single one. */
export function statusRange(help: string, fallback: string): Field<StatusRange> {
  return field('status range', help, fallback, value => {
    const [, min, max = min] = /^([1-5]\d\d)(?:-([1-5]\d\d))?$/.exec(scalar(value)) ?? []
    return min !== undefined && Number(min) <= Number(max)
      ? { min: Number(min), max: Number(max) }
      : bad(`${shown(value)} is not a range of HTTP status codes; write 200-299 or 204`)
  })
}

/** The URL of an etcd server, as etcd's own client configuration has it. */
export function serverUrl(help: string): Field<string> {
  return field('URL', help, undefined, value => {
    const url = URL.parse(scalar(value))
    const valid = url && /^https?:$/.test(url.protocol) && url.href === `${url.origin}/`
    return valid ? url.origin : bad(`${shown(value)} is not a server URL; write https://HOST:2379`)
  })
}

/** A pattern of services, in the syntax of the tenancy plugin. The value is the text as written. */
export function servicePattern(help: string): Field<string> {
  return field('NAMESPACE/NAME', help, undefined, value => {
    const written = scalar(value)
    return parseServicePattern(written)
      ? written
      : bad(`${shown(value)} is not a service pattern; write NAMESPACE/NAME, with * as a wildcard`)
  })
}

/** A namespace, with * as a wildcard. */
export function namespacePattern(help: string): Field<string> {
  return field('NAMESPACE', help, undefined, value => {
    const written = scalar(value)
    return !written.includes('/') && parseServicePattern(`${written}/*`)
      ? written
      : bad(`${shown(value)} is not a namespace; write kube-system or team-*`)
  })
}

/**
 * Which plugin: a bare word is a built-in one, `./my.js` a file, `npm:NAME` a package. The value is the text as written,
 * which status shows; the plugin loader resolves it relative to the folder of the configuration.
 */
export function pluginUse(help: string, resolve: Resolve): Field<string> {
  return field('name, path or npm:NAME', help, undefined, value => {
    const written = scalar(value)
    if (isPath(written)) return written.startsWith('~') ? resolve(written) : written
    return /^npm:\S+$/.test(written) || isPluginName(written)
      ? written
      : bad(
          `${shown(value)} is not a plugin; write the name of a built-in one, ./my-plugin.js for a file, or npm:NAME for a package`,
        )
  })
}

/** The name of a plugin in status, metrics and refusals. */
export function pluginName(help: string): Field<string> {
  return checked({ ...text(help), type: 'name' }, name =>
    isPluginName(name) ? undefined : `${shown(name)} is not a valid name; use a-z, 0-9 and -, starting with a letter`,
  )
}

/** Any value; checked later by the code that uses it. */
export function raw(help: string): Field<Json | undefined> {
  return optional(field<Json>('mapping', help, undefined, value => value as Json))
}

/** Only `true` is accepted: the presence of the key is the setting. */
export function present(help: string): Field<true> {
  return field('true', help, undefined, value =>
    value === true || value === 'true'
      ? true
      : bad(`${shown(value)} is not valid here; write true, or leave the key out`),
  )
}

/** `30000-39999`. */
export function portRange(help: string, fallback: string): Field<{ readonly min: number; readonly max: number }> {
  return field('port range', help, fallback, value => {
    const [, from, to] = /^(\d{1,5})-(\d{1,5})$/.exec(scalar(value)) ?? []
    const [min, max] = [Number(from), Number(to)]
    if (min >= 1 && min <= max && max <= 65_535) return { min, max }
    return bad(`${shown(value)} is not a range of ports; write 30000-39999`)
  })
}

/** One IP address. */
export function address(help: string): Field<string> {
  return field('address', help, undefined, value => {
    return canonicalAddress(scalar(value)) ?? bad(`${shown(value)} is not an IP address; write 127.0.0.1`)
  })
}
