/** Who holds how many flows, and whose flow makes room for a newcomer when no more may be open. */
import { subscriberNetwork } from '../../../model/address.ts'
import type { Client } from '../../../model/flow.ts'
import { type Link, LinkedList } from '../../../model/lists/linked-list.ts'
import type { Frontend } from '../../../model/service.ts'

export interface Sharing {
  readonly client: Client
  readonly frontend: Frontend
  /** Set while the flow is in {@link Shares}. */
  share: FlowShare | undefined
}

/** Flows of a full frontend that are looked at to find one of a greedy client. */
const lookedAt = 64
/** Lists by number of flows that stay when no flow is open. */
const countsKept = 1024
/** From this part of the limit on, flows are kept in the order of their last bytes. */
const nearlyFull = 7 / 8

/**
 * The open flows of one protocol, by client and by frontend, and counted and by frontend. One client may hold all; when the limit is reached, a newcomer
 * takes the place of the idlest flow of the client that holds most, if its own client then holds no more than that one. Among
 * clients that hold alike, frontends share in the same way. Costs O(1) per flow, and memory for open flows only.
 */
export class Shares<F extends Sharing> implements Iterable<F> {
  readonly #most: () => number
  readonly #mostOfFrontend: () => number
  readonly #clients = new Holders()
  readonly #frontends = new Holders()
  #size = 0

  /** `most`: the limit, and that of one frontend; both may change. */
  constructor(most: () => number, mostOfFrontend = most) {
    this.#most = most
    this.#mostOfFrontend = mostOfFrontend
  }

  get size(): number {
    return this.#size
  }

  /** All flows, client by client. One that ends meanwhile must be the one that was handed out last. */
  *[Symbol.iterator](): IterableIterator<F> {
    for (const { places } of this.#clients.all()) for (const { flow } of places) yield flow as F
  }

  /** Whether another flow must make room for this one. */
  isFullFor({ frontend: { key } }: Sharing): boolean {
    return this.#size >= this.#most() || this.#frontends.count(key) >= this.#mostOfFrontend()
  }

  /** From here on it counts which flows are in use. */
  get nearlyFull(): boolean {
    return this.#size >= this.#most() * nearlyFull
  }

  add(flow: F): void {
    if (flow.share) return
    const frontend = new Place(flow, this.#frontends.holder(flow.frontend.key))
    flow.share = new FlowShare(flow, this.#clients.holder(clientKey(flow)), frontend)
    this.#clients.add(flow.share)
    this.#frontends.add(frontend)
    this.#size++
  }

  remove(flow: F): void {
    const { share } = flow
    if (!share) return
    flow.share = undefined
    this.#clients.remove(share)
    this.#frontends.remove(share.frontend)
    this.#size--
  }

  /** Bytes have moved: it is the last of its holders' flows to go. */
  active(flow: F): void {
    const { share } = flow
    if (!share || !this.nearlyFull) return
    share.holder.places.moveToEnd(share)
    share.frontend.holder.places.moveToEnd(share.frontend)
  }

  /** How many flows the client of a newcomer holds. */
  heldBy(newcomer: Sharing): number {
    return this.#clients.count(clientKey(newcomer))
  }

  /** The flow that should make room; undefined when the newcomer's client and frontend have their share. */
  inPlaceOf(newcomer: Sharing): F | undefined {
    const held = this.heldBy(newcomer)
    if (this.#size < this.#most()) return this.#inPlaceAtFrontend(newcomer, held)
    const greediest = this.#clients.greediest
    if (greediest && held + 1 < greediest.places.size) return idlest(greediest)
    const busiest = this.#frontends.greediest
    if (!busiest || this.#frontends.count(newcomer.frontend.key) + 1 >= busiest.places.size) return undefined
    const flow: F | undefined = idlest(busiest)
    return flow && heldWith(flow) >= held ? flow : undefined
  }

  /** Only the frontend is full: one of its idlest flows, of the client that holds most. */
  #inPlaceAtFrontend({ frontend: { key } }: Sharing, held: number): F | undefined {
    let found: F | undefined
    let most = held + 1
    let looked = 0
    for (const { flow } of this.#frontends.placesOf(key)) {
      const holds = heldWith(flow)
      if (holds > most) {
        found = flow as F
        most = holds
      }
      if (++looked === lookedAt) break
    }
    return found
  }
}

/** How many flows the client of a flow holds, which is one of them. */
export function heldWith({ share }: Sharing): number {
  return share?.holder.places.size ?? 0
}

/** One client, or one frontend; linked with those that have as many flows. */
class Holder implements Link<Holder> {
  readonly key: string
  /** The idlest first. */
  readonly places = new LinkedList<Place>()
  previous: Holder | undefined = undefined
  next: Holder | undefined = undefined

  constructor(key: string) {
    this.key = key
  }
}

/** A flow among those of its holder. */
class Place implements Link<Place> {
  readonly flow: Sharing
  readonly holder: Holder
  previous: Place | undefined = undefined
  next: Place | undefined = undefined

  constructor(flow: Sharing, holder: Holder) {
    this.flow = flow
    this.holder = holder
  }
}

/** The place of a flow with its client, and beside it that with its frontend. */
export class FlowShare extends Place {
  readonly frontend: Place

  constructor(flow: Sharing, client: Holder, frontend: Place) {
    super(flow, client)
    this.frontend = frontend
  }
}

/** Holders by key and by the number of their flows, which changes by one at a time. */
class Holders {
  readonly #byKey = new Map<string, Holder>()
  /** By number of flows; nothing where nobody has as many. */
  #byCount: (LinkedList<Holder> | undefined)[] = []
  /** One that was emptied last, for the next number. */
  #spare: LinkedList<Holder> | undefined
  /** The largest number of flows. */
  #most = 0

  /** A place is to be added to it. */
  holder(key: string): Holder {
    let holder = this.#byKey.get(key)
    if (!holder) {
      holder = new Holder(key)
      this.#byKey.set(key, holder)
    }
    return holder
  }

  add(place: Place): void {
    const { holder } = place
    if (holder.places.size > 0) this.#leave(holder)
    holder.places.append(place)
    this.#join(holder)
    if (holder.places.size > this.#most) this.#most = holder.places.size
  }

  /** Once for each place. */
  remove(place: Place): void {
    const { holder } = place
    const { size } = holder.places
    this.#leave(holder)
    holder.places.remove(place)
    if (size === 1) this.#byKey.delete(holder.key)
    else this.#join(holder)
    if (size === this.#most && !this.#byCount[size]) this.#most--
    if (this.#most === 0 && this.#byCount.length > countsKept) this.#byCount = []
  }

  all(): Iterable<Holder> {
    return this.#byKey.values()
  }

  count(key: string): number {
    return this.#byKey.get(key)?.places.size ?? 0
  }

  placesOf(key: string): Iterable<Place> {
    return this.#byKey.get(key)?.places ?? []
  }

  get greediest(): Holder | undefined {
    return this.#byCount[this.#most]?.first
  }

  /** The last of those that have as many. */
  #join(holder: Holder): void {
    const { size } = holder.places
    while (this.#byCount.length <= size) this.#byCount.push(undefined)
    const alike = this.#byCount[size] ?? this.#spare ?? new LinkedList()
    if (alike === this.#spare) this.#spare = undefined
    this.#byCount[size] = alike
    alike.append(holder)
  }

  #leave(holder: Holder): void {
    const { size } = holder.places
    const alike = this.#byCount[size]
    if (!alike) return
    alike.remove(holder)
    if (alike.size > 0) return
    this.#byCount[size] = undefined
    this.#spare = alike
  }
}

/** An IPv6 client has as many addresses as it likes within its network of 64 bits. */
function clientKey({ client }: Sharing): string {
  return subscriberNetwork(client.address)
}

function idlest<F extends Sharing>({ places }: Holder): F | undefined {
  return places.first?.flow as F | undefined
}
