/** What one cluster's source has said last, object by object, passed on unchanged. */
import { serviceKey } from '../model/service.ts'
import type { Sink, Snapshot } from '../model/sink.ts'
import { policyText } from '../model/workloads/policy-object.ts'
import { type Kind, type ObjectOf, resetInTurns } from './reset-in-turns.ts'

/** The key of an object among those of its kind. */
const keys: { readonly [K in Kind]: (object: ObjectOf<K>) => string | number } = {
  services: ({ namespace, name }) => serviceKey(namespace, name),
  namespaces: ({ name }) => name,
  pods: ({ namespace, name }) => serviceKey(namespace, name),
  nodes: ({ name }) => name,
  policies: policyText,
  addresses: ({ address }) => address,
  identities: ({ id }) => id,
  gateways: ({ text }) => text,
}

class Objects<K extends Kind> extends Map<string | number, ObjectOf<K>> {}

export class KnownCluster {
  /** Whether the source answers now. */
  isLive = false
  /** Whether it has ever answered. */
  hasSynced = false
  /** When what is known was last true, in wall-clock milliseconds, while the source does not answer. */
  lastLive = 0
  #isClosed = false
  readonly #wall: () => number
  readonly #changed: () => void
  readonly #objects: { readonly [K in Kind]: Objects<K> } = {
    services: new Objects(),
    namespaces: new Objects(),
    pods: new Objects(),
    nodes: new Objects(),
    policies: new Objects(),
    addresses: new Objects(),
    identities: new Objects(),
    gateways: new Objects(),
  }

  /** `changed`: called after each change of an object or of `isLive`. */
  constructor(wall: () => number, changed: () => void) {
    this.#wall = wall
    this.#changed = changed
  }

  /** What an earlier process knew, until the source answers. */
  recall(snapshot: Snapshot, since: number): void {
    for (const kind of Object.keys(this.#objects) as Kind[]) this.#fill(kind, snapshot[kind])
    this.lastLive = since
  }

  get snapshot(): Snapshot {
    const { services, namespaces, pods, nodes, policies, addresses, identities, gateways } = this.#objects
    return {
      services: [...services.values()],
      namespaces: [...namespaces.values()],
      pods: [...pods.values()],
      nodes: [...nodes.values()],
      policies: [...policies.values()],
      addresses: [...addresses.values()],
      identities: [...identities.values()],
      gateways: [...gateways.values()],
    }
  }

  /** The source is closed: what it has said and has not been passed on yet is forgotten. */
  close(): void {
    this.#isClosed = true
  }

  /** A sink that notes what comes and passes it on to `next`, a large reset in turns. */
  sink(next: Sink): Sink {
    const known = {
      keyOf: <K extends Kind>(kind: K, object: ObjectOf<K>) => keys[kind](object),
      table: <K extends Kind>(kind: K): ReadonlyMap<string | number, ObjectOf<K>> => this.#objects[kind],
    }
    return resetInTurns(this.#noting(next), known, () => this.#isClosed)
  }

  #noting(next: Sink): Sink {
    const put = <K extends Kind>(kind: K, pass: ((object: ObjectOf<K>) => void) | undefined) => {
      return (object: ObjectOf<K>) => {
        this.#objects[kind].set(keys[kind](object), object)
        this.#changed()
        pass?.(object)
      }
    }
    const drop = <K extends Kind>(kind: K, key: string | number) => {
      this.#objects[kind].delete(key)
      this.#changed()
    }
    const dropWhole = <K extends Kind>(kind: K, pass: ((object: ObjectOf<K>) => void) | undefined) => {
      return (object: ObjectOf<K>) => {
        drop(kind, keys[kind](object))
        pass?.(object)
      }
    }
    return {
      ...next,
      reset: snapshot => {
        this.#reset(snapshot)
        next.reset(snapshot)
      },
      put: put('services', next.put),
      drop: (namespace, name) => {
        drop('services', serviceKey(namespace, name))
        next.drop(namespace, name)
      },
      putNamespace: put('namespaces', next.putNamespace),
      dropNamespace: name => {
        drop('namespaces', name)
        next.dropNamespace(name)
      },
      putPod: put('pods', next.putPod),
      dropPod: (namespace, name) => {
        drop('pods', serviceKey(namespace, name))
        next.dropPod(namespace, name)
      },
      putNode: put('nodes', next.putNode),
      dropNode: name => {
        drop('nodes', name)
        next.dropNode?.(name)
      },
      putPolicy: put('policies', next.putPolicy),
      dropPolicy: dropWhole('policies', next.dropPolicy),
      putAddress: put('addresses', next.putAddress),
      dropAddress: dropWhole('addresses', next.dropAddress),
      putIdentity: put('identities', next.putIdentity),
      dropIdentity: dropWhole('identities', next.dropIdentity),
      putGateway: put('gateways', next.putGateway),
      dropGateway: dropWhole('gateways', next.dropGateway),
      live: () => {
        if (this.hasSynced && !this.isLive) {
          this.isLive = true
          this.#changed()
        }
        next.live()
      },
      lost: error => {
        if (this.isLive) {
          this.isLive = false
          this.lastLive = this.#wall()
          this.#changed()
        }
        next.lost(error)
      },
    }
  }

  #reset(snapshot: Snapshot): void {
    this.hasSynced = true
    this.isLive = true
    if (!snapshot.isDelivered) for (const kind of Object.keys(this.#objects) as Kind[]) this.#fill(kind, snapshot[kind])
    this.#changed()
  }

  #fill<K extends Kind>(kind: K, objects: readonly ObjectOf<K>[] = []): void {
    const table = this.#objects[kind]
    table.clear()
    for (const object of objects) table.set(keys[kind](object), object)
  }
}
