/**
 * Who may use listeners on an address that other machines can reach: programs and pods of this node. The kernel steers nobody else,
 * but anybody could connect to such an address by itself.
 */
import { type Cidr, parseCidr } from '../../model/address.ts'
import type { Chooser } from '../../model/flow.ts'
import { refusal } from '../../model/refusal.ts'
import type { Clock } from '../../model/time/clock.ts'

export interface OwnClientsParts {
  /** The canonical addresses of this machine. */
  readonly machine: () => ReadonlySet<string>
  /** The networks of this node's pods, `10.1.3.0/24`. */
  readonly pods: () => readonly string[]
  /** Further clients. */
  readonly more: readonly Cidr[]
  readonly clock: Clock
}

/** Answers are kept for so long, since addresses of a machine change. */
const freshMs = 10_000
const most = 4096

const refused = refusal(
  'foreign',
  'the client is no program or pod of this node; list its network in proxy.ebpf.clients',
)

export class OwnClients {
  readonly #parts: OwnClientsParts
  readonly #known = new Map<string, boolean>()
  #until = 0

  constructor(parts: OwnClientsParts) {
    this.#parts = parts
  }

  /** Takes a canonical address. */
  has(address: string): boolean {
    const now = this.#parts.clock.now()
    if (now >= this.#until || this.#known.size >= most) {
      this.#known.clear()
      this.#until = now + freshMs
    }
    const known = this.#known.get(address)
    if (known !== undefined) return known
    const { machine, pods, more } = this.#parts
    const ranges = [...more, ...pods().flatMap(text => parseCidr(text) ?? [])]
    const is = machine().has(address) || ranges.some(range => range.contains(address))
    this.#known.set(address, is)
    return is
  }
}

/** The same decisions, for own clients only. */
export function forOwnClients(chooser: Chooser, clients: OwnClients): Chooser {
  return {
    admit: (client, service) => chooser.admit(client, service),
    choose: flow => (clients.has(flow.client.address) ? chooser.choose(flow) : { refusal: refused }),
    visible: (client, service, preferred) => chooser.visible(client, service, preferred),
    settled: (frontend, service) => chooser.settled(frontend, service),
    connecting: (flow, backend) => chooser.connecting(flow, backend),
    result: (flow, backend, result) => chooser.result(flow, backend, result),
    carried: (flow, backend, total, more) => chooser.carried(flow, backend, total, more),
    closed: (flow, backend, totals) => chooser.closed(flow, backend, totals),
    refused: (flow, why) => chooser.refused(flow, why),
  }
}
