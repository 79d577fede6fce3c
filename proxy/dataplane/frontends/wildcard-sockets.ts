/** Sockets of this machine that are bound to all addresses, and so answer on every local address where nothing else does. */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'

export interface WildcardSocket {
  readonly protocol: 'TCP' | 'UDP'
  readonly port: number
}

/** Of both families: one on :: takes IPv4 as well, unless it says otherwise, which the kernel does not list. */
const tables = [
  ['/proc/net/tcp', 'TCP'],
  ['/proc/net/tcp6', 'TCP'],
  ['/proc/net/udp', 'UDP'],
  ['/proc/net/udp6', 'UDP'],
] as const
const listen = '0A' // TCP_LISTEN
const unconnected = '07' // TCP_CLOSE

/** Sorted by protocol and port, each once. Empty where there is no such list, as outside Linux. */
export async function wildcardSockets(): Promise<WildcardSocket[]> {
  const found = new Map<string, WildcardSocket>()
  for (const [file, protocol] of tables) {
    for (const port of await portsOf(file, protocol === 'TCP')) found.set(`${protocol} ${port}`, { protocol, port })
  }
  return [...found.values()].sort((a, b) =>
    a.protocol < b.protocol ? -1 : a.protocol > b.protocol ? 1 : a.port - b.port,
  )
}

async function portsOf(file: string, tcp: boolean): Promise<number[]> {
  const ports: number[] = []
  const input = createReadStream(file)
  try {
    for await (const line of createInterface({ input })) {
      const [slot, local, remote, state] = line.trim().split(/\s+/)
      if (!slot?.endsWith(':') || !local || !remote) continue
      // The kernel lists the listening sockets first: there is no need to read the connections.
      if (tcp && state !== listen) break
      const [address = '', port = ''] = local.split(':')
      const isOpen = tcp || (state === unconnected && /^0+:0+$/.test(remote))
      if (isOpen && /^0+$/.test(address)) ports.push(Number.parseInt(port, 16))
    }
  } catch {
    return [] // no /proc, or no IPv6
  } finally {
    input.destroy()
  }
  return ports
}
