/** Whether the addresses of the configuration can be bound, or are bound by the Starlane that runs. */
import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'
import type { Config } from '../../config/schema.ts'
import { endpointText, familyOf } from '../../model/address.ts'
import { type Finding, findingsAt } from './finding.ts'
import { thisMachine } from './machine.ts'

interface Wanted {
  readonly field: string
  readonly address: string
  readonly port: number
  readonly protocol: 'TCP' | 'UDP'
}

/** `running`: a Starlane of this configuration answers, so that taken addresses are its own. */
export async function checkPorts(config: Config, running: boolean): Promise<Finding[]> {
  return Promise.all(wantedPorts(config).map(wanted => examine(wanted, running)))
}

function wantedPorts({ dns, admin, gateway }: Config): Wanted[] {
  const tcp = (field: string, at: { readonly address: string; readonly port: number } | undefined): Wanted[] =>
    at ? [{ field, ...at, protocol: 'TCP' }] : []
  return [
    { field: 'dns.listen', ...dns.listen, protocol: 'UDP' },
    ...tcp('dns.listen', dns.listen),
    ...tcp('admin.listen', admin.listen),
    ...tcp('admin.metrics', admin.metrics),
    ...tcp('gateway.listen', gateway?.listen),
  ]
}

async function examine(wanted: Wanted, running: boolean): Promise<Finding> {
  const { field, address, port, protocol } = wanted
  const at = findingsAt(thisMachine)
  const what = `${endpointText(address, port)}/${protocol} (${field})`
  const code = await bindFailure(wanted)
  if (code === undefined) return at.good('ports', `${what} is free`)
  if (code === 'EADDRINUSE' && running) return at.good('ports', `${what} is in use by the Starlane that runs`)
  return at.error('ports', `${what} cannot be bound (${code})`, remedyFor(code, wanted))
}

function remedyFor(code: string, { field, port, protocol }: Wanted): string {
  const flag = protocol === 'TCP' ? 't' : 'u'
  if (code === 'EADDRINUSE')
    return `"ss -ln${flag}p 'sport = :${port}'" shows by whom it is taken; end that, or change ${field}`
  if (code === 'EACCES' || code === 'EPERM') {
    const low = 'this user may not bind ports below 1024: give it NET_BIND_SERVICE'
    return `${low}, sysctl -w net.ipv4.ip_unprivileged_port_start=${port}, or another port in ${field}`
  }
  if (code === 'EADDRNOTAVAIL') return `the address is not of this machine; correct ${field}`
  return `correct ${field}`
}

function bindFailure({ address, port, protocol }: Wanted): Promise<string | undefined> {
  return new Promise(resolve => {
    const failed = (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message)
    if (protocol === 'TCP') {
      const server = createServer().once('error', failed)
      server.listen({ host: address, port }, () => server.close(() => resolve(undefined)))
      return
    }
    const socket = createSocket(familyOf(address) === 6 ? 'udp6' : 'udp4').once('error', error => {
      socket.close()
      failed(error as NodeJS.ErrnoException)
    })
    socket.bind(port, address, () => socket.close(() => resolve(undefined)))
  })
}
