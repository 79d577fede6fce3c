import { type Backend, type Backends, select } from '../model/backend.ts'
import type { Client } from '../model/flow.ts'
import type { GlobalService } from '../model/service.ts'
import type { ServiceChain } from './compile.ts'
import { headlessFrontend, neutralFlow } from './neutral.ts'

/**
 * What a client may be told of a service without an address of its own. Laws narrow (a tenant hears of no other tenant);
 * wishes do not, since DNS tells of all members and the client itself chooses. Of each port the usable ones are told,
 * in the same array as long as nothing changes: DNS asks often.
 */
export function visibleTo(client: Client, service: GlobalService, chain: ServiceChain): Backends {
  const flow = neutralFlow(service, headlessFrontend(service), client)
  let left = service.backends
  for (const step of chain.narrowing) {
    if (step.law && left.length > 0) left = step.narrow(flow, left)
  }
  const known = chain.told.get(left)
  return known ?? chain.told.set(left, usableOfEachPort(left))
}

function usableOfEachPort(backends: Backends): Backends {
  const usable = new Set([...Map.groupBy(backends, portOf).values()].flatMap(select))
  return Object.freeze(backends.filter(backend => usable.has(backend)))
}

function portOf({ family, protocol, ports }: Backend): string {
  return `${family} ${protocol} ${ports.join()}`
}
