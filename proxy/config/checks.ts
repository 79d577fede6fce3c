/**
 * What no field can know alone. `draft` holds the sections that are sound by themselves, so that one mistake does not hide
 * another. A fault stops the start; a warning is for what works but is hardly meant.
 */

import { endpointText, familyOf, parseEndpoint } from '../model/address.ts'
import { isClusterName, viewName } from '../model/cluster.ts'
import type { ErrorCode } from '../model/error.ts'
import type { Json } from '../model/text/json.ts'
import { didYouMean, type Path, shown } from './fields.ts'
import type { Config } from './schema.ts'

export interface Finding {
  readonly level: 'fault' | 'warning'
  readonly code: ErrorCode
  readonly path: Path
  readonly message: string
}

/** `root` is the file as it was written, `given` whether it says something at a path. */
export function* findings(draft: Partial<Config>, root: Json, given: (path: Path) => boolean): Iterable<Finding> {
  yield* clusterNames(root)
  if (draft.dns) yield* zones(draft.dns)
  if (draft.dns) yield* idleOptions(draft.dns, given)
  if (draft.dns && draft.admin) yield* listeners(draft.dns, draft.admin)
  const used = [draft.dns, draft.admin].flatMap(section => section?.listen.address ?? [])
  if (draft.proxy) yield* virtualAddresses(draft.proxy, used)
  if (draft.health) yield* probes(draft.health, given)
  if (draft.plugins) yield* pluginNames(draft.plugins)
  if (draft.clusters && draft.plugins) yield* tenants(draft.clusters, draft.plugins)
  if (draft.publish) yield* views(draft.publish, draft.cluster, draft.clusters ?? [])
  if (draft.clusters && draft.writeBack) yield* writing(draft.clusters, draft.cluster, draft.writeBack)
}

/** Of the file as it was written, so that a cluster with a bad source is still known by its name. */
function* clusterNames(root: Json): Iterable<Finding> {
  const { cluster, clusters = null } = table(root)
  const listed = Array.isArray(clusters) ? clusters : [clusters]
  if (listed.length === 0) yield fault('CONF_CLUSTER', ['clusters'], 'is empty; list the local cluster at least')
  yield* duplicates(listed, 'name')
  yield* duplicates(listed, 'id')

  const names = [...new Set(listed.map(entry => table(entry).name).filter(isName))]
  if (!isName(cluster) || names.length === 0 || names.includes(cluster)) return
  const known = [...names.slice(0, 10), ...(names.length > 10 ? ['...'] : [])].join(', ')
  const message = `${shown(cluster)} is not in the list of clusters (${known})${didYouMean(cluster, names)}`
  yield fault('CONF_CLUSTER', ['cluster'], message)
}

function* duplicates(clusters: readonly Json[], key: 'name' | 'id'): Iterable<Finding> {
  const first = new Map<string, number>()
  for (const [i, entry] of clusters.entries()) {
    const value = table(entry)[key]
    if (typeof value !== 'string' && typeof value !== 'number') continue
    const other = first.get(String(value))
    const message = `${shown(value)} is already the ${key} of clusters[${other}]`
    if (other === undefined) first.set(String(value), i)
    else yield fault('CONF_CLUSTER', ['clusters', i, key], message)
  }
}

function* zones({ domain, clusterset, listen, upstream, routes }: Config['dns']): Iterable<Finding> {
  if (domain === clusterset) {
    yield fault('CONF_FIELD', ['dns', 'clusterset'], `${domain} is the cluster's own domain; the mesh needs another`)
  }
  yield* circles(upstream, listen, ['dns', 'upstream'])
  for (const [name, servers] of Object.entries(routes)) {
    yield* circles(servers, listen, ['dns', 'routes', name])
    const zone = [domain, clusterset].find(zone => `.${name}`.endsWith(`.${zone}`))
    const message = `is answered from the mesh as part of ${zone}; these resolvers are never asked`
    if (zone !== undefined) yield warning(['dns', 'routes', name], message)
  }
}

function* circles(servers: readonly string[], listen: Config['dns']['listen'], path: Path): Iterable<Finding> {
  for (const [i, written] of servers.entries()) {
    const server = parseEndpoint(written)
    if (!server || server.port !== listen.port || !reaches(server.address, listen.address)) continue
    yield fault('CONF_FIELD', [...path, i], 'is where Starlane itself listens; questions would go in a circle')
  }
}

function* idleOptions(
  { autopath, upstream, routes, rate }: Config['dns'],
  given: (path: Path) => boolean,
): Iterable<Finding> {
  const nobody = upstream.length === 0 && Object.keys(routes).length === 0
  if (autopath && nobody) yield warning(['dns', 'autopath'], 'counts for nothing without a resolver in `upstream`')
  for (const key of rate.perSecond === 0 ? ['burst', 'slip'] : []) {
    const path = ['dns', 'rate', key]
    if (given(path)) yield warning(path, 'counts for nothing without a limit; set `perSecond`')
  }
}

function* listeners(dns: Config['dns'], admin: Config['admin']): Iterable<Finding> {
  const path = ['admin', 'listen']
  const { address, port } = admin.listen
  const other = dns.listen
  if (port !== 0 && port === other.port && (covers(address, other.address) || covers(other.address, address))) {
    const message = `${endpointText(address, port)} is taken by dns.listen; give one of them another port`
    yield fault('CONF_FIELD', path, message)
  }
  if (isLoopback(address)) return
  const why = `${address} can be reached from other machines, and the admin surface asks nobody for a password`
  yield warning(path, `${why}; write 127.0.0.1:${port}, or let a firewall guard it`)
}

function* virtualAddresses({ vips, anyip }: Config['proxy'], used: readonly string[]): Iterable<Finding> {
  if (vips === 'clusterIP') return
  const path = ['proxy', 'vips', 'cidr']
  const { cidr } = vips
  const taken = used.find(address => cidr.contains(address))
  if (taken !== undefined) {
    const remedy = 'take a range apart, such as 127.96.0.0/16'
    yield warning(path, `${cidr.text} holds ${taken}, where Starlane listens itself; ${remedy}`)
  }
  if (anyip || (isLoopback(cidr.at(0)) && (cidr.family === 6 || cidr.bits >= 8))) return
  const local = cidr.family === 6 ? 'loopback has only ::1 in IPv6' : 'only 127.0.0.0/8 is local to every Linux machine'
  const remedy = 'set anyip: true, or add the addresses yourself'
  yield warning(path, `nobody can listen on ${cidr.text} unless it is local, and ${local}; ${remedy}`)
}

function* probes({ active }: Config['health'], given: (path: Path) => boolean): Iterable<Finding> {
  const { type, interval, timeout } = active
  for (const key of type === 'http' ? [] : ['path', 'status']) {
    const path = ['health', 'active', key]
    if (given(path)) yield warning(path, `counts for nothing with type: ${type}; write type: http`)
  }
  if (type === 'none' || timeout <= interval) return
  const message = 'is longer than `interval`: the next check is due before this one has failed'
  yield warning(['health', 'active', 'timeout'], message)
}

function* pluginNames(plugins: Config['plugins']): Iterable<Finding> {
  const first = new Map<string, number>()
  for (const [i, { use, as }] of plugins.entries()) {
    const name = as ?? use
    const other = first.get(name)
    const message = `${shown(name)} is already the name of plugins[${other}]; give this one its own with \`as\``
    if (other === undefined) first.set(name, i)
    else yield fault('CONF_FIELD', ['plugins', i, as === undefined ? 'use' : 'as'], message)
  }
}

function* tenants(clusters: Config['clusters'], plugins: Config['plugins']): Iterable<Finding> {
  if (plugins.some(({ use }) => use === 'tenancy')) return
  for (const [i, { tenant }] of clusters.entries()) {
    if (tenant === undefined) continue
    yield warning(['clusters', i, 'tenant'], 'keeps nobody apart without `use: tenancy` in the list of plugins')
  }
}

/** A view is a cluster to whoever reads it, and so has the name of one. */
function* views(
  { tenants }: NonNullable<Config['publish']>,
  local: string | undefined,
  clusters: Config['clusters'],
): Iterable<Finding> {
  if (local === undefined) return
  for (const tenant of Object.keys(tenants)) {
    const name = viewName(local, tenant)
    const path = ['publish', 'tenants', tenant]
    if (!isClusterName(name)) {
      const message = `the tenant's readers see ${shown(name)}, which is no name for a cluster; use a-z, 0-9 and -, 32 in all`
      yield fault('CONF_FIELD', path, message)
    } else if (clusters.some(cluster => cluster.name === name)) {
      yield fault('CONF_CLUSTER', path, `the tenant's readers see ${name}, which is another cluster's name`)
    }
  }
}

function* writing(
  clusters: Config['clusters'],
  local: string | undefined,
  { endpointSlices, serviceImports, derivedServices, events }: Config['writeBack'],
): Iterable<Finding> {
  if (derivedServices && !serviceImports) {
    const needs = 'belong to ServiceImports, which nobody writes here; set serviceImports: true as well'
    yield fault('CONF_FIELD', ['writeBack', 'derivedServices'], needs)
  }
  const source = clusters.find(({ name }) => name === local)?.source
  if (!source || 'kubernetes' in source || !(endpointSlices || serviceImports || events)) return
  const message = `cluster ${local} is not read from a Kubernetes API, so nothing can be written to it; give it such a source`
  yield fault('CONF_FIELD', ['writeBack'], message)
}

function isName(value: Json | undefined): value is string {
  return typeof value === 'string' && isClusterName(value)
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.')
}

/** Whether what is sent to an address arrives at a socket of this machine that is bound so. */
function reaches(address: string, bound: string): boolean {
  return address === bound || (isLoopback(address) && covers(bound, address))
}

/** Whether a socket bound to the one address is in the way of one bound to the other. */
function covers(bound: string, other: string): boolean {
  return bound === other || bound === '::' || (bound === '0.0.0.0' && familyOf(other) === 4)
}

function table(value: Json | undefined): Readonly<Record<string, Json>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, Json>) : {}
}

function fault(code: ErrorCode, path: Path, message: string): Finding {
  return { level: 'fault', code, path, message }
}

function warning(path: Path, message: string): Finding {
  return { level: 'warning', code: 'CONF_FIELD', path, message }
}
