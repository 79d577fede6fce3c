/** The gateways that clusters name themselves, as their sources tell. What a cluster may name is decided at admission. */
import { lookup as lookupName } from 'node:dns'
import { isIP } from 'node:net'
import { refusalOf } from '../../admission/address-policy.ts'
import type { Sink } from '../../model/sink.ts'
import type { NamedGateway } from '../../model/tunnel/gateway-address.ts'
import type { GatewayAddress } from '../../tunnel/client/link.ts'

export class LearnedGateways {
  readonly #changed: () => void
  readonly #heard = new Set<string>()
  readonly #byCluster = new Map<string, Map<string, NamedGateway>>()

  /** `changed` may be called several times for one change of a source. */
  constructor(changed: () => void) {
    this.#changed = changed
  }

  /** Whether its source, or memory, has said what gateways it has. */
  knows(cluster: string): boolean {
    return this.#heard.has(cluster)
  }

  /** Sorted. */
  of(cluster: string): NamedGateway[] {
    const named = [...(this.#byCluster.get(cluster)?.values() ?? [])]
    return named.sort((a, b) => (a.text < b.text ? -1 : 1))
  }

  /** Forgets the clusters that are not among these. */
  keep(clusters: ReadonlySet<string>): void {
    for (const name of this.#byCluster.keys()) if (!clusters.has(name)) this.#byCluster.delete(name)
  }

  /** Notes the gateways that come for `next`. */
  sink(cluster: string, next: Sink): Sink {
    const gateways = new Map<string, NamedGateway>()
    this.#byCluster.set(cluster, gateways)
    const setAll = (named: readonly NamedGateway[] = []) => {
      gateways.clear()
      for (const gateway of named) gateways.set(gateway.text, gateway)
      this.#heard.add(cluster)
      this.#changed()
    }
    return {
      ...next,
      reset: snapshot => {
        next.reset(snapshot)
        if (!snapshot.isDelivered) setAll(snapshot.gateways)
      },
      recall: (snapshot, since) => {
        next.recall?.(snapshot, since)
        setAll(snapshot.gateways)
      },
      putGateway: gateway => {
        gateways.set(gateway.text, gateway)
        this.#changed()
      },
      dropGateway: ({ text }) => {
        gateways.delete(text)
        this.#changed()
      },
    }
  }
}

/** As {@link GatewayAddress}: the names of such gateways are looked up here, and lead to no address that the cluster may not name. */
export function guarded(gateway: NamedGateway, loopback: boolean): GatewayAddress {
  return { ...gateway, lookup: loopback ? anyButLinkLocal : onlyOthers }
}

type Lookup = NonNullable<GatewayAddress['lookup']>

const onlyOthers = lookupWithin(false)
const anyButLinkLocal = lookupWithin(true)

function lookupWithin(loopback: boolean): Lookup {
  return (name, options, done) => {
    if (isIP(name) !== 0) return lookupName(name, options, done)
    lookupName(name, { ...options, all: true }, (error, found) => {
      if (error) return done(error, [])
      const usable = found.filter(({ address }) => refusalOf(address, { loopback }) === undefined)
      const [first] = usable
      if (!first) {
        const why = `${name} leads to ${found.map(({ address }) => address).join(', ')}, which no cluster may name as its gateway`
        return done(Object.assign(new Error(why), { code: 'EACCES' }), [])
      }
      if (options.all) done(null, usable)
      else done(null, first.address, first.family)
    })
  }
}
