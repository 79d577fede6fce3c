/** Shared by the decoders of Cilium's etcd records: the check of a record against its key, and common fields. */
import * as v from 'valibot'
import { clusterId, fault } from '../../clients/etcd/record.ts'
import { canonicalAddress, type Protocol } from '../../model/address.ts'
import type { Endpoint, EndpointPort } from '../../model/service.ts'
import { shown } from '../../model/text/spelling.ts'
import type { ServiceSpec } from '../objects.ts'

/** The cluster that a record must belong to. */
export interface Owner {
  readonly cluster: string
  readonly clusterId: number
  /** The size of its mesh: 255 unless it is given. */
  readonly maxClusters?: number
}

/** Go writes an empty map as null. */
export function mapOf<T>(value: v.GenericSchema<unknown, T>) {
  return v.nullish(v.record(v.string(), value), {})
}

export const portNumber = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65535))
export const labelPattern = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/
/** The name of a namespace or service. */
export const label = named(labelPattern)
/** The name of an object that may contain dots. */
export const objectName = named(/^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$/)

function named(pattern: RegExp) {
  return v.pipe(
    v.string(),
    v.regex(pattern, issue => `${shown(issue.input)} is not a Kubernetes name`),
  )
}

export const owned = { cluster: v.string(), namespace: label, name: objectName, clusterID: clusterId }

interface Owned {
  readonly cluster: string
  readonly namespace: string
  readonly name: string
  readonly clusterID: number
}

/** A record must name the cluster and object of its key: otherwise one cluster could write services of another. */
export function checkOwner(suffix: string, record: Owned, owner: Owner): void {
  checkSame('cluster', record.cluster, owner.cluster)
  checkSame('clusterID', record.clusterID, owner.clusterId)
  checkSame('name', `${record.namespace}/${record.name}`, suffix)
}

export function checkSame(what: string, found: string | number, expected: string | number): void {
  if (found !== expected) throw fault(`says ${what} ${shown(found)}, its key says ${shown(expected)}`)
}

/** True of every record: a service that is not global and shared has none. */
export const sharedSpec: Omit<ServiceSpec, 'headless' | 'clusterIPs' | 'ports' | 'labels'> = {
  type: 'ClusterIP',
  annotations: { 'service.cilium.io/global': 'true', 'service.cilium.io/shared': 'true' },
  publishNotReadyAddresses: false,
  internalTrafficPolicy: 'Cluster',
}

/** Leaves out port 0 and protocols other than TCP, UDP and SCTP: nobody can connect to them. */
export function portsFrom(ports: readonly (readonly [name: string, protocol: string, port: number])[]): EndpointPort[] {
  return ports.flatMap(([name, protocol, port]) =>
    isProtocol(protocol) && port > 0 && port <= 65535 ? [{ name, protocol, port }] : [],
  )
}

function isProtocol(text: string): text is Protocol {
  return text === 'TCP' || text === 'UDP' || text === 'SCTP'
}

export function distinctPorts(ports: readonly EndpointPort[]): EndpointPort[] {
  return [...new Map(ports.map(port => [`${port.name}:${port.port}/${port.protocol}`, port])).values()]
}

export function zoneOf(
  zone: string,
  forZones: readonly { readonly name: string }[],
): Pick<Endpoint, 'zone' | 'forZones'> {
  return {
    ...(zone === '' ? {} : { zone }),
    ...(forZones.length === 0 ? {} : { forZones: forZones.map(({ name }) => name) }),
  }
}

export function checkedAddress(text: string): string {
  const address = canonicalAddress(text)
  if (address === undefined) throw fault(`${shown(text)} is not an IP address`)
  return address
}
