/** One query with what its answer depends on besides the question: the client, the transport, the time. */
import type { Client } from '../model/flow.ts'
import { copyQuery, type Query } from './message/query.ts'
import type { Transport } from './transport.ts'

export interface DnsRequest {
  readonly query: Query
  readonly client: Client
  readonly transport: Transport
  /** When it was received; milliseconds of the clock. */
  readonly at: number
  /** Memory of the socket for a UDP reply that is ready at once; undefined: the reply gets a buffer of its own. */
  readonly room: Buffer | undefined
}

/** A copy for answers that take time: the socket reuses the memory of its messages and replies. */
export function detached(request: DnsRequest): DnsRequest {
  return { ...request, query: copyQuery(request.query), room: undefined }
}
