/** EndpointSlices as Cilium 1.20 exports them (`endpointslices/v1`): a zstd frame that contains a protobuf message. */

import { constants, zstdDecompressSync } from 'node:zlib'
import * as v from 'valibot'
import { sliceMessage } from '../../clients/clustermesh.ts'
import type { MessageOf } from '../../clients/etcd/protobuf.ts'
import { fault, parse } from '../../clients/etcd/record.ts'
import { messageOf } from '../../model/error.ts'
import { type EndpointPort, serviceKey } from '../../model/service.ts'
import { shown } from '../../model/text/spelling.ts'
import { commonPorts } from '../common.ts'
import type { DeclaredEndpoint, EndpointsObject } from '../objects.ts'
import { checkedAddress, checkOwner, label, type Owner, owned, portsFrom, sharedSpec, zoneOf } from './records.ts'

/**
 * Unpacking ends at this size: a frame of 2 KB may have 16 MiB in it. API servers take no object of more than 1.5 MiB, and
 * Kubernetes allows 1000 endpoints in a slice (validation.go, maxEndpoints), which take a tenth of that.
 */
const maxSliceBytes = 2 * 1024 * 1024
const maxWindowLog = 24
const maxAddresses = 10_000

/** Throws MeshError. */
export function decodeSlice(suffix: string, value: Uint8Array, owner: Owner): EndpointsObject {
  const record = unpacked(value)
  const { clusterId: clusterID, cluster, namespace, name, addressType } = record
  checkOwner(suffix, parse(v.object(owned), { cluster, namespace, name, clusterID }), owner)
  if (addressType !== 'IPv4' && addressType !== 'IPv6') throw fault(`has addresses of type ${shown(addressType)}`)
  const addresses = record.endpoints.reduce((sum, endpoint) => sum + endpoint.addresses.length, 0)
  if (addresses > maxAddresses) throw fault(`has ${addresses} addresses, more than ${maxAddresses}; split it`)
  const labels = Object.fromEntries(record.labels)
  const service = parse(label, labels['kubernetes.io/service-name'] ?? '')
  const ports = commonPorts(portsFrom(record.ports.map(({ name, protocol, port }) => [name, protocol, port])))
  const weight = weightOf(record.annotations.get('service.cilium.io/weight'))
  const headless = Object.hasOwn(labels, headlessLabel)
  return {
    kind: 'EndpointSlice',
    namespace,
    name,
    service: serviceKey(namespace, service),
    endpoints: record.endpoints.flatMap(endpoint => endpointsOf(endpoint, ports, weight)),
    // The ClusterIP of the Service is not in its slices: it is reachable only inside its cluster.
    implied: { spec: { ...sharedSpec, headless, clusterIPs: [], ports: [], labels }, ports },
  }
}

function unpacked(value: Uint8Array): MessageOf<typeof sliceMessage> {
  const packed = { maxOutputLength: maxSliceBytes, params: { [constants.ZSTD_d_windowLogMax]: maxWindowLog } }
  try {
    return sliceMessage.decode(zstdDecompressSync(value, packed))
  } catch (error) {
    throw fault(`is not an EndpointSlice in a zstd frame of at most ${maxSliceBytes} bytes: ${messageOf(error)}`)
  }
}

const headlessLabel = 'service.kubernetes.io/headless'

type EndpointRecord = MessageOf<typeof sliceMessage>['endpoints'][number]

/** The nil rules of Cilium 1.20: ready and serving unless false, terminating only if true. */
function endpointsOf(
  { addresses, conditions, hostname, nodeName, zone, hints }: EndpointRecord,
  ports: readonly EndpointPort[],
  weight: number | undefined,
): DeclaredEndpoint[] {
  const ready = conditions?.ready ?? true
  return addresses.map(address => ({
    address: checkedAddress(address),
    ports,
    ready,
    serving: conditions?.serving ?? true,
    terminating: conditions?.terminating ?? false,
    ...(hostname === '' ? {} : { hostname }),
    ...(nodeName === '' ? {} : { node: nodeName }),
    ...zoneOf(zone, hints?.forZones ?? []),
    ...(weight === undefined ? {} : { weight }),
  }))
}

function weightOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,6}$/.test(text) ? Number(text) : undefined
}
