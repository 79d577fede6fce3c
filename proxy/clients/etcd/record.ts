/** Parses a JSON record and checks it against a schema. Errors name the field. */
import * as v from 'valibot'
import { MeshError, messageOf } from '../../model/error.ts'
import { hasMoreParts } from '../../model/text/json-parts.ts'
import { tame } from '../../model/text/spelling.ts'

/** A cluster id: 1 to 511, Cilium's largest range (`max-connected-clusters`). */
export const clusterId = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(511))

/**
 * Keys, mappings and lists of what is parsed in one go: 10 ms. No node, export or identity has a hundredth of that, and a service with as
 * many backends as fit into a value is parsed in pieces (`sources/etcd/large-record.ts`).
 */
export const maxParts = 30_000

export function parseJson<T>(schema: v.GenericSchema<unknown, T>, value: Uint8Array): T {
  return parse(schema, parseText(value))
}

/** Without a schema. */
export function parseText(value: Uint8Array): unknown {
  if (hasMoreParts(value, maxParts)) throw fault(`has more than ${maxParts} fields`)
  try {
    return JSON.parse(Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('utf8'))
  } catch (error) {
    throw fault(`is not JSON: ${messageOf(error)}`)
  }
}

export function parse<T>(schema: v.GenericSchema<unknown, T>, value: unknown): T {
  const result = v.safeParse(schema, value, { abortEarly: true })
  if (result.success) return result.output
  const [issue] = result.issues
  throw fault(`${v.getDotPath(issue) ?? 'the record'}: ${issue.message}`)
}

/** The reason may quote the value, so it is made safe for a terminal. */
export function fault(message: string): MeshError {
  return new MeshError('SOURCE_OBJECT', tame(message))
}
