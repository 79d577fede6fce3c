/** The refusal of a flow for which there is no usable backend. */
import type { Backends } from '../model/backend.ts'
import type { Flow, Refusal } from '../model/flow.ts'
import { refusal } from '../model/refusal.ts'

/** `left` is what the plugins left. */
export function noBackend(flow: Flow, left: Backends): Refusal {
  return refusal('no-backend', reason(flow, left))
}

function reason({ frontend, service }: Flow, left: Backends): string {
  if (left.length > 0) return `no backend is serving: all are terminating (${left.length})`
  if (frontend.backends.length > 0) return `every backend was tried (${frontend.backends.length})`
  const { parked, backends } = service
  const port = `${frontend.name || frontend.port}/${frontend.protocol}`
  if (backends.length > 0) return `no backend is ready for port ${port} (of ${backends.length})`
  if (parked.length > 0) return `other clusters have backends (${parked.length}), but the service is not global here`
  return 'no cluster has endpoints'
}
