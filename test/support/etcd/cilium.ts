/** Records as Cilium 1.20 writes them. */
import { zstdCompressSync } from 'node:zlib'
import { type ServiceRecord, sliceMessage } from '../../../proxy/clients/clustermesh.ts'

const text = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))

/** `shop/cart` of the cluster `east` with id 7: two ports, two backends. */
export const cart = {
  cluster: 'east',
  namespace: 'shop',
  name: 'cart',
  frontends: { '10.96.14.7': { http: { Protocol: 'TCP', Port: 80 }, dns: { Protocol: 'UDP', Port: 53 } } },
  backends: {
    '10.11.3.21': { http: { Protocol: 'TCP', Port: 8080 }, dns: { Protocol: 'UDP', Port: 5353 } },
    '10.11.4.9': { http: { Protocol: 'TCP', Port: 8080 }, dns: { Protocol: 'UDP', Port: 5353 } },
  },
  hostnames: { '10.11.3.21': 'cart-0' },
  zones: {
    '10.11.3.21': { zone: 'eu-1a', forZones: [{ name: 'eu-1a' }] },
    '10.11.4.9': { zone: 'eu-1b', forZones: [{ name: 'eu-1b' }] },
  },
  labels: { app: 'cart' },
  selector: { app: 'cart' },
  includeExternal: true,
  shared: true,
  clusterID: 7,
} satisfies ServiceRecord

export function serviceValue(changes: Readonly<Record<string, unknown>> = {}): Buffer {
  return text({ ...cart, ...changes })
}

export function configValue(id: number, capabilities: Readonly<Record<string, unknown>> = {}): Buffer {
  return text({ id, capabilities: { syncedCanaries: true, maxConnectedClusters: 255, ...capabilities } })
}

type SliceFields = Parameters<typeof sliceMessage.encode>[0]
type EndpointFields = NonNullable<SliceFields['endpoints']>[number]

/** The same service as an EndpointSlice, not compressed. */
export const cartSlice = {
  cluster: 'east',
  clusterId: 7,
  namespace: 'shop',
  name: 'cart-x7k2p',
  labels: new Map([['kubernetes.io/service-name', 'cart']]),
  annotations: new Map<string, string>(),
  addressType: 'IPv4',
  endpoints: [sliceEndpoint('10.11.3.21', { nodeName: 'n1', zone: 'eu-1a' })],
  ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
} satisfies SliceFields

export function sliceEndpoint(address: string, changes: Partial<EndpointFields> = {}): EndpointFields {
  return {
    addresses: [address],
    conditions: undefined,
    hostname: '',
    nodeName: '',
    zone: '',
    hints: undefined,
    ...changes,
  }
}

export function sliceValue(changes: SliceFields = {}): Buffer {
  return zstdCompressSync(sliceMessage.encode({ ...cartSlice, ...changes }))
}
