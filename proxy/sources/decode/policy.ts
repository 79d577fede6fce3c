/** Decodes policy objects as far as their names go. */
import type { PolicyKind, PolicyObject } from '../../model/workloads/policy-object.ts'
import type { PolicyEntry } from '../objects.ts'
import type { Faults } from './faults.ts'
import { fit, policy } from './shapes.ts'

const namespaced: ReadonlySet<PolicyKind> = new Set(['NetworkPolicy', 'CiliumNetworkPolicy'])

export function decodePolicy(
  { kind, apiVersion }: { readonly kind: PolicyKind; readonly apiVersion: string },
  value: object,
  faults: Faults,
): PolicyEntry | undefined {
  const { spec, specs } = value as { readonly spec?: unknown; readonly specs?: unknown }
  const found = identify(kind, value, faults)
  if (!found) return undefined
  return {
    kind,
    namespace: found.namespace,
    name: found.name,
    policy: { kind, apiVersion, ...found, spec, specs },
  }
}

function identify(
  kind: PolicyKind,
  value: object,
  faults: Faults,
): Pick<PolicyObject, 'namespace' | 'name' | 'annotations' | 'labels'> | undefined {
  if (!namespaced.has(kind)) {
    const fitted = fit(policy.clusterWide, value, faults)
    if (!fitted) return undefined
    const { name, annotations, labels } = fitted.metadata
    return { namespace: '', name, annotations: oursIn(annotations), ...(kind === 'CiliumCIDRGroup' && { labels }) }
  }
  const fitted = fit(policy.namespaced, value, faults)
  return (
    fitted && {
      namespace: fitted.metadata.namespace,
      name: fitted.metadata.name,
      annotations: oursIn(fitted.metadata.annotations),
    }
  )
}

/** kubectl keeps a copy of the whole object in an annotation. */
function oursIn(annotations: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(annotations).filter(([key]) => key.startsWith('starlane.dev/')))
}
