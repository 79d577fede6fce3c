/** Reads the policies of all clusters. */
import { type Finding, flagOf, type PolicyObject } from '../../../proxy/plugin.ts'
import type { Policy, ReadOptions } from '../rule.ts'
import { readCidrGroup } from './cidr-groups.ts'
import { readCiliumPolicy } from './cilium.ts'
import { readNetworkPolicy, textOf } from './network-policy.ts'
import { Notes } from './notes.ts'

export interface ReadResult {
  readonly policies: readonly Policy[]
  readonly findings: readonly Finding[]
}

const auditAnnotation = 'starlane.dev/audit'

/** `auditAll`: no policy is enforced. */
export function readPolicies(
  objects: readonly PolicyObject[],
  options: Omit<ReadOptions, 'groups'>,
  auditAll: boolean,
): ReadResult {
  const findings: Finding[] = []
  const noted = <T>(object: PolicyObject, read: (notes: Notes) => T): T => {
    const where = object.origin === undefined ? object.cluster : `${object.cluster} ${object.origin}`
    const notes = new Notes(where, textOf({ ...object, origin: undefined }))
    const result = read(notes)
    findings.push(...notes.findings)
    return result
  }
  const isGroup = ({ kind }: PolicyObject) => kind === 'CiliumCIDRGroup'
  const groups = objects.filter(isGroup).flatMap(object => noted(object, notes => readCidrGroup(object, notes)) ?? [])
  const policies = objects
    .filter(object => !isGroup(object))
    .flatMap(object =>
      noted(object, notes => readOne(object, notes, { ...options, groups }, auditAll || auditOf(object, notes))),
    )
  return { policies, findings }
}

function readOne(object: PolicyObject, notes: Notes, options: ReadOptions, audit: boolean): readonly Policy[] {
  switch (object.kind) {
    case 'NetworkPolicy': {
      const policy = readNetworkPolicy(object, notes, options, audit)
      return policy ? [policy] : []
    }
    case 'CiliumNetworkPolicy':
    case 'CiliumClusterwideNetworkPolicy':
      return readCiliumPolicy(object, notes, options, audit)
    default:
      notes.fault(['apiVersion'], `${object.apiVersion} is not a stable version of this API; the policy is not used`)
      return []
  }
}

function auditOf({ annotations }: PolicyObject, notes: Notes): boolean {
  const value = annotations[auditAnnotation]
  if (value === undefined) return false
  const audit = flagOf(value)
  if (audit !== undefined) return audit
  notes.fault(['metadata', 'annotations', auditAnnotation], 'is neither "true" nor "false"; the policy is enforced')
  return false
}
