import { type Backend, type Backends, select } from '../model/backend.ts'
import type { Client } from '../model/flow.ts'
import type { GlobalService } from '../model/service.ts'
import type { ServiceChain } from './compile.ts'
import { headlessFrontend, neutralFlow } from './neutral.ts'

/**
 * What a client may be told of a service without an address of its own. Laws narrow (a tenant hears of no other tenant);
 * wishes do not, since the name of a single endpoint is that of a member whom nobody may replace. Where the name of the
 * service itself is asked for, wishes that are settled with the service (affinity) narrow too. Of each port the usable ones
 * are told, in the same array as long as nothing changes: DNS asks often.
 */
export function visibleTo(client: Client, service: GlobalService, chain: ServiceChain, preferred: boolean): Backends {
  const flow = neutralFlow(service, headlessFrontend(service), client)
  let left = service.backends
  for (const step of chain.narrowing) {
    if (left.length === 0) break
    if (step.law) left = step.narrow(flow, left)
    else if (preferred && step.decides === 'change') left = orAll(step.narrow(flow, left), left)
  }
  const known = chain.told.get(left)
  return known ?? chain.told.set(left, usableOfEachPort(left))
}

/** A wish that leaves nothing is none. */
function orAll(narrowed: Backends, all: Backends): Backends {
  return narrowed.length > 0 ? narrowed : all
}

function usableOfEachPort(backends: Backends): Backends {
  const usable = new Set([...Map.groupBy(backends, portOf).values()].flatMap(select))
  return Object.freeze(backends.filter(backend => usable.has(backend)))
}

function portOf({ family, protocol, ports }: Backend): string {
  return `${family} ${protocol} ${ports.join()}`
}
