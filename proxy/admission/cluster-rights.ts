/** What one cluster may claim, from the configuration. */
import type { Cidr } from '../model/address.ts'
import { type ClusterService, serviceKey } from '../model/service.ts'
import { parseServicePattern, type ServicePattern } from '../model/text/service-pattern.ts'
import type { AddressRights, Refusal } from './address-policy.ts'

export interface ClusterRights extends AddressRights {
  readonly local?: boolean
  readonly tenant?: string | undefined
  /** The network of its addresses. Absent: the one that all clusters share which are reached directly. */
  readonly network?: string | undefined
  /** Its place in the order of the configuration, the local cluster first; equal for clusters without a place. By default 0. */
  readonly rank?: number
  /** Where its endpoints may be; absent: anywhere. */
  readonly cidrs?: readonly Cidr[] | undefined
  /** The namespaces whose services it may have, with * as a wildcard; absent: all. */
  readonly namespaces?: readonly string[] | undefined
  /** The services that it may have, `NAMESPACE/NAME` with * as a wildcard; absent: all. */
  readonly services?: readonly string[] | undefined
}

/** Tells why a service is refused as a whole; undefined if the cluster may have it. */
export type ServiceRule = (service: ClusterService) => Refusal | undefined

export function serviceRule({ namespaces, services }: ClusterRights): ServiceRule {
  const inNamespaces = namespaces && patternsOf(namespaces.map(name => `${name}/*`))
  const inServices = services && patternsOf(services)
  return service => refusalOfService(service, inNamespaces, inServices)
}

function patternsOf(texts: readonly string[]): ServicePattern[] {
  return texts.flatMap(text => parseServicePattern(text) ?? [])
}

function refusalOfService(
  service: ClusterService,
  namespaces: readonly ServicePattern[] | undefined,
  services: readonly ServicePattern[] | undefined,
): Refusal | undefined {
  if (namespaces && !namespaces.some(matches => matches(service))) {
    return {
      reason: 'namespace',
      message: `is in a namespace whose services the cluster may not have; add ${service.namespace} to allow.namespaces of the cluster if it may`,
    }
  }
  if (!services || services.some(matches => matches(service))) return undefined
  const key = serviceKey(service.namespace, service.name)
  return {
    reason: 'service',
    message: `is a service that the cluster may not have; add ${key} to allow.services of the cluster if it may`,
  }
}

export const outside: Refusal = {
  reason: 'outside',
  message:
    'is outside of the ranges that the cluster may name; list the addresses of its pods instead, or add the range to allow.cidrs of the cluster',
}
