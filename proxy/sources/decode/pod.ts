/** Decodes Pods, for names of pods in DNS and for policies. */
import type { InferOutput } from 'valibot'
import { canonicalAddress } from '../../model/address.ts'
import type { NamedPort } from '../../model/workloads/identity.ts'
import type { ObjectRef, PodObject } from '../objects.ts'
import { readAddress } from './address.ts'
import type { Faults } from './faults.ts'
import { fit, pod } from './shapes.ts'

/** Undefined for a Pod that has ended or has no address yet. */
export function decodePod(value: object, ref: ObjectRef, faults: Faults): PodObject | undefined {
  const fitted = fit(pod, value, faults)
  if (!fitted) return undefined
  const { phase = '', podIP = '', podIPs = [], hostIP = '' } = fitted.status
  if (phase === 'Succeeded' || phase === 'Failed') return undefined
  const addresses =
    podIPs.length > 0
      ? podIPs.map(({ ip }, i) => readAddress(ip, ['status', 'podIPs', i, 'ip'], faults))
      : podIP === ''
        ? []
        : [readAddress(podIP, ['status', 'podIP'], faults)]
  const known = addresses.filter(address => address !== undefined)
  if (known.length === 0) return undefined
  const { serviceAccountName = '', hostNetwork = false } = fitted.spec
  const hostAddress = canonicalAddress(hostIP)
  const { namespace, name } = ref
  const { labels } = fitted.metadata
  return {
    ...ref,
    kind: 'Pod',
    pod: {
      namespace,
      name,
      addresses: known,
      workload: { namespace, labels, account: serviceAccountName || 'default', ports: portsOf(fitted.spec) },
      ...(hostNetwork && { hostNetwork: true as const }),
      ...(hostAddress !== undefined && { hostAddress }),
    },
  }
}

/** The named ports of the containers that run beside each other; an init container that restarts is one of them. */
function portsOf({ containers = [], initContainers = [] }: InferOutput<typeof pod>['spec']): NamedPort[] {
  const sidecars = initContainers.filter(({ restartPolicy }) => restartPolicy === 'Always')
  return [...containers, ...sidecars].flatMap(({ ports }) =>
    ports.flatMap(({ name, containerPort, protocol }) => (name ? [{ name, port: containerPort, protocol }] : [])),
  )
}
