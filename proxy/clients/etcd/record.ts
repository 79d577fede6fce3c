/** Parses a JSON record and checks it against a schema. Errors name the field. */
import * as v from 'valibot'
import { MeshError, messageOf } from '../../model/error.ts'
import { hasMoreParts } from '../../model/text/json-parts.ts'
import { tame } from '../../model/text/spelling.ts'

/** A cluster id: 1 to 511, Cilium's largest range (`max-connected-clusters`). */
export const clusterId = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(511))

/** Keys, mappings and lists of a value: as many backends as fit into etcd's 1.5 MiB have some 100,000, and so many take 30 ms to parse. */
const maxParts = 150_000

export function parseJson<T>(schema: v.GenericSchema<unknown, T>, value: Uint8Array): T {
  if (hasMoreParts(value, maxParts)) throw fault(`has more than ${maxParts} fields`)
  let json: unknown
  try {
    json = JSON.parse(Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('utf8'))
  } catch (error) {
    throw fault(`is not JSON: ${messageOf(error)}`)
  }
  return parse(schema, json)
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
