/** The objects of the API server, in memory, with a history of changes for watches. */
import { randomUUID } from 'node:crypto'
import { StatusError } from '../http/status-error.ts'
import { groupVersion, type KubeObject, type ResourceType } from '../types.ts'

export interface StoreEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly resource: ResourceType
  readonly object: KubeObject
  /** The object before the change, to tell whether a selector has stopped matching. */
  readonly before: KubeObject | undefined
  readonly revision: number
}

export interface Wanted {
  readonly namespace?: string | undefined
  readonly name: string
}

/** All objects, with one sequence of revisions and a bounded history of events for watches. */
export class Store {
  readonly #objects = new Map<ResourceType, Map<string, KubeObject>>()
  readonly #listeners = new Set<(event: StoreEvent) => void>()
  readonly #historyLimit: number
  #history: StoreEvent[] = []
  #revision = 1000
  #oldest = 1000

  constructor(historyLimit = 50_000) {
    this.#historyLimit = historyLimit
  }

  get revision(): number {
    return this.#revision
  }

  /** The oldest revision of the history. */
  get oldest(): number {
    return this.#oldest
  }

  /** Sorted by key, as in etcd. */
  list(resource: ResourceType, namespace?: string): KubeObject[] {
    const all = [...this.#of(resource)].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object)
    return namespace === undefined ? all : all.filter(({ metadata }) => metadata.namespace === namespace)
  }

  get(resource: ResourceType, wanted: Wanted): KubeObject | undefined {
    return this.#of(resource).get(keyOf(resource, wanted))
  }

  create(resource: ResourceType, object: KubeObject): KubeObject {
    const { metadata } = object
    const name = metadata.name ?? `${metadata.generateName}${randomUUID().slice(0, 5)}`
    if (this.get(resource, { ...metadata, name })) {
      throw new StatusError(409, 'AlreadyExists', `${resource.plural} "${name}" already exists`)
    }
    const born = {
      ...metadata,
      name,
      uid: randomUUID(),
      creationTimestamp: new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
      generation: 1,
    }
    return this.#write('ADDED', resource, { ...object, metadata: born }, undefined)
  }

  /** An update without a change makes no new revision. */
  update(resource: ResourceType, object: KubeObject): KubeObject {
    const before = this.get(resource, object.metadata)
    if (!before) throw new StatusError(404, 'NotFound', `${resource.plural} "${object.metadata.name}" not found`)
    const { resourceVersion } = object.metadata
    if (resourceVersion && resourceVersion !== before.metadata.resourceVersion) {
      throw new StatusError(409, 'Conflict', `the object has been modified; apply your changes to the latest version`)
    }
    const { uid, creationTimestamp, generation } = before.metadata
    const kept = { ...object.metadata, uid, creationTimestamp, resourceVersion: before.metadata.resourceVersion }
    const specChanged = JSON.stringify(before.spec) !== JSON.stringify(object.spec)
    const metadata = { ...kept, generation: specChanged ? generation + 1 : generation }
    const after = { ...object, metadata } as KubeObject
    return JSON.stringify(after) === JSON.stringify(before) ? before : this.#write('MODIFIED', resource, after, before)
  }

  delete(resource: ResourceType, wanted: Wanted): KubeObject {
    const before = this.get(resource, wanted)
    if (!before) throw new StatusError(404, 'NotFound', `${resource.plural} "${wanted.name}" not found`)
    return this.#write('DELETED', resource, before, before)
  }

  /** Events after a revision, oldest first. */
  since(revision: number): StoreEvent[] {
    return this.#history.filter(event => event.revision > revision)
  }

  /** Drops the history: a watch from an earlier revision gets 410 Gone. */
  compact(): void {
    this.#history = []
    this.#oldest = ++this.#revision
  }

  onEvent(listener: (event: StoreEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #write(
    type: StoreEvent['type'],
    resource: ResourceType,
    object: KubeObject,
    before: KubeObject | undefined,
  ): KubeObject {
    const revision = ++this.#revision
    const stored: KubeObject = {
      ...object,
      apiVersion: groupVersion(resource),
      kind: resource.kind,
      metadata: { ...object.metadata, resourceVersion: String(revision) },
    }
    const key = keyOf(resource, stored.metadata)
    if (type === 'DELETED') this.#of(resource).delete(key)
    else this.#of(resource).set(key, stored)
    const event = { type, resource, object: stored, before, revision }
    this.#history.push(event)
    if (this.#history.length > this.#historyLimit) {
      this.#history = this.#history.slice(this.#historyLimit / 2)
      this.#oldest = this.#history[0]?.revision ?? revision
    }
    for (const listener of this.#listeners) listener(event)
    return stored
  }

  #of(resource: ResourceType): Map<string, KubeObject> {
    const known = this.#objects.get(resource)
    if (known) return known
    const made = new Map<string, KubeObject>()
    this.#objects.set(resource, made)
    return made
  }
}

function keyOf(resource: ResourceType, { namespace, name }: Wanted): string {
  return resource.namespaced ? `${namespace ?? 'default'}/${name}` : name
}
