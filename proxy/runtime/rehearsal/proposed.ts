/** Policies that are not there yet, from the text of manifests. */
import { MeshError, type Problem } from '../../model/error.ts'
import type { PolicyObject } from '../../model/workloads/policy-object.ts'
import { decodeKubernetes } from '../../sources/decode/decode.ts'
import { parseManifest } from '../../sources/manifests/parse.ts'
import { SyntaxFault } from '../../sources/manifests/raw-object.ts'

/** Other objects in the manifests are left out. Throws a MeshError for a text that is neither YAML nor JSON. */
export function proposed(
  manifests: readonly { readonly path: string; readonly text: string }[],
  cluster: string,
): { policies: readonly PolicyObject[]; problems: readonly Problem[] } {
  const policies: PolicyObject[] = []
  const problems: Problem[] = []
  for (const { path, text } of manifests) {
    try {
      for (const raw of parseManifest(text)) {
        if (!raw) continue
        const { value, line } = raw
        const { object, faults, subject } = decodeKubernetes(value, { workloads: true })
        const where = `${path}:${line}`
        if (object && 'policy' in object) policies.push({ ...object.policy, cluster, origin: where })
        for (const { message } of faults)
          problems.push({ code: 'SOURCE_OBJECT', where, message: `${subject}: ${message}` })
      }
    } catch (error) {
      if (!(error instanceof SyntaxFault)) throw error
      throw new MeshError('USAGE', `${path}:${error.line} cannot be read: ${error.message}`, { cause: error })
    }
  }
  return { policies, problems }
}
