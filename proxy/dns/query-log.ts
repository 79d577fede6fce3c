/** The query log: off by default; when on, only for the clients and names of the filter. */
import type { Log } from '../model/log.ts'
import { labelsOf } from './message/query.ts'
import { rcodeName, typeName } from './message/wire.ts'
import type { QueryFilter } from './options.ts'
import type { DnsRequest } from './request.ts'

export class QueryLog {
  filter: QueryFilter | undefined
  readonly #log: Log

  constructor(log: Log, filter: QueryFilter | undefined) {
    this.#log = log
    this.filter = filter
  }

  write(request: DnsRequest, zone: string, rcode: number, replyBytes: number, now: number): void {
    const { query, client, transport, at } = request
    const { clients, names } = this.filter ?? {}
    if (clients && !clients.some(cidr => cidr.contains(client.address))) return
    const name = labelsOf(query).join('.')
    if (names && !names.some(domain => name === domain || name.endsWith(`.${domain}`))) return
    this.#log.info('dns.query', {
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
