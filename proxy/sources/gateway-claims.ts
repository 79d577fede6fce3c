/** The gateways that a cluster names: by Services, by nodes, and by the cluster's own description in etcd. */
import type { Sink } from '../model/sink.ts'
import type { NamedGateway } from '../model/tunnel/gateway-address.ts'

/** Of one cluster; more are left out, the last by name. */
const most = 16

export class GatewayClaims {
  /** By the object that names them. */
  readonly #claims = new Map<string, readonly NamedGateway[]>()
  /** As the sink has them. */
  #delivered: ReadonlyMap<string, NamedGateway> = new Map()
  #isTouched = false

  /** What an object names now; it may name none. */
  set(object: string, gateways: readonly NamedGateway[] | undefined): void {
    if (!gateways?.length && !this.#claims.has(object)) return
    if (gateways?.length) this.#claims.set(object, gateways)
    else this.#claims.delete(object)
    this.#isTouched = true
  }

  settle(sink: Pick<Sink, 'putGateway' | 'dropGateway'>): void {
    if (!this.#isTouched) return
    this.#isTouched = false
    const before = this.#delivered
    const named = new Map([...this.#claims.values()].flat().map(gateway => [gateway.text, gateway]))
    const first = [...named.keys()].sort().slice(0, most)
    this.#delivered = new Map(first.map(text => [text, named.get(text) as NamedGateway]))
    for (const [text, gateway] of this.#delivered) if (!before.has(text)) sink.putGateway?.(gateway)
    for (const [text, gateway] of before) if (!this.#delivered.has(text)) sink.dropGateway?.(gateway)
  }

  /** All of them; what has changed counts as delivered. */
  all(): readonly NamedGateway[] {
    this.settle({})
    return [...this.#delivered.values()]
  }
}
