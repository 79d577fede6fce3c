/** Decodes EndpointSlices and Endpoints. */

import type { InferOutput } from 'valibot'
import { familyOf } from '../../model/address.ts'
import { type EndpointPort, serviceKey } from '../../model/service.ts'
import { shown } from '../../model/text/spelling.ts'
import { commonPorts } from '../common.ts'
import type { DeclaredEndpoint, EndpointsObject, ObjectRef } from '../objects.ts'
import { readAddress } from './address.ts'
import type { Faults } from './faults.ts'
import { endpointSlice, endpoints as endpointsShape, fit } from './shapes.ts'

const serviceLabel = 'kubernetes.io/service-name'
const managerLabel = 'endpointslice.kubernetes.io/managed-by'
const weightAnnotation = 'service.cilium.io/weight'

/** Starlane's own slices of other clusters' endpoints: it knows those from the clusters themselves. */
const ownManager = 'endpointslice-mesh-controller.starlane.dev'
/** Cilium writes the endpoints of global services into these slices (1.8). Reading them would count those twice. */
const meshManager = 'endpointslice-mesh-controller.cilium.io'
/** The Multi-Cluster Services API: the cluster that endpoints are in, and the ServiceImport that they belong to. */
const sourceClusterLabel = 'multicluster.kubernetes.io/source-cluster'
const importLabel = 'multicluster.kubernetes.io/service-name'

type SliceEndpoint = InferOutput<typeof endpointSlice>['endpoints'][number]

/** Kubernetes has at most 1000 in one object (validation.go, maxEndpoints; maxCapacity of the endpoints controller). */
const maxAddresses = 10_000

/** Whether there are too many to look at; says so. `all`: the entries of an unchecked object, `lists`: the addresses of each. */
function tooMany(
  path: readonly string[],
  all: readonly unknown[],
  lists: readonly unknown[][],
  faults: Faults,
): boolean {
  const count = lists.reduce((sum, list) => sum + list.length, 0)
  const most = Math.max(all.length, count)
  if (most > maxAddresses) faults.refuse([...path], `has ${most} addresses, more than ${maxAddresses}; split it`)
  return most > maxAddresses
}

function membersOf(value: unknown, key: string): unknown[] {
  const list = (value as Record<string, unknown> | null)?.[key]
  return Array.isArray(list) ? list : []
}

/** An EndpointSlice of discovery.k8s.io v1, or v1beta1 with its zone and node in `topology`. */
export function decodeEndpointSlice(value: object, ref: ObjectRef, faults: Faults): EndpointsObject | undefined {
  const all = membersOf(value, 'endpoints')
  const listed = all.map(each => membersOf(each, 'addresses'))
  if (tooMany(['endpoints'], all, listed, faults)) return undefined
  const slice = fit(endpointSlice, value, faults)
  if (!slice) return undefined
  const { labels, annotations } = slice.metadata
  const manager = labels[managerLabel]
  if (slice.addressType === 'FQDN') return void faults.skip('with names instead of addresses')
  if (manager === ownManager) return void faults.skip('written by Starlane')
  const sourceCluster = labels[sourceClusterLabel]?.toLowerCase()
  const imported = sourceCluster ? labels[importLabel] : undefined
  if (!imported && (sourceCluster !== undefined || manager === meshManager)) {
    return void faults.skip('a copy of endpoints of another cluster')
  }
  const service = imported ?? labels[serviceLabel]
  if (!service) {
    // A controller may have slices without a Service; in a slice written by hand it is a mistake.
    if (manager) faults.skip('of a controller, without a Service')
    else faults.refuse(['metadata', 'labels', serviceLabel], 'is missing; give the name of the Service')
    return undefined
  }
  const ports = commonPorts(
    slice.ports.flatMap(({ port, ...rest }): EndpointPort[] => (port ? [{ ...rest, port }] : [])),
  )
  const weight = readWeight(annotations[weightAnnotation], faults)
  const endpoints = slice.endpoints.flatMap((endpoint, i) =>
    endpoint.addresses.flatMap((text, j): DeclaredEndpoint[] => {
      const path = ['endpoints', i, 'addresses', j]
      const address = readAddress(text, path, faults)
      if (address === undefined) return []
      if (slice.addressType !== `IPv${familyOf(address)}`)
        faults.refuse(path, `${shown(text)} does not fit addressType ${slice.addressType}`)
      return [
        {
          address,
          ports,
          ...stateOf(endpoint),
          ...locationOf(endpoint),
          ...(weight !== undefined && { weight }),
        },
      ]
    }),
  )
  return {
    ...ref,
    kind: 'EndpointSlice',
    service: serviceKey(ref.namespace, service),
    ...(imported && sourceCluster && { sourceCluster }),
    endpoints: sorted(endpoints),
  }
}

/** Endpoints of v1. An address in `notReadyAddresses` is neither ready nor serving. */
export function decodeEndpoints(value: object, ref: ObjectRef, faults: Faults): EndpointsObject | undefined {
  const all = membersOf(value, 'subsets')
  const listed = all.flatMap(each => [membersOf(each, 'addresses'), membersOf(each, 'notReadyAddresses')])
  if (tooMany(['subsets'], all, listed, faults)) return undefined
  const fitted = fit(endpointsShape, value, faults)
  if (!fitted) return undefined
  const endpoints = fitted.subsets.flatMap(({ ports, ...lists }, i) =>
    (['addresses', 'notReadyAddresses'] as const).flatMap(list =>
      lists[list].flatMap((endpoint, j): DeclaredEndpoint[] => {
        const address = readAddress(endpoint.ip, ['subsets', i, list, j, 'ip'], faults)
        if (address === undefined) return []
        return [
          {
            address,
            ports,
            ready: list === 'addresses',
            serving: undefined,
            terminating: false,
            ...locationOf(endpoint),
          },
        ]
      }),
    ),
  )
  return {
    ...ref,
    kind: 'Endpoints',
    service: serviceKey(ref.namespace, ref.name),
    endpoints: sorted(endpoints),
  }
}

/** The nil rules of discovery.k8s.io/v1, and of Cilium 1.20: ready and serving unless false, terminating only if true. */
function stateOf({ conditions }: SliceEndpoint): Pick<DeclaredEndpoint, 'ready' | 'serving' | 'terminating'> {
  return {
    ready: conditions.ready ?? true,
    serving: conditions.serving ?? true,
    terminating: conditions.terminating ?? false,
  }
}

/** Endpoints objects have only the first three fields. `topology` is in v1beta1; v1 keeps part of it as `deprecatedTopology`. */
type EndpointLocation = Pick<SliceEndpoint, 'hostname' | 'nodeName' | 'targetRef'> & Partial<SliceEndpoint>

function locationOf(
  endpoint: EndpointLocation,
): Pick<DeclaredEndpoint, 'hostname' | 'pod' | 'node' | 'zone' | 'forZones'> {
  const { hostname, targetRef, topology, deprecatedTopology, hints } = endpoint
  const node = endpoint.nodeName ?? topology?.['kubernetes.io/hostname']
  const zone = endpoint.zone ?? (topology ?? deprecatedTopology)?.['topology.kubernetes.io/zone']
  const forZones = hints?.forZones.map(({ name }) => name) ?? []
  return {
    ...(hostname && { hostname }),
    ...(targetRef?.kind === 'Pod' && targetRef.name && { pod: targetRef.name }),
    ...(node && { node }),
    ...(zone && { zone }),
    ...(forZones.length > 0 && { forZones }),
  }
}

function readWeight(text: string | undefined, faults: Faults): number | undefined {
  if (text === undefined) return undefined
  if (/^\d{1,5}$/.test(text)) return Number(text)
  faults.ignoreAnnotation(
    weightAnnotation,
    `${shown(text)} is not a whole number from 0 to 99999; the endpoints have the default weight 100`,
  )
  return undefined
}

function sorted(endpoints: DeclaredEndpoint[]): DeclaredEndpoint[] {
  return endpoints.sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0))
}
