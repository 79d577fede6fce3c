/** Who holds how many flows, and whose flow makes room for a newcomer when no more may be open. */
import { subscriberNetwork } from '../../../model/address.ts'
import type { Client } from '../../../model/flow.ts'
import type { Frontend } from '../../../model/service.ts'

export interface Sharing {
  readonly client: Client
  readonly frontend: Frontend
  /** Set while the flow is in {@link Shares}. */
  share: FlowShare | undefined
}

/** The holders that one flow counts for. */
export interface FlowShare {
  readonly client: Holder
  readonly frontend: Holder
}

/** Flows of a full frontend that are looked at to find one of a greedy client. */
const lookedAt = 64
/** From this part of the limit on, flows are kept in the order of their last bytes. */
const nearlyFull = 7 / 8

/**
 * The flows of one protocol, counted by client and by frontend. One client may hold all; when the limit is reached, a newcomer
 * takes the place of the idlest flow of the client that holds most, if its own client then holds no more than that one. Among
 * clients that hold alike, frontends share in the same way. Costs O(1) per flow, and memory for open flows only.
 */
export class Shares<F extends Sharing> {
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
    flow.share = {
      client: this.#clients.add(clientKey(flow), flow),
      frontend: this.#frontends.add(flow.frontend.key, flow),
    }
    this.#size++
  }

  remove(flow: F): void {
    const { share } = flow
    if (!share) return
    flow.share = undefined
    this.#clients.remove(share.client, flow)
    this.#frontends.remove(share.frontend, flow)
    this.#size--
  }

  /** Bytes have moved: it is the last of its holders' flows to go. */
  active(flow: F): void {
    const { share } = flow
    if (!share || !this.nearlyFull) return
    moveToEnd(share.client.flows, flow)
    moveToEnd(share.frontend.flows, flow)
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
    if (greediest && held + 1 < greediest.flows.size) return idlest(greediest)
    const busiest = this.#frontends.greediest
    if (!busiest || this.#frontends.count(newcomer.frontend.key) + 1 >= busiest.flows.size) return undefined
    const flow: F | undefined = idlest(busiest)
    return flow?.share && flow.share.client.flows.size >= held ? flow : undefined
  }

  /** Only the frontend is full: one of its idlest flows, of the client that holds most. */
  #inPlaceAtFrontend({ frontend: { key } }: Sharing, held: number): F | undefined {
    let found: F | undefined
    let most = held + 1
    let looked = 0
    for (const flow of this.#frontends.flowsOf(key)) {
      const holds = flow.share?.client.flows.size ?? 0
      if (holds > most) {
        found = flow as F
        most = holds
      }
      if (++looked === lookedAt) break
    }
    return found
  }
}

/** One client, or one frontend. */
class Holder {
  readonly key: string
  /** The idlest first. */
  readonly flows = new Set<Sharing>()

  constructor(key: string) {
    this.key = key
  }
}

/** Holders by key and by the number of their flows, which changes by one at a time. */
class Holders {
  readonly #byKey = new Map<string, Holder>()
  /** By number of flows; the last is not empty. */
  readonly #byCount: Set<Holder>[] = [new Set()]

  add(key: string, flow: Sharing): Holder {
    const holder = this.#byKey.get(key) ?? new Holder(key)
    const { size } = holder.flows
    holder.flows.add(flow)
    if (size === 0) this.#byKey.set(key, holder)
    else this.#byCount[size]?.delete(holder)
    this.#at(size + 1).add(holder)
    return holder
  }

  remove(holder: Holder, flow: Sharing): void {
    const { size } = holder.flows
    if (!holder.flows.delete(flow)) return
    this.#byCount[size]?.delete(holder)
    if (size === 1) this.#byKey.delete(holder.key)
    else this.#at(size - 1).add(holder)
    while (this.#byCount.length > 1 && this.#byCount.at(-1)?.size === 0) this.#byCount.pop()
  }

  count(key: string): number {
    return this.#byKey.get(key)?.flows.size ?? 0
  }

  flowsOf(key: string): Iterable<Sharing> {
    return this.#byKey.get(key)?.flows ?? []
  }

  get greediest(): Holder | undefined {
    const [holder] = this.#byCount.at(-1) ?? []
    return holder
  }

  #at(count: number): Set<Holder> {
    while (this.#byCount.length <= count) this.#byCount.push(new Set())
    return this.#byCount[count] as Set<Holder>
  }
}

/** An IPv6 client has as many addresses as it likes within its network of 64 bits. */
function clientKey({ client }: Sharing): string {
  return subscriberNetwork(client.address)
}

function idlest<F extends Sharing>({ flows }: Holder): F | undefined {
  const [flow] = flows
  return flow as F | undefined
}

function moveToEnd<F>(flows: Set<F>, flow: F): void {
  if (flows.delete(flow)) flows.add(flow)
}
