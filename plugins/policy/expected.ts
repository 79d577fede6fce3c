/** Clients that may come, one of each kind that policies can tell apart: known Pods and machines, and addresses outside. */
import { type Client, canonicalAddress, type Workloads } from '../../proxy/plugin.ts'
import type { AddressNumber, Range } from './range.ts'
import type { Policy } from './rule.ts'

/** Kinds of Pods and machines; the others are decided when they come. */
const maxOccupants = 5000
/** Ends of ranges. */
const maxEdges = 2000

export function* expectedClients(workloads: Workloads, policies: readonly Policy[]): Generator<Client> {
  yield clientAt('127.0.0.1')
  let left = maxOccupants
  for (const address of workloads.examples()) {
    if (left-- === 0) break
    yield clientAt(address)
  }
  for (const address of edgesOf(policies)) if (!workloads.at(address)) yield clientAt(address)
}

/**
 * The addresses at which a range of a policy begins, and those after its end. Between two neighbours nothing changes, so every set of ranges
 * that an address can be in is that of one of these.
 */
function edgesOf(policies: readonly Policy[]): Set<string> {
  const edges = new Set(['0.0.0.1', '::2'])
  for (const { rules } of policies) {
    for (const { peers } of rules) {
      for (const peer of peers) {
        if (peer.is !== 'range') continue
        for (const range of [...peer.ranges, ...peer.except]) {
          if (edges.size >= maxEdges) return edges
          for (const address of endsOf(range)) if (address !== undefined) edges.add(address)
        }
      }
    }
  }
  return edges
}

function endsOf({ first, last }: Range): (string | undefined)[] {
  if (typeof first === 'number') return [textOf(first), textOf((last as number) + 1)]
  return [textOf(first), textOf((last as bigint) + 1n)]
}

/** Undefined beyond the last address. */
function textOf(number: AddressNumber): string | undefined {
  if (typeof number === 'number') {
    if (number >= 2 ** 32) return undefined
    return [24, 16, 8, 0].map(shift => Math.floor(number / 2 ** shift) % 256).join('.')
  }
  const hex = number.toString(16).padStart(32, '0')
  return hex.length > 32 ? undefined : canonicalAddress((hex.match(/.{4}/g) ?? []).join(':'))
}

function clientAt(address: string): Client {
  return { address, port: 0 }
}
