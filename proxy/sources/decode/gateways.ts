/** Which gateways a Service stands for (`starlane.dev/gateway`, `starlane.dev/gateways`). */
import { flagOf } from '../../model/text/flag.ts'
import { shown } from '../../model/text/spelling.ts'
import {
  defaultGatewayPort,
  type NamedGateway,
  namedGateway,
  parseGateway,
} from '../../model/tunnel/gateway-address.ts'
import type { Faults } from './faults.ts'

/** A label or an annotation: the addresses of this Service of type LoadBalancer are gateways of its cluster. */
export const gatewayMark = 'starlane.dev/gateway'
/** An annotation: what to dial instead, `gw.example:15008, 192.0.2.1`. */
const gatewaysAnnotation = 'starlane.dev/gateways'

interface GatewayService {
  readonly type: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly ports: readonly { readonly name: string; readonly protocol: string; readonly port: number }[]
  readonly ingress: readonly {
    readonly ip?: string | null | undefined
    readonly hostname?: string | null | undefined
  }[]
}

/** Empty for a Service that is no gateway, and while its load balancer has no address. */
export function gatewaysOf(service: GatewayService, faults: Faults): readonly NamedGateway[] {
  const { type, labels, annotations, ingress } = service
  const written = annotations[gatewaysAnnotation]
  if (written !== undefined) return listed(written, faults)
  const mark = labels[gatewayMark] ?? annotations[gatewayMark]
  const isGateway = mark === undefined ? false : flagOf(mark)
  if (isGateway === undefined)
    faults.ignoreAnnotation(gatewayMark, `${shown(mark)} is neither "true" nor "false"; it is no gateway`)
  if (!isGateway) return []
  if (type !== 'LoadBalancer') {
    const remedy = `make it one, or name the addresses in ${gatewaysAnnotation}`
    faults.ignoreAnnotation(
      gatewayMark,
      `is on a Service of type ${type}, and only a LoadBalancer has addresses; ${remedy}`,
    )
    return []
  }
  const port = portOf(service)
  if (port === undefined) {
    faults.ignoreAnnotation(
      gatewayMark,
      `is on a Service with neither port ${defaultGatewayPort} nor one port of TCP alone`,
    )
    return []
  }
  return ingress
    .flatMap(({ ip, hostname }) => namedGateway(ip || hostname || '', port) ?? [])
    .filter(({ host }) => host !== '')
}

/** The port of the gateway: by its number, by its name, or the only one. */
function portOf({ ports }: GatewayService): number | undefined {
  const tcp = ports.filter(({ protocol }) => protocol === 'TCP')
  const found =
    tcp.find(({ port }) => port === defaultGatewayPort) ??
    tcp.find(({ name }) => name === 'hbone' || name === 'tunnel') ??
    (tcp.length === 1 ? tcp[0] : undefined)
  return found?.port
}

function listed(text: string, faults: Faults): NamedGateway[] {
  return text
    .split(',')
    .map(one => one.trim())
    .filter(one => one !== '')
    .flatMap(one => {
      const gateway = parseGateway(one)
      if (!gateway) faults.ignoreAnnotation(gatewaysAnnotation, `${shown(one)} is not a gateway; write HOST:15008`)
      return gateway ?? []
    })
}
