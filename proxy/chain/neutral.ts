import type { Client, Flow } from '../model/flow.ts'
import type { Frontend, GlobalService } from '../model/service.ts'

/** A client without traits: what such a one gets is what a service offers by itself. */
export const nobody: Client = Object.freeze({ address: '0.0.0.0', port: 0 })

/** A flow for asking the chain a question; nobody dials it. */
export function neutralFlow(service: GlobalService, frontend: Frontend, client: Client = nobody): Flow {
  return { id: 0, client, service, frontend, tried: [] }
}

/** The frontend that a headless service would have: all its backends behind it. */
export function headlessFrontend(service: GlobalService): Frontend {
  return { key: '', service: service.key, ip: '', port: 0, protocol: 'TCP', name: '', backends: service.backends }
}
