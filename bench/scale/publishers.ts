/**
 * The publishers of all clusters, in a process of its own that takes orders by IPC message: `fill` writes every cluster as its
 * clustermesh-apiserver would, in Cilium's format; `churn` replaces an endpoint of a service, so many times a second.
 */
import {
  canaryKey,
  clusterConfigKey,
  heartbeatEveryMs,
  heartbeatKey,
  prefixOf,
} from '../../proxy/clients/clustermesh.ts'
import type { EtcdClient, Write } from '../../proxy/clients/etcd/client.ts'
import { connectEtcd } from '../../proxy/clients/etcd/connect.ts'
import { systemClock } from '../../proxy/model/time/clock.ts'
import { clusterConfigValue, recordsOf } from '../../proxy/publish/encode-cilium.ts'
import type { Mesh } from './mesh.ts'
import { addressOf, clustersOf, nameOf, serviceOf } from './mesh.ts'

export type Order =
  | { readonly fill: { readonly url: string; readonly mesh: Mesh } }
  | { readonly churn: { readonly perSecond: number; readonly seconds: number; readonly sampleEvery: number } }

/** A change that the reader looks for: the address that the service gets. `at`: wall-clock milliseconds when etcd had taken it. */
export interface Sample {
  readonly address: string
  readonly at: number
}

/** Of one transaction; etcd takes 128 operations at most. */
const batch = 100
const everyMs = 20

let url = ''
let client: EtcdClient | undefined
let mesh: Mesh
let changed = 0

process.on('message', async (order: Order) => {
  if ('fill' in order) {
    ;({ mesh, url } = order.fill)
    await fill()
    process.send?.({ filled: true })
  } else {
    const { perSecond, seconds, sampleEvery } = order.churn
    process.send?.({ changes: await churn(perSecond, seconds, sampleEvery) })
  }
})
process.on('disconnect', () => process.exit())

async function fill(): Promise<void> {
  await beat()
  setInterval(() => void beat(), heartbeatEveryMs)
  for (let service = 0; service < mesh.services; service += 1) {
    pending.push(...clustersOf(service, mesh).flatMap(cluster => writesOf(cluster, service)))
    while (pending.length >= batch) await flush()
  }
  for (let cluster = 0; cluster < mesh.clusters; cluster++) {
    const value = clusterConfigValue({ cluster: nameOf(cluster), clusterId: cluster + 1, slices: false })
    pending.push({ key: clusterConfigKey(nameOf(cluster)), value })
    for (const resource of ['services', 'nodes', 'serviceexports'] as const)
      pending.push({ key: canaryKey(resource, nameOf(cluster)), value: Buffer.from('now') })
  }
  while (pending.length > 0) await flush()
}

const pending: Write[] = []

async function flush(): Promise<void> {
  await write(pending.splice(0, batch))
}

/** etcd ends a connection that is kept alive without calls: the next write opens another one. */
async function write(writes: readonly Write[]): Promise<void> {
  if (!client) {
    const opened = await connectEtcd(
      { endpoints: [url] },
      { probe: heartbeatKey, clock: systemClock, random: Math.random },
    )
    opened.onEnd(() => {
      if (client === opened) client = undefined
    })
    client = opened
  }
  await client.write(writes, 0n)
}

function writesOf(cluster: number, service: number, mark?: number): Write[] {
  const declared = serviceOf(cluster, service, mesh, mark)
  const options = { cluster: nameOf(cluster), clusterId: cluster + 1, slices: false }
  const prefix = prefixOf('services', nameOf(cluster))
  return [...recordsOf(declared, options)].flatMap(([key, value]) => (key.startsWith(prefix) ? [{ key, value }] : []))
}

async function beat(): Promise<void> {
  await write([{ key: heartbeatKey, value: Buffer.from(new Date().toISOString()) }])
}

/** Evenly over time and over all services and clusters; resolves with how many changes were made. */
async function churn(perSecond: number, seconds: number, sampleEvery: number): Promise<number> {
  const begun = performance.now()
  let made = 0
  for (let elapsed = 0; elapsed < seconds; ) {
    await new Promise(resolve => setTimeout(resolve, everyMs))
    elapsed = (performance.now() - begun) / 1000
    const due = Math.floor(Math.min(elapsed, seconds) * perSecond) - made
    const writes = new Map<string, Write>()
    const samples: Omit<Sample, 'at'>[] = []
    for (let i = 0; i < due; i++) {
      const service = (changed * 7919) % mesh.services
      const clusters = clustersOf(service, mesh)
      const cluster = clusters[changed % clusters.length] ?? 0
      const mark = changed++
      for (const write of writesOf(cluster, service, mark)) writes.set(write.key, write)
      if (mark % sampleEvery === 0) samples.push({ address: addressOf(cluster, service, 0, mesh, mark) })
    }
    made += due
    pending.push(...writes.values())
    while (pending.length > 0) await flush()
    const at = performance.timeOrigin + performance.now()
    for (const sample of samples) process.send?.({ sample: { ...sample, at } satisfies Sample })
  }
  return made
}
