/** Parses lists and watch events of the Kubernetes API, checking only what following a resource needs. */
import { MeshError } from '../../model/error.ts'
import { hasMoreParts } from '../../model/text/json-parts.ts'
import { hugeObject } from '../budget.ts'

/** etcd limits objects to 1.5 MiB. JSON takes more room, but no real object comes near this. */
export const maxObjectBytes = 3 << 20
/** Keys, mappings and lists. A slice of 1000 endpoints, which is the most that a server allows, has some 25,000. */
export const maxObjectParts = 50_000

/** An object of the API that is known to have a name and a version; everything else is unchecked. */
export interface ApiObject {
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly resourceVersion: string
    readonly [key: string]: unknown
  }
  readonly [key: string]: unknown
}

/** A page of a list, without its objects. */
export interface Page {
  readonly continue: string
  readonly version: string
}

/** What a watch has sent is no event: events may be missing, or the server is none. */
export class NoEvent extends MeshError {}

/** The frame of a page: the list with an empty array in place of its objects. */
export function readPage(frame: string, path: string): Page {
  const list = parsed(frame)
  const { metadata, items = [] } = isRecord(list) ? list : {}
  if (
    !isRecord(metadata) ||
    typeof metadata.resourceVersion !== 'string' ||
    !(items === null || Array.isArray(items))
  ) {
    throw new MeshError('SOURCE_READ', `GET ${path}: the answer is not a list; is this an API server?`)
  }
  return {
    continue: typeof metadata.continue === 'string' ? metadata.continue : '',
    version: metadata.resourceVersion,
  }
}

/** One object of a list. */
export function readObject(text: string, path: string): ApiObject {
  const object = asObject(parsed(text))
  if (object) return object
  throw new MeshError('SOURCE_READ', `GET ${path}: the list has an object without a name or a version`)
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/**
 * Whether a version is from before another one, in the order of the server. They are decimal numbers that only grow
 * (KEP-5504); of any other text nothing is known.
 */
export function isOlder(version: string, than: string): boolean {
  if (!/^[1-9]\d{0,30}$/.test(version) || !/^[1-9]\d{0,30}$/.test(than)) return false
  return version.length === than.length ? version < than : version.length < than.length
}

/** One line of a watch. */
export function readEvent(line: string, path: string): { type: string; object: unknown } {
  let event: unknown
  try {
    event = JSON.parse(line)
  } catch (error) {
    throw new NoEvent('SOURCE_READ', `watch ${path}: a line is not JSON`, { cause: error })
  }
  if (isRecord(event) && typeof event.type === 'string') return { type: event.type, object: event.object }
  throw new NoEvent('SOURCE_READ', `watch ${path}: a line is not a watch event`)
}

export function asObject(value: unknown): ApiObject | undefined {
  if (!isRecord(value) || !isRecord(value.metadata)) return undefined
  const { name, namespace, resourceVersion } = value.metadata
  const named = typeof name === 'string' && name !== '' && (namespace === undefined || typeof namespace === 'string')
  return named && typeof resourceVersion === 'string' ? (value as ApiObject) : undefined
}

export function versionOf(value: unknown): string | undefined {
  const version = isRecord(value) && isRecord(value.metadata) ? value.metadata.resourceVersion : undefined
  return typeof version === 'string' ? version : undefined
}

/** `default/rebel-base`, or `/n1` for a cluster-wide object. Unique within a resource. */
export function keyOf({ metadata }: ApiObject): string {
  return `${metadata.namespace ?? ''}/${metadata.name}`
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Throws OverLimits for JSON that would take too long to parse. `where`: a word for it, for the message. */
export function checkParts(json: Uint8Array, where: string): void {
  if (hasMoreParts(json, maxObjectParts)) throw hugeObject(where, `has more than ${maxObjectParts} fields`)
}
