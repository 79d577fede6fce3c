/** The query log: off by default, and when on only for the clients and names that were asked for. */
import type { Cidr } from '../model/address.ts'
import type { Log } from '../model/log.ts'
import { labelsOf } from './message/query.ts'
import { rcodeName, typeName } from './message/wire.ts'
import type { Asking } from './stats.ts'

/** Which queries are logged; what is left out concerns all. */
export interface QueryFilter {
  readonly clients?: readonly Cidr[]
  /** Names with all below them; lower case. */
  readonly names?: readonly string[]
}

export class QueryLog {
  filter: QueryFilter | undefined
  readonly #log: Log

  constructor(log: Log, filter: QueryFilter | undefined) {
    this.#log = log
    this.filter = filter
  }

  saw(asking: Asking, zone: string, rcode: number, replyBytes: number, now: number): void {
    const { query, client, transport, at } = asking
    const { clients, names } = this.filter ?? {}
    if (clients && !clients.some(cidr => cidr.contains(client.address))) return
    const name = labelsOf(query).join('.')
    if (names && !names.some(domain => name === domain || name.endsWith(`.${domain}`))) return
    this.#log.info('dns query', {
      client: client.address,
      name: name.replace(/[^\x21-\x7e]/g, '?'),
      type: typeName(query.type),
      transport,
      zone,
      rcode: rcodeName(rcode),
      bytes: replyBytes,
      ms: Math.round((now - at) * 1000) / 1000,
    })
  }
}
