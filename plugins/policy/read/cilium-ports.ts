/** The ports of a rule of a Cilium policy, and the conditions of layer 7 that stand with them. */

import { everyPort, type PortMatch } from '../ports.ts'
import { isPort, isThere } from './network-policy.ts'
import type { Notes, Path } from './notes.ts'

interface Found {
  /** Undefined: all ports. */
  readonly ports: readonly PortMatch[] | undefined
  readonly undecided: string | undefined
}

const fields = [...['ports', 'rules', 'listener', 'terminatingTLS', 'originatingTLS', 'serverNames']] as const

/** What makes a rule one of layer 7, and how it is called in messages. */
const conditions = [
  ['rules', 'a rule of layer 7'],
  ['listener', 'a redirection to a listener of Envoy'],
  ['terminatingTLS', 'TLS that is ended on the way'],
  ['originatingTLS', 'TLS that begins on the way'],
  ['serverNames', 'a rule on the server name of TLS'],
] as const

/** Ports that cannot be read are none of a rule that allows, and all of one that denies. */
export function readToPorts(value: unknown, path: Path, effect: 'allow' | 'deny', notes: Notes): Found {
  let undecided: string | undefined
  const unreadable = (): PortMatch[] => {
    if (effect === 'allow') return []
    undecided ??= 'its ports cannot be read'
    return [{ protocol: 'ANY', ...everyPort }]
  }
  const list = notes.list(value, path)
  if (!list) return { ports: unreadable(), undecided }
  if (list.length === 0) return { ports: undefined, undecided }
  const ports = list.flatMap((each, i) => {
    const at = [...path, i]
    const rule = notes.fields(each, at, fields)
    if (!rule) return unreadable()
    for (const [field, what] of conditions) {
      if (isEmpty(rule[field]) || (field === 'rules' && isEveryName(rule[field]))) continue
      notes.undecided([...at, field], `is ${what}, which cannot be decided at layer 4`)
      undecided ??= `it has ${what}`
    }
    const own = notes.list(rule.ports, [...at, 'ports'])
    return own ? own.flatMap((port, j) => readPort(port, [...at, 'ports', j], notes) ?? unreadable()) : unreadable()
  })
  return { ports, undecided }
}

function isEmpty(value: unknown): boolean {
  if (!isThere(value)) return true
  return typeof value === 'object' && Object.keys(value as object).length === 0
}

/** A rule of DNS that lets every name pass: Cilium needs it to learn names for `toFQDNs`, and it forbids nothing. */
function isEveryName(rules: unknown): boolean {
  const { dns, ...others } = rules as { readonly dns?: unknown }
  if (!Array.isArray(dns) || Object.values(others).some(isThere)) return false
  return dns.some(each => typeof each === 'object' && each !== null && ['*', '**'].includes(each.matchPattern))
}

const protocols = ['TCP', 'UDP', 'SCTP', 'ANY'] as const

/** A port is written as a text: a number, 0 for all ports, or a name. Undefined if it cannot be read, which is noted. */
function readPort(value: unknown, path: Path, notes: Notes): PortMatch[] | undefined {
  const found = notes.fields(value, path, ['port', 'endPort', 'protocol'])
  if (!found) return undefined
  const { port, endPort, protocol = 'ANY' } = found
  const name = String(protocol || 'ANY').toUpperCase()
  const known = protocols.find(each => each === name)
  if (!known) {
    const isOther = ['ICMP', 'ICMPV6', 'VRRP', 'IGMP'].includes(name)
    if (isOther) notes.undecided(path, `${name} is not carried here; it has no effect on TCP and UDP`)
    else notes.fault(path, 'has a protocol that is none of TCP, UDP, SCTP and ANY')
    return isOther ? [] : undefined
  }
  const text = String(port ?? '')
  if (text === '0' || text === '') return [{ protocol: known, ...everyPort }]
  if (!/^\d+$/.test(text)) return [{ protocol: known, name: text.toLowerCase() }]
  const first = Number(text)
  const last = isThere(endPort) && endPort !== 0 ? endPort : first
  if (isPort(first) && isPort(last) && first <= last) return [{ protocol: known, first, last }]
  notes.fault(path, 'is not a port from 1 to 65535')
  return undefined
}
