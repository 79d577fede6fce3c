/** Decodes what the watchers deliver, passes it to the assembler, and remembers bad objects. */
import type { Resource } from '../../clients/kubernetes/resources.ts'
import type { ApiObject } from '../../clients/kubernetes/wire.ts'
import { pathText } from '../../config/fields.ts'
import type { Problem } from '../../model/error.ts'
import { decodeKubernetes } from '../decode/decode.ts'
import { type Kind, refText } from '../objects.ts'
import type { ServiceAssembler } from '../service-assembler.ts'

/** Problems that are listed one by one; the rest is counted. */
const maxFaults = 200

export class ObjectReader {
  readonly #cluster: string
  readonly #assembler: ServiceAssembler
  readonly #workloads: boolean
  readonly #faults = new Map<string, readonly Problem[]>()
  #revision = 0

  /** `workloads`: with labels of Pods, and policies. */
  constructor(cluster: string, assembler: ServiceAssembler, workloads = false) {
    this.#cluster = cluster
    this.#workloads = workloads
    this.#assembler = assembler
  }

  put({ kind, apiVersion }: Resource, raw: ApiObject): void {
    // Members of a list have no kind, and metadata alone has the kind PartialObjectMetadata.
    const { object, faults, ref } = isTooLong(raw)
      ? { ...tooLong, object: undefined, ref: undefined }
      : decodeKubernetes({ ...raw, kind, apiVersion }, { workloads: this.#workloads })
    const { namespace = '', name } = raw.metadata
    this.#remember(refText({ kind: kind as Kind, namespace, name }), faults)
    if (object) this.#assembler.put(object)
    // An invalid object keeps its last valid state; one that is no longer read is removed.
    else if (ref && faults.length === 0) this.drop(kind, namespace, name)
  }

  drop(kind: string, namespace: string, name: string): void {
    const ref = { kind: kind as Kind, namespace, name }
    if (this.#faults.delete(refText(ref))) this.#revision++
    this.#assembler.remove(ref)
  }

  /** Changes whenever `problems` may return something else. */
  get revision(): number {
    return this.#revision
  }

  problems(): Problem[] {
    const all = [...this.#faults.values()].flat()
    if (all.length <= maxFaults) return all
    const more: Problem = {
      code: 'SOURCE_OBJECT',
      where: this.#cluster,
      message: `${all.length - maxFaults} more objects are not usable; fix the others to see them`,
    }
    return [...all.slice(0, maxFaults), more]
  }

  #remember(ref: string, faults: ReturnType<typeof decodeKubernetes>['faults']): void {
    const problems = faults.map(
      ({ code, path, message }): Problem => ({
        code,
        where: this.#cluster,
        message: `${ref}: ${pathText(path)}: ${message}`,
      }),
    )
    if (problems.length > 0) this.#faults.set(ref, problems)
    if (problems.length > 0 || this.#faults.delete(ref)) this.#revision++
  }
}

/** The API server allows no more in a slice, so a longer one is not worth decoding. */
const maxSliceEndpoints = 1000

function isTooLong({ endpoints }: ApiObject): boolean {
  return Array.isArray(endpoints) && endpoints.length > maxSliceEndpoints
}

const tooLong: { readonly faults: ReturnType<typeof decodeKubernetes>['faults'] } = {
  faults: [
    {
      code: 'SOURCE_OBJECT',
      path: ['endpoints'],
      message: `has more than ${maxSliceEndpoints}, which no API server allows`,
    },
  ],
}
