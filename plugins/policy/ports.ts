/** Ports in rules: numbers, ranges and names. */
import type { NamedPort, Protocol } from '../../proxy/plugin.ts'

export type PortMatch = {
  readonly protocol: Protocol | 'ANY'
} & (
  | { readonly first: number; readonly last: number; readonly name?: never }
  /** The name of a container port of the destination. */
  | { readonly name: string; readonly first?: never }
)

/** Where a flow goes. Port 0: any port of the destination, for a question about the destination as a whole. */
export interface Target {
  readonly port: number
  readonly protocol: Protocol
  readonly ports: readonly NamedPort[]
}

export const everyPort = { first: 0, last: 65_535 } as const

/** `every`: whether the match must cover all ports of the destination where the port is not known, as one that denies must. */
export function portMatches(match: PortMatch, { port, protocol, ports }: Target, every: boolean): boolean {
  if (match.protocol !== 'ANY' && match.protocol !== protocol) return false
  if (port === 0) return !every || (match.first === everyPort.first && match.last === everyPort.last)
  if (match.name === undefined) return match.first <= port && port <= match.last
  const { name } = match
  return ports.some(named => named.name === name && named.protocol === protocol && named.port === port)
}

export function portText(match: PortMatch): string {
  if (match.name !== undefined) return `${match.name}/${match.protocol}`
  if (match.first === everyPort.first) return `all/${match.protocol}`
  return `${match.first === match.last ? match.first : `${match.first}-${match.last}`}/${match.protocol}`
}
