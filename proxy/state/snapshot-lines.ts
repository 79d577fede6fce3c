/** The objects of one cluster as lines of JSON, one object each, for a file or a successor process. */
import type { ClusterService } from '../model/service.ts'
import type { Snapshot } from '../model/sink.ts'
import type { Kind } from './reset-in-turns.ts'

type Fields = Readonly<Record<string, unknown>>

/**
 * The kinds, with the fields that others rely on; the rest is as this version, or an earlier one of the same format, has written it.
 * In an order in which each may be used: a service after what forbids it.
 */
const kinds: { readonly [K in Kind]: (object: Fields, cluster: string) => boolean } = {
  namespaces: isNamed,
  identities: ({ id, labels }) => typeof id === 'number' && isFields(labels),
  addresses: ({ address, id }) => typeof address === 'string' && typeof id === 'number',
  policies: (object, cluster) => isNamed(object) && object.cluster === cluster && typeof object.kind === 'string',
  nodes: isNamed,
  gateways: ({ text, host, port }) => typeof text === 'string' && typeof host === 'string' && typeof port === 'number',
  pods: object => isNamed(object) && isTexts(object.addresses),
  services: isService,
}

/** Each line is a kind and an object of that kind. */
export function* linesOf(snapshot: Snapshot): Iterable<string> {
  for (const kind of Object.keys(kinds) as Kind[]) {
    for (const object of snapshot[kind] ?? []) yield JSON.stringify([kind, object])
  }
}

/** Collects lines; `add` throws at the first one that is not an object of its kind. */
export class SnapshotReader {
  readonly #cluster: string
  readonly #objects = Object.fromEntries(Object.keys(kinds).map(kind => [kind, [] as unknown[]]))

  /** `cluster`: to which all services must belong. */
  constructor(cluster: string) {
    this.#cluster = cluster
  }

  add(line: string): void {
    const parsed: unknown = JSON.parse(line)
    const [kind, object] = Array.isArray(parsed) ? (parsed as unknown[]) : []
    const isKind = typeof kind === 'string' && Object.hasOwn(kinds, kind)
    if (!isKind || !isFields(object) || !kinds[kind as Kind](object, this.#cluster)) {
      throw new Error(`${line.slice(0, 60)} is not an object of a cluster`)
    }
    this.#objects[kind]?.push(object)
  }

  get snapshot(): Snapshot {
    return this.#objects as unknown as Snapshot
  }
}

function isService(object: Fields, cluster: string): object is Fields & ClusterService {
  return (
    isNamed(object) &&
    object.cluster === cluster &&
    typeof object.namespace === 'string' &&
    typeof object.type === 'string' &&
    isTexts(object.clusterIPs) &&
    Array.isArray(object.ports) &&
    isFields(object.annotations) &&
    isFields(object.labels) &&
    Array.isArray(object.endpoints) &&
    object.endpoints.every(isEndpoint)
  )
}

function isEndpoint(object: unknown): boolean {
  return isFields(object) && typeof object.address === 'string' && Array.isArray(object.ports)
}

function isNamed(object: Fields): boolean {
  return typeof object.name === 'string'
}

function isFields(object: unknown): object is Fields {
  return typeof object === 'object' && object !== null && !Array.isArray(object)
}

function isTexts(list: unknown): boolean {
  return Array.isArray(list) && list.every(text => typeof text === 'string')
}
