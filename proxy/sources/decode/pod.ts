/** Decodes Pods, for names of pods in DNS. */
import type { ObjectRef, PodObject } from '../objects.ts'
import { readAddress } from './address.ts'
import type { Faults } from './faults.ts'
import { fit, pod } from './shapes.ts'

/** Undefined for a Pod that has ended or has no address yet: it has no name in DNS. */
export function decodePod(value: object, ref: ObjectRef, faults: Faults): PodObject | undefined {
  const fitted = fit(pod, value, faults)
  if (!fitted) return undefined
  const { phase = '', podIP = '', podIPs = [] } = fitted.status
  if (phase === 'Succeeded' || phase === 'Failed') return undefined
  const addresses =
    podIPs.length > 0
      ? podIPs.map(({ ip }, i) => readAddress(ip, ['status', 'podIPs', i, 'ip'], faults))
      : podIP === ''
        ? []
        : [readAddress(podIP, ['status', 'podIP'], faults)]
  const known = addresses.filter(address => address !== undefined)
  if (known.length === 0) return undefined
  return { ...ref, kind: 'Pod', pod: { namespace: ref.namespace, name: ref.name, addresses: known } }
}
