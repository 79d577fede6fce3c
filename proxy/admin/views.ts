import type { Json } from '../model/text/json.ts'
import type { Explanation, NameExplanation, ServiceView, Status } from '../model/views.ts'

/** What the admin surface asks of the rest. Each call looks anew; none but `dns` may wait for the network. */
export interface Views {
  status(): Status
  services(): readonly ServiceView[]
  service(namespace: string, name: string): ServiceView | undefined
  /** `from` is a canonical address; without it the answer is for a client on this machine. */
  explain(namespace: string, name: string, from?: string): Explanation | undefined
  /** An rcode of FORMERR says that name or type are none. Asks upstream resolvers where a client's question would. */
  dns(name: string, type: string, from?: string): Promise<NameExplanation>
  /** The configuration in force with every default filled in and every secret taken out. */
  config(): Json
  /** Prometheus text, format 0.0.4. */
  metrics(): Promise<string>
  ready(): Readiness
}

export interface Readiness {
  readonly ready: boolean
  /** What must come up first, in words: `source cluster-2`, `DNS`. */
  readonly waiting: readonly string[]
}
