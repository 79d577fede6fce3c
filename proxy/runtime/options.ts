/** Translates the configuration into the options of each part. */

import { availableParallelism } from 'node:os'
import type { ClusterConfig, Config, EtcdConfig } from '../config/schema.ts'
import type { EngineOptions } from '../dataplane/engine.ts'
import type { DnsOptions, QueryFilter } from '../dns/options.ts'
import type { HealthOptions } from '../health/options.ts'
import type { MeshOptions } from '../mesh/mesh.ts'
import { type Cluster, viewsOf } from '../model/cluster.ts'
import { descriptorShares } from '../model/limits/descriptors.ts'
import type { Location, Node } from '../model/location.ts'
import type { OffloadOptions } from './proxy.ts'

export function clustersOf(local: string, clusters: readonly ClusterConfig[]): Cluster[] {
  return clusters.map(({ name, id, tenant, globalNamespaces, route }) => ({
    name,
    id,
    local: name === local,
    ...(tenant === undefined ? {} : { tenant }),
    globalNamespaces,
    // Behind a gateway its addresses mean something else than here.
    ...(route === 'tunnel' && name !== local ? { network: name } : {}),
    // A cluster of the configuration has an id; that of a discovered one is in its etcd.
    ...(id === 0 && { discovered: true }),
  }))
}

/** Whether any part of it talks to an etcd. */
export function usesEtcd({ publish, clustermesh, clusters }: Config): boolean {
  return publish !== undefined || clustermesh !== undefined || clusters.some(({ source }) => 'etcd' in source)
}

/** The other clusters that are read from an etcd, with its endpoints. Views of the local cluster do not count. */
export function etcdsOf(local: string, clusters: readonly ClusterConfig[]): Map<string, EtcdConfig> {
  const isOther = (name: string) => name !== local && !name.startsWith(viewsOf(local))
  return new Map(
    clusters.flatMap(({ name, source }) => (isOther(name) && 'etcd' in source ? [[name, source.etcd]] : [])),
  )
}

/** What the configuration does not say of the location is taken from the labels of the node. */
export function locationOf(
  { location }: Config,
  env: { readonly NODE_NAME?: string | undefined },
  own?: Node,
): Location {
  const node = location?.node ?? (env.NODE_NAME || undefined)
  const zone = location?.zone ?? own?.zone
  const region = location?.region ?? own?.region
  return {
    ...(node === undefined ? {} : { node }),
    ...(zone === undefined ? {} : { zone }),
    ...(region === undefined ? {} : { region }),
  }
}

export function engineOptions({ proxy, health }: Config): EngineOptions {
  const { dial, idle, drain, limits } = proxy
  return Object.freeze({
    dial: { timeoutMs: dial.timeout, attempts: dial.attempts, budgetMs: dial.budget },
    idle: { tcpMs: idle.tcp, halfClosedMs: idle.halfClosed, udpMs: idle.udp },
    drainMs: drain,
    firstByteMs: health.passive.firstByte,
    limits: { ...limits, perFrontend: limits.perFrontend / 100 },
  })
}

/**
 * How many pumps the engine native has. `auto` takes one on two cores, since clients and backends need the other; then half of the
 * cores, and eight at most: JavaScript's thread decides for about as many at their fastest (docs/engines.md). `cores` are those that
 * this process may use.
 */
export function pumpsOf(
  { proxy: { threads } }: { readonly proxy: Pick<Config['proxy'], 'threads'> },
  cores = availableParallelism(),
): number {
  if (threads !== 'auto') return threads
  return Math.min(Math.max(Math.floor(cores / 2), 1), 8)
}

/** Undefined unless the kernel is to steer clients. */
export function offloadOptions(
  { proxy: { offload, ebpf } }: Config,
  ownPods: () => readonly string[],
): OffloadOptions | undefined {
  if (offload === 'none') return undefined
  const { listen, clients, cgroup, direct, pin } = ebpf
  return { listen, clients, ownPods, cgroup, direct, pin: pin === 'none' ? undefined : pin }
}

export function healthOptions({ health, proxy }: Config): HealthOptions {
  const { interval, relax, traffic, timeout, rise, fall, type, path, status } = health.active
  const { consecutive, eject, maxEject, maxPercent } = health.passive
  const thresholds = { intervalMs: interval, relax, timeoutMs: timeout, rise, fall }
  return {
    active:
      type === 'none'
        ? { type }
        : type === 'tcp'
          ? { type, traffic, ...thresholds }
          : { type, path, status, ...thresholds },
    passive: { consecutive, ejectMs: eject, maxEjectMs: maxEject, maxPercent },
    services: proxy.services,
    maxInFlight: descriptorShares().checks,
  }
}

export function dnsOptions({ dns }: Config): DnsOptions {
  const { listen, domain, clusterset, ttl, pods, networks, hideEmpty, search, autopath, upstream, routes } = dns
  const { forward, cache, rate, specialUse, allow, trusted } = dns
  const queryLog = queryFilter({ dns })
  const shares = descriptorShares()
  return {
    listen,
    domain,
    clusterset,
    ttlMs: ttl,
    pods,
    networks,
    hideEmpty,
    search,
    autopath,
    specialUse,
    upstream,
    routes,
    tcp: { connections: shares.dnsTcp },
    forward: {
      policy: forward.policy,
      tryMs: forward.timeout,
      totalMs: forward.budget,
      concurrent: Math.min(forward.concurrent, shares.forwards),
      ...(forward.perClient === undefined ? {} : { perClient: forward.perClient }),
      randomCase: forward.randomCase,
    },
    cache: {
      bytes: cache.size,
      maxSeconds: cache.maxTtl / 1000,
      maxNegativeSeconds: cache.maxNegativeTtl / 1000,
      staleMs: cache.serveStale,
      prefetch: cache.prefetch,
    },
    access: { trusted, ...(allow === undefined ? {} : { allow }) },
    rate: {
      ...(rate.perSecond === undefined ? {} : { perSecond: rate.perSecond }),
      slip: rate.slip,
      ...(rate.burst === undefined ? {} : { burst: rate.burst }),
    },
    ...(queryLog ? { queryLog } : {}),
  }
}

export function queryFilter({ dns: { queryLog } }: Pick<Config, 'dns'>): QueryFilter | undefined {
  if (!queryLog) return undefined
  const { clients, names } = queryLog
  return { ...(clients ? { clients } : {}), ...(names ? { names } : {}) }
}

/** Where frontends get their addresses and ports; those of the Services without it. */
export function vipOptions(vips: Config['proxy']['vips']): Pick<MeshOptions, 'vips' | 'ports'> {
  if (vips === 'clusterIP') return {}
  return 'cidr' in vips ? { vips: vips.cidr } : { ports: vips }
}
