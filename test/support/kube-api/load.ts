/**
 * Many API servers with many services for bench/kubernetes.ts, in a child process that takes orders by IPC message. `{fill}`
 * starts the servers and answers with their URLs; `{churn}` changes endpoints at a steady rate.
 */
import { type KubeApi, startKubeApi } from './server.ts'
import type { KubeObject } from './types.ts'

export type Order =
  | { readonly fill: { readonly clusters: number; readonly services: number; readonly endpoints: number } }
  | { readonly churn: { readonly perSecond: number; readonly seconds: number } }

let apis: KubeApi[] = []
let services = 0
let endpoints = 0

process.on('message', async (order: Order) => {
  if ('fill' in order) {
    ;({ services, endpoints } = order.fill)
    apis = await Promise.all(Array.from({ length: order.fill.clusters }, () => startKubeApi()))
    for (const [cluster, api] of apis.entries()) fill(api, cluster)
    process.send?.({ urls: apis.map(({ url }) => url) })
  } else {
    process.send?.({ changes: await churn(order.churn.perSecond, order.churn.seconds) })
  }
})
// The parent has exited.
process.on('disconnect', () => process.exit())

function fill(api: KubeApi, cluster: number): void {
  for (let node = 0; node < 20; node++) {
    const labels = { 'topology.kubernetes.io/zone': `zone-${node % 3}` }
    api.put({ apiVersion: 'v1', kind: 'Node', metadata: { name: `node-${node}`, labels } })
  }
  for (let i = 0; i < services; i++) {
    api.put({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: `service-${i}`, annotations: { 'service.cilium.io/global': 'true' }, managedFields: bulk },
      spec: { clusterIP: `10.96.${i >> 8}.${i & 255}`, ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
    })
    api.put(sliceOf(cluster, i, 'first'))
  }
}

/** The managedFields of a real object, which a client should drop at once. */
const bulk = [
  {
    manager: 'kubectl-client-side-apply',
    operation: 'Update',
    apiVersion: 'v1',
    time: '2025-01-01T00:00:00Z',
    fieldsV1: Object.fromEntries(
      Array.from({ length: 20 }, (_, i) => [`f:field-${i}`, { '.': {}, 'f:name': {}, 'f:value': {} }]),
    ),
  },
]

/** `mark` becomes the hostname of the first endpoint and carries the time of the change to the reader. */
function sliceOf(cluster: number, service: number, mark: string): KubeObject {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `service-${service}-x7k2p`,
      labels: { 'kubernetes.io/service-name': `service-${service}` },
      managedFields: bulk,
    },
    addressType: 'IPv4',
    endpoints: Array.from({ length: endpoints }, (_, i) => {
      const n = service * endpoints + i
      return {
        addresses: [`10.${100 + cluster}.${(n >> 8) & 255}.${n & 255}`],
        conditions: { ready: true, serving: true, terminating: false },
        nodeName: `node-${n % 20}`,
        targetRef: { kind: 'Pod', namespace: 'default', name: `service-${service}-${i}` },
        ...(i === 0 && { hostname: mark }),
      }
    }),
    ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
  }
}

/** Makes changes evenly over time; resolves with their number. */
function churn(perSecond: number, seconds: number): Promise<number> {
  const begun = performance.now()
  let made = 0
  return new Promise(resolve => {
    const timer = setInterval(() => {
      const elapsed = Math.min((performance.now() - begun) / 1000, seconds)
      for (; made < elapsed * perSecond; made++) {
        const cluster = made % apis.length
        const service = (made * 7919) % services
        const mark = `t${Math.round((performance.timeOrigin + performance.now()) * 1000)}`
        apis[cluster]?.put(sliceOf(cluster, service, mark))
      }
      if (elapsed < seconds) return
      clearInterval(timer)
      resolve(made)
    }, 10)
  })
}
