/** EndpointSlices as Cilium 1.20 exports them (`endpointslices/v1`): a zstd frame over a message of Protocol Buffers. */
import { constants, zstdDecompressSync } from 'node:zlib'
import * as v from 'valibot'
import { sliceMessage } from '../../clients/clustermesh.ts'
import type { MessageOf } from '../../clients/etcd/protobuf.ts'
import { fault, parse } from '../../clients/etcd/record.ts'
import type { ClusterService, Endpoint, EndpointPort } from '../../model/service.ts'
import { shown } from '../../model/text/spelling.ts'
import {
  checkedAddress,
  checkOwner,
  distinctPorts,
  exported,
  label,
  type Owner,
  owned,
  portsFrom,
  zoneOf,
} from './records.ts'

/** One EndpointSlice of an exported service. */
export interface Slice {
  readonly namespace: string
  readonly service: string
  readonly labels: Readonly<Record<string, string>>
  readonly ports: readonly EndpointPort[]
  readonly endpoints: readonly Endpoint[]
}

/** A frame that unpacks to more is refused before it does; Cilium has the same bound. */
const maxSliceBytes = 16 * 1024 * 1024
const maxWindowLog = 24

export function decodeSlice(suffix: string, value: Uint8Array, owner: Owner): Slice {
  const packed = { maxOutputLength: maxSliceBytes, params: { [constants.ZSTD_d_windowLogMax]: maxWindowLog } }
  const record = sliceMessage.decode(zstdDecompressSync(value, packed))
  const { clusterId: clusterID, cluster, namespace, name, addressType } = record
  checkOwner(suffix, parse(v.object(owned), { cluster, namespace, name, clusterID }), owner)
  if (addressType !== 'IPv4' && addressType !== 'IPv6') throw fault(`has addresses of type ${shown(addressType)}`)
  const labels = Object.fromEntries(record.labels)
  const service = parse(label, labels['kubernetes.io/service-name'] ?? '')
  const ports = portsFrom(record.ports.map(({ name, protocol, port }) => [name, protocol, port]))
  const weight = weightOf(record.annotations.get('service.cilium.io/weight'))
  return {
    namespace,
    service,
    labels,
    ports,
    endpoints: record.endpoints.flatMap(endpoint => endpointsOf(endpoint, ports, weight)),
  }
}

type EndpointRecord = MessageOf<typeof sliceMessage>['endpoints'][number]

/** The nil rules of Kubernetes (Cilium 1.5): ready unless said otherwise, serving as ready, not terminating. */
function endpointsOf(
  { addresses, conditions, nodeName, zone, hints }: EndpointRecord,
  ports: readonly EndpointPort[],
  weight: number | undefined,
): Endpoint[] {
  const ready = conditions?.ready ?? true
  return addresses.map(address => ({
    address: checkedAddress(address),
    ports,
    ready,
    serving: conditions?.serving ?? ready,
    terminating: conditions?.terminating ?? false,
    ...(nodeName === '' ? {} : { node: nodeName }),
    ...zoneOf(zone, hints?.forZones ?? []),
    ...(weight === undefined ? {} : { weight }),
  }))
}

function weightOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,6}$/.test(text) ? Number(text) : undefined
}

const headlessLabel = 'service.kubernetes.io/headless'

/** A service as its slices tell it, where there is no other record: its own ClusterIP stays at home. */
export function serviceOfSlices(slices: readonly [Slice, ...Slice[]], owner: Owner): ClusterService {
  const [{ namespace, service, labels }] = slices
  return {
    ...exported({ namespace, name: service }, owner),
    headless: slices.some(slice => Object.hasOwn(slice.labels, headlessLabel)),
    clusterIPs: [],
    ports: distinctPorts(slices.flatMap(slice => slice.ports)),
    labels,
    endpoints: joined(slices.flatMap(slice => slice.endpoints)),
  }
}

/** An address may stand in several slices: of other ports, or while it moves. In doubt it stays in use, and health tells. */
function joined(endpoints: readonly Endpoint[]): Endpoint[] {
  const byAddress = new Map<string, Endpoint>()
  for (const endpoint of endpoints) {
    const other = byAddress.get(endpoint.address)
    const both = other && {
      ...endpoint,
      ...other,
      ports: distinctPorts([...other.ports, ...endpoint.ports]),
      ready: other.ready || endpoint.ready,
      serving: other.serving || endpoint.serving,
      terminating: other.terminating && endpoint.terminating,
    }
    byAddress.set(endpoint.address, both ?? endpoint)
  }
  return [...byAddress.values()]
}
