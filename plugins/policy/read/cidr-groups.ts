/** CiliumCIDRGroups (cilium.io/v2 and v2alpha1): named lists of ranges that rules refer to. */
import type { Labels, PolicyObject } from '../../../proxy/plugin.ts'
import { parseRange, type Range } from '../range.ts'
import type { Notes } from './notes.ts'

export interface CidrGroup {
  readonly cluster: string
  readonly name: string
  readonly labels: Labels
  readonly ranges: readonly Range[]
}

/** A range that cannot be read is noted and left out, so a rule that refers to the group is undecided: undefined. */
export function readCidrGroup(object: PolicyObject, notes: Notes): CidrGroup | undefined {
  const spec = notes.fields(object.spec, ['spec'], ['externalCIDRs'])
  const list = spec && notes.list(spec.externalCIDRs, ['spec', 'externalCIDRs'])
  if (!list) return undefined
  const ranges = list.map((text, i) => {
    const range = parseRange(text)
    if (!range) notes.fault(['spec', 'externalCIDRs', i], 'is not a range like 10.0.0.0/8')
    return range
  })
  const { cluster, name, labels = {} } = object
  return ranges.includes(undefined)
    ? undefined
    : { cluster, name, labels, ranges: ranges.filter(range => range !== undefined) }
}
