/** Pods, identities and policies of one cluster, as its source delivers them. */
import type { Namespace, Pod } from '../model/service.ts'
import type { Snapshot } from '../model/sink.ts'
import type {
  AddressRecord,
  Identity,
  Labels,
  NumberedIdentity,
  Occupant,
  Workload,
} from '../model/workloads/identity.ts'
import { isAboutPods, type PolicyObject, policyText } from '../model/workloads/policy-object.ts'

/** Cilium's numbers of what is not a Pod (pkg/identity/numericidentity.go). Those of other clusters' hosts are nodes here. */
const reserved: ReadonlyMap<number, Identity['kind']> = new Map([
  [1, 'node'],
  [6, 'node'],
  [8, 'ingress'],
])

const noLabels: Labels = Object.freeze({})
const noPorts: Occupant['ports'] = Object.freeze([])

export interface ClusterChanges {
  address(address: string): void
  everything(): void
  policies(): void
}

export class ClusterWorkloads {
  readonly name: string
  readonly #changes: ClusterChanges
  readonly #pods = new Map<string, Pod>()
  /** Pods on the network of their node are not in it. Several only while one of them is about to go. */
  readonly #podsAt = new Map<string, string | readonly string[]>()
  /** How many Pods say that the address is one of a node. */
  readonly #nodes = new Map<string, number>()
  readonly #namespaces = new Map<string, Labels>()
  /** One for all Pods with one workload. */
  readonly #identities = new Map<Workload, Identity>()
  readonly #records = new Map<string, AddressRecord>()
  /** The addresses of the records with a number; most have one. */
  readonly #recordsOf = new Map<number, string | Set<string>>()
  readonly #numbered = new Map<number, Identity>()
  readonly #others = new Map<Identity['kind'], Identity>()
  #policies = new Map<string, PolicyObject>()

  constructor(name: string, changes: ClusterChanges) {
    this.name = name
    this.#changes = changes
  }

  get addresses(): number {
    return this.#podsAt.size + this.#records.size
  }

  /** Those that Pods are needed for. */
  get policyCount(): number {
    return [...this.#policies.values()].filter(({ kind }) => isAboutPods(kind)).length
  }

  policies(): PolicyObject[] {
    return [...this.#policies].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, policy]) => policy)
  }

  at(address: string): Occupant | undefined {
    const pod = this.#podAt(address)
    if (pod?.workload) return { identity: this.#identityOf(pod.workload), pod: keyOf(pod), ports: pod.workload.ports }
    if (this.#nodes.has(address)) return { identity: this.#other('node'), pod: undefined, ports: noPorts }
    const record = this.#records.get(address)
    const kind = record && reserved.get(record.id)
    const identity = record && (kind === undefined ? this.#numbered.get(record.id) : this.#other(kind))
    return identity && record && { identity, pod: record.pod, ports: record.ports }
  }

  /** The addresses of the node of the Pod that has an address, as far as they are known. */
  nodesOf(address: string): readonly string[] {
    const pod = this.#podAt(address)
    return pod ? nodeAddressesOf(pod) : []
  }

  /** A look through all records, for people's questions alone. */
  addressesOf(pod: string): readonly string[] {
    const known = this.#pods.get(pod)
    if (known) return known.addresses
    return [...this.#records.values()].filter(record => record.pod === pod).map(({ address }) => address)
  }

  *examples(): Generator<string> {
    const seen = new Set<unknown>()
    for (const [address, key] of this.#podsAt) {
      const workload = this.#pods.get(typeof key === 'string' ? key : (key[0] as string))?.workload
      if (workload === undefined || seen.has(workload)) continue
      seen.add(workload)
      yield address
    }
    const [node] = this.#nodes.keys()
    if (node !== undefined) yield node
    for (const { address, id } of this.#records.values()) {
      if (seen.has(id)) continue
      seen.add(id)
      yield address
    }
  }

  reset({ pods = [], namespaces, policies = [], addresses = [], identities = [] }: Snapshot): void {
    for (const map of [this.#pods, this.#podsAt, this.#nodes, this.#namespaces, this.#identities]) map.clear()
    for (const map of [this.#records, this.#recordsOf, this.#numbered, this.#policies]) map.clear()
    for (const namespace of namespaces) this.#setNamespace(namespace.name, namespace)
    for (const pod of pods) this.putPod(pod)
    for (const identity of identities) this.putIdentity(identity)
    for (const record of addresses) this.putAddress(record)
    for (const policy of policies) this.#policies.set(policyText(policy), policy)
    this.#changes.everything()
    this.#changes.policies()
  }

  putPod(pod: Pod): void {
    const key = keyOf(pod)
    this.#forgetPod(key)
    if (!pod.workload) return
    this.#pods.set(key, pod)
    for (const address of nodeAddressesOf(pod)) this.#countNode(address, 1)
    if (pod.hostNetwork) return
    for (const address of pod.addresses) {
      const others = this.#podsAt.get(address)
      this.#podsAt.set(address, others === undefined ? key : [key, ...[others].flat()])
      this.#changes.address(address)
    }
  }

  dropPod(namespace: string, name: string): void {
    this.#forgetPod(`${namespace}/${name}`)
  }

  putNamespace(namespace: Namespace): void {
    this.#setNamespace(namespace.name, namespace)
  }

  dropNamespace(name: string): void {
    this.#setNamespace(name, undefined)
  }

  putAddress(record: AddressRecord): void {
    this.#unlist(this.#records.get(record.address))
    this.#records.set(record.address, record)
    this.#list(record)
    this.#changes.address(record.address)
  }

  dropAddress({ address }: AddressRecord): void {
    this.#unlist(this.#records.get(address))
    this.#records.delete(address)
    this.#changes.address(address)
  }

  /** The labels of a number never change in Cilium; should they, all its addresses are looked up again. */
  putIdentity({ id, ...rest }: NumberedIdentity): void {
    const isNew = !this.#numbered.has(id)
    this.#numbered.set(id, Object.freeze({ kind: 'pod', cluster: this.name, ...rest }))
    if (!isNew) this.#changes.everything()
    // Its addresses may be here already: etcd does not order the events of two ranges.
    else for (const address of this.#addressesWith(id)) this.#changes.address(address)
  }

  dropIdentity({ id }: NumberedIdentity): void {
    if (!this.#numbered.delete(id)) return
    for (const address of this.#addressesWith(id)) this.#changes.address(address)
  }

  putPolicy(policy: PolicyObject): void {
    this.#policies.set(policyText(policy), policy)
    this.#changes.policies()
  }

  dropPolicy(policy: PolicyObject): void {
    if (this.#policies.delete(policyText(policy))) this.#changes.policies()
  }

  /** The cluster is no longer one of the mesh. */
  clear(): void {
    this.reset({ services: [], namespaces: [] })
  }

  #podAt(address: string): Pod | undefined {
    const key = this.#podsAt.get(address)
    return key === undefined ? undefined : this.#pods.get(typeof key === 'string' ? key : (key[0] as string))
  }

  #addressesWith(id: number): Iterable<string> {
    const known = this.#recordsOf.get(id)
    return known === undefined ? [] : typeof known === 'string' ? [known] : known
  }

  #list({ id, address }: AddressRecord): void {
    const known = this.#recordsOf.get(id)
    if (known === undefined) this.#recordsOf.set(id, address)
    else if (typeof known !== 'string') known.add(address)
    else if (known !== address) this.#recordsOf.set(id, new Set([known, address]))
  }

  #unlist(record: AddressRecord | undefined): void {
    if (!record) return
    const { id, address } = record
    const known = this.#recordsOf.get(id)
    if (known === address || (known instanceof Set && known.delete(address) && known.size === 0)) {
      this.#recordsOf.delete(id)
    }
  }

  #forgetPod(key: string): void {
    const pod = this.#pods.get(key)
    if (!pod) return
    this.#pods.delete(key)
    for (const address of nodeAddressesOf(pod)) this.#countNode(address, -1)
    if (pod.hostNetwork) return
    for (const address of pod.addresses) {
      const left = [this.#podsAt.get(address) ?? []].flat().filter(other => other !== key)
      if (left.length === 0) this.#podsAt.delete(address)
      else this.#podsAt.set(address, left.length === 1 ? (left[0] as string) : left)
      this.#changes.address(address)
    }
  }

  #countNode(address: string, more: number): void {
    const count = (this.#nodes.get(address) ?? 0) + more
    if (count > 0) this.#nodes.set(address, count)
    else this.#nodes.delete(address)
    if (count === 0 || (count === 1 && more === 1)) this.#changes.address(address)
  }

  #setNamespace(name: string, namespace: Namespace | undefined): void {
    const labels = namespace?.labels
    const before = this.#namespaces.get(name)
    if (labels) this.#namespaces.set(name, labels)
    else this.#namespaces.delete(name)
    if (isSame(before, labels)) return
    for (const workload of this.#identities.keys()) if (workload.namespace === name) this.#identities.delete(workload)
    this.#changes.everything()
  }

  #identityOf(workload: Workload): Identity {
    const known = this.#identities.get(workload)
    if (known) return known
    const { namespace, labels, account } = workload
    // An API server adds this label to every namespace; a manifest may not have it.
    const namespaceLabels = { 'kubernetes.io/metadata.name': namespace, ...this.#namespaces.get(namespace) }
    const identity: Identity = Object.freeze({
      kind: 'pod',
      cluster: this.name,
      namespace,
      labels,
      namespaceLabels,
      account,
    })
    // Workloads of Pods that are gone are not worth a count of their own: all are made again when there are too many.
    if (this.#identities.size > 2 * this.#pods.size + 1000) this.#identities.clear()
    this.#identities.set(workload, identity)
    return identity
  }

  #other(kind: Identity['kind']): Identity {
    const known = this.#others.get(kind)
    if (known) return known
    const identity = otherIdentity(kind, this.name)
    this.#others.set(kind, identity)
    return identity
  }
}

/** An identity that is not a Pod's. */
export function otherIdentity(kind: Identity['kind'], cluster: string): Identity {
  return Object.freeze({ kind, cluster, namespace: '', labels: noLabels, namespaceLabels: noLabels, account: '' })
}

function keyOf({ namespace, name }: Pod): string {
  return `${namespace}/${name}`
}

function nodeAddressesOf({ hostNetwork, hostAddress, addresses }: Pod): readonly string[] {
  const own = hostNetwork ? addresses : []
  return hostAddress === undefined || own.includes(hostAddress) ? own : [hostAddress, ...own]
}

function isSame(a: Labels = noLabels, b: Labels = noLabels): boolean {
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every(key => a[key] === b[key])
}
