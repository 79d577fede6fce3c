/** Flows that are never dialled, for asking the chain what it would do. */
import type { Client, Flow } from '../model/flow.ts'
import type { Frontend, GlobalService } from '../model/service.ts'

/** A client that no plugin knows, for questions that do not depend on the client. */
export const anyClient: Client = Object.freeze({ address: '0.0.0.0', port: 0 })

/** A flow for asking the chain a question; it is never dialled. */
export function neutralFlow(service: GlobalService, frontend: Frontend, client: Client = anyClient): Flow {
  return { id: 0, client, service, frontend, tried: [] }
}

/** A headless service has no frontend; this one stands for all its backends. */
export function headlessFrontend(service: GlobalService): Frontend {
  return { key: '', service: service.key, ip: '', port: 0, protocol: 'TCP', name: '', backends: service.backends }
}
