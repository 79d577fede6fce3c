/**
 * Which frontends the kernel may lead straight to their backends (`proxy.ebpf.direct`): those whose backends are fixed until the next
 * change. Everything that Starlane does for a flow is given up for them, see docs/offload.md.
 */
import { isLoopback } from '../../model/address.ts'
import type { Backends } from '../../model/backend.ts'
import type { Chooser } from '../../model/flow.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'

export interface DirectParts {
  readonly chooser: Pick<Chooser, 'settled'>
  /** The names of the plugins that decide or watch flows of a service one by one. */
  readonly watching: (service: GlobalService) => readonly string[]
  /** Whether clients are in other network namespaces too, where loopback is another one. */
  readonly pods: boolean
}

export type Way =
  | { readonly backends: Backends; readonly why?: never }
  /** To the listener, and why. */
  | { readonly backends?: never; readonly why: string }

export function wayOf(frontend: Frontend, service: GlobalService, { chooser, watching, pods }: DirectParts): Way {
  if (service.settings.sendProxy) return { why: 'its connections begin with a header of the PROXY protocol' }
  const settled = chooser.settled(frontend, service)
  if (!settled) {
    const names = watching(service)
    return { why: `${names.join(' and ')} ${names.length === 1 ? 'sees' : 'see'} each flow` }
  }
  const weighted = settled.filter(({ weight }) => weight > 0)
  const backends = weighted.length > 0 ? weighted : settled
  if (backends.length === 0) return { why: 'it has no usable backend' }
  const far = backends.find(({ network }) => network !== undefined)
  if (far) return { why: `${far.cluster} is reached through its gateways` }
  const local = pods && backends.find(({ address }) => isLoopback(address))
  if (local) return { why: `${local.key} is on loopback, which pods have of their own` }
  return { backends }
}

/** What a flow does without that goes to its backend directly. */
export const givenUp = 'no retry, limits, breakers, metrics or records; weights by chance'
