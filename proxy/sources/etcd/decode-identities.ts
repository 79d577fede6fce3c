/** Addresses and identities that the clusters of a Cilium ClusterMesh write into etcd (Cilium 1.20, 2.2 and 2.5). */
import * as v from 'valibot'
import { fault, parseJson } from '../../clients/etcd/record.ts'
import { canonicalAddress } from '../../model/address.ts'
import { shown } from '../../model/text/spelling.ts'
import type { NumberedIdentity } from '../../model/workloads/identity.ts'
import type { AddressObject, IdentityObject } from '../objects.ts'
import { type Owner, portNumber, portsFrom } from './records.ts'

/** Below it identities have a fixed meaning, and belong to no cluster. */
const firstClusterId = 256

const identityNumber = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(0xff_ff_ff))
const addressRecord = v.object({
  IP: v.string(),
  ID: identityNumber,
  K8sNamespace: v.nullish(v.string(), ''),
  K8sPodName: v.nullish(v.string(), ''),
  NamedPorts: v.nullish(
    v.array(v.object({ Name: v.string(), Port: portNumber, Protocol: v.optional(v.string(), 'TCP') })),
    [],
  ),
})

/** Nothing for a range: only single addresses have a Pod or a machine behind them. */
export function decodeAddress(suffix: string, value: Uint8Array, owner: Owner): readonly AddressObject[] {
  const record = parseJson(addressRecord, value)
  const at = suffix.indexOf('/')
  if (at !== -1) return []
  const address = canonicalAddress(suffix)
  if (address === undefined || canonicalAddress(record.IP) !== address)
    throw fault(`says IP ${shown(record.IP)}, its key says ${shown(suffix)}`)
  checkNumber(record.ID, owner)
  const { K8sNamespace: namespace, K8sPodName: name } = record
  const ports = portsFrom(record.NamedPorts.map(({ Name, Protocol, Port }) => [Name, Protocol, Port]))
  const pod = namespace !== '' && name !== '' ? { pod: `${namespace}/${name}` } : {}
  return [{ kind: 'Address', namespace: '', name: suffix, record: { address, id: record.ID, ...pod, ports } }]
}

const namespaceLabel = 'io.kubernetes.pod.namespace'
const clusterLabel = 'io.cilium.k8s.policy.cluster'
const accountLabel = 'io.cilium.k8s.policy.serviceaccount'
const namespaceLabels = 'io.cilium.k8s.namespace.labels.'

/** The labels of an identity, `k8s:app=web;k8s:io.kubernetes.pod.namespace=shop;`. They must be those of a Pod of this cluster. */
export function decodeIdentity(suffix: string, value: Uint8Array, owner: Owner): IdentityObject {
  const id = /^\d{1,8}$/.test(suffix) ? Number(suffix) : Number.NaN
  if (!(id >= firstClusterId)) throw fault(`${shown(suffix)} is not the number of an identity`)
  checkNumber(id, owner)
  const labels: Record<string, string> = {}
  const ofNamespace: Record<string, string> = {}
  const known = new Map<string, string>()
  for (const element of Buffer.from(value).toString('utf8').split(';')) {
    if (element === '') continue
    const equals = element.indexOf('=')
    const [key, text] = equals === -1 ? [element, ''] : [element.slice(0, equals), element.slice(equals + 1)]
    // Labels of other origins (container, reserved) have no place in a Kubernetes selector.
    if (!key.startsWith('k8s:')) continue
    const name = key.slice('k8s:'.length)
    if (name.startsWith(namespaceLabels)) ofNamespace[name.slice(namespaceLabels.length)] = text
    else if (name === namespaceLabel || name === clusterLabel || name === accountLabel) known.set(name, text)
    else labels[name] = text
  }
  const cluster = known.get(clusterLabel) ?? ''
  if (cluster !== owner.cluster) throw fault(`says cluster ${shown(cluster)}, its key says ${shown(owner.cluster)}`)
  const identity: NumberedIdentity = {
    id,
    namespace: known.get(namespaceLabel) ?? '',
    labels,
    namespaceLabels: ofNamespace,
    account: known.get(accountLabel) ?? '',
  }
  return { kind: 'Identity', namespace: '', name: suffix, identity }
}

/** Cilium's rule (2.1): the upper bits of an identity are the id of its cluster, unless it is one of the reserved ones. */
function checkNumber(id: number, { clusterId, maxClusters = 255 }: Owner): void {
  const shift = maxClusters === 511 ? 15 : 16
  if (id >= firstClusterId && id >>> shift !== clusterId)
    throw fault(`identity ${id} is one of cluster ${id >>> shift}, not of cluster ${clusterId}`)
}
