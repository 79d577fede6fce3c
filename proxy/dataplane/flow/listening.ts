/** What both engines need to open listeners: the backlog, and errors that say what to do. */
import { endpointText } from '../../model/address.ts'
import { MeshError } from '../../model/error.ts'
import type { Frontend } from '../../model/service.ts'
import { codeOf } from './outcome.ts'

/** Connections that wait to be accepted; the kernel caps it at net.core.somaxconn. */
export const backlog = 4096

/** An error of bind(2) or listen(2) with its place, cause and remedy. */
export function listenError(frontend: Frontend, error: Error): MeshError {
  const where = `${endpointText(frontend.ip, frontend.port)}/${frontend.protocol} of service ${frontend.service}`
  const [what, remedy] = explain(frontend, codeOf(error)) ?? [error.message, 'see the cause']
  return new MeshError('LISTEN', `cannot listen on ${where}: ${what}; ${remedy}`, { cause: error })
}

function explain({ port, protocol }: Frontend, code: string): readonly [what: string, remedy: string] | undefined {
  switch (code) {
    case 'EADDRINUSE': {
      const list = protocol === 'UDP' ? 'ss -lunp' : 'ss -ltnp'
      const others = 'another process has the port, on this address or on all addresses (0.0.0.0, ::)'
      return [others, `find it with \`${list} sport = :${port}\` and stop it or give it another address`]
    }
    case 'EACCES':
    case 'EPERM':
      return [
        `ports below net.ipv4.ip_unprivileged_port_start are reserved and ${port} is one of them`,
        `give CAP_NET_BIND_SERVICE, or set \`sysctl net.ipv4.ip_unprivileged_port_start=${port}\`, or use a higher port`,
      ]
    case 'EADDRNOTAVAIL':
      return [
        'the ClusterIP is not an address of this machine',
        'set proxy.anyip: true to make it one (needs CAP_NET_ADMIN), or proxy.vips.cidr for loopback addresses instead',
      ]
    case 'EMFILE':
    case 'ENFILE':
      return ['no file descriptor is left', 'raise the limit: `ulimit -n`, or LimitNOFILE of the systemd unit']
    case 'EAFNOSUPPORT':
      return ['this machine has no IPv6', 'enable it (net.ipv6.conf.all.disable_ipv6=0) or use IPv4 ClusterIPs']
    default:
      return undefined
  }
}
