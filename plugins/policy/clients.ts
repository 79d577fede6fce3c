/** Clients and backends by address, each with its profile. */
import type { Backend, Backends, Cidr, Client, Host, Identity, Occupant, Table, Workloads } from '../../proxy/plugin.ts'
import type { ClientKind, Shared } from './ahead.ts'
import type { Book, Profile } from './book.ts'
import { type BackendEnd, type ClientEnd, targetOf } from './decision.ts'
import { Decisions, OwnMemory, type Remembering } from './decisions.ts'
import { type Party, partyOf } from './party.ts'
import type { Target } from './ports.ts'
import type { Kind } from './rule.ts'

/** How many clients are kept by address; the least recently seen is looked up again. */
const maxClients = 65_536
/** How many addresses of backends are known to be such. */
const maxBackends = 200_000

export interface KnownClient extends ClientEnd {
  readonly memory: Remembering
  /** Grows when addresses may be another's; an older one is looked up again. */
  readonly generation: number
  /** Another one when backends may be another's; an older one has memories of them. */
  readonly decisions: Decisions
}

export interface Ranges {
  readonly nodes: readonly Cidr[]
  readonly pods: readonly Cidr[]
}

export class Ends {
  readonly #host: Host
  readonly #workloads: Workloads
  readonly #ranges: Ranges
  readonly #clients: Table<KnownClient>
  readonly #names: (address: string) => readonly string[]
  #book: Book
  #generation = 0
  #decisions: Decisions
  #backends = new WeakMap<Backend, BackendEnd>()
  /** Bounded like addresses; beyond it, equal ones are decided again. */
  #destinations = new Map<string, object>()
  /** Called when decisions have to be made again. */
  onRenewed: () => void = () => {}
  /** Called when a client is looked up anew. */
  onMet: (kind: ClientKind, client: Client, shared: Shared) => void = () => {}
  /** Addresses of backends in use: a change of one of them concerns decisions about lists. */
  #addresses = new Set<string>()
  /** Addresses of this Pod that are known as clients by another one, a loopback address. */
  readonly #aliased = new Set<string>()
  /** The addresses in each list. */
  readonly #members = new WeakMap<Backends, ReadonlySet<string>>()

  constructor(
    host: Host,
    workloads: Workloads,
    ranges: Ranges,
    book: Book,
    names: (address: string) => readonly string[],
  ) {
    this.#names = names
    this.#host = host
    this.#workloads = workloads
    this.#ranges = ranges
    this.#clients = host.table('clients', { max: maxClients })
    this.#book = book
    this.#decisions = new Decisions(backend => this.backend(backend))
  }

  get decisions(): Decisions {
    return this.#decisions
  }

  get clients(): number {
    return this.#clients.size
  }

  /** Other policies, or any address may be another's now. */
  renew(book: Book): void {
    this.#book = book
    this.#generation++
    this.#renewBackends()
  }

  /** These addresses may be another's now. */
  changed(addresses: ReadonlySet<string>): void {
    for (const address of addresses) {
      this.#clients.delete(address)
      for (const { name, local } of this.#host.clusters) if (!local) this.#clients.delete(`${name} ${address}`)
    }
    for (const address of addresses) {
      if (this.#addresses.has(address)) return this.#renewBackends()
    }
  }

  /** Whom the client is like, and what they share; undefined for one that is like no other. */
  kindOf(client: Client): { kind: ClientKind; shared: Shared } | undefined {
    return kindOf(this.client(client))
  }

  client(client: Client): KnownClient {
    const key = client.identity === undefined ? client.address : `${client.identity.cluster} ${client.origin ?? ''}`
    const known = this.#clients.get(key)
    if (known !== undefined && known.decisions === this.#decisions && known.generation === this.#generation)
      return known
    const isCurrent = known?.generation === this.#generation
    const next = known && isCurrent ? this.#refreshed(known) : this.#newClient(client)
    this.#clients.set(key, next)
    if (known === undefined || !isCurrent) {
      const kind = kindOf(next)
      if (kind) this.onMet(kind.kind, client, kind.shared)
    }
    return next
  }

  /** Who stands for all that no policy tells from the client: one that is no backend, and so does not reach itself. */
  anyLike(client: Client): KnownClient {
    const known = this.client(client)
    const { party, memory } = known
    return { ...known, party: { ...party, address: '' }, memory: memory.shared ?? memory }
  }

  /** The addresses of a list, which are kept as long as the list. */
  addressesIn(backends: Backends): ReadonlySet<string> {
    const known = this.#members.get(backends)
    if (known) return known
    const addresses = new Set(backends.map(({ address }) => address))
    this.#members.set(backends, addresses)
    return addresses
  }

  backend(backend: Backend): BackendEnd {
    const known = this.#backends.get(backend)
    if (known) return known
    const { address, cluster } = backend
    const occupant = this.#workloads.at(address, cluster)
    const party = partyOf(address, occupant, this.#kindAt(address, occupant), occupant ? [] : this.#names(address))
    const sides = this.#sidesOf(party, occupant)
    const target = targetOf(backend, occupant?.ports ?? [])
    const place = this.#placeOf(backend)
    const destination = this.#destinationOf(sides, target, place)
    const end = { cluster, party, ...sides, target, destination, place }
    this.#backends.set(backend, end)
    if (!this.#addresses.has(address)) {
      if (this.#addresses.size >= maxBackends) this.#renewBackends()
      this.#addresses.add(address)
      // As a client it has decisions of its own from now on, since a Pod reaches itself.
      this.#clients.delete(address)
      if (this.#aliased.has(address)) this.#generation++
    }
    return end
  }

  /** A machine is known by its Pods, or by the option for its range. */
  #kindAt(address: string, occupant: Occupant | undefined): Kind {
    if (occupant) return occupant.identity.kind
    return this.#ranges.nodes.some(range => range.contains(address)) ? 'node' : 'world'
  }

  /** What an end is to policies; one on this machine is a node to Pods of other machines. */
  #sidesOf(party: Party, occupant: Occupant | undefined): { readonly profile: Profile; readonly asNode?: Profile } {
    const profile = this.#book.profileOf(party)
    if (party.kind !== 'host') return { profile }
    return { profile, asNode: this.#book.profileOf(partyOf(party.address, occupant, 'node')) }
  }

  /** Of the named ports, only the names of this port count. */
  #destinationOf(
    { profile, asNode }: Pick<BackendEnd, 'profile' | 'asNode'>,
    { port, protocol, ports }: Target,
    place: BackendEnd['place'],
  ): object {
    const names = port === 0 ? ports : ports.filter(each => each.port === port && each.protocol === protocol)
    const text = names.map(each => `${each.name}=${each.port}/${each.protocol}`).sort()
    const key = `${profile.number}/${asNode?.number ?? ''} ${port}/${protocol} ${place} ${text.join()}`
    const known = this.#destinations.get(key)
    if (known) return known
    if (this.#destinations.size >= maxBackends) this.#destinations.clear()
    const destination = Object.freeze({})
    this.#destinations.set(key, destination)
    return destination
  }

  #renewBackends(): void {
    this.#destinations = new Map()
    this.onRenewed()
    this.#backends = new WeakMap()
    this.#addresses = new Set()
    this.#decisions = new Decisions(backend => this.backend(backend))
  }

  #newClient({ address, identity, origin }: Client): KnownClient {
    if (identity) return this.#peerClient(identity.cluster, origin)
    const occupant = this.#workloads.at(address)
    const own = occupant?.address ?? address
    if (own !== address) this.#aliased.add(own)
    const party = partyOf(own, occupant, this.#kindAt(own, occupant))
    const isPending = party.kind === 'world' && this.#ranges.pods.some(range => range.contains(own))
    return this.#refreshed({
      party,
      ...this.#sidesOf(party, occupant),
      isPending: isPending && !this.#book.isEmpty,
    })
  }

  /**
   * One behind the gateway of another cluster: a Pod or machine of that cluster, as its own records say, or one that nothing is known
   * of but its cluster. Never anything else: what a cluster says of its clients is its word.
   */
  #peerClient(cluster: string, origin: string | undefined): KnownClient {
    const known = origin === undefined ? undefined : this.#workloads.at(origin, cluster)
    const party = partyOf(origin ?? '0.0.0.0', known ?? { identity: anonymous(cluster), pod: undefined, ports: [] })
    return this.#refreshed({ party, profile: this.#book.profileOf(party), isPending: false })
  }

  /** A Pod that is a backend too has a memory of its own, since it reaches itself. */
  #refreshed({ party, profile, asNode, isPending }: ClientEnd): KnownClient {
    const { address } = party
    const shared = isPending ? undefined : this.#decisions.memoryOf({ profile, ...(asNode && { asNode }) })
    const isOwn = shared === undefined || this.#addresses.has(address)
    return {
      ...{ party, profile, isPending, generation: this.#generation, decisions: this.#decisions },
      ...(asNode && { asNode }),
      memory: isOwn ? new OwnMemory(shared, backends => this.addressesIn(backends).has(address)) : shared,
    }
  }

  /** The node of a backend is known where its cluster says it. */
  #placeOf({ remote, node }: Backend): BackendEnd['place'] {
    if (remote) return 'elsewhere'
    const own = this.#host.location.node
    if (own === undefined || node === undefined) return 'unknown'
    return own === node ? 'here' : 'elsewhere'
  }
}

function kindOf({ party, profile, memory }: KnownClient): { kind: ClientKind; shared: Shared } | undefined {
  const { shared } = memory
  if (!shared) return undefined
  const kind = (party.kind === 'pod' && party.identity) || `${party.kind} ${profile.number}`
  return { kind, shared }
}

const none = Object.freeze({})

/** A client of a cluster, of which nothing else is known. */
function anonymous(cluster: string): Identity {
  return { kind: 'pod', cluster, namespace: '', labels: none, namespaceLabels: none, account: '' }
}
