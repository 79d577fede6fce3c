/** Where services are, as environment variables: those that a Pod has of the Services of its namespace. */
import type { ServiceView } from '../../model/views.ts'

/** `REBEL_BASE_SERVICE_HOST`, `REBEL_BASE_SERVICE_PORT` and `REBEL_BASE_SERVICE_PORT_HTTP`, as the kubelet sets them. */
export function serviceEnvironment(services: readonly ServiceView[], namespace: string): Record<string, string> {
  const found: Record<string, string> = {}
  for (const service of services) {
    const [first] = service.frontends
    if (service.namespace !== namespace || !first) continue
    const name = variable(service.name)
    found[`${name}_SERVICE_HOST`] = first.ip
    found[`${name}_SERVICE_PORT`] = String(first.port)
    for (const { name: port, port: number, ip } of service.frontends)
      if (port !== '' && ip === first.ip) found[`${name}_SERVICE_PORT_${variable(port)}`] = String(number)
  }
  return found
}

function variable(name: string): string {
  return name.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_')
}
