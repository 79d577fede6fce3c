/** What a reload has to do: which options changed, and which of those cannot change while Starlane runs. */
import { isDeepStrictEqual } from 'node:util'
import type { Config } from '../config/schema.ts'
import { dnsOptions, engineOptions, healthOptions } from './options.ts'

/** The parts with other options. They take them in place. */
export interface ChangedParts {
  readonly balancer: boolean
  readonly health: boolean
  readonly proxy: boolean
  readonly dns: boolean
}

export function changedParts(before: Config, after: Config): ChangedParts {
  return {
    balancer: before.proxy.balancer !== after.proxy.balancer,
    health: !isDeepStrictEqual(healthOptions(before), healthOptions(after)),
    proxy:
      before.proxy.unlisted !== after.proxy.unlisted || !isDeepStrictEqual(engineOptions(before), engineOptions(after)),
    dns: dnsText(before) !== dnsText(after),
  }
}

/** The changed fields that need a restart, as paths in the configuration. */
export function restartFields(before: Config, after: Config): string[] {
  const pairs: [string, unknown, unknown][] = [
    ['cluster', before.cluster, after.cluster],
    ['location.node', before.location?.node, after.location?.node],
    ['stale', before.stale, after.stale],
    ['state', before.state, after.state],
    ['proxy.vips', vipsText(before), vipsText(after)],
    ['proxy.anyip', before.proxy.anyip, after.proxy.anyip],
    ['proxy.nftables', before.proxy.nftables, after.proxy.nftables],
    ['proxy.offload', before.proxy.offload, after.proxy.offload],
    ['proxy.ebpf', fixedSteering(before), fixedSteering(after)],
    ['proxy.engine', before.proxy.engine, after.proxy.engine],
    ['proxy.threads', before.proxy.threads, after.proxy.threads],
    ['proxy.services', before.proxy.services, after.proxy.services],
    ['proxy.serviceProxyName', before.proxy.serviceProxyName, after.proxy.serviceProxyName],
    ['admin', before.admin, after.admin],
    ['tunnel.certificates', before.tunnel, after.tunnel],
    ['gateway.listen', before.gateway?.listen, after.gateway?.listen],
    ['gateway.certificates', before.gateway?.certificates, after.gateway?.certificates],
    ['gateway.workloadApi', apiOf(before), apiOf(after)],
    ['gateway.authority', before.gateway?.authority, after.gateway?.authority],
    ['underlay', before.underlay, after.underlay],
    ['writeBack', before.writeBack, after.writeBack],
    ['publish', before.publish, after.publish],
    ['maxConnectedClusters', before.maxConnectedClusters, after.maxConnectedClusters],
    ['clusters[].globalNamespaces', namespacesOf(before, after), namespacesOf(after, before)],
    ['recorder', fixedRecorder(before), fixedRecorder(after)],
    ['log.format', before.log.format, after.log.format],
  ]
  return pairs.filter(([, was, is]) => !isDeepStrictEqual(was, is)).map(([name]) => name)
}

function apiOf({ gateway }: Config): unknown {
  return [gateway?.workloadApi, gateway?.spiffeId]
}

/** Ranges are compared as text. */
function fixedSteering({ proxy: { ebpf } }: Config): unknown {
  return JSON.stringify(ebpf)
}

/** All of the recorder but its rate. */
function fixedRecorder({ recorder: { rate, ...rest } }: Config): unknown {
  return rest
}

/** All DNS options but the query log, which can change while the responder runs. Ranges are compared as text. */
function dnsText(config: Config): string {
  const { queryLog, ...rest } = dnsOptions(config)
  return JSON.stringify(rest)
}

function vipsText({ proxy: { vips } }: Config): string {
  return vips === 'clusterIP' ? vips : 'cidr' in vips ? vips.cidr.text : JSON.stringify(vips)
}

/** The choice for the clusters that both configurations have. */
function namespacesOf({ clusters }: Config, other: Config): Record<string, string> {
  const common = clusters.filter(({ name }) => other.clusters.some(cluster => cluster.name === name))
  return Object.fromEntries(common.map(({ name, globalNamespaces }) => [name, globalNamespaces]))
}
