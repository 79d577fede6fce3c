/**
 * Checks that concern more than one field. They run on the sections that are valid by themselves, so that one mistake does
 * not hide another. A fault prevents the start; a warning is for what works but is probably a mistake.
 */
import {
  type Cidr,
  endpointText,
  familyOf,
  isLoopback,
  isPrivate,
  parseEndpoint,
  type SocketAddress,
} from '../model/address.ts'
import { isClusterName, viewName } from '../model/cluster.ts'
import type { ErrorCode } from '../model/error.ts'
import type { Json } from '../model/text/json.ts'
import { didYouMean, type Path, shown } from './fields.ts'
import type { Config } from './schema.ts'

export interface Diagnostic {
  readonly level: 'fault' | 'warning'
  readonly code: ErrorCode
  readonly path: Path
  readonly message: string
}

/** `draft` has the valid sections, `root` is the file as written, and `given` says whether the file has a value at a path. */
export function* check(draft: Partial<Config>, root: Json, given: (path: Path) => boolean): Iterable<Diagnostic> {
  yield* clusterNames(root)
  yield* idRange(root)
  if (draft.dns) yield* zones(draft.dns)
  if (draft.dns) yield* openDns(draft.dns)
  if (draft.dns) yield* unusedDnsOptions(draft.dns, given)
  if (draft.dns && draft.admin) yield* listeners(draft.dns, draft.admin)
  const used = [draft.dns?.listen, draft.admin?.listen, draft.admin?.metrics].flatMap(listen => listen?.address ?? [])
  if (draft.proxy) yield* virtualAddresses(draft.proxy, used)
  if (draft.proxy) yield* steering(draft.proxy, given)
  if (draft.health) yield* probes(draft.health, given)
  if (draft.plugins) yield* pluginNames(draft.plugins)
  if (draft.clusters) yield* tunnels(draft as Pick<Config, 'clusters'> & Partial<Config>)
  if (draft.clusters && draft.underlay) yield* underlays(draft.clusters, draft.underlay)
  if (draft.clusters && draft.plugins) yield* tenants(draft.clusters, draft.plugins)
  if (draft.publish) yield* views(draft.publish, draft.cluster, draft.clusters ?? [])
  if (draft.clusters && draft.writeBack) yield* writing(draft.clusters, draft.cluster, draft.writeBack)
}

/** Reads the file as written, so that a cluster with a bad source still counts by its name. */
function* clusterNames(root: Json): Iterable<Diagnostic> {
  const { cluster, clusters = null } = table(root)
  const listed = Array.isArray(clusters) ? clusters : [clusters]
  if (listed.length === 0) yield fault('CONF_CLUSTER', ['clusters'], 'is empty; list at least the local cluster')
  yield* duplicates(listed, 'name')
  yield* duplicates(listed, 'id')

  const names = [...new Set(listed.map(entry => table(entry).name).filter(isName))]
  if (!isName(cluster) || names.length === 0 || names.includes(cluster)) return
  const known = [...names.slice(0, 10), ...(names.length > 10 ? ['...'] : [])].join(', ')
  const message = `${shown(cluster)} is not in the list of clusters (${known})${didYouMean(cluster, names)}`
  yield fault('CONF_CLUSTER', ['cluster'], message)
}

function* idRange(root: Json): Iterable<Diagnostic> {
  const { clusters = null, maxConnectedClusters } = table(root)
  const most = maxConnectedClusters === 511 ? 511 : 255
  for (const [i, entry] of (Array.isArray(clusters) ? clusters : [clusters]).entries()) {
    const { id } = table(entry)
    if (typeof id !== 'number' || id <= most || id > 511) continue
    const message = `${id} is more than maxConnectedClusters (${most}); choose another, or set 511 in every cluster`
    yield fault('CONF_CLUSTER', ['clusters', i, 'id'], message)
  }
}

function* duplicates(clusters: readonly Json[], key: 'name' | 'id'): Iterable<Diagnostic> {
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

function* zones({ domain, clusterset, listen, upstream, routes }: Config['dns']): Iterable<Diagnostic> {
  if (domain === clusterset) {
    yield fault(
      'CONF_FIELD',
      ['dns', 'clusterset'],
      `${domain} is already dns.domain; the clusterset needs another domain`,
    )
  }
  yield* loops(upstream, listen, ['dns', 'upstream'])
  for (const [name, servers] of Object.entries(routes)) {
    yield* loops(servers, listen, ['dns', 'routes', name])
    const zone = [domain, clusterset].find(zone => `.${name}`.endsWith(`.${zone}`))
    const message = `is part of ${zone}, which Starlane answers itself; these resolvers are never asked`
    if (zone !== undefined) yield warning(['dns', 'routes', name], message)
  }
}

function* loops(servers: readonly string[], listen: Config['dns']['listen'], path: Path): Iterable<Diagnostic> {
  for (const [i, written] of servers.entries()) {
    const server = parseEndpoint(written)
    if (!server || server.port !== listen.port || !reaches(server.address, listen.address)) continue
    yield fault('CONF_FIELD', [...path, i], 'is the address Starlane itself listens on; queries would loop')
  }
}

/** What an open resolver is used for: floods of replies to forged sources. */
function* openDns({ listen, allow, rate }: Config['dns']): Iterable<Diagnostic> {
  const { address, port } = listen
  if (isLoopback(address)) return
  if (allow === undefined) {
    const others = `${endpointText(address, port)} can be reached from other machines`
    yield warning(
      ['dns', 'listen'],
      `${others}, and private networks and dns.networks are answered; list the clients in dns.allow`,
    )
  }
  for (const [i, network] of (allow ?? []).entries()) {
    if (!isPublic(network)) continue
    const remedy = 'list the networks of the clients instead'
    yield warning(
      ['dns', 'allow', i],
      `${network.text} makes this an open resolver, which floods others for attackers; ${remedy}`,
    )
  }
  if (rate.perSecond === 0)
    yield warning(
      ['dns', 'rate', 'perSecond'],
      'sets no limit to the replies that a forged source can cause; leave it out',
    )
}

/** More than any one organization has of the internet. */
function isPublic({ family, bits, at }: Cidr): boolean {
  return bits < (family === 4 ? 8 : 16) && !isPrivate(at(0))
}

function* unusedDnsOptions(
  { listen, autopath, upstream, routes, rate }: Config['dns'],
  given: (path: Path) => boolean,
): Iterable<Diagnostic> {
  const noResolver = upstream.length === 0 && Object.keys(routes).length === 0
  if (autopath && noResolver) yield warning(['dns', 'autopath'], 'has no effect without a resolver in `upstream`')
  const isUnlimited = rate.perSecond === 0 || (rate.perSecond === undefined && isLoopback(listen.address))
  for (const key of isUnlimited ? ['burst', 'slip'] : []) {
    const path = ['dns', 'rate', key]
    if (given(path)) yield warning(path, 'has no effect without a limit; set `perSecond`')
  }
}

function* listeners(dns: Config['dns'], admin: Config['admin']): Iterable<Diagnostic> {
  const own: [name: string, listen: SocketAddress][] = [
    ['dns.listen', dns.listen],
    ['admin.listen', admin.listen],
    ...(admin.metrics ? [['admin.metrics', admin.metrics] as [string, SocketAddress]] : []),
  ]
  for (const [i, [name, { address, port }]] of own.entries()) {
    const other = own.slice(0, i).find(([, { address: taken, port: used }]) => {
      return port !== 0 && port === used && (covers(address, taken) || covers(taken, address))
    })
    if (!other) continue
    const message = `${endpointText(address, port)} is used by ${other[0]}; give one of them another port`
    yield fault('CONF_FIELD', name.split('.'), message)
  }
  const { address, port } = admin.listen
  if (isLoopback(address)) return
  const why = `${address} can be reached from other machines, and the admin API has no authentication`
  const remedy = `use 127.0.0.1:${port}, or protect it with a firewall; admin.metrics is for probes and Prometheus`
  yield warning(['admin', 'listen'], `${why}; ${remedy}`)
}

function* virtualAddresses({ vips, anyip, offload }: Config['proxy'], used: readonly string[]): Iterable<Diagnostic> {
  if (vips === 'clusterIP') return
  if ('address' in vips) {
    const own = [...(anyip ? ['anyip'] : []), ...(offload === 'none' ? [] : ['offload'])]
    const message = 'is for ClusterIPs and virtual addresses; leave it out with vips: { address, ports }'
    for (const field of own) yield fault('CONF_FIELD', ['proxy', field], message)
    return
  }
  const path = ['proxy', 'vips', 'cidr']
  const { cidr } = vips
  const taken = used.find(address => cidr.contains(address))
  if (taken !== undefined) {
    const remedy = 'use a separate range, such as 127.96.0.0/16'
    yield warning(path, `${cidr.text} contains ${taken}, which Starlane itself listens on; ${remedy}`)
  }
  if (anyip || offload !== 'none' || (isLoopback(cidr.at(0)) && (cidr.family === 6 || cidr.bits >= 8))) return
  const local =
    cidr.family === 6 ? 'IPv6 has only ::1 as a loopback address' : 'only 127.0.0.0/8 is local on every Linux machine'
  const remedy = 'set anyip: true, or add the addresses yourself'
  yield warning(path, `Starlane can listen on ${cidr.text} only if it is local, and ${local}; ${remedy}`)
}

function* steering(
  { offload, ebpf, anyip, nftables }: Config['proxy'],
  given: (path: Path) => boolean,
): Iterable<Diagnostic> {
  if (offload === 'none') {
    if (given(['proxy', 'ebpf'])) yield warning(['proxy', 'ebpf'], 'has no effect without `offload: ebpf`')
    return
  }
  const instead = 'cannot be combined with `offload: ebpf`, which leads clients without it; leave it out'
  if (anyip) yield fault('CONF_FIELD', ['proxy', 'anyip'], instead)
  if (nftables !== 'none') yield fault('CONF_FIELD', ['proxy', 'nftables'], instead)
  const local = ebpf.listen.filter(isLoopback)
  if (local.length > 0 && local.length < ebpf.listen.length) {
    const message = `${local.join(' and ')} is reached in the network namespace of Starlane alone, and the other address from pods too; give addresses of one kind`
    yield fault('CONF_FIELD', ['proxy', 'ebpf', 'listen'], message)
  }
  if (local.length === ebpf.listen.length && ebpf.clients.length > 0)
    yield warning(['proxy', 'ebpf', 'clients'], 'has no effect with listeners on loopback')
}

function* probes({ active }: Config['health'], given: (path: Path) => boolean): Iterable<Diagnostic> {
  const { type, interval, timeout } = active
  for (const key of type === 'http' ? [] : ['path', 'status']) {
    const path = ['health', 'active', key]
    if (given(path)) yield warning(path, `has no effect with type: ${type}; set type: http`)
  }
  if (type === 'none' || timeout <= interval) return
  const message = 'is longer than `interval`: the next check starts before this one has failed'
  yield warning(['health', 'active', 'timeout'], message)
}

function* pluginNames(plugins: Config['plugins']): Iterable<Diagnostic> {
  const first = new Map<string, number>()
  for (const [i, { use, as }] of plugins.entries()) {
    const name = as ?? use
    const other = first.get(name)
    const message = `${shown(name)} is already the name of plugins[${other}]; give this one another name with \`as\``
    if (other === undefined) first.set(name, i)
    else yield fault('CONF_FIELD', ['plugins', i, as === undefined ? 'use' : 'as'], message)
  }
}

function* tunnels({
  clusters,
  cluster,
  tunnel,
  gateway,
}: Pick<Config, 'clusters'> & Partial<Config>): Iterable<Diagnostic> {
  const hasCertificates = [tunnel, gateway].some(
    end => end?.certificates !== undefined || end?.workloadApi !== undefined,
  )
  for (const [name, end] of Object.entries({ tunnel, gateway })) {
    if (end?.certificates !== undefined && end.workloadApi !== undefined)
      yield fault('CONF_FIELD', [name, 'workloadApi'], 'and `certificates` exclude each other; leave one out')
  }
  if (gateway && !hasCertificates) {
    const message = 'is missing, and `tunnel.certificates` too; give a folder with tls.crt, tls.key and ca.crt'
    yield fault('CONF_FIELD', ['gateway', 'certificates'], message)
  }
  for (const [i, { name, route, gateways, hbone, workloads }] of clusters.entries()) {
    const path: Path = ['clusters', i]
    if (route === 'tunnel' && hbone === 'double' && workloads.length === 0)
      yield fault(
        'CONF_FIELD',
        [...path, 'workloads'],
        'is missing; give the SPIFFE ids of the workloads behind its gateways',
      )
    if (route === 'tunnel' && name === cluster) {
      yield fault('CONF_FIELD', [...path, 'route'], 'is for other clusters; the local one is reached directly')
    } else if (route === 'tunnel') {
      if (!hasCertificates && tunnel) {
        const message = 'needs certificates; set tunnel.certificates to a folder with tls.crt, tls.key and ca.crt'
        yield fault('CONF_FIELD', [...path, 'route'], message)
      }
    } else if (gateways.length > 0) {
      yield warning([...path, 'gateways'], `has no effect with route: ${route}; set route: tunnel`)
    }
  }
}

function* underlays(clusters: Config['clusters'], { mode }: Config['underlay']): Iterable<Diagnostic> {
  if (mode !== 'none') return
  for (const [i, { route }] of clusters.entries()) {
    if (route !== 'underlay') continue
    yield fault(
      'CONF_FIELD',
      ['clusters', i, 'route'],
      'needs an underlay; set underlay.mode to vxlan, geneve, wireguard or direct',
    )
  }
}

function* tenants(clusters: Config['clusters'], plugins: Config['plugins']): Iterable<Diagnostic> {
  if (plugins.some(({ use }) => use === 'tenancy')) return
  for (const [i, { tenant }] of clusters.entries()) {
    if (tenant === undefined) continue
    yield warning(['clusters', i, 'tenant'], 'has no effect without `use: tenancy` in the list of plugins')
  }
}

/** Readers see a tenant's view as a cluster, so its name must be a valid cluster name. */
function* views(
  { tenants }: NonNullable<Config['publish']>,
  local: string | undefined,
  clusters: Config['clusters'],
): Iterable<Diagnostic> {
  if (local === undefined) return
  for (const tenant of Object.keys(tenants)) {
    const name = viewName(local, tenant)
    const path = ['publish', 'tenants', tenant]
    if (!isClusterName(name)) {
      const message = `the tenant's readers see ${shown(name)}, which is not a valid cluster name; use a-z, 0-9 and -, at most 32 characters`
      yield fault('CONF_FIELD', path, message)
    } else if (clusters.some(cluster => cluster.name === name)) {
      yield fault('CONF_CLUSTER', path, `the tenant's readers see ${name}, which is the name of another cluster`)
    }
  }
}

function* writing(
  clusters: Config['clusters'],
  local: string | undefined,
  { endpointSlices, serviceImports, derivedServices, events }: Config['writeBack'],
): Iterable<Diagnostic> {
  if (derivedServices && !serviceImports) {
    const needs = 'needs ServiceImports, which are not written; set serviceImports: true as well'
    yield fault('CONF_FIELD', ['writeBack', 'derivedServices'], needs)
  }
  const source = clusters.find(({ name }) => name === local)?.source
  if (!source || 'kubernetes' in source || !(endpointSlices || serviceImports || events)) return
  const message = `cluster ${local} is not read from a Kubernetes API, so nothing can be written to it; give it a kubernetes source`
  yield fault('CONF_FIELD', ['writeBack'], message)
}

function isName(value: Json | undefined): value is string {
  return typeof value === 'string' && isClusterName(value)
}

/** Whether packets to `address` reach a socket of this machine that is bound to `bound`. */
function reaches(address: string, bound: string): boolean {
  return address === bound || (isLoopback(address) && covers(bound, address))
}

/** Whether a socket bound to `bound` conflicts with one bound to `other` on the same port. */
function covers(bound: string, other: string): boolean {
  return bound === other || bound === '::' || (bound === '0.0.0.0' && familyOf(other) === 4)
}

function table(value: Json | undefined): Readonly<Record<string, Json>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, Json>) : {}
}

function fault(code: ErrorCode, path: Path, message: string): Diagnostic {
  return { level: 'fault', code, path, message }
}

function warning(path: Path, message: string): Diagnostic {
  return { level: 'warning', code: 'CONF_FIELD', path, message }
}
