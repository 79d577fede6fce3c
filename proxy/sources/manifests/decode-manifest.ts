/** Decodes the objects of a manifest, one by one. */
import { pathText } from '../../config/fields.ts'
import type { ErrorCode } from '../../model/error.ts'
import { decodeKubernetes } from '../decode/decode.ts'
import type { ObjectFault } from '../decode/faults.ts'
import type { ClusterObject, ObjectRef } from '../objects.ts'
import { parseManifest } from './parse.ts'
import { linesOf, type RawObject, SyntaxFault } from './raw-object.ts'

/** An object of a manifest. Plain values, so that it can come from another thread. */
export interface DecodedObject {
  /** The line where it begins, from 1. */
  readonly line: number
  /** Undefined for kinds that are not read, and when the name cannot be read. */
  readonly ref: ObjectRef | undefined
  /** Undefined for other kinds and for invalid objects. */
  readonly object: ClusterObject | undefined
  readonly faults: readonly LocatedFault[]
  /** See `Decoded.ignored`. */
  readonly ignored?: string | undefined
}

export interface LocatedFault {
  readonly code: ErrorCode
  readonly line: number
  /** Begins with the object and the field. */
  readonly message: string
}

/** Faults of a text that get a line of their own, which takes another look at the text; the others have that of their object. */
const maxLocated = 100

/** Yields undefined where the caller may pause. Throws SyntaxFault, perhaps after some objects. */
export function* decodeManifest(text: string, workloads: boolean): Generator<DecodedObject | undefined> {
  let located = 0
  try {
    for (const raw of parseManifest(text)) {
      if (!raw) {
        yield undefined
        continue
      }
      const { subject, ref, object, faults, ignored } = decodeKubernetes(raw.value, { workloads })
      const { line } = raw
      if (faults.length === 0) {
        yield { line, ref, object, faults: [], ...(ignored !== undefined && { ignored }) }
        continue
      }
      yield undefined
      yield { line, ref, object, faults: locate(raw, faults, subject, located < maxLocated) }
      located += faults.length
    }
  } catch (error) {
    if (!(error instanceof SyntaxFault) || !/^[^#\n]*\{\{/m.test(text)) throw error
    const why = 'it is a template with {{ … }}, not a manifest; render it first: helm template CHART'
    throw new SyntaxFault(`${error.message}; ${why}`, error.line)
  }
}

function locate(raw: RawObject, faults: readonly ObjectFault[], subject: string, isExact: boolean): LocatedFault[] {
  const lineOf = isExact ? linesOf(raw) : () => raw.line
  return faults.map(({ code, path, message }) => {
    const field = path.length > 0 ? `${pathText(path)}: ` : ''
    return { code, line: lineOf(path), message: `${subject}: ${field}${message}` }
  })
}
